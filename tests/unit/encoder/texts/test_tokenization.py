"""Token rows: the pool mask against a reference that counts bytes or characters, truncation, and
texts that break tokenizers.
"""

from __future__ import annotations

import time
import unicodedata
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from bothways.encoder.batch import TokenRow
from bothways.encoder.texts.tokenization import TextTokenizer
from bothways.encoder.texts.wrapping import Wrapper
from bothways.errors import InputError
from tiny import SENTENCES, tiny_tokenizer

CHINESE = "检索与问题相关的段落：今天天气很好，我们去公园散步吧。"
THAI = "ค้นหาข้อความที่เกี่ยวข้องวันนี้อากาศดีเราไปเดินเล่นกันเถอะ"
JAPANESE = "今日は天気がいいから散歩しましょう。"
TEXTS = (
    "A cat sits on the window sill.",
    " leading and trailing blanks  ",
    "\n\nnew lines\n",
    CHINESE[11:],
    THAI[24:],
    JAPANESE,
    JAPANESE[3:],
    "ts on the warm sill",
    "👩‍👩‍👧 family 🇩🇪 flag",
    "nul \0 inside",
    "x",
)
INSTRUCTIONS = ("Find: ", "Find:", "Find:\n", "A cat si", CHINESE[:11], THAI[:24], "今日は", "🙂", "", " ")


def trained(raw: Tokenizer, trainer: Any, **roles: str) -> PreTrainedTokenizerFast:
    raw.train_from_iterator([*SENTENCES, CHINESE, THAI, JAPANESE, "Find: x y"] * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=raw, **roles)


def byte_level(*, trim: bool, bos: bool = False, eos: bool = False) -> PreTrainedTokenizerFast:
    """Byte-level BPE that merges across script boundaries, with offsets that leave blanks out
    (GPT-2) or hold them (Qwen).
    """
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet, show_progress=False
    )
    made = trained(raw, trainer, bos_token="<s>", eos_token="</s>")
    steps: list[Any] = [processors.ByteLevel(trim_offsets=trim)]
    if bos or eos:
        template = ["<s>"] * bos + ["$A"] + ["</s>"] * eos
        steps.append(processors.TemplateProcessing(single=template, special_tokens=[("<s>", 0), ("</s>", 1)]))
    made.backend_tokenizer.post_processor = processors.Sequence(steps)
    return made


def sentencepiece() -> PreTrainedTokenizerFast:
    """What Llama 2 and Mistral have: one word per text, blanks as ▁, one ▁ put before everything,
    BOS.
    """
    raw = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    raw.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    raw.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False)
    made = trained(raw, trainer, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return made


def wordpiece() -> PreTrainedTokenizerFast:
    """BERT's: lower case, blanks and accents gone, [CLS] and [SEP]."""
    raw = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    raw.normalizer = normalizers.BertNormalizer(lowercase=True)
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(vocab_size=700, special_tokens=specials, show_progress=False)
    roles = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    made = trained(raw, trainer, **roles)
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made


TOKENIZERS = {
    "trimmed": lambda: byte_level(trim=True),
    "untrimmed": lambda: byte_level(trim=False),
    "trimmed bos eos": lambda: byte_level(trim=True, bos=True, eos=True),
    "untrimmed bos": lambda: byte_level(trim=False, bos=True),
    "untrimmed eos": lambda: byte_level(trim=False, eos=True),
    "sentencepiece": sentencepiece,
    "wordpiece": wordpiece,
}
BYTE_LEVEL = [name for name in TOKENIZERS if "trimmed" in name]
BYTES = {chr(code): code for code in [*range(33, 127), *range(161, 173), *range(174, 256)]}
BYTES |= {chr(256 + n): code for n, code in enumerate(c for c in range(256) if chr(c) not in BYTES or BYTES[chr(c)] != c)}


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, PreTrainedTokenizerFast]:
    return {name: make() for name, make in TOKENIZERS.items()}


def reference_mask(tokenizer: PreTrainedTokenizerFast, ids: list[int], instruction: str) -> list[bool]:
    """Pooled, with an instruction: every token from the first that holds a byte of the text. Counts
    bytes, knows no offsets.
    """
    boundary, position, mask = len(instruction.encode()), 0, []
    for token in tokenizer.convert_ids_to_tokens(ids):
        if token not in ("<s>", "</s>"):
            position += len(bytes(BYTES[character] for character in token))
        mask.append(position > boundary or (token == "</s>" and True in mask))
    return mask


@pytest.mark.parametrize("name", BYTE_LEVEL)
@pytest.mark.parametrize("instruction", [text for text in INSTRUCTIONS if text])
def test_pool_mask_equals_the_count_of_bytes(tokenizers, name: str, instruction: str) -> None:
    tokenizer = tokenizers[name]
    rows = TextTokenizer(tokenizer)([(instruction, text) for text in TEXTS])
    for text, row in zip(TEXTS, rows):
        assert row.ids == tokenizer(instruction + text)["input_ids"]  # nothing but the joined string is tokenised
        assert row.pool == reference_mask(tokenizer, row.ids, instruction), (instruction, text)


