"""Every way of running a plan equals attention written out in float64 under the plan's dense
mask.
"""

import pytest
import torch
import torch.nn.functional as F

from bothways.attention import explicit as written
from bothways.attention import kernel, reach
from bothways.attention.explicit import explicit
from bothways.attention.plan import AttentionPlan
from unit.attention.float64_attention import LENGTHS, WIDTH, brute_force, tensors


def fused(q, k, v, plan, window=None):
    parts = [kernel._fused(kernel._cut(run, q, k, v), plan.direction, WIDTH**-0.5, 0.0, window) for run in plan.runs]
    return torch.cat(parts)


def written_out(q, k, v, plan, window=None, **extras):
    return explicit(q, k, v, plan, WIDTH**-0.5, window=window, **extras)


@pytest.mark.parametrize("window", [None, 1, 3, 50])
@pytest.mark.parametrize("direction", ["bidirectional", "causal"])
@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (4, 1)])
@pytest.mark.parametrize("path", [fused, written_out, kernel.execute])
def test_paths_equal_brute_force(path, heads, direction, window):
    plan = AttentionPlan(LENGTHS, direction)
    q, k, v = tensors(*heads)
    # float32 rounding of sums of at most 12 terms
    torch.testing.assert_close(
        path(q, k, v, plan, window=window).double(), brute_force(q, k, v, plan, window), atol=2e-6, rtol=0
    )


@pytest.mark.parametrize("direction", ["bidirectional", "causal"])
@pytest.mark.parametrize("extras", [{"softcap": 2.0}, {"sinks": True}, {"softcap": 2.0, "sinks": True, "window": 3}])
def test_soft_capping_and_sinks_equal_brute_force(extras, direction):
    plan = AttentionPlan(LENGTHS, direction)
    q, k, v = tensors(4, 2, scale=2.0)
    extras = dict(extras)
    if extras.get("sinks"):
        extras["sinks"] = torch.randn(4, generator=torch.Generator().manual_seed(3))
    got = kernel.execute(q, k, v, plan, **extras)
    torch.testing.assert_close(got.double(), brute_force(q, k, v, plan, **extras), atol=3e-6, rtol=0)
    plain = kernel.execute(q, k, v, plan, window=extras.get("window"))
    assert (got - plain).abs().max() > 0.05, "the extra changes nothing here, so this test would prove nothing"


def test_scaling_and_value_width():
    plan = AttentionPlan((5, 2))
    q, k, _ = tensors(2, 2, lengths=(5, 2))
    v = torch.randn(7, 2, 3)
    got = kernel.execute(q, k, v, plan, scaling=0.7)
    torch.testing.assert_close(got.double(), brute_force(q, k, v, plan, scaling=0.7), atol=2e-6, rtol=0)


def test_float64_stays_float64():
    plan = AttentionPlan(LENGTHS, "causal")
    q, k, v = tensors(4, 2, torch.float64)
    for path in (fused, written_out, kernel.execute):
        torch.testing.assert_close(path(q, k, v, plan), brute_force(q, k, v, plan), atol=1e-12, rtol=0)


@pytest.mark.parametrize("extras", [{}, {"softcap": 2.0}])
@pytest.mark.parametrize("direction", ["bidirectional", "causal"])
def test_bfloat16_errs_no_more_than_plain_attention(direction, extras):
    """At most 1.25 times the error of bfloat16 attention written as transformers' eager code writes
    it.
    """
    plan = AttentionPlan((40, 40, 24), direction)
    ours, plain = 0.0, 0.0
    for seed in range(4):
        q, k, v = tensors(4, 2, torch.bfloat16, plan.lengths, seed)
        truth = brute_force(q, k, v, plan, **extras)
        for path in [kernel.execute, *([] if extras else [fused, written_out])]:
            ours = max(ours, float((path(q, k, v, plan, **extras).double() - truth).norm() / truth.norm()))
        heads = [t.transpose(0, 1) for t in (q, k.repeat_interleave(2, 1), v.repeat_interleave(2, 1))]
        scores = heads[0] @ heads[1].transpose(1, 2) * WIDTH**-0.5
        if extras:
            scores = torch.tanh(scores / extras["softcap"]) * extras["softcap"]
        scores = scores.masked_fill(~plan.dense(), torch.finfo(torch.bfloat16).min)
        eager = (scores.softmax(-1, dtype=torch.float32).to(torch.bfloat16) @ heads[2]).transpose(0, 1)
        plain = max(plain, float((eager.double() - truth).norm() / truth.norm()))
    assert 0 < ours <= 1.25 * plain


