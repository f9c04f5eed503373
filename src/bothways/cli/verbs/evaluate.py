"""`bothways evaluate MODEL --task KIND[:ARGUMENT][?option=value&…] …`: measure an encoder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from bothways.cli.json_output import Json, print_json
from bothways.cli.option_groups import flat
from bothways.cli.options import (
    BaseDirection,
    BasePooling,
    BatchTokens,
    ComparedBy,
    Device,
    DType,
    Factor,
    Model,
    Rope,
    hold,
    say,
    say_next,
)
from bothways.errors import InputError
from bothways.evaluation.registry import kinds

if TYPE_CHECKING:
    from bothways.backbone.rope import RopeConfig
    from bothways.evaluation.results import Results
    from bothways.evaluation.task import Task

NAME = "evaluate"

_TASK = f"{', '.join(kinds().values())}; add options as ?option=value&option=value, quoted for the shell; repeat for several tasks"


@dataclass(frozen=True)
class Stretching:
    """Rotary positions of a base that is measured as a language model."""

    PANEL: ClassVar[str] = "Longer contexts of a language model"

    context: Annotated[
        int | None,
        typer.Option(help="stretch rotary positions to this many tokens"),
    ] = None
    rope: Rope = None
    factor: Factor = None

    def config(self) -> RopeConfig | None:
        """Return the settings, or None without `--context`.

        Raises:
            InputError: if there are other settings without `--context`.
        """
        from bothways.backbone.rope import RopeConfig

        if self.context is None:
            if self.rope is not None or self.factor is not None:
                given = f"--factor {self.factor:g}" if self.rope is None else f"--rope {self.rope}"
                raise InputError(f"{given}: needs --context, the number of tokens to stretch to")
            return None
        return RopeConfig.of({"type": self.rope, "context": self.context, "factor": self.factor})


# Options with a long help, which the signature of the command names.
_Out = Annotated[
    Path | None,
    typer.Option(
        help="JSON file for scores and provenance; it is written after each task", callback=hold
    ),
]
_Resume = Annotated[
    bool,
    typer.Option("--resume", help="skip the tasks that --out already holds, and use their scores"),
]
_MaxLength = Annotated[
    int | None,
    typer.Option(
        min=1, help="tokens that are read of a text; the encoder's own limit if not given"
    ),
]
_Seed = Annotated[
    int,
    typer.Option(help="seed of few-shot texts, k-means centers and random pairs; MTEB uses 42"),
]


@flat
def command(
    model: Model,
    task: Annotated[list[str], typer.Option(help=_TASK)],
    stretching: Stretching,
    out: _Out = None,
    resume: _Resume = False,
    direction: BaseDirection = None,
    pooling: BasePooling = None,
    max_length: _MaxLength = None,
    similarity: ComparedBy = None,
    batch_tokens: BatchTokens = None,
    seed: _Seed = 0,
    device: Device = "auto",
    dtype: DType = "auto",
    json: Json = False,
) -> None:
    """Measure an encoder, a base LLM or BM25 (MODEL `bm25`, for retrieval only).

    A base is measured as an encoder in either direction, or as a language model. A task is
    KIND:PATH, and you add options as in a web address:

      sts:stsb
          the test split of a folder, or a file of scored pairs
      'sts:sts12?aggregation=mean'
          several subsets in a file; aggregation=all (default), mean, wmean
      'retrieval:scifact?k=1,10,100'
          a BEIR folder, or a file of pairs; backend=faiss, split=train;
          precision=binary, int8; rescore=4; rescore_with=int8, float32
      'retrieval:stsb?above=4&query_prompt=Find: '
          scored pairs, of which those above 4 are relevant
      'classification:banking77?method=knn&shots=16'
          method=logreg, knn; shots=8, all; experiments=10; folds=10
      'clustering:titles.csv?protocol=fast'
          protocol=whole, fast; experiments=10; fraction=0.04
      'reranking:wikiqa?all_right=keep'
          query, positives, negatives; or query, answer, label
      'pairs:mrpc?split=val&similarity=dot'
          two texts and a label 0 or 1
      'trained-pairs:mrpc?folds=10'
          the same, by a classifier that learns from the split train=train
      'suite:sts7?folder=data'
          also nanobeir, beir15, mteb-eng-v2, sentevaltransfer; missing=skip
      'mteb:STS12?folder=data/sts12-sts'
          mteb's own task on a copy of its data
      'mteb:subset15?prompts=llm2vec'
          tasks from the hub; prompts=nv_embed, e5; cache=FOLDER; subsets=en;
          mteb-local:sts:stsb is mteb's own task of that kind on your data
      'perplexity:novels?length=8192&stride=256'
          for a base LLM, as the next two; scored=all, new; windows=100;
          shifted=true; column=; unit=auto, line (texts of a .txt)
      'passkey?lengths=1024,4096&depths=0,0.5,1'
          style=exact, published; repeats=10
      'topics?lengths=4096,16000&repeats=20'

    Every kind has the option name=, the task's name in the results. The kinds sts, retrieval,
    classification, clustering, reranking, pairs and geometry also have split= and the names of
    their columns. sts, retrieval, reranking, pairs and stdlib have similarity= for one task alone.
    Write & inside a value as %26. The error for a wrong option lists the right ones.
    """
    from bothways.cli.open_model import compare_by, cut_texts, open_evaluated
    from bothways.evaluation.evaluate import evaluate
    from bothways.evaluation.registry import make_task
    from bothways.similarity_names import check_similarity

    if resume and out is None:
        raise InputError("--resume needs --out, the results file to continue")
    check_similarity(similarity)
    rope = stretching.config()
    tasks = [make_task(spec) for spec in task]
    encoder = open_evaluated(
        model, tasks, device=device, dtype=dtype, direction=direction, pooling=pooling, rope=rope
    )
    if max_length is not None:
        cut_texts(encoder, max_length)
    if similarity is not None:
        compare_by(encoder, similarity)
    results = evaluate(encoder, tasks, batch_tokens=batch_tokens, seed=seed, out=out, resume=resume)
    _print(results, tasks)
    print_json({"model": model, "out": out, "tasks": _told(results)})
    _say_saved(out)


def _say_saved(out: Path | None) -> None:
    if out is not None:
        say(f"saved {out}")
        say_next("bothways", "report", out, "--out", out.with_suffix(".html"))


def _told(results: Results) -> list[dict[str, object]]:
    """List the tasks with their figures, for `--json`."""
    return [
        {"name": name, "kind": record.kind, "main": record.main, "metrics": record.metrics}
        for name, record in results.records.items()
    ]


def _print(results: Results, tasks: list[Task]) -> None:
    from bothways.cli.open_model import pictures

    shown = {t.name: pictures(t, results.records[t.name].details) for t in tasks}
    for name, metrics in results.items():
        say(name)
        for metric, value in metrics.items():
            say(f"  {metric:24} {value:.4f}")
        for line in shown.get(name, []):
            say(f"  {line}")
