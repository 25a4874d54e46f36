"""``deepbio explain``: which pixels speak for a class, and where a model is unsure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from deepbio.cli.common import JsonOption, command
from deepbio.cli.groups import InputsArgument, ModelArgument, OverwriteOption, QuietOption, SeenOptions
from deepbio.cli.options import with_options
from deepbio.cli.run import run_files
from deepbio.errors import OptionError
from deepbio.options import EXPLAIN, UNCERTAINTY

_METHODS = [word for word in EXPLAIN if word]
_WAYS = [word for word in UNCERTAINTY if word]


@dataclass(frozen=True)
class MapOptions:
    """What is mapped."""

    method: Annotated[str, typer.Option("--method", help=f"{', '.join(_METHODS)}; or none.")] = "gradcam"
    target: Annotated[
        str, typer.Option("--target", help="Class to explain; default: what the model says.")
    ] = ""
    uncertainty: Annotated[
        str, typer.Option("--uncertainty", help=f"Map how unsure the model is as well: {' or '.join(_WAYS)}.")
    ] = ""


@command
@with_options("mapped", MapOptions)
@with_options("seen", SeenOptions, without=("pool_frames",))
def explain(
    model: ModelArgument,
    inputs: InputsArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Made if missing.", show_default=False)
    ],
    *,
    mapped: MapOptions,
    seen: SeenOptions,
    overwrite: OverwriteOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Map which pixels of images speak for a class of MODEL.

    For cell.tif the results are cell-explanation.tif (numbers) and cell-heatmap.png (a picture), with
    --uncertainty also cell-uncertainty.tif and cell-table.csv.
    """
    from deepbio.inputs import channel_files, find_inputs
    from deepbio.predict import load_model
    from deepbio.saving import asked_for

    loaded = load_model(model, device=seen.device)
    how = replace(
        seen.options,
        explain="" if mapped.method == "none" else mapped.method,
        target=mapped.target,
        uncertainty=mapped.uncertainty,
    )
    kinds = [*asked_for(how, loaded.card), *(["table"] if mapped.uncertainty else [])]
    if not kinds:
        raise OptionError("Neither a method nor an uncertainty is asked for.", "Leave --method out.")
    files = find_inputs(inputs, output, channels=channel_files(loaded.card))
    run_files(loaded, files, output, how, save=kinds, overwrite=overwrite, json=json, quiet=quiet)


def register(app: typer.Typer) -> None:
    """Add the command to the root."""
    app.command("explain")(explain)
