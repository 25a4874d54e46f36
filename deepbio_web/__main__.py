"""``python -m deepbio_web``: the same as ``deepbio view``."""

from __future__ import annotations

import typer

from deepbio_web.command import view


def main() -> None:
    """Run the command and exit with its code."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(view)
    app(prog_name="python -m deepbio_web")


if __name__ == "__main__":
    main()
