"""A text is not a negative of its own copy: in a batch, cut to the same tokens, on another process,
under any view.
"""

from __future__ import annotations

import copy
import socket

import pytest
import torch
import torch.distributed as dist

from bothways.data.labeled.example import Example
from bothways.errors import InputError
from bothways.objectives.contrastive import ContrastiveConfig
from bothways.objectives.seeding import pass_seed
from bothways.objectives.supervised import SupervisedConfig
from unit.objectives.small_encoder import TEXTS, make_encoder
from warm import start

LENGTH = 24
LONG = "the same first words of two texts that"
# number of the text that each one is a copy of: written again, spelled in other white space, cut to
# the same tokens
REPEATED = [TEXTS[0], TEXTS[1], TEXTS[0], "Two  words", "Two words", LONG + " end here", LONG + " go on", TEXTS[2]]
NAMES = torch.tensor([0, 1, 0, 3, 3, 5, 5, 7])


def ready(encoder, texts, **options):
    values = {"attention_dropout": 0.3, "batch_tokens": 64, "graph_tokens": 0, "max_length": LENGTH, **options}
    objective = ContrastiveConfig(**values).build(encoder)
    return objective, objective.collate(objective.prepare(texts, encoder), torch.Generator().manual_seed(0))


def by_hand(encoder, batch, names: torch.Tensor, seed: int) -> torch.Tensor:
    """The formula in float64 with every copy of a text taken out of its own denominator."""
    outputs = []
    for index, part in enumerate(batch.passes):
        torch.manual_seed(pass_seed(seed, index))
        outputs.append(encoder(part))
    query, positive = torch.nn.functional.normalize(torch.cat(outputs)[batch.order].double(), dim=-1).chunk(2)
    total = query.new_zeros(())
    for row in range(len(names)):
        columns = [other for other in range(len(names)) if other == row or names[other] != names[row]]
        logits = 20.0 * (positive[columns] @ query[row])
        total = total - (logits[columns.index(row)] - logits.logsumexp(0))
    return total


@pytest.mark.parametrize(
    "options",
    [{}, {"graph_tokens": 10_000}, {"views": "delete_word"}, {"plain": True}],
    ids=["cached", "kept", "words", "plain"],
)
def test_copies_are_left_out(options):
    encoder = make_encoder()[0].train()
    objective, batch = ready(encoder, REPEATED, **options)
    other = copy.deepcopy(encoder)
    expected = by_hand(other, batch, NAMES, seed=5)
    expected.backward()
    result = objective.step(encoder, batch, scale=1.0, backward=torch.Tensor.backward, seed=5)
    torch.testing.assert_close(result.loss_sum.double(), expected.detach(), rtol=1e-5, atol=1e-5)
    assert float(result.metrics["masked"]) * batch.rows == pytest.approx(6)
    for (name, parameter), reference in zip(encoder.named_parameters(), other.parameters()):
        error = (parameter.grad - reference.grad).norm() / reference.grad.norm().clamp_min(1e-6)
        assert float(error) < 1e-4, (name, float(error))  # float32 sums in another order


def test_a_batch_of_copies_teaches_nothing_and_does_not_count():
    encoder = make_encoder()[0].train()
    objective = ContrastiveConfig(attention_dropout=0.3).build(encoder)
    rows = objective.prepare([TEXTS[0], TEXTS[0], TEXTS[1]], encoder)
    batch = objective.collate(rows[:2], torch.Generator())
    assert objective.count(batch) == 0
    assert float(objective.step(encoder, batch, scale=1.0, backward=torch.Tensor.backward, seed=0).loss_sum) == 0
    assert objective.count(objective.collate(rows, torch.Generator())) == 3


def test_texts_that_are_all_cut_to_the_same_tokens_are_refused():
    encoder = make_encoder()[0]
    with pytest.raises(InputError, match=r"all 2 texts are the same in their first 24 tokens \(objective\.max_length\)"):
        ready(encoder, [LONG + " end here", LONG + " go on"])


def test_a_document_cut_to_the_answer_is_not_a_negative():
    encoder = make_encoder()[0]
    rows = [
        Example("first", (LONG + " end here",), (LONG + " go on", "another text")),
        Example("second", (LONG + " stop",)),
        Example("third", ("a third text",)),
    ]

    def masked(length: int, **options) -> float:
        objective = SupervisedConfig(max_length=length, negatives=2, **options).build(encoder)
        batch = objective.collate(objective.prepare(rows, encoder), torch.Generator())
        result = objective.step(encoder, batch, scale=1.0, backward=lambda *_, **__: None, seed=0)
        return round(float(result.metrics["masked"]) * 3, 4)

    # the first row's own negative and the second's answer; the first's answer and its negative for
    # the second row
    assert masked(LENGTH) == 4
    assert masked(64) == 0
    assert masked(LENGTH, false_negatives={"same_text": False, "same_label": True}) == 0


SPLITS = ((0, 3), (3, 8))


def process(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    encoder = make_encoder()[0].eval()
    objective = ContrastiveConfig(max_length=LENGTH, views="delete_word").build(encoder)
    rows = objective.prepare(REPEATED, encoder)
    batch = objective.collate(rows[slice(*SPLITS[rank])], torch.Generator().manual_seed(0))
    result = objective.step(encoder, batch, scale=1.0, backward=torch.Tensor.backward, seed=0)
    batch = objective.collate([rows[0], rows[2]], torch.Generator().manual_seed(0))
    copies = objective.step(encoder, batch, scale=1.0, backward=torch.Tensor.backward, seed=0)
    torch.save((result.metrics["masked"], copies.loss_sum), f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.skipif(
    not dist.is_available() or not dist.is_gloo_available(), reason="torch.distributed has no gloo backend here"
)
def test_copies_on_another_process_are_left_out(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start(process, (port, str(tmp_path)), 2)
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    sizes = [last - first for first, last in SPLITS]
    assert sum(float(part[0]) * size for part, size in zip(parts, sizes)) == pytest.approx(6)
    # both processes hold the same text twice: nothing to be told apart from
    assert [float(part[1]) for part in parts] == [0, 0]
