"""``deepbio view``: registered with the core's command line through the entry point ``deepbio.commands``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deepbio.errors import ImageError, MissingPackage, OptionError, UnknownModel

if TYPE_CHECKING:
    from deepbio.library import ModelCard

__all__ = ["files_of_cases", "register", "view"]


def view(
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE...",
            help="An image, or a folder of DICOM files; several are chosen from, as for a model of T1 and FLAIR.",
            show_default=False,
        ),
    ],
    *,
    model: Annotated[
        str,
        typer.Option(
            "--model", help="The model that is chosen at first; default: the one that fits, if only one does."
        ),
    ] = "",
    series: Annotated[
        str,
        typer.Option("--series", help="One series of a DICOM folder: its UID, or #1, #2, ... of the list."),
    ] = "",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 0,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address, and open no browser.")
    ] = False,
) -> None:
    """Show images in the browser, with slices, a 3D view and the Segment button.

    The page is served on this machine only, and only to who has the address that is printed.
    Ctrl-C ends it.
    """
    from deepbio.cli.common import out

    for image in images:
        if not image.exists():
            raise ImageError(f"There is no file or folder '{image}'.", "Check the path.")
    if series and len(images) > 1:
        raise OptionError(
            f"--series names a series of one DICOM folder; found {len(images)} images.",
            "Copy each series into a folder of its own, or leave --series out.",
        )
    given, files = model, list(dict.fromkeys(images))
    if model:
        from deepbio import find_model, list_models

        chosen = find_model(model)  # a wrong name is told now, not in the page
        model, files = chosen.name, files_of_cases(files, chosen)
        if model not in {card.name for card in list_models()}:
            raise UnknownModel(
                f"The model '{model}' is not in the library; the page offers those that are.",
                f"Add it first, with: deepbio models add {given}",
            )
    try:
        import slicer  # noqa: F401
        import trame_slicer  # noqa: F401
    except ImportError as error:
        raise MissingPackage(error.name or "trame-slicer", "The page", extra="web") from error
    from deepbio_web.page import Page
    from deepbio_web.serve import serve

    def tell(address: str) -> None:
        out.print(f"The page is at {address}")
        out.print("Ctrl-C ends it.")

    asyncio.run(serve(lambda: Page(files, model, series), port=port, browser=not no_browser, on_address=tell))


def files_of_cases(files: list[Path], card: ModelCard) -> list[Path]:
    """The files of all channels, where a model has them in files of their own: whichever of them is named."""
    from deepbio.inputs import Input, channel_files, is_image, with_channels

    count = channel_files(card)
    named = [Input(file) for file in files]  # a folder of DICOM files is an image, whatever it is called
    cases = [with_channels(one, count) if is_image(one.path) else one for one in named]
    return list(dict.fromkeys(file for case in cases for file in case.channels or (case.path,)))


def register(app: typer.Typer) -> None:
    """Add the command to the root."""
    from deepbio.cli.common import command  # loads all doors, this one too: not at the top

    app.command("view")(command(view))