@pytest.mark.parametrize("direction", ["bidirectional", "causal"])
def test_bfloat16_gradients_err_no_more_than_those_of_plain_attention(direction):
    """As above, for the path that trains on short texts, whose softmax leaves its weights in
    bfloat16 only.
    """
    lengths = (300, 300, 130)
    plan = AttentionPlan(lengths, direction)
    ours, plain = 0.0, 0.0
    for seed in range(3):
        made = tensors(4, 2, torch.bfloat16, lengths, seed)
        weight = torch.randn(plan.total, 4, WIDTH, generator=torch.Generator().manual_seed(seed)).bfloat16()

        def gradients(run, leaves, weight=weight):
            leaves = [t.detach().requires_grad_() for t in leaves]
            return torch.autograd.grad(run(*leaves), leaves, weight.to(leaves[0].dtype))

        def eager(q, k, v):
            q, k, v = (t.transpose(0, 1) for t in (q, k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)))
            scores = (q @ k.transpose(1, 2) * WIDTH**-0.5).masked_fill(~plan.dense(), torch.finfo(q.dtype).min)
            return (scores.softmax(-1, dtype=torch.promote_types(q.dtype, torch.float32)).to(q.dtype) @ v).transpose(0, 1)

        truth = gradients(eager, [t.double() for t in made])
        for one, other, true in zip(
            gradients(lambda *t: written_out(*t, plan), made), gradients(eager, made), truth, strict=True
        ):
            ours = max(ours, float((one.double() - true).norm() / true.norm()))
            plain = max(plain, float((other.double() - true).norm() / true.norm()))
    assert 0 < ours <= 1.25 * plain


@pytest.mark.parametrize(
    ("dtype", "tokens", "written"),
    [(torch.bfloat16, 512, True), (torch.bfloat16, 513, False), (torch.float32, 8, False)],
    ids=["short", "long", "float32"],
)
def test_short_texts_in_half_precision_train_through_the_explicit_form(monkeypatch, dtype, tokens, written):
    used = []
    monkeypatch.setattr(kernel, "explicit", lambda q, *rest, **options: used.append("explicit") or q)
    monkeypatch.setattr(kernel, "_fused", lambda qkv, *rest: used.append("fused") or qkv[0].transpose(1, 2).flatten(0, 1))
    q, k, v = tensors(2, 2, dtype, (tokens,))
    plan = AttentionPlan((tokens,))
    kernel.execute(q.requires_grad_(), k, v, plan)
    with torch.no_grad():
        kernel.execute(q, k, v, plan)
    assert used == ["explicit" if written else "fused", "fused"]


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("direction", ["bidirectional", "causal"])
@pytest.mark.parametrize("path", [fused, written_out, kernel.execute])
def test_gradients_equal_those_of_the_dense_form(path, direction, window):
    plan = AttentionPlan(LENGTHS, direction)
    made = tensors(4, 2, torch.float64)
    weight = torch.randn(plan.total, 4, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(9))

    def gradients(run):
        leaves = [t.clone().requires_grad_() for t in made]
        return torch.autograd.grad((run(*leaves) * weight).sum(), leaves)

    def dense(q, k, v):
        q, k, v = (t.transpose(0, 1) for t in (q, k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)))
        scores = (q @ k.transpose(1, 2) * WIDTH**-0.5).masked_fill(~plan.dense(window=window), float("-inf"))
        return (scores.softmax(-1) @ v).transpose(0, 1)

    for one, other in zip(gradients(lambda *t: path(*t, plan, window=window)), gradients(dense)):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


@pytest.mark.parametrize("window", [None, 1, 3, 7])
@pytest.mark.parametrize("direction", ["bidirectional", "causal"])
@pytest.mark.parametrize("extras", [{}, {"softcap": 2.0, "sinks": True}])
def test_blocks_of_queries_change_nothing(direction, window, extras, monkeypatch):
    """Long texts are run in blocks of queries; here blocks of 4, so that texts of 9, 12 and 11 take
    several, ragged ones too.
    """
    plan = AttentionPlan((9, 12, 11, 3), direction)
    made = tensors(4, 2, torch.float64, plan.lengths)
    extras = dict(extras)
    if extras.get("sinks"):
        extras["sinks"] = torch.randn(4, generator=torch.Generator().manual_seed(3))
    paths = [written_out] if extras else [written_out, fused]

    def run(path):
        leaves = [t.clone().requires_grad_() for t in made]
        out = path(*leaves, plan, window=window, **extras)
        return out.detach(), torch.autograd.grad(out.square().sum(), leaves)

    whole = [run(path) for path in paths]
    monkeypatch.setattr(reach, "QUERIES", 4)
    for path, (out, gradients) in zip(paths, whole):
        found, others = run(path)
        torch.testing.assert_close(found, brute_force(*made, plan, window, **extras), atol=1e-6 if extras else 1e-12, rtol=0)
        torch.testing.assert_close(found, out, atol=1e-12, rtol=0)
        for one, other in zip(gradients, others):
            torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


