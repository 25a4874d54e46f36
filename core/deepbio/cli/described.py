"""What ``features`` and ``index`` tell of each image, as ``run`` does of each file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from deepbio.cli.common import describe, err, print_json

if TYPE_CHECKING:
    from deepbio.retrieval import Described


class FileTeller:
    """Tells what became of each image, and counts those that failed.

    Parameters
    ----------
    json : bool
        Each image is one line of JSON on stdout, with the fields that ``run`` has as far as they are known.
    alone : bool
        There is one image: its error is raised, to be told once and to end the command with its exit code.
    """

    def __init__(self, *, json: bool, alone: bool) -> None:
        self.failed = 0
        self._json = json
        self._alone = alone

    def __call__(self, told: Described) -> None:
        """Tell of an image.

        Raises
        ------
        DeepBioError
            The error of the image, where it is the only one.
        """
        self.failed += told.error is not None
        if self._json:
            fields = {"file": str(told.image), "status": "failed" if told.error else "done"}
            why = describe(told.error) if told.error else {}
            print_json({"event": "file", **fields, "seconds": told.seconds, "rows": told.rows, **why})
        if told.error is None:
            return
        if self._alone:
            raise told.error
        if not self._json:
            err.print(Text.assemble(("Failed: ", "bold red"), f"{told.image}: {told.error}"))
