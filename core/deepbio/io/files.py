"""Files as such: whole or not at all when written, and checked before they are read."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from deepbio.errors import DeepBioError, ImageError, OutputError

__all__ = ["atomic", "check_file", "final_name", "first_bytes", "output_error", "temporary_name"]

_LONGEST = 200  # bytes of a temporary name that are the file's own; file systems take 255 in all
_PREFIX = re.compile(r"^(\.part-[0-9a-f]{8}-)+")

_SIGNATURES = {  # first bytes -> (what such a file is, the suffixes it may have)
    b"\x89PNG": ("a PNG image", (".png",)),
    b"\xff\xd8\xff": ("a JPEG image", (".jpg", ".jpeg")),
    b"II*\x00": ("a TIFF image", (".tif", ".tiff", ".btf")),
    b"MM\x00*": ("a TIFF image", (".tif", ".tiff", ".btf")),
    b"II+\x00": ("a TIFF image", (".tif", ".tiff", ".btf")),
    b"MM\x00+": ("a TIFF image", (".tif", ".tiff", ".btf")),
    b"NRRD": ("an NRRD image", (".nrrd",)),
    b"\x1f\x8b": ("a gzip file", (".nii.gz",)),
    b"\x89HDF": ("an HDF5 file", ()),
    b"PK\x03\x04": ("a zip archive", ()),
    b"%PDF": ("a PDF document", ()),
    b"GIF8": ("a GIF image", ()),
    b"BM": ("a BMP image", ()),
}


def temporary_name(path: Path) -> Path:
    """A name in the same folder for `path` while it is written: hidden, and with the same suffix."""
    name = path.name
    while len(os.fsencode(name)) > _LONGEST:
        name = name[1:]
    return path.with_name(f".part-{secrets.token_hex(4)}-{name}")


def final_name(path: Path) -> str:
    """The name that a temporary file will have at the end.

    Examples
    --------
    >>> final_name(temporary_name(Path("out/scan.mhd")))
    'scan.mhd'
    """
    return _PREFIX.sub("", path.name)


@contextmanager
def atomic(path: str | Path, *, overwrite: bool = True, is_folder: bool = False) -> Iterator[Path]:
    """Write a file or folder under a temporary name that becomes `path` only when all went well.

    The temporary name is in the same folder and ends in the same suffix. After any failure,
    Ctrl-C included, it is removed, and what was at `path` before is still there.

    Parameters
    ----------
    path : str or Path
        The final name; its folder must exist.
    overwrite : bool
        Whether an existing file is replaced.
    is_folder : bool
        Whether a folder will be written; one that is there may then be replaced.

    Yields
    ------
    Path
        Where to write.

    Raises
    ------
    OutputError
        If it exists and may not be replaced, or the system refuses to write.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic(Path(folder, "result.txt")) as temporary:
    ...         _ = temporary.write_text("done")
    ...     [file.name for file in Path(folder).iterdir()]
    ['result.txt']
    """
    path = Path(path)
    _check_target(path, overwrite, is_folder)
    temporary = temporary_name(path)
    try:
        yield temporary
        _publish(temporary, path)
    except DeepBioError:
        raise
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        _remove(temporary)


def output_error(path: Path, error: OSError) -> OutputError:
    """Say in our words why the system refused to write `path`."""
    folder = path.parent
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(
            f"'{path}' cannot be written: no space is left in '{folder}'.",
            "Free some space or write elsewhere.",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return OutputError(
            f"'{path}' cannot be written: there is no right to write in '{folder}'.", "Choose another folder."
        )
    return OutputError(f"'{path}' cannot be written: {error.strerror or error}.")


def _check_target(path: Path, overwrite: bool, is_folder: bool) -> None:
    if not path.parent.is_dir():
        found = "is a file" if path.parent.exists() else "does not exist"
        raise OutputError(
            f"'{path}' cannot be written: the folder '{path.parent}' {found}.", "Make the folder first."
        )
    if path.exists() and not overwrite:
        raise OutputError(f"'{path}' exists already.", "Choose another name, or allow to overwrite it.")
    if path.is_dir() and not (is_folder or ".zarr" in path.name.lower()):
        raise OutputError(f"'{path}' cannot be written: it is a folder.", "Choose a file name.")


def _publish(temporary: Path, path: Path) -> None:
    """Rename; a folder cannot replace a folder in one step, so the old one steps aside first."""
    if not (temporary.is_dir() and path.exists()):
        os.replace(temporary, path)  # noqa: PTH105 - the one call that tests make fail
        return
    aside = temporary_name(path)
    path.rename(aside)
    try:
        temporary.rename(path)
    except BaseException:
        aside.rename(path)
        raise
    _remove(aside)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(
            OSError
        ):  # it was renamed, or never made; a failure to tidy must not hide the first one
            path.unlink()


def check_file(path: Path, *, is_folder: bool = False) -> None:
    """Check that there is something to read.

    Raises
    ------
    ImageError
        If the file is missing, empty, not readable, or a folder where a file is expected.
    """
    if not path.exists():
        raise ImageError(f"The file '{path}' does not exist.", _missing_hint(path))
    if path.is_dir() != is_folder:
        found, expected = ("a folder", "a file") if path.is_dir() else ("a file", "a folder")
        raise ImageError(f"'{path}' is {found}; expected {expected}.", "Name one image.")
    if is_folder:
        return
    if not path.is_file():
        raise ImageError(f"'{path}' is not a regular file.")
    if not os.access(path, os.R_OK):
        raise ImageError(f"There is no right to read '{path}'.", "Ask for the permission, or copy the file.")
    if path.stat().st_size == 0:
        raise ImageError(f"The file '{path}' is empty (0 bytes).", "Copy or export it again.")


def _missing_hint(path: Path) -> str:
    if not path.parent.is_dir():
        return f"The folder '{path.parent}' does not exist either."
    twins = [file.name for file in path.parent.iterdir() if file.name.lower() == path.name.lower()]
    twins = twins or [file.name for file in path.parent.iterdir() if file.stem == path.stem]
    return f"There is '{sorted(twins)[0]}'." if twins else "Check the spelling."


def first_bytes(path: Path) -> str:
    """Say in words what a file that is not what its suffix says begins with.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "a.tif")
    ...     _ = file.write_text("Hello, world")
    ...     first_bytes(file)
    "it begins with the text 'Hello, world'"
    """
    with path.open("rb") as file:
        head = file.read(24)
    for signature, (kind, suffixes) in _SIGNATURES.items():
        if head.startswith(signature):
            advice = f"; rename it to *{suffixes[0]}" if suffixes else ""
            return f"it begins like {kind}{advice}"
    if all(32 <= byte < 127 or byte in b"\r\n\t" for byte in head):
        return f"it begins with the text {head.decode('ascii')!r}"
    return f"it begins with the bytes {head[:8].hex(' ')}"
