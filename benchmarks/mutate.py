"""Changes one thing at a time in the sources, and says which changes no test notices (make mutate).

    python benchmarks/mutate.py [--only losses --only encoder/vector_files.py] [--per-file 5] [--seed 0] [--near] [--with TEXT]

For example, `a < b` becomes `a <= b`, 1 becomes 2, and a call or an argument is left out
(`mutation/changes.py`). The changes are drawn from each file by the seed and the file's name. It
works in a copy of the tree in a temporary folder, and leaves out tests that need the shared data or
the real model. A change that makes the tests run without end counts as noticed. A survivor is ended
by a test, or listed in `mutation/equivalent.py` with the reason.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path

from mutation.changes import Change, changes, required_arguments
from mutation.equivalent import EQUIVALENT
from mutation.runner import Runner, Seen

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ["losses", "pooling", "attention", "objectives", "encoder", "training"]
GONE = ""
FEW = 20
"""How many tests of another package's test file see a change, the quickest ones."""


def main() -> int:
    """Run the changes, print survivors and a count, and return 1 if there is a survivor."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", help="a package or a file below src/bothways; may be given several times")
    parser.add_argument("--per-file", type=int, default=5, help="changes of each file (default 5); 0 takes all")
    parser.add_argument("--seed", type=int, default=0, help="draws other changes (default 0)")
    parser.add_argument("--with", dest="text", default="", help="only changes whose printed text has this in it")
    parser.add_argument("--list", action="store_true", help="print the changes and run none")
    parser.add_argument(
        "--near", action="store_true", help="run the tests of the file's own package alone: quicker, with more survivors"
    )
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as place:
        judge = None if options.list else Judge(Runner(ROOT, Path(place)), near=options.near)
        # The copy stays as it is, even if somebody works in the tree.
        sources = judge.runner.sources if judge else ROOT / "src/bothways"
        required = required_arguments([path.read_text(encoding="utf-8") for path in sorted(sources.rglob("*.py"))])
        equivalent = _equivalent([path.relative_to(sources).as_posix() for path in sources.rglob("*.py")])
        counts["unused"] += len(equivalent.pop(GONE, []))
        for name in _files(sources, options.only or PACKAGES):
            every = changes((sources / name).read_text(encoding="utf-8"), required)
            pieces = equivalent.get(name, [])
            counts["unused"] += _unused(name, every, pieces)
            every = [change for change in every if options.text in change.text]
            counts["of"] += len(every)
            for change in _drawn(every, name, options.per_file, options.seed):
                same = any(piece in change.text for piece in pieces)
                said = "equivalent" if same else judge.verdict(name, change) if judge else "listed"
                counts[said] += 1
                if said in {"survived", "listed"}:
                    print(f"{name}:{change.line}: {change.text}", flush=True)
    kinds = ("listed", "equivalent") if options.list else ("noticed", "survived", "equivalent")
    run = sum(counts[said] for said in kinds)
    verdicts = ", ".join(f"{counts[said]} {said}" for said in kinds)
    print(f"{run} of {counts['of']} changes: {verdicts}")
    return 1 if counts["survived"] or counts["unused"] else 0


class Judge:
    """Shows changes to the tests that run the changed line."""

    def __init__(self, runner: Runner, *, near: bool) -> None:
        self.runner = runner
        self.near = near
        self.seen: dict[str, Seen] = {}
        """What was recorded, for each folder or file of tests."""

    def verdict(self, name: str, change: Change) -> str:
        """`noticed` or `survived`."""
        own = self._recorded(_own_tests(self.runner.tree, name))
        near = own.tests_of(name, change.line, change.last_line)
        first = [test for test in near if _file(test) == _file(near[0])]
        for tests in (first, [test for test in near if test not in first]):
            if self._notices(name, change, tests, own):
                return "noticed"
        # What a cached function runs is recorded for its first caller alone.
        far = sorted({_file(test) for test in near if "cache" in (self.runner.tree / _file(test)).read_text(encoding="utf-8")})
        if self._notices(name, change, far, own):
            return "noticed"
        for path in [] if self.near else _importing_tests(self.runner.tree, name):
            other = self._recorded(path)
            if self._notices(name, change, other.tests_of(name, change.line, change.last_line)[:FEW], other):
                return "noticed"
        return "survived"

    def _notices(self, name: str, change: Change, tests: list[str], seen: Seen) -> bool:
        seconds = sum(taken for test, taken in seen.seconds.items() if test in tests or _file(test) in tests)
        return bool(tests) and self.runner.notices(name, change.source, tests, 60 + 5 * seconds)

    def _recorded(self, tests: str) -> Seen:
        if tests not in self.seen:
            self.seen[tests] = self.runner.record([tests])
            if failed := self.seen[tests].failed:
                raise SystemExit(f"Without any change, {failed[0]} fails; mend it first.")
        return self.seen[tests]


def _file(test: str) -> str:
    """The test file of a test's id."""
    return test.partition("::")[0]


def _files(sources: Path, chosen: list[str]) -> list[str]:
    """Source files below src/bothways, for packages and files."""
    found: list[str] = []
    for place in chosen:
        path = sources / place
        if not path.exists():
            raise SystemExit(f"{place} is neither a package nor a file below src/bothways.")
        names = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        found += [name.relative_to(sources).as_posix() for name in names]
    return list(dict.fromkeys(found))


def _own_tests(tree: Path, name: str) -> str:
    """The deepest folder of tests that mirrors a file's folder, or the test file of a file outside
    the packages.
    """
    package, slash, _ = name.rpartition("/")
    folders = (
        place for place in (Path("tests/unit") / package, *(Path("tests/unit") / package).parents) if (tree / place).is_dir()
    )
    return next(folders).as_posix() if slash else f"tests/unit/test_{name}"


def _importing_tests(tree: Path, name: str) -> list[str]:
    """Test files of other packages that import a source file."""
    module = re.compile(rf"\bbothways\.{re.escape(name.removesuffix('.py').removesuffix('/__init__').replace('/', '.'))}\b")
    paths = [path for folder in ("unit", "parity") for path in sorted((tree / "tests" / folder).rglob("test_*.py"))]
    names = [path.relative_to(tree).as_posix() for path in paths if module.search(path.read_text(encoding="utf-8"))]
    return [found for found in names if not found.startswith(_own_tests(tree, name))]


def _drawn(every: list[Change], name: str, count: int, seed: int) -> list[Change]:
    """Some changes of a file, all of them if the count is 0."""
    if not count or count >= len(every):
        return every
    return sorted(random.Random(f"{seed} {name}").sample(every, count), key=every.index)


def _equivalent(names: list[str]) -> dict[str, list[str]]:
    """Equivalent changes of each source file. A file that moved to another folder is found by its
    name.

    Changes of files that are not found are printed, and listed under `GONE`.
    """
    found: dict[str, list[str]] = {}
    for file, piece in EQUIVALENT:
        named = [name for name in names if Path(name).name == Path(file).name]
        place = file if file in names else named[0] if len(named) == 1 else GONE
        found.setdefault(place, []).append(piece)
        if place == GONE:
            print(f"{file}: mutation/equivalent.py names a change of a file that is not there: {piece}")
    return found


def _unused(name: str, every: list[Change], pieces: list[str]) -> int:
    """Print and count the equivalent changes that a file no longer has."""
    unused = [piece for piece in pieces if not any(piece in change.text for change in every)]
    for piece in unused:
        print(f"{name}: mutation/equivalent.py names a change that is not there: {piece}")
    return len(unused)


if __name__ == "__main__":
    sys.exit(main())
