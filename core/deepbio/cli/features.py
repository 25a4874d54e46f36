"""``deepbio features``: what a layer of a model says about images, as vectors and maps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from deepbio.cli.common import JsonOption, command, err, out, print_json
from deepbio.cli.listeners import listening
from deepbio.cli.run import ModelArgument, QuietOption
from deepbio.errors import DeepBioError
from deepbio.options import RunOptions

if TYPE_CHECKING:
    from deepbio.image import Table
    from deepbio.inputs import Input
    from deepbio.retrieval.many import ObjectsOf
    from deepbio.tasks import Result

LayerOption = Annotated[
    str,
    typer.Option("--layer", help="Layer of the network ('deepbio models show NAME --layers' lists them)."),
]
PoolOption = Annotated[
    str, typer.Option("--pool", help="How maps become a vector: mean, max, std; several with commas.")
]
InputsArgument = Annotated[
    list[str],
    typer.Argument(metavar="INPUT...", help="Images, folders of images, patterns.", show_default=False),
]
ObjectsOption = Annotated[
    str | None,
    typer.Option(
        "--objects",
        metavar="LABELS|MODEL",
        help="A vector for each object: labels (a file, folder, pattern or CSV), or a model that finds them.",
    ),
]
DeviceOption = Annotated[str, typer.Option("--device", help="Where to compute.")]
ChannelOption = Annotated[str, typer.Option("--channel", help="Channel to use: its name or number.")]
SlicesOption = Annotated[bool, typer.Option("--per-slice", help="A 2D model on every slice of a stack.")]
FramesOption = Annotated[
    bool, typer.Option("--pool-frames", help="One row for all frames of a movie, not one for each.")
]
TileOption = Annotated[int | None, typer.Option("--tile", help="Largest edge of a tile, in pixels.")]


@command
def features(  # noqa: PLR0913 - one parameter for each argument and option of the command
    model: ModelArgument,
    inputs: InputsArgument,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help=".csv, .parquet or .npz.", show_default=False),
    ],
    *,
    layer: LayerOption = "auto",
    pool: PoolOption = "mean",
    objects: ObjectsOption = None,
    maps: Annotated[
        bool, typer.Option("--maps", help="Write the feature maps beside FILE, as NAME-maps.tif.")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="PNG", help="Draw all vectors in a plane.")
    ] = None,
    projection: Annotated[str, typer.Option("--projection", help="Of the plot: pca or umap.")] = "pca",
    channel: ChannelOption = "auto",
    per_slice: SlicesOption = False,
    pool_frames: FramesOption = False,
    tile: TileOption = None,
    device: DeviceOption = "auto",
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Describe images, or the objects in them, by what a layer of MODEL gives.

    A classifier, a segmentation network, an autoencoder and a model of movies all do. FILE has a row for
    each image (frame, slice, object). Points of the plot are coloured by the folder that their image lies in.
    """
    from deepbio.extraction.files import check_features_file, write_features
    from deepbio.inputs import find_inputs, plan_names
    from deepbio.predict import load_model
    from deepbio.retrieval import Asked, describe_images

    check_features_file(output)
    options = RunOptions(
        device=device, channel=channel, per_slice=per_slice, pool_frames=pool_frames, tile=tile
    )
    files = find_inputs(inputs)
    loaded = load_model(model, device=device)
    names = plan_names(files, output.parent) if maps else {}
    failed: list[Input] = []

    def keep(one: Input, result: Result) -> None:
        from deepbio.io import write

        assert result.maps is not None, "maps were asked for"  # noqa: S101
        write(output.parent / f"{names[one]}-maps.tif", result.maps)

    def tell(one: Input, error: DeepBioError) -> None:
        failed.append(one)
        err.print(Text.assemble(("Failed: ", "bold red"), f"{one}: {error}"))

    with listening(json=json, quiet=quiet) as listener:
        table = describe_images(
            loaded,
            files,
            Asked(layer, pool, objects_of(objects, device), options),
            keep=keep if maps else None,
            failed=tell if len(files) > 1 else None,
            on_progress=listener,
        )
        write_features(output, table)
        if plot is not None:
            draw_plot(table, plot, projection, title=f"{loaded.card.name}, {table['layer'][0]}")
    told = {"rows": len(table), "layer": str(table["layer"][0]), "file": str(output), "failed": len(failed)}
    if json:
        print_json({"event": "features", **told})
    elif not quiet:
        out.print(f"{told['rows']} vectors of the layer {told['layer']} are in {output}")
    if failed:
        raise typer.Exit(1)


def objects_of(words: str | None, device: str) -> ObjectsOf | None:
    """What ``--objects`` names: label images, or a model."""
    from deepbio.inputs import names_labels
    from deepbio.predict import load_model
    from deepbio.retrieval.many import ObjectsOf

    if words is None:
        return None
    return ObjectsOf(words if names_labels(words) else load_model(words, device=device))


def draw_plot(table: Table, path: Path, projection: str, *, title: str) -> None:
    """Write the scatter plot of a table of features."""
    import numpy as np

    from deepbio.extraction.extract import feature_names
    from deepbio.extraction.projection import project
    from deepbio.io import atomic
    from deepbio.render.scatter import scatter_plot

    vectors = np.stack([table[name] for name in feature_names(table)], axis=1)
    groups = [Path(file).parent.name for file in table["file"]]
    places, names = project(vectors, projection)
    picture = scatter_plot(places, names, groups if len(set(groups)) > 1 else None, title=title)
    with atomic(path) as temporary:
        picture.save(temporary, format="PNG")


def register(app: typer.Typer) -> None:
    """Add the command to the root."""
    app.command("features")(features)
