"""``deepbio.explain``: which pixels speak for a class."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from deepbio.engine.cells import plan_cells, predict_cells
from deepbio.engine.ladder import Ladder, Rung
from deepbio.engine.planning import first_rung, ladder_for, plan_for
from deepbio.engine.runtimes import Runtime
from deepbio.engine.slabs import predict_slabs
from deepbio.errors import OptionError
from deepbio.events import Listener, silent
from deepbio.explanation.targets import Target, check_asked, exclusive_of, find_target, names_of_scores
from deepbio.extraction.layers import choose_layer, is_movie, sizes_of
from deepbio.image import Image, Table
from deepbio.options import EXPLAIN, RunOptions
from deepbio.predict import Model, load_model
from deepbio.tasks import Result
from deepbio.tasks.frames import Frame, split_frames
from deepbio.tasks.placed import spec_for
from deepbio.tasks.sequence import Movie, movies_of, plan_windows
from deepbio.tasks.storage import allocate
from deepbio.tasks.worked import Worked, work_on

__all__ = ["METHODS", "explain", "explain_frames"]

_OVERLAP = 0.25
METHODS = tuple(word for word in EXPLAIN if word)


def explain(
    image: Image | str | Path,
    model: Model | str | Path,
    *,
    method: str = "gradcam",
    target: str = "",
    layer: str = "auto",
    options: RunOptions | None = None,
    on_progress: Listener = silent,
) -> Result:
    """Map how much each pixel speaks for a class.

    Parameters
    ----------
    image : Image or path
        Any size; each frame, and for a 2D model each slice, is explained by itself. Models of movies
        are explained window by window, a map for each frame.
    model : Model, str or path
        A model that classifies or segments, images or movies.
    method : {"gradcam", "integrated-gradients", "occlusion"}
        Grad-CAM is fast and coarse; integrated gradients (extra ``explain``) show single pixels;
        occlusion covers parts of the image and needs no gradients, so it takes any model.
    target : str
        Name or number of the class; ``""`` is what a classifier says itself (of frames: of each), and
        the first class of a segmentation.
    layer : str
        For Grad-CAM; ``"auto"`` is the last stage of a classifier, the deepest of a U-Net's encoder.
    options : RunOptions, optional
        Device, tile, channel, per_slice.
    on_progress : Listener
        Hears tiles; may raise `Cancelled`.

    Returns
    -------
    Result
        ``explanation``: an image of float32 on the grid of the input. Grad-CAM is 0 or more, the other two
        are below 0 where pixels speak against the class.

    Raises
    ------
    OptionError
        If there is no such method, class or layer.
    CardError
        If the method needs gradients and the package has no network of ours.
    MissingPackage
        If captum is not installed.

    Examples
    --------
    >>> image = Image(np.random.default_rng(0).integers(0, 255, (48, 40), np.uint8))
    >>> result = explain(image, "heart-lv", target="left ventricle blood pool")
    >>> result.explanation.shape, result.explanation.grid == image.grid
    ((48, 40), True)
    """
    if method not in METHODS:
        raise OptionError(f"The method is {method!r}; expected one of {', '.join(METHODS)}.")
    if not isinstance(image, Image):
        from deepbio.io import read

        image = read(image)
    loaded = model if isinstance(model, Model) else load_model(model)
    chosen = (options or RunOptions()).replace(explain=method, target=target)
    start = time.perf_counter()
    found, facts = explain_frames(image, loaded, chosen, layer=layer, listener=on_progress)
    record = {**loaded.describe(), **facts, "seconds_total": round(time.perf_counter() - start, 4)}
    return Result(explanation=found, record=record)


def explain_frames(
    image: Image, model: Model, options: RunOptions, *, layer: str = "auto", listener: Listener = silent
) -> tuple[Image, dict[str, Any]]:
    """The explanation of all frames as one image, and the facts for the record."""
    check_asked(model.card, options.explain, "")
    job = (_MovieJob if is_movie(model.card) else _Job)(image, model, options, layer, listener)
    job.run()
    axes = image.axes.replace("C", "")
    facts = {"explain": options.explain, "target": job.told, **job.facts}
    return Image(job.out, axes, image.grid, (), image.frame_interval), facts


@dataclass
class _Job:
    """One image that is explained."""

    image: Image
    model: Model
    options: RunOptions
    wanted: str
    listener: Listener
    told: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    _said: Table | None = None  # what a classifier of frames says of all slices

    def __post_init__(self) -> None:
        card = self.model.card
        self.target = find_target(card, self.options.target)
        self.exclusive = exclusive_of(card)
        self.spec = spec_for(card, self.image.grid)
        device = self.model.device_for(self.options)
        first = first_rung(card, device, precision="fp32", tile=self.options.tile, batch=1)
        self.ladder = Ladder(ladder_for(card, first), self.listener)
        shape = tuple(self.image.size(axis) for axis in self.image.axes.replace("C", ""))
        self.out = allocate(shape, np.float32)

    def run(self) -> None:
        """Explain all frames."""
        for frame in split_frames(self.image, self.model.card, self.options):
            self._explain(frame)

    def _explain(self, frame: Frame) -> None:
        worked = work_on(self.image, frame, self.model.card, self.options, self.spec)
        out = self.out[frame.index] if frame.index else self.out
        target = self.ladder.climb(lambda rung: self._attempt(worked, rung, out, frame.name))
        if target.name not in self.told:
            self.told.append(target.name)

    def _attempt(self, worked: Worked, rung: Rung, out: np.ndarray, item: str) -> Target:
        target = self.target or self._predicted(worked, rung)
        runtime = self._runtime(target, rung)
        overlap = self.options.overlap
        if overlap is None and not self.model.card.output.spatial:
            overlap = _OVERLAP  # of a classifier, whose card knows of no tiles that are blended
        plan = plan_for(self.model.card, worked.source.shape[1:], rung, overlap=overlap)
        plan = replace(plan, cell=())  # a map has a value for each pixel
        worked.write(predict_slabs(worked.source, runtime, plan, listener=self.listener, item=item), out)
        return target

    def _predicted(self, worked: Worked, rung: Rung) -> Target:
        """What a classifier says: the highest mean score."""
        names = names_of_scores(self.model.card)
        scores = self._scores(rung)
        shape, sizes = worked.source.shape[1:], sizes_of(self.model.card)
        tile = plan_cells(shape, tile=rung.tile, stride=(1,) * len(shape), sizes=sizes).tile
        plan = plan_cells(shape, tile=tile, stride=tile, overlap=0.0, sizes=[(t, 0) for t in tile])

        def vector(batch: np.ndarray) -> np.ndarray:
            return np.asarray(scores(batch)).reshape(len(batch), -1)

        found = predict_cells(worked.source, vector, plan)
        cover = plan.cover()
        mean = (found * cover).reshape(len(found), -1).sum(axis=1) / cover.sum()
        channel = int(mean.argmax())
        return Target(channel, names.get(channel, f"class {channel}"))

    def _scores(self, rung: Rung) -> Callable[[np.ndarray], np.ndarray]:
        """The network's own scores; without torch weights, those of any runtime."""
        from deepbio.engine.spread import as_numpy

        if self.options.explain == "occlusion":
            runtime = self.model.opener(self.options)(rung, self.listener)
            return lambda batch: as_numpy(runtime(batch))
        from deepbio.engine.runtimes.attribution import ScoreRuntime

        return ScoreRuntime(self._module(rung), rung.device)

    def _module(self, rung: Rung) -> Any:
        return self.model.module(self.options.replace(device=rung.device.name))

    def _runtime(self, target: Target, rung: Rung) -> Runtime:
        """What gives the map of a tile."""
        if self.options.explain == "occlusion":
            from deepbio.engine.occlusion import Occlusion

            runtime = self.model.opener(self.options)(rung, self.listener)
            return Occlusion(
                runtime,
                target.channel,
                exclusive=self.exclusive,
                movie=is_movie(self.model.card),
                listener=self.listener,
            )
        from deepbio.engine.runtimes.attribution import GradCam, IntegratedGradients

        module = self._module(rung)
        if self.options.explain == "integrated-gradients":
            return IntegratedGradients(module, rung.device, target.channel, exclusive=self.exclusive)
        layer = choose_layer(module, self.model.card, self.wanted)
        self.facts["layer"] = layer.name
        return GradCam(module, rung.device, target.channel, layer, exclusive=self.exclusive)


