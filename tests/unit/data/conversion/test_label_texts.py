"""Texts of labels are read from a file of their own."""

import pytest

from bothways.data.conversion.label_texts import read_label_texts
from bothways.errors import InputError


def test_label_texts_file(tmp_path):
    path = tmp_path / "labels.json"
    for wrong in ("[1]", '{"a": ""}', '{"a": 1}', "{"):
        path.write_text(wrong)
        with pytest.raises(InputError, match=r"labels.json: .*expected"):
            read_label_texts(path)
    with pytest.raises(InputError, match=r"missing.json: cannot be read"):
        read_label_texts(tmp_path / "missing.json")
