"""Which plan a run follows: the one that was begun, the one that is given, or a new one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import yaml

from deepbio.errors import OptionError

__all__ = ["Planner", "mark_of", "settle_plan"]


class Planner(Protocol):
    """How one family plans for one data set."""

    @property
    def kind(self) -> type[Any]:
        """The family's Plan."""

    @property
    def data(self) -> Path:
        """The data set."""

    def read(self, path: Path) -> Any:
        """A plan that a user may have edited."""

    def make(self, wishes: Any) -> tuple[Any, Any]:
        """Measure the data and plan from it; the plan, and what `write` takes. None: no wishes."""

    def check(self, plan: Any) -> Any:
        """Measure the data, and refuse a plan that is for other data; what `write` takes."""

    def write(self, path: Path, plan: Any, facts: Any) -> None:
        """Write a plan with `mark_of` under the key ``mark``, and what was measured, for people."""


def settle_plan(path: Path, asked: Any, planner: Planner) -> Any:
    """The plan to follow; written down, so that a resumed run follows the same.

    The data is measured once, or not at all where the plan on disk is as it was written.

    Parameters
    ----------
    path : Path
        The plan of the run.
    asked : Plan or Wishes of the family, or None
        A plan, or what a new one is to follow; None: go on with the one that was begun.
    planner : Planner
        Reads, makes, checks and writes it.

    Raises
    ------
    ImageError, InputMismatch
        If the data cannot be trained on, or the plan is for other data.
    OptionError
        If the folder holds a run with another plan, or its plan cannot be read.
    """
    begun = planner.read(path) if path.exists() else None
    if begun is not None and asked is None:
        if not _as_written(path, planner.data):
            planner.check(begun)
        return begun
    plan, facts = (asked, None) if isinstance(asked, planner.kind) else planner.make(asked)
    if begun is not None:
        if type(plan) is type(begun) and asdict(plan) == asdict(begun):
            return begun
        if any(path.parent.glob("**/checkpoint.pt")):
            raise OptionError(
                f"{str(path.parent)!r} holds a run with another plan.",
                "Choose another output, or delete that folder to start again.",
            )
    planner.write(path, plan, planner.check(plan) if facts is None else facts)
    return plan


def mark_of(plan: Mapping[str, Any], data: Path) -> str:
    """What tells a plan that somebody has edited, or taken to other data, from one that was found to fit.

    Parameters
    ----------
    plan : mapping
        As it stands in YAML.
    data : path
        What it was made from or compared with.
    """
    told = json.dumps([plan, str(data.resolve())], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _as_written(path: Path, data: Path) -> bool:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    return bool(content.get("mark") == mark_of(content["plan"], data))
