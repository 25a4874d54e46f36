"""``deepbio models``: the library of models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from deepbio.cli.common import JsonOption, command, err, out, print_json

app = typer.Typer(help="The model library: list, show, check, add, remove.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A model's name.", show_default=False)]


@app.callback(invoke_without_command=True)
def _default(context: typer.Context) -> None:
    """List, show, check, add and remove models; alone it lists them."""
    if context.invoked_subcommand is None:
        list_all()


@app.command("list")
@command
def list_all(
    task: Annotated[str | None, typer.Option("--task", help="Only models for this task.")] = None,
    modality: Annotated[str | None, typer.Option("--modality", help="Only for this kind of image.")] = None,
    json: JsonOption = False,
) -> None:
    """List the models that are here."""
    from deepbio.library import scan_models

    cards, problems = scan_models()
    cards = tuple(c for c in cards if task in (None, c.task) and (modality is None or modality in c.modality))
    rows = [card.summary() for card in cards]
    if json:
        print_json(
            {"models": rows, "problems": [{"name": p.name, "message": str(p.error)} for p in problems]}
        )
        return
    if not rows:
        err.print("There is no such model here.")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("name", "task", "images", "input", "score", "licence"):
        table.add_column(heading)
    for row in rows:
        shown = (
            row["name"],
            row["task"],
            ", ".join(row["modality"]),
            row["input"],
            _score(row["score"]),
            row["license"],
        )
        table.add_row(*(Text(str(cell)) for cell in shown))
    out.print(table, soft_wrap=False)
    for problem in problems:
        err.print(Text.assemble(("Warning: ", "bold yellow"), f"{problem.name} is left out. {problem.error}"))


@app.command("show")
@command
def show(
    name: NameArgument,
    layers: Annotated[
        bool, typer.Option("--layers", help="List the layers that 'deepbio features' can take.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Show all that a model's card says: scores, data, licence, inputs, weights."""
    from deepbio.library import find_model

    if layers:
        _show_layers(name, json=json)
        return

    facts = find_model(name).describe()
    if json:
        print_json(facts)
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    for key, value in facts.items():
        if value not in ("", [], {}, None):
            table.add_row(Text(key.replace("_", " "), style="bold"), Text(_lines(key, value)))
    out.print(table, soft_wrap=False)


def _show_layers(name: str, *, json: bool) -> None:
    """List the layers of a network: name, kind, features, pixels per cell."""
    from deepbio.extraction import list_layers

    found = list_layers(name)
    if json:
        print_json({"layers": [asdict(layer) for layer in found]})
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("layer", "kind", "features", "pixels per cell"):
        table.add_column(heading)
    for layer in found:
        if layer.name.removeprefix("members.").count(".") > 1:
            continue  # parts of parts: they can be named, too
        stride = " x ".join(map(str, layer.stride)) or "the whole image"
        table.add_row(Text(layer.name), Text(layer.kind), str(layer.features), stride)
    out.print(table, soft_wrap=False)


