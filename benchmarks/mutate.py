"""Changes one thing at a time in the sources, and says which changes no test notices (make mutate).

    python benchmarks/mutate.py [--only losses/infonce.py] [--each 5] [--seed 0]

It works in a copy of the tree in a temporary folder. Each source file is run against the tests of its own package. A survivor is ended
by a test, or listed in `EQUIVALENT` with the reason.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("losses", "pooling", "attention", "objectives", "encoder", "training")
EQUIVALENT = {
    "losses/false_negatives.py: positive < 0 with another comparison": "a cosine of 0 gives the threshold 0 either way",
    "losses/infonce.py: -1 without minus": "dimensions 1 and -1 of a matrix are one",
    "losses/infonce.py: torch.promote_types(vectors.dtype, torch.float32) with its arguments swapped": "it is symmetric",
}
"""`file: change` to why no test can see it."""

COMPARISONS = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
OPERATORS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}


def mutations(source: str) -> Iterator[tuple[int, str, str]]:
    """(line, what was changed, whole source) of every single change."""
    count = len(list(ast.walk(ast.parse(source))))
    for number in range(count):
        tree = ast.parse(source)
        node = list(ast.walk(tree))[number]
        said = _changed(node)
        if said:
            yield node.lineno, said, ast.unparse(tree)  # type: ignore[attr-defined]


def _changed(node: ast.AST) -> str:
    """Change a node in place and say how; "" if it is of no kind that is changed."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS:
        said = f"{ast.unparse(node)} with another comparison"
        node.ops[0] = COMPARISONS[type(node.ops[0])]()
    elif isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        said = f"{ast.unparse(node)} with the opposite operator"
        node.op = OPERATORS[type(node.op)]()
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
        said = f"{ast.unparse(node)} without {'not' if isinstance(node.op, ast.Not) else 'minus'}"
        node.op = ast.UAdd() if isinstance(node.op, ast.USub) else node.op
        if isinstance(node.op, ast.Not):
            node.operand = ast.UnaryOp(ast.Not(), node.operand)
    elif isinstance(node, ast.BoolOp):
        said = f"{ast.unparse(node)} with and for or"
        node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    elif isinstance(node, ast.Call) and len(node.args) == 2:
        said = f"{ast.unparse(node)} with its arguments swapped"
        node.args.reverse()
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        said = f"{ast.unparse(node)} removed"
        node.value = ast.Constant(None)
    else:
        return ""
    return said


def main() -> int:
    """Run the changes and print survivors and a count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="a source file below src/bothways")
    parser.add_argument("--each", type=int, default=5, help="changes of each file")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    files = sorted(path for package in PACKAGES for path in (ROOT / "src/bothways" / package).rglob("*.py"))
    if options.only:
        files = [ROOT / "src/bothways" / options.only]
    killed = survived = 0
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "tree"
        for name in ("src", "tests"):
            shutil.copytree(ROOT / name, copy / name)
        shutil.copyfile(ROOT / "pyproject.toml", copy / "pyproject.toml")
        for path in files:
            relative = path.relative_to(ROOT / "src/bothways")
            source = path.read_text(encoding="utf-8")
            every = list(mutations(source))
            for line, said, text in random.Random(options.seed).sample(every, min(options.each, len(every))):
                if f"{relative}: {said}" in EQUIVALENT:
                    continue
                (copy / "src/bothways" / relative).write_text(text, encoding="utf-8")
                noticed = _tests_fail(copy, relative.parts[0])
                killed, survived = killed + noticed, survived + (not noticed)
                if not noticed:
                    print(f"survived: {relative}:{line}: {said}", flush=True)
            (copy / "src/bothways" / relative).write_text(source, encoding="utf-8")
    print(f"{killed + survived} changes: {killed} noticed, {survived} survived")
    return 1 if survived else 0


def _tests_fail(copy: Path, package: str) -> bool:
    environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:xdist", "-p", "no:cacheprovider", f"tests/unit/{package}"]
    try:
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, timeout=600, check=False)
    except subprocess.TimeoutExpired:
        return True
    return done.returncode != 0


if __name__ == "__main__":
    sys.exit(main())
