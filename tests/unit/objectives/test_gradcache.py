"""Cached gradients equal plain ones with dropout active: any number of passes, any budget of kept
graphs.
"""

from __future__ import annotations

import socket

import pytest
import torch
import torch.distributed as dist
from torch import nn

from bothways.attention.plan import AttentionPlan
from bothways.encoder.batch import TokenBatch
from bothways.errors import BothwaysError
from bothways.losses.gather import gather_rows
from bothways.losses.infonce import info_nce
from bothways.objectives.gradcache import cached_step
from bothways.objectives.objective import PassBackward
from bothways.objectives.seeding import pass_seed, seeded
from warm import start


class Toy(nn.Module):
    """An encoder in float64 with dropout twice, a trained pooling and a trained last layer."""

    def __init__(self, dropout: float = 0.3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(50, 8)
        self.body = nn.Sequential(nn.Dropout(dropout), nn.Linear(8, 8), nn.GELU(), nn.Dropout(dropout), nn.Linear(8, 8))
        self.weight = nn.Linear(8, 1)
        self.projection = nn.Sequential(nn.Linear(8, 8), nn.Tanh())
        self.double()
        self.calls = 0

    def forward(self, batch: TokenBatch) -> torch.Tensor:
        self.calls += 1
        states = self.body(self.embedding(batch.input_ids))
        share = torch.sigmoid(self.weight(states))
        segments = batch.plan.segment_ids()
        sums = torch.zeros(len(batch.plan.lengths), 8, dtype=states.dtype).index_add(0, segments, states * share)
        return self.projection(sums[: batch.rows])


def make_passes(seed: int) -> list[TokenBatch]:
    """Between 2 and 7 passes of 1 to 5 texts of 1 to 9 tokens; together an even number of texts."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda low, high: int(torch.randint(low, high, (1,), generator=generator))  # noqa: E731
    counts = [draw(1, 6) for _ in range(draw(2, 8))]
    counts[-1] += sum(counts) % 2
    batches = []
    for count in counts:
        plan = AttentionPlan(tuple(draw(1, 10) for _ in range(count)))
        ids = torch.randint(50, (plan.total,), generator=generator)
        batches.append(TokenBatch(ids, plan, torch.ones(plan.total, dtype=torch.bool), count))
    return batches


def loss(vectors: torch.Tensor):
    query, positive = vectors.chunk(2)
    result = info_nce(query, positive, torch.arange(len(query)))
    return result.total * 0.1, result


def plain(model: Toy, batches: list[TokenBatch], seed: int) -> torch.Tensor:
    """One graph over all passes, one backward: what the cache must reproduce."""
    outputs = []
    for index, batch in enumerate(batches):
        torch.manual_seed(pass_seed(seed, index))
        outputs.append(model(batch))
    total, _ = loss(torch.cat(outputs))
    total.backward()
    return total.detach()


def gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def test_dropout_is_active_here():
    model, batch = Toy(), make_passes(0)[0]
    outputs = []
    for seed in (1, 2, 1):
        torch.manual_seed(seed)
        outputs.append(model(batch))
    assert not torch.allclose(outputs[0], outputs[1], atol=1e-3)
    assert torch.equal(outputs[0], outputs[2])


@pytest.mark.parametrize("trial", range(8))
@pytest.mark.parametrize("kept", ["none", "some", "all"])
def test_cached_gradients_equal_plain_ones(trial, kept):
    batches = make_passes(trial)
    total = sum(batch.plan.total for batch in batches)
    budget = {"none": 0, "some": total // 2, "all": total}[kept]
    reference, cached = Toy(), Toy()
    plain(reference, batches, seed=trial)
    result = cached_step(cached, batches, loss, graph_tokens=budget, seed=trial, backward=torch.Tensor.backward)
    expected = gradients(reference)
    assert all(float(gradient.abs().max()) > 0 for gradient in expected.values()), "every parameter takes part"
    for name, gradient in gradients(cached).items():
        # float64; only the order of sums over passes differs
        torch.testing.assert_close(gradient, expected[name], rtol=1e-11, atol=1e-13, msg=lambda m, n=name: f"{n}: {m}")
    assert result.count == sum(batch.rows for batch in batches) // 2
    first = 0
    while first < len(batches) and sum(batch.plan.total for batch in batches[: first + 1]) <= budget:
        first += 1
    assert cached.calls == 2 * len(batches) - first, "kept passes are not computed again"


def test_another_seed_gives_other_gradients():
    batches = make_passes(3)
    results = []
    for seed in (0, 1):
        model = Toy()
        cached_step(model, batches, loss, graph_tokens=0, seed=seed, backward=torch.Tensor.backward)
        results.append(gradients(model)["projection.0.weight"])
    assert not torch.allclose(*results, rtol=1e-3)


def test_passes_have_different_masks():
    batch = make_passes(0)[0]
    seen = []
    model = Toy()
    cached_step(
        lambda part: seen.append(model(part)) or seen[-1],
        [batch, batch],
        loss,
        graph_tokens=10**6,
        seed=0,
        backward=torch.Tensor.backward,
    )
    assert not torch.allclose(seen[0], seen[1], atol=1e-3)


def test_measuring_keeps_no_graph():
    """Not even of a pass of one token."""
    single = TokenBatch(torch.tensor([3]), AttentionPlan((1,)), torch.ones(1, dtype=torch.bool), 1)
    model, seen = Toy(), []
    with torch.no_grad():
        result = cached_step(
            lambda part: seen.append(model(part)) or seen[-1],
            [single, single],
            loss,
            graph_tokens=10**6,
            seed=0,
            backward=lambda scalar: pytest.fail("there is nothing to go back through"),
        )
    assert result.count == 1
    assert len(seen) == 2 and not any(vectors.requires_grad for vectors in seen)


def test_generator_of_the_caller_is_left_alone():
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    cached_step(Toy(), make_passes(1), loss, graph_tokens=0, seed=0, backward=torch.Tensor.backward)
    # building the toy seeds the generator itself, so put it where it was
    torch.manual_seed(11)
    with seeded(5, torch.device("cpu")):
        torch.rand(100)
    assert torch.equal(torch.rand(3), expected)
    model, batches = Toy(), make_passes(1)
    torch.manual_seed(11)
    cached_step(model, batches, loss, graph_tokens=20, seed=0, backward=torch.Tensor.backward)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("budget", [0, 30, 10**6])
def test_under_autocast_every_weight_keeps_its_gradient(budget):
    """Casts that autocast caches in the pass without graph cut the gradient off in older torch
    (pytorch #112583).
    """
    batches = make_passes(2)
    reference, cached = Toy().float(), Toy().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plain(reference, batches, seed=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cached_step(cached, batches, loss, graph_tokens=budget, seed=0, backward=torch.Tensor.backward)
    expected = gradients(reference)
    for name, gradient in gradients(cached).items():
        error = (gradient - expected[name]).norm() / expected[name].norm()
        # bfloat16 rounds to 2⁻⁸ = 0.004 per operation, and the plain graph hands its gradient down
        # in bfloat16 too
        assert float(error) < 0.03, (name, float(error))


def test_gradients_accumulate_over_steps():
    batches = make_passes(4)
    once, twice = Toy(), Toy()
    cached_step(once, batches, loss, graph_tokens=0, seed=0, backward=torch.Tensor.backward)
    for _ in range(2):
        cached_step(twice, batches, loss, graph_tokens=25, seed=0, backward=torch.Tensor.backward)
    for name, gradient in gradients(twice).items():
        torch.testing.assert_close(gradient, 2 * gradients(once)[name], rtol=1e-11, atol=1e-13)


def test_randomness_beside_torch_is_found_out():
    own = torch.Generator().manual_seed(0)
    model = Toy()
    noisy = lambda batch: model(batch) + torch.randn(batch.rows, 8, generator=own, dtype=torch.float64)  # noqa: E731
    with pytest.raises(BothwaysError, match="gradient cache: a second forward pass with the same seed differs"):
        cached_step(noisy, make_passes(0), loss, graph_tokens=0, seed=0, backward=torch.Tensor.backward)


def test_pass_seeds_do_not_collide():
    seeds = {pass_seed(seed, index) for seed in range(100) for index in range(100)}
    assert len(seeds) == 10_000
    assert all(0 <= seed < 2**63 for seed in seeds)


def ragged(rank: int) -> list[TokenBatch]:
    """Passes of one process: other numbers of passes and of texts on each."""
    return make_passes((0, 5)[rank])


def across(vectors: torch.Tensor):
    query, positive = vectors.chunk(2)
    columns, offset = gather_rows(positive)
    result = info_nce(query, columns, torch.arange(offset, offset + len(query)))
    return result.total * 0.1, result


def process(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    model = Toy(dropout=0.0)
    result = cached_step(model, ragged(rank), across, graph_tokens=20, seed=0, backward=torch.Tensor.backward)
    torch.save((result.total.detach(), gradients(model)), f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.skipif(
    not dist.is_available() or not dist.is_gloo_available(), reason="torch.distributed has no gloo backend here"
)
def test_summed_gradients_of_two_processes_are_those_of_one(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start(process, (port, str(tmp_path)), 2)
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    model = Toy(dropout=0.0)
    views = [torch.cat([model(batch) for batch in ragged(rank)]).chunk(2) for rank in range(2)]
    query, positive = (torch.cat(view) for view in zip(*views))
    total = info_nce(query, positive, torch.arange(len(query))).total
    (total * 0.1).backward()
    torch.testing.assert_close(parts[0][0] + parts[1][0], total.detach(), rtol=1e-12, atol=1e-12)
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(parts[0][1][name] + parts[1][1][name], gradient, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("fitting", [0, 1, 10**6])
@pytest.mark.parametrize("fewest", [0, 1, 10**6])
def test_passes_that_only_others_need_add_nothing(fitting: int, fewest: int, monkeypatch) -> None:
    """Processes that exchange in each pass run as many as the busiest one, and keep as many graphs
    as the one with the least room.
    """
    batches = make_passes(3)
    budget = {0: 0, 1: batches[0].plan.total}.get(fitting, fitting)
    own_kept = min(fitting, len(batches))
    kept = min(own_kept, fewest)
    asked = []

    def largest(values, device):
        asked.append((list(values), device))
        return [max(values[0], len(batches) + 3), max(values[1], -fewest)]

    monkeypatch.setattr("bothways.objectives.gradcache.largest", largest)
    whole, cached = Toy(), Toy()
    plain(whole, batches, 5)
    rows, shares = [], []

    def encode(batch: TokenBatch) -> torch.Tensor:
        rows.append(batch.rows)
        return cached(batch)

    def run(share: torch.Tensor, last: bool) -> None:
        shares.append((float(share.detach()), last))
        share.backward()

    cached_step(encode, batches, loss, graph_tokens=budget, seed=5, backward=PassBackward(run, together=True))
    assert asked == [([len(batches), -own_kept], torch.device("cpu"))]
    for one, other in zip(whole.parameters(), cached.parameters()):
        torch.testing.assert_close(other.grad, one.grad, atol=1e-12, rtol=1e-9)
    first = [batch.rows for batch in batches] + [1, 1, 1]
    assert rows == first + first[kept:]
    assert [last for _, last in shares] == [False] * (len(first) - 1) + [True]
    assert [share for share, _ in shares[-3:]] == [0, 0, 0]


def test_alone_a_process_asks_nobody(monkeypatch) -> None:
    monkeypatch.setattr("bothways.objectives.gradcache.largest", lambda *_: pytest.fail("asked"))
    batches, flags = make_passes(3), []
    whole, cached = Toy(), Toy()
    plain(whole, batches, 5)

    def run(share: torch.Tensor, last: bool) -> None:
        flags.append(last)
        share.backward()

    cached_step(cached, batches, loss, graph_tokens=0, seed=5, backward=PassBackward(run))
    for one, other in zip(whole.parameters(), cached.parameters()):
        torch.testing.assert_close(other.grad, one.grad, atol=1e-12, rtol=1e-9)
    assert flags == [False] * (len(batches) - 1) + [True]
