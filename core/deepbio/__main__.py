"""``python -m deepbio``, and the ``deepbio`` command."""

from __future__ import annotations


def main() -> None:
    """Run the command line and exit with its code."""
    from deepbio.cli import app

    app(prog_name="deepbio")


if __name__ == "__main__":
    main()
