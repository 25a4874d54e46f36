"""The process of the worker: streams, session, Appose's loop, and the end."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from deepbio.errors import MissingPackage

__all__ = ["main"]


def main() -> None:
    """Serve requests on stdin until it closes; never returns.

    Raises
    ------
    MissingPackage
        If Appose is not installed.
    """
    # On Windows, libraries that are loaded while another thread reads stdin can hang; numpy before.
    import numpy as np  # noqa: F401

    try:
        from deepbio.worker.appose_worker import DeepBioWorker
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "appose":
            raise
        raise MissingPackage("appose", "The worker", "slicer") from error
    _lead_session()
    DeepBioWorker(_take_streams()).run()


def _lead_session() -> None:
    """Leave the session of whoever started us: Ctrl-C there is not for us, and we end as one group."""
    if hasattr(os, "setsid"):
        with suppress(PermissionError):  # we lead a group already, as jobs of a shell do
            os.setsid()


def _take_streams() -> int:
    """Keep stdin and stdout for the protocol, away from libraries and child processes.

    What prints to stdout, from Python or from C, goes to stderr; what reads stdin finds it empty.

    Returns
    -------
    int
        File descriptor for answers.
    """
    requests, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    # Appose reads with input(), which takes the lines of sys.stdin.
    sys.stdin = os.fdopen(requests, encoding="utf-8", errors="replace")
    sys.stdout = sys.stderr
    return answers
