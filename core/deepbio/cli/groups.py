"""Arguments and options that several commands have, each declared once; those that go together as groups."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from deepbio.options import RunOptions

if TYPE_CHECKING:
    from deepbio.retrieval import Asked
    from deepbio.retrieval.many import ObjectsOf

ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="Name ('deepbio models' lists them) or folder of a model.", show_default=False
    ),
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
SeriesOption = Annotated[
    str, typer.Option("--series", help="One series of a DICOM folder: its UID, or #1, #2, ... of the list.")
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Compute again what is done.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but warnings and errors.")]


@dataclass(frozen=True)
class SeenOptions:
    """What of an image the model is shown, and where it computes."""

    channel: Annotated[str, typer.Option("--channel", help="Channel to use: its name or number.")] = "auto"
    per_slice: Annotated[bool, typer.Option("--per-slice", help="A 2D model on every slice of a stack.")] = (
        False
    )
    pool_frames: Annotated[
        bool, typer.Option("--pool-frames", help="One row for all frames of a movie, not one for each.")
    ] = False
    tile: Annotated[int | None, typer.Option("--tile", help="Largest edge of a tile, in pixels.")] = None
    device: Annotated[str, typer.Option("--device", help="Where to compute.")] = "auto"

    @property
    def options(self) -> RunOptions:
        """The same for the model."""
        return RunOptions(**asdict(self))


@dataclass(frozen=True)
class VectorOptions:
    """What becomes a vector."""

    layer: Annotated[
        str,
        typer.Option(
            "--layer", help="Layer of the network ('deepbio models show NAME --layers' lists them)."
        ),
    ] = "auto"
    pool: Annotated[
        str, typer.Option("--pool", help="How maps become a vector: mean, max, std; several with commas.")
    ] = "mean"
    objects: ObjectsOption = None

    def asked(self, options: RunOptions) -> Asked:
        """The same for `describe_images`; a model that finds the objects is loaded."""
        from deepbio.retrieval import Asked

        return Asked(self.layer, self.pool, self._objects(options.device), options)

    def _objects(self, device: str) -> ObjectsOf | None:
        """What ``--objects`` names: label images, or a model."""
        from deepbio.object_files import names_labels
        from deepbio.predict import load_model
        from deepbio.retrieval.many import ObjectsOf

        if self.objects is None:
            return None
        labels = names_labels(self.objects)
        return ObjectsOf(self.objects if labels else load_model(self.objects, device=device))
