"""``deepbio run``: a model on one file or ten thousand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from deepbio.cli.common import JsonOption, command, describe, err, out, print_json
from deepbio.cli.groups import ModelArgument, OverwriteOption, QuietOption, SeriesOption
from deepbio.cli.listeners import listening, tell
from deepbio.cli.options import with_options, with_run_options
from deepbio.errors import OptionError
from deepbio.inputs import SAVES
from deepbio.options import RunOptions

if TYPE_CHECKING:
    from deepbio.batch import Row
    from deepbio.inputs import Input
    from deepbio.predict import Model


@dataclass(frozen=True)
class FileOptions:
    """Which files are read and written."""

    save: Annotated[
        str | None,
        typer.Option(
            "--save", help=f"What to write, of {','.join(SAVES)}; default: what the model's task gives."
        ),
    ] = None
    series: SeriesOption = ""
    overwrite: OverwriteOption = False

    @property
    def kinds(self) -> list[str]:
        """The words of ``--save``; none for what the model's task gives."""
        kinds = [word.strip() for word in (self.save or "").split(",") if word.strip()]
        if self.save is not None and not kinds:
            raise OptionError("Cannot save nothing.", f"Save any of {', '.join(SAVES)}.")
        return kinds


@command
@with_options("wanted", FileOptions)
@with_run_options
def run(
    model: ModelArgument,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Folder for the results; made if missing.", show_default=False),
    ],
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[INPUT]...",
            help="Images, folders of images or DICOM series, patterns; a generator may need none.",
            show_default=False,
        ),
    ] = None,
    *,
    wanted: FileOptions,
    json: JsonOption = False,
    quiet: QuietOption = False,
    options: RunOptions,
) -> None:
    """Run MODEL on images and save what it finds.

    For cell.tif the results are cell-labels.tif, cell-table.csv, ... in the output folder, beside
    cell.deepbio.json, which tells how they were made. What is done already is skipped, so a
    stopped run can be started again. summary.csv lists all files. Each series of a folder of DICOM
    files is one image. A generator runs without INPUT: --count, --classes and --seed say what it makes,
    and --save dataset writes a folder that 'deepbio train' takes.
    """
    from deepbio.inputs import channel_files, find_inputs
    from deepbio.predict import load_model

    kinds, overwrite = wanted.kinds, wanted.overwrite
    loaded = load_model(model, device=options.device)
    if not inputs:
        _make(loaded, output, options, kinds, overwrite=overwrite, json=json, quiet=quiet)
        return
    files = find_inputs(inputs, output, wanted.series, channel_files(loaded.card))
    run_files(loaded, files, output, options, save=kinds, overwrite=overwrite, json=json, quiet=quiet)


def run_files(
    loaded: Model,
    files: Sequence[Input],
    output: Path,
    options: RunOptions,
    *,
    save: Sequence[str],
    overwrite: bool,
    json: bool,
    quiet: bool,
) -> None:
    """Run a model on files, tell of each, and leave with an exit code that says how it went."""
    from deepbio.batch import run_many

    with listening(json=json, quiet=quiet) as listener:
        rows = run_many(
            loaded,
            files,
            output,
            options,
            save=save,
            overwrite=overwrite,
            on_progress=listener,
            on_file=_teller(json=json, quiet=quiet, alone=len(files) == 1),
        )
    _finish(rows, output, json=json, quiet=quiet)


def _make(
    model: Model,
    output: Path,
    options: RunOptions,
    save: Sequence[str],
    *,
    overwrite: bool,
    json: bool,
    quiet: bool,
) -> None:
    """What a generator makes without an input."""
    from deepbio.making import make_files

    with listening(json=json, quiet=quiet) as listener:
        paths = make_files(model, output, options, save=save, overwrite=overwrite, on_progress=listener)
    if json:
        print_json({"event": "made", "outputs": {kind: str(path) for kind, path in paths.items()}})
    elif not quiet:
        out.print(f"{', '.join(path.name for path in paths.values())} in {output}")


def _teller(*, json: bool, quiet: bool, alone: bool) -> Callable[[Row], None]:
    """Tell each row as the switches ask for; the error of a single file is told once, at the end."""

    def as_json(row: Row) -> None:
        fields = {"file": row.file, "status": row.status, "seconds": row.seconds, "objects": row.objects}
        fields["outputs"] = {kind: str(path) for kind, path in row.outputs.items()}
        if row.error is not None:
            fields |= describe(row.error)
        print_json({"event": "file", **fields})

    def as_line(row: Row) -> None:
        if row.status == "failed":
            if alone:
                return
            err.print(Text.assemble(("Failed: ", "bold red"), f"{row.file}: {row.message}"))
        elif not quiet:
            tell(_line(row))

    return as_json if json else as_line


def _line(row: Row) -> str:
    if row.status == "skipped":
        return f"{row.file}: done already, skipped"
    objects = "" if row.objects is None else f"{row.objects} object{'' if row.objects == 1 else 's'}, "
    names = ", ".join(path.name for path in row.outputs.values())
    return f"{row.file}: {objects}{row.seconds:.1f} s -> {names}"


def _finish(rows: Sequence[Row], output: Path, *, json: bool, quiet: bool) -> None:
    """Say how it went in all; leave with the error of a single file, or 1 when some of many failed."""
    failed = [row for row in rows if row.error is not None]
    if len(rows) == 1 and failed and failed[0].error is not None:
        raise failed[0].error
    counts = {status: sum(row.status == status for row in rows) for status in ("done", "skipped", "failed")}
    if json:
        print_json({"event": "summary", **counts, "folder": str(output)})
    elif not quiet:
        told = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
        out.print(f"{told}; results and summary.csv are in {output}")
    if failed:
        if not json:
            err.print(Text.assemble(("Error: ", "bold red"), f"{len(failed)} of {len(rows)} files failed."))
            err.print(
                Text.assemble(("Hint: ", "bold"), f"'{output / 'summary.csv'}' says why, file by file.")
            )
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add the command to the root."""
    app.command("run")(run)
