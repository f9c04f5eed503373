"""A BEIR folder's judgements as training examples: a query and the documents judged relevant.

It has no negatives but documents that were judged and found irrelevant, where a collection has such; hard ones are mined.
"""

from __future__ import annotations

from pathlib import Path

from bothways.data.conversion.converted import Converted
from bothways.data.decontamination import Overlap
from bothways.data.labeled.beir import read_judged
from bothways.data.labeled.example import Example
from bothways.data.labeled.templates import Prompts
from bothways.errors import InputError


def retrieval(
    folder: str | Path,
    *,
    split: str = "train",
    min_grade: int = 1,
    task: str = "",
    prompts: Prompts | None = None,
    without: Overlap | None = None,
) -> Converted:
    """Examples of a split, in the order of its judgements.

    Args:
        folder: in BEIR's layout.
        split: whose judgements.
        min_grade: least grade of a positive; documents graded 0 or less are negatives, those between are neither.
        task: of the examples; by default the folder's name.
        prompts: of queries and documents.
        without: evaluation texts; queries among them are not used. Documents stay: the splits of a collection share them.

    Raises:
        InputError: no such folder or split, a broken file, `min_grade` below 1, or no example at all.
    """
    if min_grade < 1:
        raise InputError(f"min_grade: {min_grade}; expected at least 1, since 0 means irrelevant")
    judged = read_judged(folder, split)
    converted = Converted(rows=len(judged.grades))
    query_prompt, document_prompt = prompts or Prompts()
    for key, grades in judged.grades.items():
        query = judged.queries.get(key, "")
        texts = {document: judged.documents.get(document, "") for document in grades}
        positives = dict.fromkeys(texts[key] for key, grade in grades.items() if grade >= min_grade and texts[key])
        # a corpus holds copies: one that was judged otherwise than its original is no negative
        negatives = dict.fromkeys(
            texts[key] for key, grade in grades.items() if grade <= 0 and texts[key] not in ("", *positives)
        )
        if not query:
            converted.drop("queries without a text")
        elif not positives:
            converted.drop("queries without a relevant document in the corpus")
        elif not (without and converted.overlaps(without.find(query))):
            converted.examples.append(
                Example(
                    query,
                    tuple(positives),
                    tuple(negatives),
                    query_prompt=query_prompt,
                    document_prompt=document_prompt,
                    task=task or Path(folder).resolve().name,
                )
            )
    if not converted.examples:
        raise InputError(f"{folder}: no example from {len(judged.grades)} queries of qrels/{split}.tsv; {converted.dropped}")
    return converted