def test_a_window_over_a_long_text_costs_no_mask_of_the_whole_text(monkeypatch):
    masks = []
    original = F.scaled_dot_product_attention
    monkeypatch.setattr(
        F, "scaled_dot_product_attention", lambda *a, **kw: masks.append(kw["attn_mask"].numel()) or original(*a, **kw)
    )
    plan = AttentionPlan((5000,), "causal")
    with torch.no_grad():
        kernel.execute(*tensors(1, 1, lengths=plan.lengths), plan, window=16)
    assert len(masks) == 5
    assert max(masks) <= 1024 * (1024 + 15)
    # nor do written-out scores exist all at once
    seen = []
    plain = written.attend_rectangle
    monkeypatch.setattr(written, "attend_rectangle", lambda q, k, *a: seen.append(q.shape[1] * k.shape[1]) or plain(q, k, *a))
    with torch.no_grad():
        kernel.execute(*tensors(1, 1, lengths=plan.lengths), plan, softcap=2.0)
    assert max(seen) <= 1024 * 5000


def test_single_tokens_and_ragged_groups_leave_no_nan_in_gradients():
    plan = AttentionPlan((8, 7, 6, 1, 1), "causal")
    q, k, v = (t.requires_grad_() for t in tensors(2, 1, lengths=plan.lengths))
    written_out(q, k, v, plan, window=2).sum().backward()
    assert all(t.grad.isfinite().all() for t in (q, k, v))


def test_dropout_drops_the_stated_share_and_keeps_the_mean():
    """With equal scores and values of one, the output of a head is the share of kept weights over 1
    - p.
    """
    plan = AttentionPlan((50,) * 40)
    q = torch.zeros(plan.total, 4, WIDTH)
    v = torch.ones(plan.total, 4, WIDTH)
    torch.manual_seed(0)
    out = kernel.execute(q, q, v, plan, dropout=0.3)[..., 0]
    # 400,000 weights: standard error of the mean is sqrt(0.3 / 0.7 / 400,000) = 0.001
    assert abs(float(out.mean()) - 1.0) < 0.005
    # a row keeps Binomial(50, 0.7) weights of 1 / 50 / 0.7 each: variance 0.3 / 0.7 / 50
    assert float(out.var()) == pytest.approx(0.3 / 0.7 / 50, rel=0.1)


def test_dropout_follows_the_seed_and_zero_changes_nothing():
    plan = AttentionPlan(LENGTHS)
    q, k, v = tensors(4, 2)
    torch.manual_seed(1)
    first = kernel.execute(q, k, v, plan, dropout=0.5)
    torch.manual_seed(1)
    again = kernel.execute(q, k, v, plan, dropout=0.5)
    other = kernel.execute(q, k, v, plan, dropout=0.5)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert not torch.equal(first, kernel.execute(q, k, v, plan, dropout=0.0))


def test_a_window_no_smaller_than_the_longest_text_is_no_window(monkeypatch):
    """Lifted windows of 2**30 tokens must not cost a mask."""
    plan = AttentionPlan(LENGTHS)
    q, k, v = tensors(4, 2)
    masks = []
    original = F.scaled_dot_product_attention

    def watched(*args, **kwargs):
        masks.append(kwargs["attn_mask"])
        return original(*args, **kwargs)

    monkeypatch.setattr(F, "scaled_dot_product_attention", watched)
    with torch.no_grad():
        wide = kernel.execute(q, k, v, plan, window=2**30)
        assert masks and all(mask is None for mask in masks)
        assert torch.equal(wide, kernel.execute(q, k, v, plan))


def test_texts_of_one_length_are_one_call(monkeypatch):
    plan = AttentionPlan((6,) * 10)
    q, k, v = tensors(4, 2, lengths=plan.lengths)
    calls = []
    original = F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *a, **kw: calls.append(a[0].shape) or original(*a, **kw))
    with torch.no_grad():
        kernel.execute(q, k, v, plan)
    assert calls == [torch.Size([10, 4, 6, WIDTH])]


def test_varlen_is_for_cuda_in_half_precision_without_dropout():
    q = torch.zeros(3, 2, WIDTH, dtype=torch.bfloat16)
    assert not kernel._can_varlen(q, q, 0.0)
    assert callable(kernel._varlen)
