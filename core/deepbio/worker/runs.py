"""Runs: the models that stay loaded, an image in, labels and tables out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepbio.errors import ImageError, OptionError
from deepbio.events import Progress
from deepbio.image import Grid, Image
from deepbio.loaded import LoadedModels
from deepbio.options import RunOptions
from deepbio.worker.arrays import Arrays
from deepbio.worker.facts import class_values, find_card, parse_options
from deepbio.worker.progress import Updates
from deepbio.worker.values import grid_values, plain, table_values

if TYPE_CHECKING:
    from deepbio.batch import Row
    from deepbio.library import ModelCard
    from deepbio.tasks import Result

__all__ = ["Runs"]


class Runs:
    """Runs models on images, and keeps the models.

    Parameters
    ----------
    arrays : Arrays
        Where pixels come from and go to.
    """

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = arrays
        self.models = LoadedModels()

    def run(self, request: Mapping[str, Any], updates: Updates) -> dict[str, Any]:
        """Run a model on one image, or a generator on none; docs/worker.md has the request and the answer."""
        start = time.perf_counter()
        options = parse_options(request.get("options"))
        if request.get("outputs") is not None:
            options = options.replace(output=tuple(request["outputs"]))
        model = self.models.get(find_card(request))
        before = model.opened
        with ExitStack() as stack:
            given = request.get("image")
            image = None if given is None else self._image(given, stack, updates)
            if not before:
                updates(Progress("load", 0, 1))
            result = model.run(image, options, on_progress=updates)
            del image
        return {
            **self._answer(result, model.card, options, updates),
            "loaded": model.opened > before,
            "seconds": round(time.perf_counter() - start, 4),
        }

    def batch(self, request: Mapping[str, Any], updates: Updates) -> dict[str, Any]:
        """Run a model on files; each row is also told as soon as it is known."""
        from deepbio.batch import SUMMARY, run_many

        inputs, output = request.get("inputs"), request.get("output")
        if not isinstance(inputs, list) or not inputs or not isinstance(output, str) or not output:
            raise OptionError("A batch needs 'inputs', a list of paths, and 'output', a folder.")

        def tell(row: Row) -> None:
            values = row_values(row)
            updates.tell(f"{row.file}: {row.message or row.status}", row=values)

        rows = run_many(
            self.models.get(find_card(request)),
            inputs,
            output,
            parse_options(request.get("options")),
            save=tuple(request.get("save") or ()),
            overwrite=request.get("overwrite") is True,
            on_progress=updates,
            on_file=tell,
        )
        return {"rows": [row_values(row) for row in rows], "summary": str(Path(output) / SUMMARY)}

    def _image(self, message: Any, stack: ExitStack, updates: Updates) -> Image:
        """The image of a request: pixels in shared memory for as long as `stack` is open, or a file."""
        if not isinstance(message, Mapping):
            raise ImageError(
                f"The image of the request is {message!r:.80}.", "Expected 'image' with 'array' or 'path'."
            )
        if "path" in message:
            from deepbio.io import read

            updates(Progress("read", 0, 1, item=Path(message["path"]).name))
            return read(message["path"], lazy=True, series=str(message.get("series") or ""))
        pixels = stack.enter_context(self.arrays.lent(message.get("array")))
        axes = str(message.get("axes") or "")
        spatial = tuple(n for axis, n in zip(axes, pixels.shape, strict=False) if axis in "ZYX")
        grid = Grid(
            spatial,
            tuple(message.get("spacing") or ()),
            tuple(message.get("origin") or ()),
            message.get("direction"),  # type: ignore[arg-type]
            message.get("unit") or "pixel",
        )
        return Image(
            pixels,
            axes,
            grid,
            tuple(message.get("channels") or ()),
            message.get("frame_interval"),
            {"source": str(message.get("name") or "")},
        )

    def _answer(
        self, result: Result, card: ModelCard, options: RunOptions, updates: Updates
    ) -> dict[str, Any]:
        instances = _are_objects(result, card, options)
        labels = None
        if result.labels is not None:
            labels = {
                "array": self.arrays.give(result.labels.array, updates),
                "axes": result.labels.axes,
                "names": plain(dict(result.labels.names)),
                **grid_values(result.labels.grid),
            }
        return {
            "labels": labels,
            "classes": {} if instances else class_values(card),
            "instances": instances,
            "table": None if result.table is None else table_values(result.table),
            "image": self._pixels(result.image, updates),
            "scores": self._pixels(result.scores, updates),
            "explanation": self._pixels(result.explanation, updates),
            "uncertainty": self._pixels(result.uncertainty, updates),
            "features": None if result.features is None else table_values(result.features),
            "record": plain(dict(result.record)),
        }

    def _pixels(self, image: Image | None, updates: Updates) -> dict[str, Any] | None:
        if image is None:
            return None
        return {
            "array": self.arrays.give(image.array, updates),
            "axes": image.axes,
            "channels": list(image.channels),
            "frame_interval": image.frame_interval,
            **grid_values(image.grid),
        }


def _are_objects(result: Result, card: ModelCard, options: RunOptions) -> bool:
    """Whether labels are objects, and not classes."""
    if card.task in ("", "segment"):
        from deepbio.tasks.decoder import decoder_of

        decoder = decoder_of(card, options)
        return decoder is not None and decoder.instances
    return result.labels is not None and not result.labels.names


def row_values(row: Row) -> dict[str, Any]:
    """What became of one file of a batch."""
    return {
        "file": row.file,
        "status": row.status,
        "seconds": row.seconds,
        "objects": row.objects,
        "message": row.message,
        "outputs": {kind: str(path) for kind, path in row.outputs.items()},
    }
