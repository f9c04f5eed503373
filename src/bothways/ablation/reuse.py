"""Decides if a trained encoder can be reused: only if training now would use equal inputs.

These are the recipe, the data and the libraries. All encoders are compared before anything is
trained, so an impossible plan stops at once, not after hours. Nothing is loaded. Data is compared
by the hashes of its files (hub data by its name, the embedded text by Python's version). With equal
versions and equal choices of column and limit, equal hashes mean equal texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from bothways.ablation.grid import Node
from bothways.data.fingerprint import describe_texts
from bothways.errors import BothwaysError, InputError
from bothways.folder_files import OURS
from bothways.foreign import read_object
from bothways.locks import is_leftover
from bothways.moved import old_names
from bothways.provenance import versions
from bothways.training.loop.checkpoints import Checkpoints
from bothways.training.recipe.recipe import as_resolved_now
from bothways.training.recipe.recipe_changes import changed_keys
from bothways.training.stage.product import ENCODER
from bothways.training.stage.stage_data import read_stage_data

LIBRARIES = ("bothways", "torch", "transformers", "tokenizers", "peft", "accelerate")
"""The libraries that training uses. Others, such as scipy or mteb, do not change a weight."""


@dataclass(frozen=True)
class NodeState:
    """The state of a node's folder.

    Attributes:
        kind: "absent", "begun" (can be continued), "finished" (can be used), or "differs" (holds
            something else).
        why: the difference.
        step: number of steps that a begun training has finished.
    """

    kind: Literal["absent", "begun", "finished", "differs"]
    why: str = ""
    step: int = 0


class Inventory:
    """The states of nodes in an output folder. Each is inspected once; data hashes are kept."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self._states: dict[str, NodeState] = {}
        self._facts: dict[str, dict[str, Any]] = {}

    def state(self, node: Node) -> NodeState:
        """Inspect the node's folder, or return its known state."""
        if node.name not in self._states:
            self._states[node.name] = self._look(node)
        return self._states[node.name]

    def forget(self, node: Node) -> None:
        """Inspect the node again next time, because it has been trained."""
        self._states.pop(node.name, None)

    def _look(self, node: Node) -> NodeState:
        folder = self.out / node.name
        if not folder.exists() or (
            folder.is_dir() and all(is_leftover(entry.name) for entry in folder.iterdir())
        ):
            return NodeState("absent")
        above = self.state(node.parent) if node.parent is not None else None
        if above is not None and node.parent is not None and above.kind == "differs":
            return NodeState(
                "differs", f"it starts from {node.parent.name}, which differs: {above.why}"
            )
        stored = folder / "recipe.yaml"
        if not stored.is_file():
            return NodeState(
                "differs", "it does not contain a recipe.yaml, so its content is unknown"
            )
        if ENCODER.finished(folder):
            why = self._finished_otherwise(node, folder, stored)
            return NodeState("differs", why) if why else NodeState("finished")
        return self._begun(node, folder, stored)

    def _finished_otherwise(self, node: Node, folder: Path, stored: Path) -> str:
        """Describe how a finished encoder differs from the node, or return "" if it does not."""
        before = _stored(stored)
        try:
            facts = read_object(folder / OURS)
        except InputError as error:
            return str(error)
        now = node.recipe.resolved()
        if node.parent is not None:
            # The folder of the earlier stage does not matter. Its content is compared below.
            before["base"] = now["base"]
        changed = changed_keys(before, now)
        if changed:
            return f"its recipe was different: {'; '.join(changed)}"
        stages = facts.get("stages") or []
        if len(stages) != len(node.chain):
            return f"it went through {len(stages)} stages, not {len(node.chain)}"
        return (
            self._other_data(node, stages)
            or self._other_start(node, stages)
            or _other_versions(facts.get("versions") or {})
        )

    def _other_data(self, node: Node, stages: Sequence[Mapping[str, Any]]) -> str:
        for each, stage in zip(node.chain, stages):
            for fact in stage.get("data") or ():
                now = self._source(str(fact.get("source")))
                key = next((key for key in now if fact.get(key) != now[key]), None)
                if key is not None:
                    name = each.recipe.stages[0].name
                    return f"the data of {name} has changed: {key} of {fact.get('source')}"
        return ""

    def _source(self, source: str) -> dict[str, Any]:
        if source not in self._facts:
            try:
                self._facts[source] = describe_texts(source)
            except BothwaysError:
                self._facts[source] = {"files": "gone"}  # equal to nothing that was recorded
        return self._facts[source]

    def _other_start(self, node: Node, stages: Sequence[Mapping[str, Any]]) -> str:
        """Describe a difference in the earlier stages.

        If the start is gone, its recipe's fingerprint is compared.
        """
        if node.parent is None:
            return ""
        if self.state(node.parent).kind == "finished":
            there = read_object(self.out / node.parent.name / OURS).get("stages")
            same = [_timeless(stage) for stage in stages[:-1]] == [
                _timeless(stage) for stage in there or ()
            ]
        else:
            same = [stage.get("recipe") for stage in stages[:-1]] == [
                each.recipe.fingerprint() for each in node.chain[:-1]
            ]
        return "" if same else f"it was trained from another {node.parent.name}"

    def _begun(self, node: Node, folder: Path, stored: Path) -> NodeState:
        changed = changed_keys(_stored(stored), node.recipe.resolved())
        if changed:
            return NodeState("differs", f"its recipe was different: {'; '.join(changed)}")
        checkpoints = Checkpoints(folder / "checkpoints" / node.recipe.stage_folder(0), keep=1)
        steps = checkpoints.steps()
        if not steps:
            return NodeState("begun")
        try:
            facts = checkpoints.load(steps[-1]).facts
        except InputError as error:
            return NodeState("differs", str(error))
        texts = read_stage_data(node.recipe.stages[0]).fingerprint
        if facts.get("texts") != texts:
            return NodeState(
                "differs",
                f"the data of {node.recipe.stages[0].name} has changed since it was begun",
            )
        if facts.get("recipe") != node.recipe.fingerprint():
            return NodeState("differs", "it was begun by another version of bothways")
        return NodeState("begun", step=steps[-1])


def _stored(recipe: Path) -> dict[str, Any]:
    """Read a stored recipe with today's defaults for newer keys, or {} if it is not a recipe."""
    try:
        return as_resolved_now(yaml.safe_load(recipe.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError, TypeError, AttributeError, yaml.YAMLError):
        return {}


def _timeless(stage: Mapping[str, Any]) -> dict[str, Any]:
    """Drop the seconds from a stage's record. The same training repeated gives the same encoder."""
    return {key: value for key, value in stage.items() if key != "seconds"}


def _other_versions(before: Mapping[str, str]) -> str:
    now = versions()
    differ = [
        f"{name} {before.get(name, 'unknown')} → {now.get(name)}"
        for name in LIBRARIES
        if before.get(name) != now.get(name)
    ]
    return f"it was trained under {', '.join(differ)}" if differ else ""


__getattr__ = old_names(__name__)
