"""The command line: one file per command (or group of commands), wired together here.

What all commands share (errors and exit codes, progress, options made from
:class:`~deepbio.options.RunOptions`) stands in ``common.py``, ``listeners.py`` and ``options.py``.
"""

from __future__ import annotations

from importlib.metadata import entry_points

from deepbio.cli import doctor, evaluate, explain, features, index, info, models, run, train, worker
from deepbio.cli.app import app
from deepbio.cli.common import err

__all__ = ["app"]

for _command in (run, train, evaluate, features, explain, info, doctor, worker):
    _command.register(app)
app.add_typer(models.app, name="models")
app.add_typer(index.app, name="index")

# The doors (the page, the Fiji bridge) add their commands; the core knows none of them.
for _door in sorted(entry_points(group="deepbio.commands"), key=lambda entry: entry.name):
    try:
        _door.load()(app)
    except ImportError as _error:
        err.print(
            f"Warning: the command '{_door.name}' is left out, {_door.value} cannot be loaded: {_error}"
        )
