"""``deepbio train``: a model from images and labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deepbio.cli.common import JsonOption, command, out, print_json
from deepbio.cli.evaluate import DataArgument
from deepbio.cli.listeners import listening
from deepbio.cli.run import QuietOption


@command
def train(
    data: DataArgument,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Folder of the new model package; made if missing.", show_default=False),
    ],
    *,
    device: Annotated[str, typer.Option("--device", help="Where to compute: auto, cpu, cuda, cuda:N, mps, xpu.")] = "auto",
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train a model on images and labels, and write it as a package that 'deepbio run' takes."""
    from deepbio.training import train as train_model

    with listening(json=json, quiet=quiet) as listener:
        package = train_model(data, output, device=device, on_progress=listener)
    if json:
        print_json({"event": "model", "folder": str(package)})
    elif not quiet:
        out.print(f"The model is in {package}; use it with: deepbio run {package} IMAGE -o OUT")


def register(app: typer.Typer) -> None:
    """Add the command to the root."""
    app.command("train")(train)
