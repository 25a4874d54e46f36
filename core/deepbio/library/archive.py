"""Bringing the files of a model package into a folder of ours, from a folder or a zip.

A package comes from anywhere: names that leave the folder, links, devices, encrypted members and
archives that grow beyond all measure are refused, and no program or permission bit is kept.
"""

from __future__ import annotations

import shutil
import stat
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from deepbio.errors import CardError
from deepbio.library.card import CARD_NAMES
from deepbio.library.fields import inside

__all__ = ["MAX_BYTES", "MAX_FILES", "copy_folder", "unpack", "unpack_some"]

MAX_BYTES = 8 * 1024**3  # of one package, unpacked: five nnU-Net folds have 1.2 GB
MAX_FILES = 10_000
_CHUNK = 1024**2


def unpack(archive: Path, target: Path) -> None:
    """Unpack the zip of a model package.

    Parameters
    ----------
    archive : Path
        The zip; the card may lie at its top or in one folder.
    target : Path
        An existing, empty folder.

    Raises
    ------
    CardError
        If the file is not a sound zip, holds no card, or a member is not a plain file inside.
    """
    with _opened(archive) as (file, members):
        _extract_all(file, members, target, _prefix(archive, members))


def unpack_some(archive: Path, target: Path, wanted: Callable[[str], bool]) -> None:
    """Unpack some members of a zip that holds no card, under the same rules as :func:`unpack`.

    Parameters
    ----------
    archive : Path
        The zip.
    target : Path
        An empty folder; made where it is missing.
    wanted : callable
        Whether the member of a name is unpacked; the others count towards the limits, too.

    Raises
    ------
    CardError
        If the file is not a sound zip, or a member is not a plain file inside.
    """
    target.mkdir(parents=True, exist_ok=True)
    with _opened(archive) as (file, members):
        _extract_all(file, [member for member in members if wanted(member.filename)], target)


@contextmanager
def _opened(archive: Path) -> Iterator[tuple[zipfile.ZipFile, list[zipfile.ZipInfo]]]:
    """A zip and its checked members; whatever is wrong with it is told in one way."""
    try:
        with zipfile.ZipFile(archive) as file:
            # not is_dir(), which fails in Python 3.11 for a member without a name
            members = [member for member in file.infolist() if not member.filename.endswith("/")]
            _check_members(archive, members)
            yield file, members
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, EOFError, RuntimeError) as error:
        raise CardError(
            f"'{archive}' is not a sound zip file: {error}", "Get the model package again."
        ) from error


def _extract_all(
    file: zipfile.ZipFile, members: list[zipfile.ZipInfo], target: Path, prefix: str = ""
) -> None:
    """Write the members below a folder of the zip."""
    left = MAX_BYTES
    for member in members:
        if member.filename.startswith(prefix):
            left -= _extract(file, member, inside(target, member.filename[len(prefix) :]), left)


def _check_members(archive: Path, members: list[zipfile.ZipInfo]) -> None:
    if len(members) > MAX_FILES:
        raise CardError(f"'{archive}' holds {len(members)} files; expected at most {MAX_FILES}.")
    for member in members:
        mode = member.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            raise CardError(
                f"'{archive}' holds {member.filename!r}, which is a link or a device.", "Pack plain files."
            )
        if member.flag_bits & 0x1:
            raise CardError(f"'{archive}' is encrypted.", "Unpack it and add the folder.")
    total = sum(member.file_size for member in members)
    if total > MAX_BYTES:
        raise CardError(f"'{archive}' unpacks to {total} bytes; expected at most {MAX_BYTES}.")


def _prefix(archive: Path, members: list[zipfile.ZipInfo]) -> str:
    """Folder of the card inside the zip: ``""`` or ``"name/"``."""
    cards = [
        m.filename
        for m in members
        if m.filename.rpartition("/")[2] in CARD_NAMES and m.filename.count("/") < 2
    ]
    if not cards:
        raise CardError(f"'{archive}' is not a model package: it holds no {CARD_NAMES[0]}.")
    top = min(cards, key=lambda name: name.count("/"))
    return top[: top.rfind("/") + 1]


def _extract(file: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, left: int) -> int:
    """Write one member, counting what really comes out; return its size."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(exist_ok=False)
    except (FileExistsError, NotADirectoryError) as error:
        raise CardError(f"'{file.filename}' holds {member.filename!r} twice.") from error
    written = 0
    with file.open(member) as source, path.open("wb") as target:
        while chunk := source.read(_CHUNK):
            written += len(chunk)
            if written > left:
                raise CardError(f"'{file.filename}' unpacks to more than {MAX_BYTES} bytes.")
            target.write(chunk)
    return written


def copy_folder(source: Path, target: Path) -> None:
    """Copy the plain files of a model package.

    Hidden files are left out.

    Raises
    ------
    CardError
        If the folder holds a link or is too large.
    """
    left, count = MAX_BYTES, 0
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source)
        if any(part.startswith(".") for part in name.parts):
            continue
        if path.is_symlink():
            raise CardError(
                f"The model package '{source}' holds the link '{name}'.", "Put the file itself there."
            )
        if not path.is_file():
            continue
        count, left = count + 1, left - path.stat().st_size
        if count > MAX_FILES or left < 0:
            raise CardError(
                f"The folder '{source}' is too large for a model package; expected at most {MAX_FILES} files "
                f"and {MAX_BYTES} bytes."
            )
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target / name)
