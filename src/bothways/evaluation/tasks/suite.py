"""Benchmarks by one word: `suite:sts7`, `suite:nanobeir`, `suite:beir15`, `suite:mteb-eng-v2`.

A suite is a list of tasks and the plain mean of their main metrics. Its data comes from a folder of
your own (`?folder=DIR`), or from the Hugging Face hub and its cache, as mteb pins it. All of it is
looked for before anything runs, and one line names everything that is missing.

    sts7               STS12 to STS16, STS-B and SICK, as SimCSE averages them (arXiv 2104.08821)
    nanobeir           the 13 sets of 50 queries that sentence-transformers and mteb call NanoBEIR
    beir15             BEIR's 15 public sets (arXiv 2104.08663). MS MARCO is scored on its dev split
    mteb-eng-v2        MTEB(eng, v2), 41 tasks (arXiv 2502.13595). From a folder they are mteb's own
                       tasks too, see `bothways.evaluation.mteb.folder_data`
    sentevaltransfer   MR, CR, SUBJ, MPQA, SST2, TREC and MRPC with SentEval's folds, from a folder
                       alone
"""

from __future__ import annotations

import logging
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bothways.errors import BothwaysError, InputError, SourceError
from bothways.evaluation.inputs.named_data import data_fingerprint
from bothways.evaluation.registry import make_task, require_argument
from bothways.evaluation.task import RunOptions, Score, Task

if TYPE_CHECKING:
    from bothways.search.vectors import AnyEncoder

log = logging.getLogger("bothways")


@dataclass(frozen=True)
class Member:
    """One task of a suite.

    Attributes:
        name: its name in results.
        folders: names of its local folder, any of them and in any case. Empty if it only comes from
            the hub.
        local: specification over a local path, for example "sts:{path}". None if it has no local
            form.
        hub: its name in mteb. None if it only comes from a folder.
        subset: the part of the task in mteb, for example "en". None for all.
    """

    name: str
    folders: tuple[str, ...] = ()
    local: str | None = None
    hub: str | None = None
    subset: str | None = None


def _sts(name: str, *folders: str, hub: str | None = None) -> Member:
    return Member(name, folders, "sts:{path}", hub or name)


def _retrieval(name: str, *folders: str, split: str = "test", same_ids: bool = False) -> Member:
    """Return a member of BEIR; `same_ids` if some queries are documents, which mteb leaves out."""
    chosen = {"split=dev": split == "dev", "ignore_identical_ids=true": same_ids}
    options = "&".join(option for option, wanted in chosen.items() if wanted)
    return Member(
        name, (*folders, name), f"retrieval:{{path}}{'?' if options else ''}{options}", name
    )


def _transfer(name: str, *, folds: bool) -> Member:
    options = "?shots=all&folds=10" if folds else "?shots=all"
    return Member(name, (name,), f"classification:{{path}}{options}")


def _mteb(name: str, repository: str, subset: str | None = None) -> Member:
    """Return a task of mteb, with data from the hub or a copy of its repository there."""
    part = "" if subset is None else f"&subsets={subset}"
    return Member(name, (repository, name), f"mteb:{name}?folder={{path}}{part}", name, subset)


# MTEB(eng, v2) in mteb's order: task, its repository in the hub's organization "mteb", and the
# English part if it has several
_MTEB_ENG_V2: tuple[tuple[str, ...], ...] = (
    ("ArguAna", "arguana"),
    ("ArXivHierarchicalClusteringP2P", "arxiv-clustering-p2p"),
    ("ArXivHierarchicalClusteringS2S", "arxiv-clustering-s2s"),
    ("AskUbuntuDupQuestions", "AskUbuntuDupQuestions"),
    ("BIOSSES", "biosses-sts"),
    ("Banking77Classification", "banking77"),
    ("BiorxivClusteringP2P.v2", "biorxiv-clustering-p2p"),
    ("CQADupstackGamingRetrieval", "cqadupstack-gaming"),
    ("CQADupstackUnixRetrieval", "cqadupstack-unix"),
    ("ClimateFEVERHardNegatives", "ClimateFEVER_test_top_250_only_w_correct-v2"),
    ("FEVERHardNegatives", "FEVER_test_top_250_only_w_correct-v2"),
    ("FiQA2018", "fiqa"),
    ("HotpotQAHardNegatives", "HotpotQA_test_top_250_only_w_correct-v2"),
    ("ImdbClassification", "imdb"),
    ("MTOPDomainClassification", "MTOPDomainClassification", "en"),
    ("MassiveIntentClassification", "amazon_massive_intent", "en"),
    ("MassiveScenarioClassification", "amazon_massive_scenario", "en"),
    ("MedrxivClusteringP2P.v2", "medrxiv-clustering-p2p"),
    ("MedrxivClusteringS2S.v2", "medrxiv-clustering-s2s"),
    ("MindSmallReranking", "MindSmallReranking"),
    ("SCIDOCS", "scidocs"),
    ("SICK-R", "sickr-sts"),
    ("STS12", "sts12-sts"),
    ("STS13", "sts13-sts"),
    ("STS14", "sts14-sts"),
    ("STS15", "sts15-sts"),
    ("STSBenchmark", "stsbenchmark-sts"),
    ("SprintDuplicateQuestions", "sprintduplicatequestions-pairclassification"),
    ("StackExchangeClustering.v2", "stackexchange-clustering"),
    ("StackExchangeClusteringP2P.v2", "stackexchange-clustering-p2p"),
    ("TRECCOVID", "trec-covid"),
    ("Touche2020Retrieval.v3", "webis-touche2020-v3"),
    ("ToxicConversationsClassification", "toxic_conversations_50k"),
    ("TweetSentimentExtractionClassification", "tweet_sentiment_extraction"),
    ("TwentyNewsgroupsClustering.v2", "twentynewsgroups-clustering"),
    ("TwitterSemEval2015", "twittersemeval2015-pairclassification"),
    ("TwitterURLCorpus", "twitterurlcorpus-pairclassification"),
    ("SummEvalSummarization.v2", "summeval"),
    ("AmazonCounterfactualClassification", "amazon_counterfactual", "en"),
    ("STS17", "sts17-crosslingual-sts", "en-en"),
    ("STS22.v2", "sts22-crosslingual-sts", "en"),
)

