"""Which files a batch takes, and what their outputs are called."""

from __future__ import annotations

import glob
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deepbio.errors import ImageError
from deepbio.io import image_suffixes

__all__ = ["RECORD", "SAVES", "find_inputs", "plan_names", "read_record", "split_suffix"]

SAVES = ("labels", "table", "overlay", "image", "scores")
RECORD = ".deepbio.json"


def find_inputs(inputs: Sequence[str | Path], output: Path | None = None) -> tuple[Path, ...]:
    """Expand folders and patterns into image files, each once, in order.

    What an earlier run wrote is left out of folders and patterns; in the folder `output`, where it
    would be written again, also when it is named (as by a pattern that the shell expanded).

    Raises
    ------
    ImageError
        If a pattern matches nothing or a folder has no image. A file that does not exist is kept:
        reading it will say so.
    """
    found: dict[Path, Path] = {}
    for item in inputs:
        path = Path(item)
        if path.is_dir() and not _is_image(path):
            files = _images_in(path)
        elif path.exists() or not glob.has_magic(str(item)):
            files = [path]
        else:
            matches = sorted(glob.glob(str(item), recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
            files = [path for path in map(Path, matches) if _is_image(path) and not _is_result(path)]
            if not files:
                raise ImageError(
                    f"No image matches '{item}'.", f"Known suffixes: {', '.join(image_suffixes())}."
                )
        for file in files:
            found.setdefault(file.resolve(), file)
    if output is not None:
        folder = output.resolve()
        found = {key: file for key, file in found.items() if key.parent != folder or not _is_result(key)}
    if not found:
        raise ImageError("There is no input.", "Name images, folders or patterns.")
    return tuple(found.values())


def plan_names(files: Sequence[Path], folder: Path) -> dict[Path, str]:
    """Give each input a name for its outputs: its own, with its folder's before it where two agree.

    Names that an earlier run gave in `folder` are kept, so a batch can be stopped, grown and resumed.

    Examples
    --------
    >>> plan_names([Path("a/cell.tif"), Path("b/cell.tif"), Path("b/other.nii.gz")], Path("missing"))
    {...Path('a/cell.tif'): 'a_cell', ...Path('b/cell.tif'): 'b_cell', ...Path('b/other.nii.gz'): 'other'}
    """
    owners = _owners(folder)
    names = {file: owners[str(file.resolve())] for file in files if str(file.resolve()) in owners}
    taken = {name.casefold() for name in owners.values()}
    depth = dict.fromkeys((file for file in files if file not in names), 0)
    while depth:
        candidates = {file: _candidate(file, level) for file, level in depth.items()}
        counts: dict[str, int] = {}
        for name in candidates.values():
            counts[name.casefold()] = counts.get(name.casefold(), 0) + 1
        clashing = {
            f for f, name in candidates.items() if counts[name.casefold()] > 1 or name.casefold() in taken
        }
        names.update({file: name for file, name in candidates.items() if file not in clashing})
        taken |= {name.casefold() for file, name in candidates.items() if file not in clashing}
        depth = {file: depth[file] + 1 for file in clashing}
    return {file: names[file] for file in files}


def split_suffix(file: Path) -> tuple[str, str]:
    """Split a file name into its stem and its whole image suffix.

    Examples
    --------
    >>> split_suffix(Path("scans/knee.nii.gz"))
    ('knee', '.nii.gz')
    """
    known = [suffix for suffix in image_suffixes() if file.name.lower().endswith(suffix)]
    suffix = max(known, key=len, default=file.suffix)
    return file.name[: len(file.name) - len(suffix)] or file.name, suffix.lower()


def _candidate(file: Path, level: int) -> str:
    """A name with `level` parent folders before it; when those are used up, suffix and number after it."""
    stem, suffix = split_suffix(file)
    parents = [part for part in file.resolve().parent.parts if part != file.anchor]
    parents = [part for part in parents if part.strip("/\\:")]
    name = "_".join([*parents[len(parents) - min(level, len(parents)) :], stem])
    beyond = level - len(parents)
    if beyond <= 0:
        return name
    return f"{name}{suffix.replace('.', '_')}" + (f"_{beyond}" if beyond > 1 else "")


def _owners(folder: Path) -> dict[str, str]:
    """Names in use in an output folder, by the input that has each."""
    owners = {}
    for record in sorted(folder.glob(f"*{RECORD}")):
        found = read_record(record)
        if found:
            owners[str(found["input"]["path"])] = record.name.removesuffix(RECORD)
    return owners


def _images_in(folder: Path) -> list[Path]:
    files = [file for file in sorted(folder.iterdir()) if _is_image(file) and not _is_result(file)]
    if not files:
        raise ImageError(
            f"The folder '{folder}' has no image.", f"Known suffixes: {', '.join(image_suffixes())}."
        )
    return files


def _is_result(file: Path) -> bool:
    """Whether a file is called like a result and has a record beside it."""
    name, _, kind = split_suffix(file)[0].rpartition("-")
    return kind in SAVES and file.with_name(name + RECORD).exists()


def _is_image(path: Path) -> bool:
    return not path.name.startswith(".") and path.name.lower().endswith(image_suffixes())


def read_record(path: Path) -> dict[str, Any] | None:
    """Read a record; None where there is none or it is not ours."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if {"input", "seconds", "objects"} <= set(found) and "path" in found["input"] else None
    except (OSError, ValueError, TypeError):
        return None
