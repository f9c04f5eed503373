"""What each objective asks of the trainer, and the papers' values of its choices."""

from __future__ import annotations

import inspect

import pytest

from bothways.config import parse
from bothways.errors import InputError
from bothways.objectives.causal_lm import CausalLm, CausalLmConfig
from bothways.objectives.contrastive import Contrastive, ContrastiveConfig
from bothways.objectives.contrastive_base import PooledSettings
from bothways.objectives.llara import Llara, LlaraConfig
from bothways.objectives.mntp import Mntp, MntpConfig
from bothways.objectives.objective import CAUSAL_LM, TEXT_ENCODER, ObjectiveConfig
from bothways.objectives.supervised import Supervised, SupervisedConfig

#: What a stage reads, and which of the four properties hold.
ASKED = {
    CausalLmConfig: ("documents", {"needs_head", "measurable"}),
    MntpConfig: ("texts", {"needs_head", "measurable"}),
    LlaraConfig: ("passages", {"needs_head", "trains_new_tokens", "measurable"}),
    # The two views of SimCSE differ by dropout alone, so its loss means nothing in evaluation mode.
    ContrastiveConfig: ("texts", {"pools"}),
    SupervisedConfig: ("examples", {"pools", "measurable"}),
}
PROPERTIES = ("needs_head", "trains_new_tokens", "pools", "measurable")

PUBLISHED = {
    # LongLoRA (arXiv 2309.12307): its shortest context
    CausalLmConfig: {"context": 8192, "isolate_documents": False},
    # LLM2Vec (arXiv 2404.05961), train_configs/mntp/MetaLlama3.json
    MntpConfig: {"mask_probability": 0.2, "style": "bert", "mask_token": "blank", "row_length": 512, "train_head": False},
    # LLaRA (arXiv 2312.15503); its masked form is LLM2Vec's
    LlaraConfig: {"max_length": 1024, "bow_weight": 0.1, "stop_words": "english", "mask_probability": 0.2},
    # SimCSE (arXiv 2104.08821): temperature 0.05; LLM2Vec: 128 tokens
    ContrastiveConfig: {"scale": 1 / 0.05, "max_length": 128, "mlp": False},
    # LLM2Vec's supervised stage: temperature 0.02, 512 tokens, one hard negative
    SupervisedConfig: {"scale": 1 / 0.02, "max_length": 512, "negatives": 1, "in_batch": True, "own_negative_log_weight": 0.0},
}

#: Numbers that a recipe may give, at the edges of each range, and the nearest that it may not.
RANGES = {
    CausalLmConfig: {"context": ([2], [1]), "head_chunk": ([1], [0])},
    MntpConfig: {"mask_probability": ([0.001, 1], [0, 1.001]), "row_length": ([2], [1]), "head_chunk": ([1], [0])},
    LlaraConfig: {
        "max_length": ([8], [7]),
        "bow_weight": ([0.001], [0]),
        "mask_probability": ([0.001, 0.999], [0, 1]),
        "head_chunk": ([1], [0]),
    },
    ContrastiveConfig: {
        "scale": ([0.001], [0]),
        "max_length": ([1], [0]),
        "attention_dropout": ([0, 0.999], [-0.001, 1]),
        "hidden_dropout": ([0, 0.999], [-0.001, 1]),
        "batch_tokens": ([1], [0]),
        "graph_tokens": ([0], [-1]),
    },
    SupervisedConfig: {"scale": ([0.001], [0]), "max_length": ([1], [0]), "negatives": ([0], [-1])},
}

CLASSES = {
    CausalLmConfig: CausalLm,
    MntpConfig: Mntp,
    LlaraConfig: Llara,
    ContrastiveConfig: Contrastive,
    SupervisedConfig: Supervised,
}


@pytest.mark.parametrize("config", ASKED)
def test_what_an_objective_asks_of_the_trainer(config: type[ObjectiveConfig]) -> None:
    wants, held = ASKED[config]
    assert config.wants == wants
    assert {name for name in PROPERTIES if getattr(config, name)} == held
    assert config.trains is (CAUSAL_LM if config is CausalLmConfig else TEXT_ENCODER)


@pytest.mark.parametrize("config", PUBLISHED)
def test_choices_that_are_not_made_are_the_papers(config: type[ObjectiveConfig]) -> None:
    made = config()
    assert {name: getattr(made, name) for name in PUBLISHED[config]} == PUBLISHED[config]


@pytest.mark.parametrize(("config", "name"), [(config, name) for config, ranges in RANGES.items() for name in ranges])
def test_a_number_may_lie_at_the_edge_of_its_range_and_not_beyond(config: type[ObjectiveConfig], name: str) -> None:
    inside, outside = RANGES[config][name]
    for value in inside:
        assert getattr(parse(config, {name: value}, where="recipe.yaml"), name) == value
    for value in outside:
        with pytest.raises(InputError, match=rf"recipe\.yaml.*{name}"):
            parse(config, {name: value}, where="recipe.yaml")


@pytest.mark.parametrize("config", CLASSES)
def test_an_objective_built_in_python_has_the_numbers_of_a_recipe(config: type[ObjectiveConfig]) -> None:
    """A None or a nested choice of a recipe is settled by `build`, and is not compared."""
    fields = {name: field.get_default(call_default_factory=True) for name, field in config.model_fields.items()}
    given = {
        name: parameter.default
        for name, parameter in inspect.signature(CLASSES[config].__init__).parameters.items()
        if isinstance(fields.get(name), (int, float, str)) and parameter.default is not inspect.Parameter.empty
    }
    assert given
    assert given == {name: fields[name] for name in given}


def test_settings_made_in_python_have_the_numbers_of_a_recipe() -> None:
    made, given = ContrastiveConfig(), PooledSettings()
    names = ("max_length", "batch_tokens", "graph_tokens")
    assert [getattr(given, name) for name in names] == [getattr(made, name) for name in names]
    assert (given.projection, given.keep_projection, given.direction, given.pad_id) == (None, False, "bidirectional", 0)
