"""Tokenizers of every shape get a pad token from what they have, and are measured rather than
believed.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from tokenizers import processors
from transformers import BertTokenizer, PreTrainedTokenizer

from bothways.backbone.tokenizer.preparation import Specials, prepare_tokenizer, specials
from bothways.errors import InputError
from tiny import tiny_tokenizer

CONFIG = SimpleNamespace(vocab_size=384)


def test_pad_token_is_kept_when_there_is_one() -> None:
    tokenizer = prepare_tokenizer(tiny_tokenizer(pad="<pad>"), CONFIG)
    assert tokenizer.pad_token == "<pad>"


def test_eos_serves_as_pad_then_unk() -> None:
    assert prepare_tokenizer(tiny_tokenizer(pad=None, unk="<unk>"), CONFIG).pad_token == "</s>"
    assert prepare_tokenizer(tiny_tokenizer(pad=None, eos=None, unk="<unk>"), CONFIG).pad_token == "<unk>"


def test_nothing_to_pad_with_names_the_remedy() -> None:
    with pytest.raises(InputError, match=r"no pad, EOS or UNK token.*tokenizer_config\.json"):
        prepare_tokenizer(tiny_tokenizer(pad=None, eos=None), CONFIG)


def test_no_token_is_ever_added() -> None:
    for options in ({}, {"pad": None}, {"pad": None, "eos": None, "unk": "<unk>"}, {"bos": None, "eos": None}):
        tokenizer = tiny_tokenizer(**options)
        before = tokenizer.get_vocab()
        assert prepare_tokenizer(tokenizer, CONFIG).get_vocab() == before


def test_pad_token_beyond_the_embeddings_is_replaced() -> None:
    tokenizer = tiny_tokenizer(pad=None)
    tokenizer.add_special_tokens({"pad_token": "<new pad>"})
    assert tokenizer.pad_token_id == 384
    assert prepare_tokenizer(tokenizer, CONFIG).pad_token == "</s>"


def test_tokenizer_of_another_model_is_refused() -> None:
    with pytest.raises(InputError, match="384 tokens but the model embeds 100"):
        prepare_tokenizer(tiny_tokenizer(), SimpleNamespace(vocab_size=100))


def test_added_token_beyond_the_embeddings_is_no_obstacle() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["<image>"])
    assert prepare_tokenizer(tokenizer, CONFIG) is tokenizer


def test_truncation_saved_inside_is_switched_off() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.enable_truncation(3)
    tokenizer.backend_tokenizer.enable_padding(length=50)
    prepare_tokenizer(tokenizer, CONFIG)
    assert 4 <= len(tokenizer.backend_tokenizer.encode("a long text of many tokens").ids) < 50


def test_slow_tokenizer_is_refused_with_the_reason() -> None:
    class Slow(PreTrainedTokenizer):
        vocab_size = 2

        def get_vocab(self) -> dict[str, int]:
            return {"a": 0, "b": 1}

        def _tokenize(self, text: str, **_: object) -> list[str]:
            return list(text)

        def _convert_token_to_id(self, token: str) -> int:
            return 0

    with pytest.raises(InputError, match=r"slow.*offsets.*tokenizer\.json"):
        prepare_tokenizer(Slow(), CONFIG)


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("eos", [True, False])
def test_specials_are_measured(bos: bool, eos: bool) -> None:
    tokenizer = tiny_tokenizer(add_bos=bos, add_eos=eos)
    # a flag that claims the opposite must not be believed
    tokenizer._add_bos_token = not bos
    prefix = (tokenizer.bos_token_id,) if bos else ()
    suffix = (tokenizer.eos_token_id,) if eos else ()
    assert specials(tokenizer) == Specials(bos, eos, prefix, suffix)


def test_specials_without_bos_or_eos() -> None:
    assert specials(tiny_tokenizer(bos=None, eos=None)) == Specials(False, False, (), ())


def test_one_token_as_both_bos_and_eos() -> None:
    tokenizer = tiny_tokenizer(bos="<|end|>", eos="<|end|>", pad=None, add_bos=True)
    assert specials(tokenizer) == Specials(True, False, (tokenizer.eos_token_id,), ())


def test_cls_and_sep_count_as_bos_and_eos() -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "river", "runs", "to", "sea", "."]
    tokenizer = BertTokenizer(vocab={word: index for index, word in enumerate(words)})
    assert specials(tokenizer) == Specials(True, True, (2,), (3,))


def test_several_leading_specials() -> None:
    tokenizer = tiny_tokenizer()
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="</s> <s> $A </s>", special_tokens=[("<s>", bos), ("</s>", eos)]
    )
    assert specials(tokenizer) == Specials(True, True, (eos, bos), (eos,))


def test_chat_template_changes_nothing() -> None:
    with_template, without = tiny_tokenizer(chat_template=True), tiny_tokenizer()
    assert prepare_tokenizer(with_template, CONFIG)("a text")["input_ids"] == without("a text")["input_ids"]
    assert with_template.chat_template is not None
