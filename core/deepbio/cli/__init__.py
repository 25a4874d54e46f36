"""The command line: one file per command (or group of commands), wired together here.

What all commands share (errors and exit codes, progress, options made from
:class:`~deepbio.options.RunOptions`) stands in ``common.py``, ``listeners.py`` and ``options.py``.
"""

from __future__ import annotations

from deepbio.cli import doctor, evaluate, info, models, run, train
from deepbio.cli.app import app

__all__ = ["app"]

for _command in (run, train, evaluate, info, doctor):
    _command.register(app)
app.add_typer(models.app, name="models")
