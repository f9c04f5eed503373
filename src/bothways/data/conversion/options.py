"""The options of the conversions, which functions and commands read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from bothways.data.labeled.templates import Prompts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bothways.data.decontamination import Overlap

By = Literal["auto", "label", "example"]
Chooser = Literal["bm25", "random"]
Pairing = Literal["entailment", "one_to_one", "premise"]

NEGATIVES = 7
"""NV-Embed trains with one positive and seven negatives (arXiv 2405.17428)."""

THRESHOLD = 4.0
"""The least score of a positive, of 5 (NV-Embed)."""

CEILING = 2.5
"""The greatest score of a negative with its query, of 5 (NV-Embed)."""


@dataclass(frozen=True, kw_only=True)
class ConversionOptions:
    """Options of every conversion.

    Attributes:
        task: the name of the task that each example carries.
        prompts: the prompts of queries and documents.
        without: evaluation texts, which become neither query, positive nor negative. If None,
            nothing is left out.
        seed: the seed of every random choice.
    """

    task: str = ""
    prompts: Prompts = field(default_factory=Prompts)
    without: Overlap | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class ClassOptions(ConversionOptions):
    """Options of texts with classes or clusters.

    Attributes:
        by: the positive of a text. "label" is the text of its label and "example" is another text
            of its label. "auto" is "label" if there are two labels or each text has its own, and
            "example" otherwise, as in NV-Embed v2.
        label_texts: label -> its text, for example {"18": "sports"}. If None, the label with spaces
            for underscores.
        positives: by example, the number of other texts of the label. Fewer if it has fewer.
        negatives: by label, the number of other labels (if None, all). By example, the number of
            texts of other labels (if None, 7), fewer if there are fewer.
        per_label: the maximum number of queries of each label. If None, all texts become queries.
        total: the maximum number of queries, shared equally by the labels; see `stratified`.
    """

    by: By = "auto"
    label_texts: Mapping[str, str] | None = None
    positives: int = 1
    negatives: int | None = None
    per_label: int | None = None
    total: int | None = None


@dataclass(frozen=True, kw_only=True)
class StsOptions(ConversionOptions):
    """Options of scored pairs.

    Attributes:
        threshold: the least score of a positive.
        ceiling: the greatest score that a negative may have with the query, in either order. Texts
            that were never scored with the query count as unrelated.
        negatives: the number of negatives of each example. Fewer if BM25 ranks fewer.
        chosen_by: "bm25" takes the highest ranks, "random" takes any text.
        first_rank: with "bm25", the first rank that is taken. Ranks count the texts other than the
            query. The default is the paper's rank 2, because its pool holds the query at rank 1.
    """

    threshold: float = THRESHOLD
    ceiling: float = CEILING
    negatives: int = NEGATIVES
    chosen_by: Chooser = "bm25"
    first_rank: int = 1
    task: str = "sts"


@dataclass(frozen=True, kw_only=True)
class NliOptions(ConversionOptions):
    """Options of NLI tables.

    Attributes:
        pairing: "entailment" uses every entailment once, with the contradictions of its premise in
            turn, from the first again if they are fewer. "one_to_one" uses every hypothesis at most
            once. "premise" makes one example of a premise, with all its entailments and
            contradictions, of which training draws.
    """

    pairing: Pairing = "entailment"
    task: str = "nli"


@dataclass(frozen=True, kw_only=True)
class JudgedOptions(ConversionOptions):
    """Options of BEIR folders.

    Attributes:
        split: the split of the judgments.
        min_grade: the least grade of a positive, at least 1. Documents of grade 0 or less are
            negatives. Documents between are neither.
        task: the name of the task. If "", the name of the folder.
    """

    split: str = "train"
    min_grade: int = 1
