"""Further columns and the guide: a loop in float64, and sentence-transformers' own losses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from sentence_transformers.sentence_transformer.losses import GISTEmbedLoss, MultipleNegativesRankingLoss, gist_embed

from bothways.losses.contrastive import ContrastiveOptions, Rows, contrastive_loss
from bothways.losses.false_negatives import NONE, BatchTexts, FalseNegatives
from bothways.losses.matryoshka import Matryoshka

N, WIDTH = 5, 6
ALL = ("query_to_query", "doc_to_query", "doc_to_doc")


def vectors(seed: int, width: int = WIDTH) -> Rows:
    """One hard negative a row; a common direction makes cosines high enough for tests to bite."""
    generator = torch.Generator().manual_seed(seed)
    common = torch.randn(width, generator=generator, dtype=torch.float64)
    parts = [common + torch.randn(N, width, generator=generator, dtype=torch.float64) for _ in range(3)]
    return Rows(*(part.requires_grad_() for part in parts), torch.arange(N))


#: Rows 0 and 3 have one answer; row 1's query is an answer to row 4; rows 2 and 4 share a label.
TEXTS = BatchTexts(
    known=torch.tensor([[100, 10, NONE], [101, 11, NONE], [102, 12, NONE], [103, 10, NONE], [104, 14, 101]]),
    positive=torch.tensor([10, 11, 12, 10, 14]),
    negative=torch.tensor([30, 31, 32, 33, 11]),
    label=torch.tensor([NONE, NONE, 7, NONE, 7]),
)


def naive(rows: Rows, options: ContrastiveOptions, texts: BatchTexts | None, guide: Rows | None) -> torch.Tensor:  # noqa: C901
    """One number at a time; which columns are false negatives is stated by the texts' names."""
    tests = options.false_negatives
    known = [set(row) - {NONE} for row in texts.known.tolist()] if texts is not None else [set()] * N
    label = texts.label.tolist() if texts is not None else [NONE] * N
    positive = texts.positive.tolist() if texts is not None else [-9] * N
    negative = texts.negative.tolist() if texts is not None else [-9] * N

    def cosine(a, b):
        return (a @ b) / (a.norm() * b.norm())

    def number(value) -> float:
        return float(value.detach())

    def same(i: int, j: int) -> bool:
        return tests is not None and tests.same_label and i != j and label[i] != NONE and label[i] == label[j]

    def named(i: int, text: int) -> bool:
        return tests is not None and tests.same_text and text in known[i]

    losses = torch.zeros((), dtype=torch.float64)
    for i in range(N):
        own = cosine(rows.query[i], rows.positive[i])

        def near(a, b, one=None, other=None, i=i, own=own) -> bool:
            if tests is None:
                return False
            if tests.margin is not None and number(cosine(a, b)) > number(own) + tests.margin:
                return True
            if guide is None:
                return False
            compare = torch.dot if tests.guide_similarity == "dot" else cosine
            return number(compare(one, other)) > number(compare(guide.query[i], guide.positive[i])) - tests.guide_margin

        g = guide or rows
        sets: dict[str, list] = {"query_to_doc": [own], **{each: [] for each in options.directions}}
        alone = rows.in_batch is not None and not rows.in_batch[i]
        for j in [i] if alone else range(N):
            if j != i and not (
                named(i, positive[j]) or same(i, j) or near(rows.query[i], rows.positive[j], g.query[i], g.positive[j])
            ):
                sets["query_to_doc"].append(cosine(rows.query[i], rows.positive[j]))
            if not (named(i, negative[j]) or near(rows.query[i], rows.negative[j], g.query[i], g.negative[j])):
                sets["query_to_doc"].append(cosine(rows.query[i], rows.negative[j]))
            if "query_to_query" in sets and j != i:
                left_out = named(i, positive[j]) or (texts is not None and named(i, texts.known[j, 0].item())) or same(i, j)
                if not (left_out or near(rows.query[i], rows.query[j], g.query[i], g.query[j])):
                    sets["query_to_query"].append(cosine(rows.query[i], rows.query[j]))
            if "doc_to_query" in sets and alone:
                sets["doc_to_query"] = [own] if options.partition == "per_direction" else []
            elif "doc_to_query" in sets:
                left_out = j != i and (named(j, positive[i]) or same(i, j))
                if j == i or not (left_out or near(rows.positive[i], rows.query[j], g.positive[i], g.query[j])):
                    sets["doc_to_query"].append(cosine(rows.positive[i], rows.query[j]))
            if "doc_to_doc" in sets and j != i:
                if not (
                    named(i, positive[j])
                    or same(i, j)
                    or near(rows.positive[i], rows.positive[j], g.positive[i], g.positive[j])
                ):
                    sets["doc_to_doc"].append(cosine(rows.positive[i], rows.positive[j]))
                if not (named(i, negative[j]) or near(rows.positive[i], rows.negative[j], g.positive[i], g.negative[j])):
                    sets["doc_to_doc"].append(cosine(rows.positive[i], rows.negative[j]))
        scaled = {name: torch.stack(held) * options.scale for name, held in sets.items() if held}
        if options.partition == "joint":
            losses = losses + torch.cat(list(scaled.values())).logsumexp(0) - own * options.scale
        else:
            parts = [held.logsumexp(0) - own * options.scale for held in scaled.values()]
            losses = losses + sum(parts) / len(parts)
    return losses


