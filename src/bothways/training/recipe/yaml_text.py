"""Reads YAML as people write it: 1e-3 is a number.

PyYAML follows YAML 1.1, in which `1e-3` (without a dot) is a string and `on` a boolean. A learning
rate that arrives as a string would be refused with a message that nobody understands. The number
syntax here is that of YAML 1.2.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from bothways.errors import InputError
from bothways.foreign import why


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping like the base class. Refuse a key that is given twice.

        The base class would keep the last value without a message.
        """
        seen: dict[Any, Any] = {}
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            first = seen.setdefault((key.tag, key.value), key)
            if first is not key:
                where = f"(first on line {first.start_mark.line + 1})"
                raise yaml.constructor.ConstructorError(
                    None,
                    None,
                    f"the key {key.value!r} is given twice {where}; keep one",
                    key.start_mark,
                )
        return super().construct_mapping(node, deep=deep)


_FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
# A copy for this class, because the loaders of PyYAML share one table.
_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag not in ("tag:yaml.org,2002:float", "tag:yaml.org,2002:bool")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(rf"^(?:{_FLOAT.pattern})$"), list("-+0123456789.")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(rf"^(?:{_BOOL.pattern})$"), list("tTfF")
)


def load_yaml(text: str, *, where: str) -> Any:
    """Parse one YAML document into plain values.

    Args:
        text: the document.
        where: name of its source, for messages.

    Raises:
        InputError: if it is not YAML. The message has `where`, line and column.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader by descent
    except (
        ValueError,
        RecursionError,
    ) as error:  # whole numbers of thousands of digits, impossible dates; thousands of brackets
        raise InputError(f"{where}: YAML that cannot be read ({why(error)})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise InputError(f"{where}:{place} not valid YAML: {problem}") from None
