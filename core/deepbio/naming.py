"""What the outputs of each input of a batch are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from deepbio.inputs import RECORD, Input, key_of, read_record, split_suffix

__all__ = ["plan_names"]


def plan_names(files: Sequence[Input], folder: Path) -> dict[Input, str]:
    """Give each input a name for its outputs: its own, with its folder's before it where two agree.

    Names that an earlier run gave in `folder` are kept, so a batch can be stopped, grown and resumed.
    Where two of one folder agree, their suffixes tell them apart.
    A DICOM series has the name of its folder, the second and further ones with ``_s2``, ``_s3``, ...

    Examples
    --------
    >>> files = [Input(Path(name)) for name in ("a/cell.tif", "b/cell.tif", "b/other.nii.gz")]
    >>> list(plan_names(files, Path("missing")).values())
    ['a_cell', 'b_cell', 'other']
    >>> list(plan_names([Input(Path("a/cell.tif")), Input(Path("a/cell.png"))], Path("missing")).values())
    ['cell_tif', 'cell_png']
    """
    owners = _owners(folder)
    names = {file: owners[file.key] for file in files if file.key in owners}
    taken = {name.casefold() for name in owners.values()}
    endings = _endings(files)
    depth = dict.fromkeys((file for file in files if file not in names), 0)
    while depth:
        candidates = {file: _candidate(file, level, endings[file]) for file, level in depth.items()}
        counts = Counter(name.casefold() for name in candidates.values())
        clashing = {}
        for file, name in candidates.items():
            key = name.casefold()
            # what numbers tell apart goes one by one: the first has it, the others try the next
            if key in taken or (counts[key] > 1 and not _is_numbered(file, depth[file])):
                clashing[file] = depth[file] + 1
            else:
                names[file] = name
                taken.add(key)
        depth = clashing
    return {file: names[file] for file in files}


def _stem(item: Input) -> tuple[str, str]:
    """The name of an input without its suffix, and the suffix; a series has its folder's name."""
    if item.channels:  # without the number of the channel
        stem, suffix = split_suffix(item.path)
        return stem.rpartition("_")[0], suffix
    if not item.series:
        return split_suffix(item.path)
    return item.path.resolve().name + (f"_s{item.number}" if item.number > 1 else ""), ""


def _endings(files: Sequence[Input]) -> dict[Input, str]:
    """What tells inputs of one folder apart whose names without suffix agree: the suffix, then a number."""
    twins: dict[tuple[Path, str], list[Input]] = {}
    for file in files:
        twins.setdefault((file.path.resolve().parent, _stem(file)[0].casefold()), []).append(file)
    endings = {}
    for group in twins.values():
        seen: Counter[str] = Counter()
        for file in group:
            suffix = _stem(file)[1].replace(".", "_") if len(group) > 1 else ""
            seen[suffix] += 1
            endings[file] = suffix + (f"_{seen[suffix]}" if seen[suffix] > 1 else "")
    return endings


def _folders_above(item: Input) -> list[str]:
    parent = item.path.resolve().parent
    return [part for part in parent.parts if part != parent.anchor and part.strip("/\\:")]


def _is_numbered(item: Input, level: int) -> bool:
    """Whether all folders are in the candidate of this level already."""
    return level > len(_folders_above(item))


def _candidate(item: Input, level: int, ending: str) -> str:
    """A name with `level` parent folders before it; when those are used up, a number after it."""
    parents = _folders_above(item)
    name = "_".join([*parents[len(parents) - min(level, len(parents)) :], _stem(item)[0]]) + ending
    beyond = level - len(parents)
    return name if beyond <= 0 else f"{name}_{beyond + 1}"


def _owners(folder: Path) -> dict[str, str]:
    """Names in use in an output folder, by the input that has each."""
    owners = {}
    for record in sorted(folder.glob(f"*{RECORD}")):
        found = read_record(record)
        if found:
            key = key_of(str(found["input"]["path"]), found["input"].get("series", ""))
            owners[key] = record.name.removesuffix(RECORD)
    return owners