def test_the_boundary_cases_occur(tokenizers) -> None:
    """A token that holds the end of the instruction and the start of the text is pooled; without
    such tokens the test above is weak.
    """
    tokenizer = tokenizers["trimmed"]
    straddling = 0
    for instruction in INSTRUCTIONS:
        for text in TEXTS:
            spans = tokenizer(instruction + text, return_offsets_mapping=True)["offset_mapping"]
            straddling += any(a < len(instruction) < b for a, b in spans)
            alone = len(tokenizer(instruction)["input_ids"])
            mask = TextTokenizer(tokenizer)([(instruction, text)])[0].pool
            straddling += bool(instruction) and mask.index(True) != alone
    assert straddling > 5


def test_sentencepiece_pool_mask_counts_characters(tokenizers) -> None:
    tokenizer = tokenizers["sentencepiece"]
    for instruction in ("Find: ", "Find:", "A cat si", CHINESE[:11]):
        for text in (TEXTS[0], CHINESE[11:], "x y"):
            (row,) = TextTokenizer(tokenizer)([(instruction, text)])
            position, expected = -1, []  # the ▁ that is put before everything is no character of the input
            for token in tokenizer.convert_ids_to_tokens(row.ids):
                position += 0 if token == "<s>" else len(token)
                expected.append(position > len(instruction))
            assert row.pool == expected, (instruction, text)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_without_instruction_everything_is_pooled(tokenizers, name: str) -> None:
    rows = TextTokenizer(tokenizers[name])(TEXTS)
    assert all(all(row.pool) for row in rows)
    assert [row.ids for row in rows] == tokenizers[name](list(TEXTS))["input_ids"]


def test_bos_can_be_left_out(tokenizers) -> None:
    for name in ("untrimmed bos", "trimmed bos eos"):
        (row,) = TextTokenizer(tokenizers[name], pool_bos=False)(["a text"])
        assert row.pool == [False] + [True] * (len(row.ids) - 1)
    # no BOS is added: a BOS that the user wrote is text
    (row,) = TextTokenizer(tokenizers["untrimmed"], pool_bos=False)(["<s>a text"])
    assert row.ids[0] == 0
    assert all(row.pool)


def test_an_instruction_can_be_pooled_where_an_encoder_was_trained_so(tokenizers) -> None:
    (row,) = TextTokenizer(tokenizers["untrimmed bos"], pool_prompt=True)([("Find: ", "x")])
    assert all(row.pool)
    (row,) = TextTokenizer(tokenizers["untrimmed bos"], pool_prompt=True, pool_bos=False)([("Find: ", "x")])
    assert row.pool == [False] + [True] * (len(row.ids) - 1)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_offsets_are_characters_of_the_text_itself(tokenizers, name: str) -> None:
    """What the offsets leave out of the text is white space; tokens outside the text have (0,
    0).
    """
    wrapped = TextTokenizer(tokenizers[name], wrapper=Wrapper("[INST] ", " [/INST]"))
    for instruction in ("", "Find: ", "今日は"):
        for text, row in zip(TEXTS, wrapped([(instruction, text) for text in TEXTS])):
            covered = set()
            for a, b in row.offsets:
                assert 0 <= a <= b <= len(text)
                covered.update(range(a, b))
            left = {unicodedata.category(c) for i, c in enumerate(text) if i not in covered}
            assert left <= {"Zs", "Cc", "Cf"} | ({"Mn"} if name == "wordpiece" else set())  # BERT drops accents
            assert row.offsets[0] == (0, 0)  # [INST]
            assert row.offsets[-1] == (0, 0)


@pytest.mark.parametrize("name", BYTE_LEVEL)
def test_truncation_cuts_the_text_and_nothing_else(tokenizers, name: str) -> None:
    tokenizer = tokenizers[name]
    long = "Open the file and read each line " * 30
    wrapped = TextTokenizer(tokenizer, wrapper=Wrapper("[INST] ", " [/INST]"))
    (whole,) = wrapped([("Find: ", long)])
    begin = whole.pool.index(True)
    tail = len(whole.ids) - 1 - max(i for i, span in enumerate(whole.offsets) if span != (0, 0))
    for limit in (begin + tail + 1, begin + tail + 2, 64, len(whole.ids) - 1, len(whole.ids), len(whole.ids) + 1):
        (row,) = wrapped([("Find: ", long)], max_length=limit)
        assert len(row.ids) == min(limit, len(whole.ids))
        cut = len(whole.ids) - len(row.ids)
        kept = len(whole.ids) - tail - cut
        assert row == TokenRow(*(part[:kept] + part[len(part) - tail :] for part in whole))
        assert len(row.pool) == len(row.offsets) == len(row.ids)
    with pytest.raises(InputError, match=rf"texts\[0\]: max_length {begin + tail} leaves no token for the text"):
        wrapped([("Find: ", long)], max_length=begin + tail)


