"""What can be downloaded of a result: labels, the segmentation with its names, images and maps, tables."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
from aiohttp import web

import deepbio
from deepbio_web.labels import labels_of
from deepbio_web.layers import IMAGES, image_of, part_title
from deepbio_web.made import is_made
from deepbio_web.results import read_table
from SlicerDeepBioLib.answers import of_part

if TYPE_CHECKING:
    from deepbio_web.page import Page

__all__ = ["add_downloads", "available"]


def available(page: Page) -> list[dict[str, str]]:
    """Links that the page offers for its result: address, word and explanation of each."""
    run, links = page.shown, []
    if run.segmentation is not None or run.label_map is not None:
        links.append(
            ("labels", "Labels", f"One number per voxel, on the grid of the image ({_suffix(page)})")
        )
    if run.segmentation is not None and page.loaded.frames == 1:
        links.append(("segmentation", "Segmentation", "With names and colours, for 3D Slicer (.seg.nrrd)"))
    for part in IMAGES:
        if of_part(run.volumes, part):
            where = "" if is_made(run) else f"on {_grid_of(of_part(run.volumes, part)[0], page)} "
            title = f"Numbers as they are, {where}({_suffix(page)})"
            links.append((part, part_title(run.model, part), title))
    for part, word in (("table", "Table"), ("features", "Features")):
        if of_part(run.tables, part):
            links.append((part, word, "For spreadsheets (.csv)"))
    return [{"href": f"results/{name}", "text": text, "title": title} for name, text, title in links]


def _grid_of(node: Any, page: Page) -> str:
    """In words: finer images and coarser maps have pixels of their own."""
    same = node.GetImageData().GetDimensions() == page.loaded.shown.GetImageData().GetDimensions()
    return "the grid of the image" if same else "their own grid"


def add_downloads(router: web.UrlDispatcher, page: Page) -> None:
    """Serve the files of what the page shows; 404 when there is nothing."""

    def answer(write: Callable[[Page, Path], Path | None]) -> Any:
        async def handler(request: web.Request) -> web.Response:
            if page.shown is None:
                raise web.HTTPNotFound(text="There is no result to download: run a model first.")
            with tempfile.TemporaryDirectory() as folder:
                path = write(page, Path(folder))
                if path is None:
                    raise web.HTTPNotFound(text="This result has no such part.")
                body = path.read_bytes()
            name = path.name.replace('"', "")
            return web.Response(
                body=body,
                content_type="application/octet-stream",
                headers={
                    "Content-Disposition": f'attachment; filename="{name.encode("ascii", "replace").decode()}"; '
                    f"filename*=UTF-8''{_percent(name)}",
                    "Cache-Control": "no-store",
                },
            )

        return handler

    router.add_get("/results/labels", answer(_write_labels))
    router.add_get("/results/segmentation", answer(_write_segmentation))
    for part in ("table", "features"):
        router.add_get(f"/results/{part}", answer(partial(_write_table, part)))
    for part in IMAGES:
        router.add_get(f"/results/{part}", answer(partial(_write_image, part)))


def _write_labels(page: Page, folder: Path) -> Path | None:
    if page.shown.segmentation is None and page.shown.label_map is None:
        return None
    labels = labels_of(page.shown, page.loaded)
    path = folder / f"{page.loaded.stem}-labels{_suffix(page)}"
    deepbio.write(path, labels)
    return path


def _suffix(page: Page) -> str:
    """Format of labels and images: TIFF for planes, NIfTI for volumes."""
    return ".nii.gz" if "Z" in page.loaded.image.axes and not is_made(page.shown) else ".tif"


def _stem(page: Page) -> str:
    """What files are called after: the image or, where none was given, the model."""
    return str(page.shown.model["name"]) if is_made(page.shown) else page.loaded.stem


def _write_image(part: str, page: Page, folder: Path) -> Path | None:
    if not of_part(page.shown.volumes, part):
        return None
    path = folder / f"{_stem(page)}-{part}{_suffix(page)}"
    deepbio.write(path, image_of(page.shown, part, page.loaded))
    return path


def _write_segmentation(page: Page, folder: Path) -> Path | None:
    if page.shown.segmentation is None:
        return None
    path = folder / f"{page.loaded.stem}.seg.nrrd"
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(str(path))
    if not storage.WriteData(page.shown.segmentation):
        raise web.HTTPInternalServerError(text="The segmentation could not be written.")
    return path


def _write_table(part: str, page: Page, folder: Path) -> Path | None:
    nodes = of_part(page.shown.tables, part)
    if not nodes:
        return None
    columns = read_table(nodes[0], page.unit)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    path = folder / f"{_stem(page)}-{part}.csv"
    path.write_text(text.getvalue(), encoding="utf-8")
    return path


def _percent(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="")
