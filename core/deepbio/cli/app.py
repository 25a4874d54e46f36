"""The root of the command line."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import deepbio
from deepbio.cli.common import EXIT_CODES, print_json

__all__ = ["app"]

_UsageError: Any = typer.BadParameter.__base__  # of click, or of typer's own copy of it


class _Root(TyperGroup):
    """Tells machines of a wrong command line too, which no command of ours gets to see."""

    def invoke(self, ctx: Any) -> Any:
        words = [*getattr(ctx, "_protected_args", ()), *ctx.args]  # before they are consumed
        try:
            return super().invoke(ctx)
        except _UsageError as error:
            if "--json" in words:
                told = {"error": "OptionError", "message": error.format_message(), "hint": "See --help."}
                print_json({"event": "error", "code": error.exit_code, **told})
            raise


app = typer.Typer(
    name="deepbio",
    cls=_Root,
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
