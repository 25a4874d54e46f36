"""``deepbio index``: find images that are like another one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deepbio.cli.common import JsonOption, command, out, print_json
from deepbio.cli.described import FileTeller
from deepbio.cli.groups import InputsArgument, ObjectsOption, QuietOption, SeenOptions, VectorOptions
from deepbio.cli.listeners import listening
from deepbio.cli.options import with_options
from deepbio.errors import OptionError, UnknownModel
from deepbio.options import RunOptions

if TYPE_CHECKING:
    from deepbio.events import Listener
    from deepbio.image import Table
    from deepbio.retrieval import Index

app = typer.Typer(help="Find similar images: build an index of features, and query it.", no_args_is_help=True)

ModelOption = Annotated[
    str | None, typer.Option("--model", "-m", help="Model whose features are taken, where images are given.")
]


@dataclass(frozen=True)
class FoundOptions:
    """How much is found, and where it is shown."""

    k: Annotated[int, typer.Option("-k", help="How many similar ones.")] = 10
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="CSV", help="Write the list as a table.")
    ] = None
    montage: Annotated[
        Path | None, typer.Option("--montage", metavar="PNG", help="Draw the query and what was found.")
    ] = None


@app.command("build")
@command
@with_options("vectors", VectorOptions)
@with_options("seen", SeenOptions, without=("tile",))
def build(
    inputs: InputsArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="INDEX", help="File to make, .npz.", show_default=False)
    ],
    *,
    model: ModelOption = None,
    vectors: VectorOptions,
    backend: Annotated[
        str,
        typer.Option("--backend", help="exact (numpy), faiss (a graph), or auto: exact up to 100,000 rows."),
    ] = "auto",
    seen: SeenOptions,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Build an index of images (with --model), or of a file that 'deepbio features' made."""
    from deepbio.extraction.files import SUFFIXES, read_features
    from deepbio.retrieval import build_index

    if output.suffix.lower() != ".npz":
        raise OptionError(f"An index cannot be kept in '{output}'.", "Use a name that ends in .npz.")
    left_out = 0
    made = len(inputs) == 1 and Path(inputs[0]).suffix.lower() in SUFFIXES
    with listening(json=json, quiet=quiet) as listener:
        if made:
            table = read_features(inputs[0])
        else:
            table, left_out = _described(model, inputs, vectors, seen.options, listener, json=json)
        index = build_index(table, backend)
        index.save(output)
    if json:
        told = {"rows": len(index), "file": str(output), "failed": left_out}
        print_json({"event": "index", **told})
    elif not quiet:
        out.print(f"{len(index)} vectors are in {output}")
    if left_out:
        raise typer.Exit(1)


def _described(
    model: str | None,
    inputs: list[str],
    vectors: VectorOptions,
    options: RunOptions,
    listener: Listener,
    *,
    json: bool,
) -> tuple[Table, int]:
    """Features of images, and how many could not be described; each is told."""
    from deepbio.inputs import channel_files, find_inputs
    from deepbio.predict import load_model
    from deepbio.retrieval import describe_images

    if model is None:
        raise OptionError("An index of images needs a model.", "Name one with --model, or give features.")

    loaded = load_model(model, device=options.device)
    files = find_inputs(inputs, channels=channel_files(loaded.card))
    tell = FileTeller(json=json, alone=len(files) == 1)
    table = describe_images(loaded, files, vectors.asked(options), on_file=tell, on_progress=listener)
    return table, tell.failed


@app.command("query")
@command
@with_options("shown", FoundOptions)
@with_options("seen", SeenOptions, without=("tile",))
def query(
    index: Annotated[
        Path, typer.Argument(metavar="INDEX", help="Made by 'index build'.", show_default=False)
    ],
    image: Annotated[
        str, typer.Argument(metavar="IMAGE", help="An image, or a file of features.", show_default=False)
    ],
    *,
    shown: FoundOptions,
    model: ModelOption = None,
    objects: ObjectsOption = None,
    seen: SeenOptions,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """List what in INDEX is most similar to IMAGE (to each of its objects, frames or slices)."""
    from deepbio.extraction.files import SUFFIXES, read_features
    from deepbio.io import write
    from deepbio.retrieval import load_index

    found = load_index(index)
    with listening(json=json, quiet=quiet) as listener:
        if Path(image).suffix.lower() in SUFFIXES:
            table = read_features(image)
        else:
            about = found.about
            pool = ",".join(dict.fromkeys(name.rpartition("_")[0] for name in about["features"]))
            vectors = VectorOptions(str(about.get("layer", "auto")), pool, objects)
            by = _model_of(found, model)
            table, _ = _described(by, [image], vectors, seen.options, listener, json=json)
        rows, similarity = found.query(table, shown.k)
        listed = _listed(found, table, rows, similarity)
        if shown.output is not None:
            write(shown.output, listed)
        if shown.montage is not None:
            _draw(found, table, rows, similarity, shown.montage)
    if json:
        print_json(
            {
                "event": "neighbours",
                "rows": [dict(zip(listed.columns, row, strict=True)) for row in listed.rows()],
            }
        )
    elif not quiet:
        for row in listed.rows():
            out.print("  ".join(f"{v:.3f}" if isinstance(v, float) else str(v) for v in row))


def _model_of(index: Index, named: str | None) -> str:
    """The model that made an index."""
    from deepbio.library import find_model

    name = named or str(index.about.get("model", ""))
    try:
        find_model(name)
    except UnknownModel as error:
        raise UnknownModel(
            f"The index was made with the model {name!r}, which is not in your library.",
            "Name its folder with --model.",
        ) from error
    return name


def _listed(index: Index, table: Table, rows: Any, similarity: Any) -> Table:
    """One row for each neighbour of each query."""
    import numpy as np

    from deepbio.image import Table

    count, k = rows.shape
    placed = [name for name in ("file", "frame", "slice", "label") if name in table.columns]
    queries = {f"query_{name}": np.repeat(table[name], k) for name in placed} if count > 1 else {}
    ours = {name: values[rows.ravel()] for name, values in index.rows.columns.items()}
    rank = np.tile(np.arange(1, k + 1), count)
    return Table({**queries, "rank": rank, "similarity": similarity.ravel().astype(float).round(4), **ours})


def _draw(index: Index, table: Table, rows: Any, similarity: Any, path: Path) -> None:
    """A montage of the first query and its neighbours."""
    from deepbio.io import atomic, read
    from deepbio.render.montage import Tile, montage

    def tile(of: Table, row: int, note: str, *, marked: bool = False) -> Tile:
        file = str(of["file"][row])
        at = (float(of["centre_y"][row]), float(of["centre_x"][row])) if "centre_y" in of.columns else None
        label = f" {of['label'][row]}" if "label" in of.columns else ""
        return Tile(read(file, lazy=True), f"{Path(file).name}{label}", note, at, marked)

    if "file" not in index.rows.columns or "file" not in table.columns:
        raise OptionError("The features do not say which files they are of: there is nothing to draw.")
    tiles = [tile(table, 0, f"query, {Path(str(table['file'][0])).parent.name}", marked=True)]
    for row, value in zip(rows[0], similarity[0], strict=True):
        folder = Path(str(index.rows["file"][row])).parent.name
        tiles.append(tile(index.rows, int(row), f"{value:.3f}  {folder}"))
    with atomic(path) as temporary:
        montage(tiles).save(temporary, format="PNG")
