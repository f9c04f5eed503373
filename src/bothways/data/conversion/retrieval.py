"""A BEIR folder's judgments as training examples: each query with the documents judged relevant.

Its only negatives are documents that were judged irrelevant, if the collection has any. Hard
negatives are mined afterwards.
"""

from __future__ import annotations

from pathlib import Path

from bothways.data.conversion.converted import Converted
from bothways.data.conversion.options import JudgedOptions
from bothways.data.labeled.beir import read_judged
from bothways.data.labeled.example import Example
from bothways.errors import InputError


def retrieval(folder: str | Path, options: JudgedOptions | None = None) -> Converted:
    """Return the examples of a split, in the order of its judgments.

    For example, retrieval("scifact", JudgedOptions(split="train")).

    Args:
        folder: a folder in BEIR's layout.
        options: if None, the defaults. Queries among `without` are not used. Documents stay,
            because the splits of a collection share them.

    Raises:
        InputError: the folder or split is missing, a file is broken, `min_grade` is below 1, or
            there is no example.
    """
    options = options or JudgedOptions()
    if options.min_grade < 1:
        raise InputError(
            f"min_grade: {options.min_grade}; expected at least 1, since 0 means irrelevant"
        )
    judged = read_judged(folder, options.split)
    converted = Converted(rows=len(judged.grades))
    for key, grades in judged.grades.items():
        query = judged.queries.get(key, "")
        texts = {document: judged.documents.get(document, "") for document in grades}
        positives = dict.fromkeys(
            texts[key] for key, grade in grades.items() if grade >= options.min_grade and texts[key]
        )
        # a corpus holds copies: a text that was judged both ways is not a negative
        negatives = dict.fromkeys(
            texts[key]
            for key, grade in grades.items()
            if grade <= 0 and texts[key] not in ("", *positives)
        )
        if not query:
            converted.drop("queries without a text")
        elif not positives:
            converted.drop("queries without a relevant document in the corpus")
        elif not (options.without and converted.overlaps(options.without.find(query))):
            converted.examples.append(
                Example(
                    query,
                    tuple(positives),
                    tuple(negatives),
                    query_prompt=options.prompts.query,
                    document_prompt=options.prompts.document,
                    task=options.task or Path(folder).resolve().name,
                )
            )
    if not converted.examples:
        raise InputError(
            f"{folder}: no example from {len(judged.grades)} queries of qrels/{options.split}.tsv; {converted.dropped}"
        )
    return converted
