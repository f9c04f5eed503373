"""Chat wrapping: the prefix and the joint around texts."""

from __future__ import annotations

from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from bothways.encoder.texts.tokenization import TextTokenizer
from bothways.encoder.texts.wrapping import Wrapper
from tiny import SENTENCES

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
def test_chat_wrapper_is_seen_and_only_its_suffix_pooled(tokenizers, name: str) -> None:
    tokenizer = tokenizers[name]
    wrapped = TextTokenizer(tokenizer, wrapper=Wrapper("[INST] ", " [/INST]"))
    for instruction in ("", "Find: ", CHINESE[:11]):
        for text, row in zip(TEXTS, wrapped([(instruction, text) for text in TEXTS])):
            assert row.ids == tokenizer(f"[INST] {instruction}{text} [/INST]")["input_ids"]
            assert row.pool == reference_mask(tokenizer, row.ids, f"[INST] {instruction}")


def test_joint_separates_instruction_and_text(tokenizers) -> None:
    joined = TextTokenizer(tokenizers["untrimmed"], wrapper=Wrapper(joint=" "))
    plain = TextTokenizer(tokenizers["untrimmed"])
    assert joined([("Find:", "x"), ("Find: \n", "x"), ("", "x")]) == plain([("Find: ", "x"), ("Find: ", "x"), ("", "x")])
    assert joined([("\n", "x")]) == plain([("\n", "x")])  # a prompt of white space alone is there for its token