_NANO = (
    "ArguAna", "ClimateFever", "DBPedia", "FEVER", "FiQA2018", "HotpotQA", "MSMARCO", "NFCorpus", "NQ", "Quora",
    "SCIDOCS", "SciFact", "Touche2020",
)  # fmt: skip

SUITES: dict[str, Callable[[], tuple[Member, ...]]] = {
    "sts7": lambda: (
        *(_sts(f"STS{year}", f"sts{year}") for year in range(12, 17)),
        _sts("STSBenchmark", "stsb", "stsbenchmark"),
        _sts("SICK-R", "sick", "sick-r"),
    ),
    "nanobeir": lambda: tuple(
        Member(
            f"Nano{name}Retrieval",
            (f"Nano{name}Retrieval", f"Nano{name}"),
            "retrieval:{path}",
            f"Nano{name}Retrieval",
        )
        for name in _NANO
    ),
    "beir15": lambda: (
        _retrieval("TRECCOVID", "trec-covid"),
        _retrieval("NFCorpus"),
        _retrieval("NQ"),
        _retrieval("HotpotQA"),
        _retrieval("FiQA2018", "fiqa", same_ids=True),
        _retrieval("ArguAna", same_ids=True),
        _retrieval("Touche2020", "webis-touche2020"),
        _retrieval("CQADupstackRetrieval", "cqadupstack"),
        _retrieval("QuoraRetrieval", "quora", same_ids=True),
        _retrieval("DBPedia", "dbpedia-entity"),
        _retrieval("SCIDOCS"),
        _retrieval("FEVER", same_ids=True),
        _retrieval("ClimateFEVER", "climate-fever"),
        _retrieval("SciFact"),
        _retrieval("MSMARCO", split="dev", same_ids=True),
    ),
    "mteb-eng-v2": lambda: tuple(_mteb(*each) for each in _MTEB_ENG_V2),
    "sentevaltransfer": lambda: (
        *(_transfer(name, folds=True) for name in ("MR", "CR", "SUBJ", "MPQA")),
        *(_transfer(name, folds=False) for name in ("SST2", "TREC")),
        Member("MRPC", ("MRPC",), "trained-pairs:{path}"),
    ),
}


