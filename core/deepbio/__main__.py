"""``python -m deepbio``, and the ``deepbio`` command."""

from __future__ import annotations

import json
import sys
from io import TextIOWrapper


def main() -> None:
    """Run the command line and exit with its code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # names of files may hold what a terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    try:
        from deepbio.cli import app

        app(prog_name="deepbio")
    except KeyboardInterrupt:  # before a command has begun, which would tell it itself
        _stopped()


def _stopped() -> None:
    """Tell of Ctrl-C in the words of the commands, without loading what the user did not wait for."""
    message = "Stopped; nothing half-written is left behind."
    sys.stderr.write(f"Error: {message}\n")
    if "--json" in sys.argv:
        told = {"event": "error", "code": 130, "error": "Cancelled", "message": message, "hint": ""}
        sys.stdout.write(json.dumps(told) + "\n")
    raise SystemExit(130)


if __name__ == "__main__":
    main()