CASES = {
    "joint": ContrastiveOptions(scale=7.0, directions=ALL),
    "queries": ContrastiveOptions(scale=7.0, directions=("query_to_query",)),
    "symmetric": ContrastiveOptions(scale=7.0, directions=("doc_to_query",), partition="per_direction"),
    "names": ContrastiveOptions(scale=7.0, directions=ALL, false_negatives=FalseNegatives()),
    "symmetric names": ContrastiveOptions(
        scale=7.0, directions=("doc_to_query",), partition="per_direction", false_negatives=FalseNegatives()
    ),
    "margin": ContrastiveOptions(scale=7.0, directions=ALL, false_negatives=FalseNegatives(margin=-0.05)),
    "guide": ContrastiveOptions(scale=7.0, directions=ALL, false_negatives=FalseNegatives(guide_margin=0.1)),
    "guide by products": ContrastiveOptions(
        scale=7.0, directions=ALL, false_negatives=FalseNegatives(guide_margin=0.1, guide_similarity="dot")
    ),
    "guide alone by products": ContrastiveOptions(
        scale=7.0, false_negatives=FalseNegatives(same_text=False, same_label=False, guide_similarity="dot")
    ),
    "guide alone": ContrastiveOptions(scale=7.0, false_negatives=FalseNegatives(same_text=False, same_label=False)),
}


@pytest.mark.parametrize("some", [False, True], ids=["all rows", "some rows in batch"])
@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradient_equal_the_loop(case, some):
    options, rows = CASES[case], vectors(0)
    if some:
        rows = replace(rows, in_batch=torch.tensor([True, False, True, True, False]))
    guide = vectors(9, width=4) if "guide" in case else None
    if guide is not None:
        guide = Rows(*(each.detach() for each in (guide.query, guide.positive, guide.negative)), guide.owner)
    texts = TEXTS if options.false_negatives is not None else None
    result = contrastive_loss(rows, options, texts=texts, guide=guide)
    expected = naive(rows, options, texts, guide)
    # float64, a few hundred operations
    torch.testing.assert_close(result.total, expected, rtol=1e-10, atol=1e-10)
    inputs = [rows.query, rows.positive, rows.negative]
    for ours, theirs in zip(torch.autograd.grad(result.total, inputs), torch.autograd.grad(expected, inputs)):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)
    bare = contrastive_loss(rows, replace(options, directions=(), partition="joint", false_negatives=None))
    assert not torch.allclose(bare.total, result.total), "the case must differ from the plain loss"


