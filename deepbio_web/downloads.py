"""What can be downloaded of a result: labels, the segmentation with its names, the table."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer
from aiohttp import web

import deepbio
from deepbio_web.labels import labels_of
from deepbio_web.results import read_table

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
    if run.tables:
        links.append(("table", "Table", "For spreadsheets (.csv)"))
    return [{"href": f"results/{name}", "text": text, "title": title} for name, text, title in links]


def add_downloads(router: web.UrlDispatcher, page: Page) -> None:
    """Serve the files of what the page shows; 404 when there is nothing."""

    def answer(write: Callable[[Page, Path], Path]) -> Any:
        async def handler(request: web.Request) -> web.Response:
            if page.shown is None:
                raise web.HTTPNotFound(text="There is no result to download: press Segment first.")
            with tempfile.TemporaryDirectory() as folder:
                path = write(page, Path(folder))
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
    router.add_get("/results/table", answer(_write_table))


def _write_labels(page: Page, folder: Path) -> Path:
    labels = labels_of(page.shown, page.loaded)
    path = folder / f"{page.loaded.stem}-labels{_suffix(page)}"
    deepbio.write(path, labels)
    return path


def _suffix(page: Page) -> str:
    """Format of labels: TIFF for planes, NIfTI for volumes."""
    return ".nii.gz" if "Z" in page.loaded.image.axes else ".tif"


def _write_segmentation(page: Page, folder: Path) -> Path:
    path = folder / f"{page.loaded.stem}.seg.nrrd"
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(str(path))
    if not storage.WriteData(page.shown.segmentation):
        raise web.HTTPInternalServerError(text="The segmentation could not be written.")
    return path


def _write_table(page: Page, folder: Path) -> Path:
    columns = read_table(page.shown.tables[0], page.unit)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    path = folder / f"{page.loaded.stem}-table.csv"
    path.write_text(text.getvalue(), encoding="utf-8")
    return path


def _percent(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="")
