"""The root of the command line."""

from __future__ import annotations

from typing import Annotated

import typer

import deepbio
from deepbio.cli.common import EXIT_CODES

__all__ = ["app"]

app = typer.Typer(
    name="deepbio",
    help="Deep learning for biomedical images: one model and one answer, whoever asks.",
    epilog=f"Exit codes: {EXIT_CODES}",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,  # cli.common reports errors
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"deepbio {deepbio.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None: ...
