"""Whether TorchScript of others may be run: it can write and read files, which no network needs.

Its source is looked through before it is loaded, for some of it can run while it is loaded.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from deepbio.errors import WeightsError

__all__ = ["check_script"]

# torch's operators aten::save and aten::from_file, by whatever name a source can call them
_FILES = re.compile(r"\b(save|from_file)\b")
_MOST = 64 * 1024**2  # bytes of source


def check_script(path: Path) -> None:
    """Refuse TorchScript that could write or read files.

    Parameters
    ----------
    path : Path
        What ``torch.jit.save`` wrote.

    Raises
    ------
    WeightsError
        If it calls for files, has more source than any network, or is none.
    """
    left = _MOST
    try:
        with zipfile.ZipFile(path) as file:
            for member in file.infolist():
                # constants and weights lie elsewhere, and are no source
                if not member.filename.endswith(".py"):
                    continue
                left -= member.file_size
                if left < 0:
                    raise WeightsError(
                        f"'{path}' has more than {_MOST} bytes of source; no network needs as many."
                    )
                found = _FILES.search(file.read(member).decode("utf-8", "replace"))
                if found:
                    raise WeightsError(
                        f"'{path}' is TorchScript that calls {found[1]!r}, which writes or reads files; it is not run.",
                        "Do not trust this model.",
                    )
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, EOFError) as error:
        if isinstance(error, WeightsError):
            raise
        raise WeightsError(f"'{path}' cannot be read as TorchScript: {error}") from error
