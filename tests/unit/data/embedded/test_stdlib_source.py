"""The embedded text: what it holds, that it is the same each time, and that nothing held out leaks
into training.
"""

import ast
import inspect
import random
import shlex
import textwrap

import pytest

from bothways.data.embedded import stdlib
from bothways.data.embedded.stdlib_source import paragraphs, read_library, summary_of
from bothways.errors import SourceError


def functions():
    return {function.name: function for function in read_library().functions}


def test_functions_equal_what_inspect_reads():
    """Independent reference: the imported function's docstring and source."""
    known = functions()
    for name, obj in {
        "shlex.split": shlex.split,
        "textwrap.TextWrapper.wrap": textwrap.TextWrapper.wrap,
        "ast.walk": ast.walk,
    }.items():
        function = known[name]
        assert function.docstring == inspect.getdoc(obj)
        source = ast.parse(textwrap.dedent(inspect.getsource(obj))).body[0]
        source.body = source.body[1:]
        assert ast.dump(ast.parse(function.code).body[0]) == ast.dump(source)


def test_code_parses_without_docstring():
    """Of every function read: the parts cut out are Python, and none begins with the docstring."""
    chosen = [function for function in read_library().functions if function.body and not function.trivial]
    assert len(chosen) > 5000
    for function in random.Random(0).sample(chosen, 1500):
        node = ast.parse(function.code).body[0]
        assert isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)), function.name
        assert ast.get_docstring(node) is None, function.name


SOURCE = '''
"""A module that is made up for the test."""
import sys

class Outer:
    """An outer class of things."""
    class Inner:
        @property
        def size(self, *,
                 unit="kB"):
            # a comment
            """Return the size of this thing.

            More of it.
            """
            text = """left
of the margin"""
            return text

        @size.setter
        def size(self, value):
            """Set the size of this thing."""

    def one_line(self): "Return it in one line."

    def shared(self):
        """Return what shares its line."""; return 1

    async def later(self):
        def nested():
            """Be part of the outer function."""
        return nested

if sys:
    def guarded():
        """Be found inside of a branch."""
        raise NotImplementedError
'''


def test_reading_by_hand(tmp_path):
    for folder in ("", "pkg", "site-packages", "test", "lib-dynload"):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "__init__.py").write_text(SOURCE if folder == "pkg" else '"""No functions."""')
    (tmp_path / "broken.py").write_text("def (:")
    library = read_library(tmp_path)
    assert [function.name for function in library.functions] == ["pkg.Outer.Inner.size", "pkg.Outer.later", "pkg.guarded"]
    size, later, guarded = library.functions
    assert size.summary == "Return the size of this thing."
    assert size.signature == 'def size(self, *,\n         unit="kB"):\n    # a comment'
    assert size.body == '    text = """left\nof the margin"""\n    return text'
    assert size.docstring == "Return the size of this thing.\n\nMore of it." and not size.trivial
    assert later.summary == later.docstring == "" and "nested" in later.body
    assert guarded.trivial
    assert library.docstrings["pkg"] == "A module that is made up for the test." and "pkg.Outer" in library.docstrings
    assert not any(name.startswith(("site", "test", "lib")) for name in library.docstrings)


def test_python_without_source(tmp_path):
    with pytest.raises(SourceError, match="no source of the standard library"):
        read_library(tmp_path / "none")


def test_summaries():
    assert summary_of("Return the\n  current position.\n\nMore.") == "Return the current position."
    for text in ("", "Internal function.", "f(x, y) -> the value of both", "Do it so: >>> f(1, 2)", "word " * 100):
        assert summary_of(text) == ""
    assert paragraphs("A\nb.\n\n>>> f()\n1\n \t\nC.") == ["A b.", "C."]


def test_phrases():
    phrases = stdlib.Phrases(["Return the current position.", "Return the current position of it", "x = a.b(c_d)"])
    for text in ("(return the\n   CURRENT position)", "We return the current position of it", "if y:\n  x = a.b(\n c_d )"):
        assert phrases.occur_in(text)
    for text in ("", "Return the current", "Return the current positions", "Return no current position", "x = a.b(c_d2)"):
        assert not phrases.occur_in(text)
    with pytest.raises(ValueError, match="at least 4 words"):
        stdlib.Phrases(["only three words"])
