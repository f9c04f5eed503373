"""A long text's row, made from its beginning, against the row of the whole text: many kinds of
tokenizers and texts.
"""

from __future__ import annotations

import random
import time

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from bothways.encoder.texts import tokenization
from bothways.encoder.texts.split_patterns import reach
from bothways.encoder.texts.text_prefix import TextPrefix
from bothways.encoder.texts.tokenization import TextTokenizer
from bothways.encoder.texts.wrapping import Wrapper
from bothways.errors import InputError
from tiny import SENTENCES, tiny_tokenizer

LLAMA_3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"


def byte_level(*splits: pre_tokenizers.PreTokenizer, normalizer: normalizers.Normalizer | None = None) -> Tokenizer:
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not splits)]
    )
    if normalizer is not None:
        raw.normalizer = normalizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(SENTENCES, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False))
    return raw


def unsplit(*, byte_fallback: bool = False, scheme: str = "first") -> Tokenizer:
    """BPE over the whole text, as Llama 2's and Gemma's."""
    raw = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    raw.normalizer = normalizers.Replace(" ", "▁")
    raw.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    specials = ["<unk>", *(f"<0x{i:02X}>" for i in range(256))] if byte_fallback else ["<unk>"]
    raw.train_from_iterator(SENTENCES, trainers.BpeTrainer(vocab_size=700, special_tokens=specials, show_progress=False))
    raw.model.byte_fallback = byte_fallback
    if scheme == "first":
        raw.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        raw.pre_tokenizer = None
    else:
        raw.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    return raw


def unigram(*, split: bool) -> Tokenizer:
    raw = Tokenizer(models.Unigram())
    raw.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False)
    raw.train_from_iterator(SENTENCES * 3, trainer)
    raw.pre_tokenizer = pre_tokenizers.Metaspace(split=split)
    return raw


def word_piece(normalizer: normalizers.Normalizer) -> Tokenizer:
    raw = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    raw.normalizer = normalizer
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    raw.train_from_iterator(SENTENCES, trainers.WordPieceTrainer(vocab_size=300, special_tokens=["[UNK]"], show_progress=False))
    return raw


def with_markers(raw: Tokenizer) -> Tokenizer:
    """Added tokens that take blanks away on either side, one of many blanks, and one that counts as
    a word.
    """
    raw.add_tokens([AddedToken("<left>", lstrip=True), AddedToken("<right>", rstrip=True), AddedToken("   ", normalized=False)])
    raw.add_tokens([AddedToken("river", single_word=True)])
    return raw


SPLIT = pre_tokenizers.Split
TOKENIZERS = {
    "gpt2": lambda: byte_level(),
    "smollm": lambda: byte_level(pre_tokenizers.Digits(individual_digits=True), SPLIT(Regex(r"\s?\w+|."), "isolated")),
    "llama3": lambda: byte_level(SPLIT(Regex(LLAMA_3), "isolated")),
    "qwen": lambda: byte_level(SPLIT(Regex(LLAMA_3.replace("{1,3}", "")), "isolated"), normalizer=normalizers.NFC()),
    "o200k": lambda: byte_level(SPLIT(Regex(O200K), "removed", invert=True)),
    "bloom": lambda: byte_level(SPLIT(Regex(BLOOM), "isolated")),
    "lines": lambda: byte_level(SPLIT(Regex(r"[^\n]+\n?"), "isolated")),
    "contiguous": lambda: byte_level(SPLIT(Regex(r"\w"), "contiguous")),
    "llama2": lambda: unsplit(),
    "llama2-bytes": lambda: unsplit(byte_fallback=True),
    "gemma": lambda: unsplit(byte_fallback=True, scheme="never"),
    "unigram": lambda: unigram(split=True),
    "unigram-unsplit": lambda: unigram(split=False),
    "bert": lambda: word_piece(normalizers.BertNormalizer()),
    "bert-nfkd": lambda: word_piece(
        normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(), normalizers.Strip()])
    ),
    "markers": lambda: with_markers(byte_level(SPLIT(Regex(LLAMA_3), "isolated"))),
    "markers-unsplit": lambda: with_markers(unsplit(byte_fallback=True)),
}


def finished(raw: Tokenizer, *, eos: bool = True) -> PreTrainedTokenizerFast:
    raw.add_special_tokens(["<s>", "</s>", "<eot>"])
    ends = [("<s>", raw.token_to_id("<s>")), ("</s>", raw.token_to_id("</s>"))]
    raw.post_processor = processors.TemplateProcessing(single="<s> $A </s>" if eos else "<s> $A", special_tokens=ends)
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<s>", eos_token="</s>", unk_token=getattr(raw.model, "unk_token", "<unk>")
    )


WORDS = [
    *" ".join(SENTENCES).split(),
    "1984",
    "…",
    "naïve",
    "e\u0301\u0323tude",
    "ﬁne",
    "don't",
    "<left>",
    "<right>",
    "2024.",
    "🇫🇷🇩🇪",
]


