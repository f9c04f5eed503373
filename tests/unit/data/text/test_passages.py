"""Documents, and the passages they are cut into."""

from __future__ import annotations

import gzip
import itertools
import json

import pytest

from bothways.data.text.passages import Passage, consecutive, cut, excerpts, read_passages
from bothways.data.text.sentences import sentences
from bothways.errors import InputError

TEXT = "One two three. Four five. Six seven eight nine. Ten. Eleven twelve thirteen fourteen."


def words(texts: list[str]) -> list[int]:
    return [len(text.split()) for text in texts]


@pytest.mark.parametrize("length", range(4, 20))
def test_passages_are_whole_sentences_and_lose_nothing(length):
    parts = cut(TEXT, length, words)
    assert " ".join(parts) == TEXT
    whole = sentences(TEXT)
    for part in parts:
        assert len(part.split()) <= length and set(sentences(part)) <= set(whole)
    for one, other in itertools.pairwise(parts):
        assert len(one.split()) + len(sentences(other)[0].split()) > length, "the next sentence would have fitted"


@pytest.mark.parametrize("text", ["long " * 50, "x" * 90, "今日は天気がいいから散歩しましょう" * 5, "a" * 30 + " " + "b" * 30])
def test_a_sentence_beyond_the_length_is_cut(text):
    def characters(texts):
        return [len(each) for each in texts]

    parts = cut(text, 7, characters)
    assert max(map(len, parts)) <= 7
    assert "".join("".join(parts).split()) == "".join(text.split())
    assert cut("xyz", 0 + 1, characters) == ["x", "y", "z"]


def test_texts_without_blanks_get_none():
    text = "今日は天気がいい。散歩しましょう！「はい。」と言った。He said so. 彼は笑った（本当に。）そして去った。"
    assert cut(text, 1000, lambda texts: [len(each) for each in texts]) == [text]
    assert "".join(cut(text, 20, lambda texts: [len(each) for each in texts])).replace(" ", "") == text.replace(" ", "")


def test_pairs_stay_within_their_document():
    documents = ["One two. Three four. Five six.", "Alone.", Passage("a", "b", "c"), "Seven eight. Nine ten."]
    pairs, single = consecutive(documents, 2, words)
    assert single == 1
    assert pairs == [
        Passage("One two.", "One two.", "Three four."),
        Passage("Three four.", "Three four.", "Five six."),
        Passage("a", "b", "c"),
        Passage("Seven eight.", "Seven eight.", "Nine ten."),
    ]


def test_a_book_is_one_document_and_marked_articles_are_several(tmp_path):
    (tmp_path / "book.txt").write_text("First line\nsecond line.\n\nNew paragraph.\n")
    assert read_passages(tmp_path / "book.txt") == ["First line\nsecond line.\n\nNew paragraph.\n"]
    assert read_passages(tmp_path / "book.txt", unit="line") == ["First line\n", "second line.\n", "New paragraph.\n"]
    wiki = " \n = One = \n \n Text one . \n \n = = Section = = \n More . \n = Two = \n Text two . \n x = y = z \n"
    (tmp_path / "wiki.txt").write_text(wiki)
    found = read_passages(tmp_path / "wiki.txt")
    assert [sentences(document) for document in found] == [["Text one .", "More ."], ["Text two . x = y = z"]]
    dump = '<doc id="1" url="u" title="One">\nOne\n\nText.\n</doc>\nnobody\'s\n<doc id="2">\nTwo.\n</doc>\n'
    with gzip.open(tmp_path / "dump.txt.gz", "wt") as file:
        file.write(dump)
    assert read_passages(tmp_path / "dump.txt.gz") == ["One\n\nText.\n", "Two.\n"]
    assert read_passages(tmp_path, limit=2) == found[:0] + read_passages(tmp_path / "book.txt") + ["One\n\nText.\n"]


def test_wikiextractor_s_files_have_no_suffix(tmp_path):
    folder = tmp_path / "extracted" / "AA"
    folder.mkdir(parents=True)
    (folder / "wiki_00").write_text('<doc id="1" title="One">\nOne\n\nText.\n</doc>\n<doc id="2">\nTwo.\n</doc>\n')
    (folder / "wiki_01").write_text('{"id": "3", "title": "Three", "text": "Three.\\nMore."}\n{"id": "4", "text": "Four."}\n')
    with gzip.open(folder / "wiki_02.gz", "wt") as file:
        file.write('{"text": "Five."}\n')
    (folder / "wiki_03").write_text("")
    (folder / "notes").write_text("not a text")
    assert read_passages(tmp_path / "extracted") == ["One\n\nText.\n", "Two.\n", "Three.\nMore.", "Four.", "Five."]
    assert read_passages(folder / "wiki_01", limit=1) == ["Three.\nMore."]
    (folder / "wiki_02.gz").write_bytes(b"no gzip")
    with pytest.raises(InputError, match=r"wiki_02\.gz: broken gzip"):
        read_passages(tmp_path / "extracted")


def test_rows_are_documents_or_finished_pairs(tmp_path):
    rows = [{"text": "A. B."}, {"text": "  "}, {"text": "C."}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_passages(tmp_path / "rows.jsonl") == ["A. B.", "C."]
    pairs = [
        {"input": "a", "output_summarize": "b", "output_predict": "c"},
        {"input": " ", "output_summarize": "", "output_predict": ""},
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    assert read_passages(tmp_path / "pairs.jsonl") == [Passage("a", "b", "c")]
    assert read_passages(tmp_path / "pairs.jsonl", column="input") == ["a"]


def test_what_cannot_be_used_is_named(tmp_path):
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"input": "a", "output_summarize": null, "output_predict": "c"}\n')
    with pytest.raises(InputError, match=r"broken.jsonl, row 1: column 'output_summarize' holds a null, not a text"):
        read_passages(broken)
    (tmp_path / "empty.txt").write_text(" \n\n")
    with pytest.raises(InputError, match="holds no text"):
        read_passages(tmp_path / "empty.txt")
    with pytest.raises(InputError, match="limit: 0 documents"):
        read_passages(broken, limit=0)


def test_excerpts_are_a_few_short_pieces_of_each():
    found = excerpts(["abc " * 10_000, Passage("short", "", "")], characters=100, each=4)
    assert len(found) == 5 and found[-1] == "short" and max(map(len, found)) <= 100


def test_a_folder_s_files_without_text_are_passed_over(tmp_path, caplog):
    (tmp_path / "a.txt").write_text("A b. C d.")
    (tmp_path / "meta.json").write_text('{"name": 3}')
    assert read_passages(tmp_path) == ["A b. C d."]
    assert "meta.json" in caplog.text and "other files are read without it" in caplog.text
    with pytest.raises(InputError, match="no column for text"):
        read_passages(tmp_path / "meta.json")
