"""How a result came about, as it is told beside it."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from deepbio.engine.runtime import describe_runtime
from deepbio.options import RunOptions

__all__ = ["run_record"]


def run_record(
    model: Mapping[str, Any], found: Mapping[str, Any], options: RunOptions, seconds: float
) -> dict[str, Any]:
    """The record of a run; plain values only.

    Parameters
    ----------
    model : mapping
        Which model and task it was.
    found : mapping
        What the task tells; under ``runtime`` what computed.
    options : RunOptions
        Of which those are told that are not the default.
    seconds : float
        Of the whole run.
    """
    from deepbio import __version__

    record = dict(found)
    runtime = record.pop("runtime", None)
    defaults = asdict(RunOptions())
    chosen = {k: v for k, v in asdict(options).items() if v != defaults[k]}
    return {
        **model,
        **(describe_runtime(runtime) if runtime is not None else {}),
        **record,
        "seconds_total": round(seconds, 4),
        "options": {k: list(v) if isinstance(v, tuple) else v for k, v in chosen.items()},
        "deepbio": __version__,
        "python": platform.python_version(),
    }
