"""Changes that no test can see, each with the reason: open this if `make mutate` names a survivor that changes nothing.

The second part of a key is a piece of what the script prints after the line number: `stripped source line | before -> after`.
"""

EQUIVALENT: dict[tuple[str, str], str] = {}
