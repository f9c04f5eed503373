"""Names of rows: another place, text or span is another name, and the same one is the same name."""

import itertools

from bothways.indexing.index_rows import Entry, digest_of, document_name, row_name


def test_names_tell_all_rows_apart() -> None:
    texts = [digest_of(text) for text in ("a", "b", "", "a\0", "\ud800")]
    places = itertools.product(("s", "s\0f"), ("f", "f1"), (1, 11), texts)
    names = [document_name(*place) for place in places]
    assert len(set(names)) == len(names) == 40 and {len(name) for name in names} == {16}
    rows = [row_name(name, start, end) for name in names for start, end in ((1, 23), (12, 3), (1, 2))]
    assert len(set(rows)) == 120
    assert document_name("s", "f", 1, digest_of("a")) == document_name("s", "f", 1, digest_of("a"))


def test_the_order_of_equal_scores() -> None:
    entries = [
        Entry(b"", b"", b"", "s", *place, "t") for place in (("b", 1, 0, 5), ("a", 10, 0, 5), ("a", 9, 5, 6), ("a", 9, 0, 5))
    ]
    assert [entry.order for entry in sorted(entries, key=lambda entry: entry.order)] == [
        ("a", 9, 0, 5),
        ("a", 9, 5, 6),
        ("a", 10, 0, 5),
        ("b", 1, 0, 5),
    ]