class _MovieJob(_Job):
    """A movie that is explained, slice by slice through time."""

    def run(self) -> None:
        """Explain all frames of all slices."""
        for frames in movies_of(self.image, self.model.card, self.options):
            worked = [work_on(self.image, one, self.model.card, self.options, self.spec) for one in frames]
            target = self.target or self._told_of(frames[0])
            self.ladder.climb(partial(self._write, frames, worked, target))
            if target.name not in self.told:
                self.told.append(target.name)

    def _write(self, frames: list[Frame], worked: list[Worked], target: Target, rung: Rung) -> None:
        movie = Movie([one.source for one in worked])
        plan = plan_windows(self.model.card, movie.shape[1:], rung.tile, self.options.overlap)
        runtime = self._runtime(target, rung)
        item = frames[0].name
        for start, stop, part in predict_slabs(movie, runtime, plan, listener=self.listener, item=item):
            for t in range(start, stop):
                band = (0, part.shape[2], part[:, t - start])
                worked[t].write(iter([band]), self.out[frames[t].index])

    def _told_of(self, first: Frame) -> Target:
        """What the model says of the slice: one class of a movie, or of each frame its own."""
        names = list(self.model.card.output.channels)
        plain = self.options.replace(explain="", target="", uncertainty="", layer="", output=("table",))
        if self._said is None:
            self._said = self.model.run(self.image, plain, on_progress=self.listener).table
        table = self._said
        assert table is not None, "a classifier of frames gives a table"  # noqa: S101
        mine = np.ones(len(table), bool) if first.z is None else table["slice"] == first.z + 1
        said = list(dict.fromkeys(map(str, np.asarray(table["class"])[mine])))
        return Target(names.index(said[0]) if len(said) == 1 else None, ", ".join(said))