@app.command("check")
@command
def check(
    name: NameArgument,
    standard: Annotated[
        bool,
        typer.Option("--format", help="Also validate against the BioImage.IO specification (extra 'zoo')."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Run a model on its own test input and compare with the output that its package expects.

    Exits with 6 when they differ.
    """
    from deepbio.engine.tensors import run_tensors
    from deepbio.library import find_model
    from deepbio.library.check import check_package, validate_package

    card = find_model(name)
    report = check_package(card, run_tensors)
    complaints = tuple(validate_package(card.root)) if standard else ()
    passed = report.passed and not complaints
    if json:
        print_json({"passed": passed, "format": list(complaints), **asdict(report)})
    else:
        for output in report.outputs:
            verdict = output.message or "as expected"
            out.print(
                f"{output.id}: {verdict} (largest difference {output.difference:.2g}, {report.seconds:.1f} s)"
            )
        for message in (*report.messages, *complaints):
            out.print(message)
        out.print(f"{card.name}: {'passed' if passed else 'FAILED'}")
    if not passed:
        raise typer.Exit(6)


@app.command("add")
@command
def add(
    source: Annotated[
        str,  # a Path would make one slash of the two of an address
        typer.Argument(
            metavar="SOURCE",
            help="Folder or zip in the BioImage.IO format, trained by nnU-Net v2 or StarDist, a bundle of MONAI, or "
            "the file of a network of Cellpose.",
            show_default=False,
        ),
    ],
    name: Annotated[
        str | None, typer.Option("--name", help="Name to give it; default: from its card.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a model of yours that has this name.")
    ] = False,
    fold: Annotated[
        list[str] | None,
        typer.Option(
            "--fold",
            help="nnU-Net: a fold whose network is taken; may be repeated. Default: all that are there.",
        ),
    ] = None,
    checkpoint: Annotated[str, typer.Option("--checkpoint", help="nnU-Net: 'final' or 'best'.")] = "final",
    orientation: Annotated[
        str,
        typer.Option(
            "--orientation",
            help="nnU-Net: where z, y and x of its training images point, such as SAR; images are brought to it. "
            "Default: as they are stored.",
        ),
    ] = "",
    region: Annotated[
        list[str] | None,
        typer.Option(
            "--region",
            help="MONAI bundle with binary channels: a channel and its label, such as 1=2; may be repeated, those on "
            "top last.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Add a model to your library: a package, or what nnU-Net v2, Cellpose, StarDist or MONAI left."""
    from deepbio.importing import ImportChoice, add_model

    choice = ImportChoice(tuple(fold or ()), checkpoint, orientation.upper(), tuple(region or ()))
    card = add_model(source, name=name, replace=replace, choice=choice)
    if json:
        print_json(card.summary())
    else:
        out.print(f"Added {card.name} ({card.title}) in {card.root}")
        for note in card.notes:
            err.print(Text.assemble(("Note: ", "bold"), note))


@app.command("remove")
@command
def remove(name: NameArgument, json: JsonOption = False) -> None:
    """Remove a model that you added."""
    from deepbio.library import remove_model

    remove_model(name)
    if json:
        print_json({"removed": name})
    else:
        out.print(f"Removed {name}")


def _score(row: Mapping[str, Any]) -> str:
    """One held-out score as people write it: ``AP50 0.91 (fluorescence, val)``."""
    if not row:
        return ""
    value = row.get("value")
    number = f"{value:.3f}" if isinstance(value, float) else str(value)
    about = ", ".join(str(row[key]) for key in ("subset", "split") if row.get(key))
    return f"{row.get('metric', '')} {number}" + (f" ({about})" if about else "")


def _lines(key: str, value: Any) -> str:
    """One or several lines for an entry of a card."""
    if key == "score":
        return _score(value)
    if key == "scores":
        return "\n".join(_score(row) + (f", n = {row['n']}" if "n" in row else "") for row in value)
    if key in ("inputs", "outputs"):
        return "\n".join(map(_tensor, value))
    if key == "weights":
        return "\n".join(
            f"{row['file']} ({row['bytes'] / 1e6:.1f} MB, SHA-256 {row['sha256'][:12]}...)" for row in value
        )
    if isinstance(value, Mapping):  # what is nested deeper is for machines: --json
        return ", ".join(
            f"{name} {item}" for name, item in value.items() if not isinstance(item, (Mapping, list))
        )
    if isinstance(value, (list, tuple)):
        return "\n".join(map(str, value))
    return str(value)


def _tensor(row: Mapping[str, Any]) -> str:
    """One input or output: ``red, green, blue; y 80 + n * 16, x 80 + n * 16; scale_range``."""
    parts = [
        ", ".join(row["channels"]) or row["id"],
        ", ".join(f"{axis} {size}" for axis, size in row["sizes"].items() if axis in "zyx"),
        ", ".join(step["id"] for step in row["steps"] if step["id"] != "ensure_dtype"),
    ]
    return "; ".join(part for part in parts if part)
