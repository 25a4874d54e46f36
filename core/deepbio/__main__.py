"""``python -m deepbio``, and the ``deepbio`` command."""

from __future__ import annotations

import sys
from io import TextIOWrapper


def main() -> None:
    """Run the command line and exit with its code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # names of files may hold what a terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    from deepbio.cli import app

    app(prog_name="deepbio")


if __name__ == "__main__":
    main()