def texts(random_of: random.Random, size: int) -> dict[str, str]:
    words = " ".join(random_of.choice(WORDS) for _ in range(size // 4))
    japanese = "".join(random_of.choice("今日は天気がいいから散歩しましょう。あア亜、") for _ in range(size))
    gaps = "".join(
        random_of.choice([" ", "  ", "   ", "\t", "\n", "\r\n", "\n\n", "a", "river", "1", "!"]) for _ in range(size)
    )
    return {
        "words": words,
        "japanese": japanese,
        "gaps": gaps,
        "bytes": "".join(random_of.choice("aehinrst0123456789+/=") for _ in range(size)),
        "letters": "".join(random_of.choice("aeinrst") for _ in range(size)),
        "one letter": "a" * size,
        "blanks": " " * size + "end",
        "late": "\u200b" * (size // 2) + words,
        "marks": "a" + "\u0301\u0323" * (size // 2) + words,
        "unknown": "".join(random_of.choice("Ωжשत🙂 ") for _ in range(size)),
        "spaced": "w " * (size // 2),
        "specials": words[: size // 2] + " </s> <s> <eot>" + words[: size // 2],
    }


def rows_of(tokenizer: TextTokenizer, items: list, limit: int, beginning: int | None) -> list:
    def one(item: object) -> object:
        try:
            return tokenizer([item], max_length=limit)[0]
        except InputError as error:
            return str(error)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenization, "_beginning", lambda limit: beginning)
        return [one(item) for item in items]


@pytest.mark.parametrize("name", TOKENIZERS)
def test_the_row_of_a_beginning_is_that_of_the_whole_text(name: str) -> None:
    made = finished(TOKENIZERS[name]())
    source = random.Random(name)
    bodies = list(texts(source, 2600).values())
    heads = ["", "Find: ", "Say it: {text} in a word{eos}", "{text}", "a " * 40]
    for wrapper in (Wrapper(), Wrapper("<s>", "<eot>", " "), Wrapper("[INST] ", " [/INST]", " ")):
        tokenizer = TextTokenizer(made, wrapper=wrapper)
        for limit in (8, 33):
            items = [(source.choice(heads), body) for body in bodies]
            expected = rows_of(tokenizer, items, limit, None)
            # small beginnings, so that the last token wanted lies close to the cut
            for beginning in (source.randint(limit, 2 * limit), source.randint(2 * limit, 6 * limit)):
                assert rows_of(tokenizer, items, limit, beginning) == expected


@pytest.mark.parametrize("name", [name for name in TOKENIZERS if name not in ("lines", "contiguous")])
def test_a_long_text_is_cut_before_it_is_tokenized(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = finished(TOKENIZERS[name]())
    sizes: list[int] = []
    monkeypatch.setattr(tokenization, "TextPrefix", _Counting(sizes))
    tokenizer = TextTokenizer(made)
    made_of = texts(random.Random(1), 20_000)
    # WordPiece makes a word of more than 100 letters one unknown token, however long it is
    long_words = () if name.startswith("bert") else ("letters", "one letter", "bytes", "japanese")
    for kind in ("words", "spaced", "specials", *long_words):
        sizes.clear()
        tokenizer([made_of[kind]], max_length=64)
        assert 0 < sizes[-1] < len(made_of[kind]) / 2, kind


class _Counting:
    """Records the lengths of the beginnings that were accepted."""

    def __init__(self, sizes: list[int]) -> None:
        self.sizes = sizes

    def of(self, tokenizer: object) -> object:
        return _CountingPrefix(TextPrefix.of(tokenizer), self.sizes)


class _CountingPrefix:
    def __init__(self, inner: TextPrefix, sizes: list[int]) -> None:
        self.inner, self.sizes = inner, sizes

    def proved(self, encoding: object, text: str, cut: int, wanted: int) -> bool:
        good = self.inner.proved(encoding, text, cut, wanted)
        self.sizes.append(len(text) if good else 0)
        return good

    def stands_apart(self, suffix: str) -> bool:
        return self.inner.stands_apart(suffix)


def test_a_tokenizer_that_keeps_the_end_gets_the_whole_text() -> None:
    made = tiny_tokenizer()
    assert TextPrefix(made).usable
    made.truncation_side = "left"
    assert not TextPrefix(made).usable


@pytest.mark.parametrize("pattern", [r"(a)\1", r"(?:.|\n)*?end", r"[a-", r"a{,}"])
def test_patterns_that_see_arbitrarily_far_prove_nothing(pattern: str) -> None:
    found = reach(pattern)
    if found is not None:  # repeated without limit over letters and blanks alike, so that nothing stops it
        assert any({"."} <= set(classes) for classes in found.repeated)


@pytest.mark.parametrize("unit", ["The river runs from the old mountain to the sea. ", "a", "=", "7", " ", "今日は", "Ab3+"])
def test_eight_megabytes_of_one_line_take_a_moment(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(tokenization, "TextPrefix", _Counting(sizes))
    tokenizer = TextTokenizer(tiny_tokenizer(), max_length=512)
    text = unit * (8_000_000 // len(unit))
    began = time.process_time()
    row = tokenizer([text])[0]
    assert len(row.ids) == 512
    assert time.process_time() - began < 1.0
    # memory: the only strings and tokens are those of the beginnings
    assert sum(sizes) < 100_000 and sizes[-1] > 0


def test_a_joint_that_an_entry_can_stand_across_is_no_proof() -> None:
    """Merges by rank: `bc` before `ab`, so that behind `ab` a `c` takes the `b` away."""
    raw = Tokenizer(models.BPE(vocab={"a": 0, "b": 1, "c": 2, "bc": 3, "ab": 4, "x": 5}, merges=[("b", "c"), ("a", "b")]))
    joints = TextPrefix(PreTrainedTokenizerFast(tokenizer_object=raw))._joints()
    assert raw.encode("xxabx").tokens == ["x", "x", "ab", "x"]
    assert raw.encode("xxabc").tokens == ["x", "x", "a", "bc"]
    assert joints.before(raw.encode("xxabxx"), 5) == 3  # in front of x
    assert joints.before(raw.encode("xxabcx"), 5) == 2  # in front of a: between a and bc, `ab` could stand
