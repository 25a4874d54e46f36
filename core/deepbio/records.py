"""Which input, in which state, the results of a batch are of; and whose the files are that lie where they go."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepbio.errors import OutputError
from deepbio.events import Listener, Notice
from deepbio.inputs import SAVES, Input, read_record
from deepbio.io import list_series

if TYPE_CHECKING:
    from deepbio.library import ModelCard

__all__ = [
    "InTheWay",
    "Record",
    "check_free",
    "check_lengths",
    "check_table",
    "facts_of",
    "identity",
    "make_folder",
    "tell_earlier",
    "turn_in",
]


@dataclass(frozen=True)
class Record:
    """How results came about, as it is kept beside them.

    Attributes
    ----------
    path : Path
        The file, JSON.
    facts : mapping
        What it says.
    """

    path: Path
    facts: Mapping[str, Any]


class InTheWay(OutputError):
    """What keeps the results of one input from being written, and no other's."""


def make_folder(folder: Path) -> None:
    """Make the output folder, where it is missing.

    Raises
    ------
    OutputError
        If that cannot be.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The output folder '{folder}' cannot be made: {error.strerror or error}.",
            "Give another one with -o.",
        ) from error


def identity(file: Input) -> dict[str, Any]:
    """Say which file or series this is, and in which state."""
    which: dict[str, Any] = {"path": str(file.path.resolve())}
    if file.series:
        which["series"] = file.series
    try:
        states = [part.stat() for part in _parts(file)]
    except OSError:
        return which  # reading it will say what is wrong
    if file.series or len(states) != 1:
        which["files"] = len(states)
    bytes_ = sum(state.st_size for state in states)
    return {**which, "bytes": bytes_, "modified_ns": max((s.st_mtime_ns for s in states), default=0)}


def _parts(file: Input) -> tuple[Path, ...]:
    """The files that the pixels of an input are in."""
    path = file.path
    if file.channels:
        return file.channels
    if file.series:
        series = list_series(path)
        return next((one.files for one in series if file.series in (one.uid, f"#{one.number}")), ())
    if path.is_dir():  # OME-Zarr: a folder is not changed by what is written into its files
        return tuple(part for part in path.rglob("*") if part.is_file())
    if path.suffix.lower() == ".mhd":
        words = path.read_bytes().decode("latin-1").partition("ElementDataFile")[2].replace("=", " ", 1)
        beside = (path.parent / line.strip() for line in words.splitlines() if line.strip())
        return (path, *(part for part in beside if part.is_file()))
    return (path,)


def facts_of(card: ModelCard) -> dict[str, Any]:
    """Say which model this is."""
    weights = [weights.sha256 for weights in card.weights]
    return {"name": card.name, "version": card.version, "weights": weights}


def check_lengths(paths: Iterable[Path]) -> None:
    """Find out before the work whether the system takes the names of results.

    Raises
    ------
    InTheWay
        If one is too long.
    """
    for path in paths:
        try:
            path.lstat()
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise InTheWay(
                    f"The name of the result '{path}' is too long for the file system.",
                    "Give the input a shorter name, or another output folder with -o.",
                ) from error


def check_free(outputs: Mapping[str, Path], record: Path, file: Input, *, overwrite: bool) -> None:
    """Check that results of `file` may go where they shall: what is there must be its own.

    Raises
    ------
    InTheWay
        If no run has made a file that is there, or one has for another input: two runs into the same
        folder may come to the same name at the same time.
    """
    found = read_record(record)
    if found and not _is_of(found, file):
        raise InTheWay(
            f"The results at '{record}' are of another input, '{found['input']['path']}': another run "
            "writes to this folder.",
            "Start this one again: the input then gets a name of its own.",
        )
    if overwrite:
        return
    ours = {*found.get("save", SAVES), *found.get("earlier", ())} if found else set()
    for kind, path in outputs.items():
        if kind not in ours and path.exists():
            raise InTheWay(
                f"'{path}' exists already, and no run has made it.", "Use --overwrite to replace it."
            )


@contextmanager
def turn_in(folder: Path) -> Iterator[None]:
    """Wait until no other run gives results in a folder their names, where the system can tell."""
    handle = None
    try:
        import fcntl

        handle = os.open(folder, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX)
    except (ImportError, OSError):
        pass  # Windows and some network drives: a check that is very late still stands before the names
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _is_of(found: Mapping[str, Any], file: Input) -> bool:
    which = found["input"]
    return (str(which["path"]), which.get("series", "")) == (str(file.path.resolve()), file.series)


def tell_earlier(
    found: Mapping[str, Any] | None,
    wanted: Mapping[str, Any],
    paths: Mapping[str, Path],
    on_progress: Listener,
) -> list[str]:
    """Kinds of results that an earlier run left and this one does not renew.

    Parameters
    ----------
    found : mapping or None
        The record of the earlier run.
    wanted : mapping
        What the record of this run will say.
    paths : mapping of str to Path
        Where each kind of :data:`deepbio.inputs.SAVES` goes.
    on_progress : Listener
        Is warned where they were made of another input, by another model or with other options.
    """
    if not found:
        return []
    made_by = found.get("model", {}).get("name")
    if made_by not in (None, wanted["model"]["name"]):
        told = f"Results of the model {made_by!r} are replaced, where the new ones have the same names."
        on_progress(Notice(f"{told} Give each model its own folder with -o to keep them.", "warning"))
    kinds = dict.fromkeys([*found.get("save", ()), *found.get("earlier", ())])
    earlier = [kind for kind in kinds if kind not in wanted["save"] and paths[kind].exists()]
    if earlier and any(found.get(key) != value for key, value in wanted.items() if key != "save"):
        told = (
            "Results that are not saved anew stay as an earlier run made them, of another input, model or "
            f"options: {', '.join(earlier)}. Name them in --save to renew them."
        )
        on_progress(Notice(told, "warning"))
    return earlier


def check_table(path: Path, header: str, *, overwrite: bool) -> None:
    """Check that a table of a whole batch replaces none but that of an earlier run.

    Raises
    ------
    OutputError
        If there is a file whose first line begins otherwise.
    """
    if overwrite or not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        first = file.readline()
    if not first.startswith(header):
        raise OutputError(
            f"'{path}' exists already, and no run has made it.",
            "Use --overwrite to replace it, or give another output folder with -o.",
        )