class NamedSuite(Task):
    """The tasks of a suite and their plain mean (main: `average`)."""

    kind = "suite"
    main = "average"

    def __init__(self, parts: dict[str, Task], *, name: str) -> None:
        """Keep the tasks.

        Args:
            parts: tasks by the name of their metric.
            name: name of the suite in results.
        """
        self.parts = parts
        self.name = name
        self.fingerprint = data_fingerprint([part.fingerprint for part in parts.values()])
        self.settings = {
            member: {"task": part.kind, **part.settings} for member, part in parts.items()
        }

    @classmethod
    def from_argument(
        cls,
        argument: str | None,
        *,
        folder: str | None = None,
        missing: Literal["refuse", "skip"] = "refuse",
        prompts: Literal["llm2vec", "nv_embed", "e5"] | None = None,
        cache: str | None = None,
    ) -> NamedSuite:
        """Find the data of all tasks of `suite:NAME`.

        For example, `suite:sts7?folder=data` reads data/sts12, data/stsb and so on, and
        `suite:nanobeir` the hub.

        Args:
            argument: name of the suite.
            folder: folder that holds one folder (or file) for each task. If None, the hub.
            missing: "skip" leaves out tasks without data, and the mean is over the others. Damaged
                data is always refused.
            prompts: whose task instructions to use, for mteb's own tasks alone: from the hub, or in
                mteb-eng-v2. See `mteb:TASK`.
            cache: folder of results in mteb's layout, from the hub alone.

        Raises:
            InputError: if the suite is unknown, or any of its data is missing or unreadable. The
                message names all of it.
        """
        name = require_argument(argument, "suite")
        if name not in SUITES:
            raise InputError(f"suite:{name} does not exist; there are {', '.join(SUITES)}")
        members = SUITES[name]()
        own = folder is not None and not (members[0].local or "").startswith("mteb:")
        if folder is not None and (cache or (prompts and own)):
            raise InputError(
                f"suite:{name}: {'prompts and cache belong' if own else 'cache belongs'} to data from the hub; "
                "leave them out, or leave folder out"
            )
        hub = {"prompts": prompts, "cache": cache}
        options = "&".join(f"{key}={value}" for key, value in hub.items() if value is not None)
        parts: dict[str, Task] = {}
        faults: list[str] = []
        damaged: list[str] = []
        for member in members:
            try:
                parts[member.name] = make_task(_specification(member, folder, options))
            except (InputError, SourceError) as error:
                faults.append(_fault(member, error))
                if not isinstance(error, SourceError):
                    damaged.append(faults[-1])
        if damaged and missing == "skip":
            raise InputError(
                f"suite:{name}: missing=skip leaves out absent data, but some cannot be read: {'; '.join(damaged)}; correct it, or "
                "remove it"
            )
        if faults and (missing == "refuse" or not parts):
            raise InputError(_missing(name, faults, len(members), folder))
        if faults:
            log.warning("suite:%s: left out, because there is no data: %s", name, "; ".join(faults))
        return cls(parts, name=f"suite:{name}")

    def check(self, encoder: AnyEncoder) -> None:
        """Refuse an encoder that cannot do one of the tasks."""
        for part in self.parts.values():
            part.check(encoder)

    def run(self, encoder: AnyEncoder, options: RunOptions) -> Score:
        """Run each task in turn, then take their mean. An error of one task ends the run."""
        scores = {name: _run(part, encoder, options) for name, part in self.parts.items()}
        metrics = {name: score.metrics[self.parts[name].main] for name, score in scores.items()}
        details = {name: {"metric": self.parts[name].main} for name in scores}
        return Score({"average": statistics.fmean(metrics.values()), **metrics}, {"tasks": details})


class _Absent(SourceError):
    """A folder that does not hold the data of a task."""


def _specification(member: Member, folder: str | None, options: str) -> str:
    """Return the specification of a task over its data.

    Raises:
        SourceError: if the folder does not have it, or the task has no data of this kind.
    """
    if folder is None:
        if member.hub is None:
            raise _Absent("only from a folder")
        if member.subset is not None:
            options = f"subsets={member.subset}{'&' if options else ''}{options}"
        return f"mteb:{member.hub}{'?' if options else ''}{options}"
    if member.local is None:
        raise _Absent("only from the hub")
    wanted = {name.lower() for name in member.folders}
    root = Path(folder).expanduser()
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        # a name such as Touche2020Retrieval.v3, or one with the ending of a file
        if not wanted.isdisjoint((path.name.lower(), path.name.lower().split(".")[0])):
            found = member.local.format(path=path)
            more = options and member.local.startswith("mteb:")
            return f"{found}&{options}" if more else found
    raise _Absent(f"no {member.folders[0].lower()}/")


def _run(part: Task, encoder: AnyEncoder, options: RunOptions) -> Score:
    from bothways.evaluation.mteb.task import MtebTask

    if isinstance(part, MtebTask):
        return part.measure(encoder, options, keep=options.work)
    return part.run(encoder, options)


def _fault(member: Member, error: BothwaysError) -> str:
    """Say in a few words why a task has no data."""
    if isinstance(error, _Absent):
        return f"{member.name} ({error})"
    told = str(error).splitlines()[0]
    return f"{member.name} ({told if len(told) <= 120 else told[:117] + '...'})"


def _missing(name: str, faults: Sequence[str], count: int, folder: str | None) -> str:
    """Say in one line what is missing and what to type instead."""
    remedy = (
        f"give a folder that holds it, suite:{name}?folder=DIR, or fill the hub's cache (HF_HOME) on a connected machine"
        if folder is None
        else f"add it to {folder}, or leave folder out to read the hub"
    )
    less = "" if len(faults) == count else ", or add missing=skip to average the others"
    return f"suite:{name}: {len(faults)} of {count} tasks have no data: {'; '.join(faults)}; {remedy}{less}"
