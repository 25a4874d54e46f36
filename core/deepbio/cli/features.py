"""``deepbio features``: what a layer of a model says about images, as vectors and maps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepbio.cli.common import JsonOption, command, out, print_json
from deepbio.cli.described import FileTeller
from deepbio.cli.groups import InputsArgument, ModelArgument, QuietOption, SeenOptions, VectorOptions
from deepbio.cli.listeners import listening
from deepbio.cli.options import with_options
from deepbio.errors import ImageError

if TYPE_CHECKING:
    from deepbio.image import Table
    from deepbio.inputs import Input
    from deepbio.tasks import Result


@dataclass(frozen=True)
class PictureOptions:
    """What is written besides the vectors."""

    maps: Annotated[
        bool, typer.Option("--maps", help="Write the feature maps beside FILE, as NAME-maps.tif.")
    ] = False
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="PNG", help="Draw all vectors in a plane.")
    ] = None
    projection: Annotated[str, typer.Option("--projection", help="Of the plot: pca or umap.")] = "pca"

    def made(self, output: Path, names: Iterable[str]) -> set[Path]:
        """The images that are written besides the vectors in `output`."""
        maps = [_maps_file(output, name) for name in names] if self.maps else []
        return {path.resolve() for path in (*maps, *([self.plot] if self.plot is not None else []))}


@command
@with_options("vectors", VectorOptions)
@with_options("pictures", PictureOptions)
@with_options("seen", SeenOptions)
def features(
    model: ModelArgument,
    inputs: InputsArgument,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help=".csv, .parquet or .npz.", show_default=False),
    ],
    *,
    vectors: VectorOptions,
    pictures: PictureOptions,
    seen: SeenOptions,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Describe images, or the objects in them, by what a layer of MODEL gives.

    A classifier, a segmentation network, an autoencoder and a model of movies all do. FILE has a row for
    each image (frame, slice, object). Points of the plot are coloured by the folder that their image lies in.
    """
    from deepbio.extraction.files import check_features_file, write_features
    from deepbio.inputs import channel_files, find_inputs
    from deepbio.library import find_model
    from deepbio.naming import plan_names
    from deepbio.predict import load_model
    from deepbio.retrieval import describe_images

    check_features_file(output)
    files = find_inputs(inputs, channels=channel_files(find_model(model)))
    names = plan_names(files, output.parent) if pictures.maps else {}
    files = _without(files, pictures.made(output, names.values()))
    loaded = load_model(model, device=seen.device)
    tell = FileTeller(json=json, alone=len(files) == 1)

    def keep(one: Input, result: Result) -> None:
        from deepbio.io import write

        assert result.maps is not None, "maps were asked for"  # noqa: S101
        write(_maps_file(output, names[one]), result.maps)

    with listening(json=json, quiet=quiet) as listener:
        table = describe_images(
            loaded,
            files,
            vectors.asked(seen.options),
            keep=keep if pictures.maps else None,
            on_file=tell,
            on_progress=listener,
        )
        write_features(output, table)
        if pictures.plot is not None:
            title = f"{loaded.card.name}, {table['layer'][0]}"
            draw_plot(table, pictures.plot, pictures.projection, title=title)
    layer = str(table["layer"][0])
    if json:
        facts = {"rows": len(table), "layer": layer, "file": str(output), "failed": tell.failed}
        print_json({"event": "features", **facts})
    elif not quiet:
        out.print(f"{len(table)} vectors of the layer {layer} are in {output}")
    if tell.failed:
        raise typer.Exit(1)


def _without(files: Iterable[Input], made: set[Path]) -> tuple[Input, ...]:
    """The inputs that no earlier run of this command has made."""
    others = tuple(one for one in files if one.path.resolve() not in made)
    if not others:
        raise ImageError("There is no input.", "Name images, folders or patterns.")
    return others


def _maps_file(output: Path, name: str) -> Path:
    """Where the maps of an image go."""
    return output.parent / f"{name}-maps.tif"


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
