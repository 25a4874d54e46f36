"""``deepbio worker``: the process behind 3D Slicer and other programs."""

from __future__ import annotations

import typer

from deepbio.cli.common import command


@command
def worker() -> None:
    """Serve another program (3D Slicer, Fiji): requests on stdin, answers on stdout.

    It speaks Appose's protocol and ends when stdin closes. You need not start it yourself.
    """
    from deepbio.worker.process import main

    main()


def register(app: typer.Typer) -> None:
    """Add the command to the root."""
    app.command("worker")(worker)