@pytest.mark.parametrize(
    ("directions", "partition"),
    [((), "joint"), (("doc_to_query",), "per_direction"), (("query_to_query", "doc_to_query"), "joint"), (ALL, "joint")],
)
def test_equal_to_sentence_transformers(directions, partition):
    rows = vectors(2)
    library = MultipleNegativesRankingLoss(None, scale=7.0, directions=("query_to_doc", *directions), partition_mode=partition)
    theirs = library.compute_loss_from_embeddings([rows.query, rows.positive, rows.negative], torch.empty(0))
    options = ContrastiveOptions(scale=7.0, directions=directions, partition=partition)
    torch.testing.assert_close(contrastive_loss(rows, options).total / N, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("margin", [0.0, 0.1])
@pytest.mark.parametrize("further", [False, True])
def test_a_guide_filters_as_gist_does(monkeypatch, further, margin):
    rows, guide = vectors(3), vectors(4, width=4)
    monkeypatch.setattr(gist_embed, "embed_columns", lambda model, features: features)
    library = GISTEmbedLoss.__new__(GISTEmbedLoss)
    torch.nn.Module.__init__(library)
    library.model, library.must_retokenize, library.gather_across_devices = None, False, False
    library.temperature, library.margin, library.margin_strategy = 1 / 7.0, margin, "absolute"
    library.contrast_anchors = library.contrast_positives = further
    library.similarity_fct, library.cross_entropy_loss = torch.nn.CosineSimilarity(dim=-1), torch.nn.CrossEntropyLoss()
    library.guide = None
    trained, asked = (rows.query, rows.positive, rows.negative), (guide.query, guide.positive, guide.negative)
    columns = iter([list(trained), list(asked)])
    monkeypatch.setattr(gist_embed, "embed_columns", lambda model, features: next(columns))
    theirs = library([{}, {}, {}], torch.empty(0))
    tests = FalseNegatives(same_text=False, same_label=False, guide_margin=margin)
    directions = ("query_to_query", "doc_to_doc") if further else ()
    options = ContrastiveOptions(scale=7.0, directions=directions, false_negatives=tests)
    held = Rows(*(each.detach() for each in asked), guide.owner)
    ours = contrastive_loss(rows, options, guide=held)
    assert int(ours.masked) > 0
    if not further:
        torch.testing.assert_close(ours.total / N, theirs, rtol=1e-9, atol=1e-9)
        return
    # GIST's positive-positive columns have no hard negatives; ours have, so ours has more columns
    without = contrastive_loss(Rows(rows.query, rows.positive), options, guide=Rows(held.query, held.positive))
    columns = iter([list(trained[:2]), list(asked[:2])])
    theirs = library([{}, {}], torch.empty(0))
    torch.testing.assert_close(without.total / N, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("directions", "partition"), [(ALL, "joint"), (("doc_to_query",), "per_direction")])
def test_rows_without_in_batch_columns_have_no_further_ones(directions, partition):
    rows = replace(vectors(5), in_batch=torch.zeros(N, dtype=torch.bool))
    options = ContrastiveOptions(scale=7.0, directions=directions, partition=partition)
    alone = contrastive_loss(rows, ContrastiveOptions(scale=7.0, in_batch=False)).total
    share = 0.5 if partition == "per_direction" else 1.0  # the second direction has the positive alone, loss 0
    torch.testing.assert_close(contrastive_loss(rows, options).total, alone * share)


def test_matryoshka_cuts_further_columns_too():
    options, rows = ContrastiveOptions(scale=7.0, directions=ALL, matryoshka=Matryoshka((WIDTH, 3))), vectors(6)
    short = Rows(rows.query[:, :3], rows.positive[:, :3], rows.negative[:, :3], rows.owner)
    plain = replace(options, matryoshka=None)
    expected = contrastive_loss(rows, plain).total + contrastive_loss(short, plain).total
    torch.testing.assert_close(contrastive_loss(rows, options).total, expected)