def test_truncation_equals_the_tokenizers_own(tokenizers) -> None:
    for name, tokenizer in tokenizers.items():
        rows = TextTokenizer(tokenizer, max_length=7)(TEXTS)
        assert [row.ids for row in rows] == tokenizer(list(TEXTS), truncation=True, max_length=7)["input_ids"], name


def test_truncation_saved_inside_the_tokenizer_has_no_effect(tokenizers) -> None:
    tokenizer = tiny_tokenizer()
    whole = TextTokenizer(tokenizer)(list(SENTENCES))
    tokenizer.backend_tokenizer.enable_truncation(4)
    tokenizer.backend_tokenizer.enable_padding(length=64)
    assert TextTokenizer(tokenizer)(list(SENTENCES)) == whole


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("text", ["", " ", "\n\t \n", "　", "\0", "\ud800", "\udfff and \ud83d", "🙂", "​"])
@pytest.mark.parametrize("wrapper", [Wrapper(), Wrapper("[INST] ", " [/INST]"), Wrapper("[INST] ")])
def test_every_string_has_something_to_pool_after_its_instruction(tokenizers, name: str, text: str, wrapper: Wrapper) -> None:
    tokenize = TextTokenizer(tokenizers[name], wrapper=wrapper, pool_bos=False)
    for instruction in ("", "Find: "):
        (row,) = tokenize([(instruction, text)])
        assert any(row.pool)
        before = wrapper.prefix + instruction
        if before:
            alone = len(tokenizers[name](before, add_special_tokens=False)["input_ids"])
            assert not any(row.pool[: alone - 1])
        assert len(row.ids) == len(row.pool) == len(row.offsets)
        assert max(row.ids) < len(tokenizers[name])


def test_an_empty_text_is_its_closing_tokens_or_a_stand_in(tokenizers) -> None:
    assert TextTokenizer(tokenizers["untrimmed"])([""])[0] == TokenRow([1], [True], [(0, 0)])
    assert TextTokenizer(tokenizers["untrimmed bos"])([""])[0].ids == [0]  # as every other loader has it
    assert TextTokenizer(tokenizers["untrimmed bos"], pool_bos=False)([""])[0] == TokenRow([0, 1], [False, True], [(0, 0)] * 2)
    assert TextTokenizer(tokenizers["wordpiece"])([" "])[0].ids == [2, 3]
    find = tokenizers["untrimmed"]("Find:")["input_ids"]
    (row,) = TextTokenizer(tokenizers["untrimmed"])([("Find:", "")])
    assert (row.ids, row.pool) == ([*find, 1], [False] * len(find) + [True])
    (row,) = TextTokenizer(tokenizers["untrimmed eos"])([("Find:", "")])
    assert (row.ids, row.pool) == ([*find, 1], [False] * len(find) + [True])
    nothing = tiny_tokenizer(bos=None, eos=None, pad=None)
    with pytest.raises(InputError, match="no EOS, BOS or padding token"):
        TextTokenizer(nothing)([""])


def test_lone_surrogates_become_one_replacement_character_each(tokenizers) -> None:
    tokenize = TextTokenizer(tokenizers["untrimmed"])
    assert tokenize(["a\ud800b", ("\udc00", "x")]) == tokenize(["a\ufffdb", ("\ufffd", "x")])


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a", 3], r"texts\[1\]: .*got int"),
        (["a", None], r"texts\[1\]: .*got NoneType"),
        ([float("nan")], r"texts\[0\]: .*got float"),
        ([b"bytes"], r"texts\[0\]: .*got bytes"),
        ([("i", 3)], r"texts\[0\]: .*got int"),
        ([("i", "t", "u")], r"texts\[0\]: .*got tuple"),
        ([["i"]], r"texts\[0\]: .*got list"),
    ],
)
def test_what_is_no_text_is_named_by_its_index(tokenizers, texts: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TextTokenizer(tokenizers["untrimmed"])(texts)
    with pytest.raises(InputError, match=r"texts\[17\]"):
        TextTokenizer(tokenizers["untrimmed"])([7], first=17)  # type: ignore[list-item]


def test_lengths_that_cannot_be() -> None:
    with pytest.raises(InputError, match="max_length"):
        TextTokenizer(tiny_tokenizer(), max_length=0)
    with pytest.raises(InputError, match="max_length"):
        TextTokenizer(tiny_tokenizer())(["a"], max_length=-1)
    # an instruction that fills everything
    with pytest.raises(InputError, match=r"texts\[1\]: max_length 8 leaves no token"):
        TextTokenizer(tiny_tokenizer(), max_length=8)(["short", ("word " * 40, "text")])


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("word", ["x", "ab", "漢", "🙂"])
def test_a_word_of_100_000_characters_is_quick(tokenizers, name: str, word: str) -> None:
    """Quadratic time would take minutes; the limit leaves room for a slow, busy machine."""
    text = (word * 100_000)[:100_000]
    started = time.process_time()
    (row,) = TextTokenizer(tokenizers[name], max_length=512)([text])
    assert time.process_time() - started < 5
    assert len(row.ids) <= 512
