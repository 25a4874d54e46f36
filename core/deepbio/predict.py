"""The way in: load a model, run it on an image."""

from __future__ import annotations

import math
import time
import weakref
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from deepbio.engine.device import Device, choose_device
from deepbio.engine.ladder import Rung
from deepbio.engine.memory import keep_pages, release_pages
from deepbio.engine.planning import first_rung
from deepbio.engine.runtime import UNTRIED, open_runtime, trial_pays
from deepbio.engine.runtimes import Runtime
from deepbio.errors import CardError, ImageError, MissingPackage, OptionError
from deepbio.events import Listener, Notice, silent
from deepbio.families import FAMILIES, family_of
from deepbio.image import Image, LabelMap
from deepbio.library import ModelCard, find_model
from deepbio.object_files import labels_of, names_labels
from deepbio.options import RunOptions
from deepbio.tasks import Result
from deepbio.tasks.first_stage import as_taken, check_within, first_stage_of, options_for_first
from deepbio.tasks.recorded import run_record
from deepbio.tasks.takes import check_imageless

if TYPE_CHECKING:
    from torch import nn

    from deepbio.tasks.running import Opener

__all__ = ["Model", "generate", "load_model", "run"]


class Model:
    """A card with its network on a device; stays loaded between runs.

    Made by :func:`load_model`. As a context manager it lets the network go at the end.

    Attributes
    ----------
    card : ModelCard
        What the model is.
    device : str
        The device asked for.
    many : bool
        Whether many images follow, so that ``runtime="auto"`` tries the runtimes at once. Else it does
        when the images of one run, or of all runs so far, are worth the time.
    opened : int
        How often a network was opened so far.
    """

    def __init__(self, card: ModelCard, device: str = "auto") -> None:
        if card.task not in ("", *FAMILIES):
            raise CardError(
                f"The model '{card.name}' is for the task {card.task!r}; "
                f"this version runs {', '.join(FAMILIES)}."
            )
        self.card = card
        self.device = device
        self.many = False
        self.opened = 0
        self._untried_pixels = 0
        self._runtimes: dict[tuple[str, str, str], Runtime] = {}
        self._modules: dict[str, nn.Module] = {}
        self._release: weakref.finalize[[], Model] | None = None
        self._finder: Model | None = None  # of the objects that a classifier is asked about
        self._first: Model | None = None  # of a cascade

    def run(
        self,
        image: Image | None,
        options: RunOptions | None = None,
        *,
        objects: LabelMap | None = None,
        opener: Opener | None = None,
        on_progress: Listener = silent,
    ) -> Result:
        """Run the model on an image.

        Parameters
        ----------
        image : Image or None
            What to analyse; large images may be array-likes that slice. None for a generator that
            needs none.
        options : RunOptions, optional
            How.
        objects : LabelMap, optional
            For a classifier, the objects to classify; instead of the option of this name.
        opener : callable, optional
            Opens another network in place of the model's own: that one with changed images, say.
        on_progress : Listener
            Hears tiles, frames and notices; may raise `Cancelled`.

        Returns
        -------
        Result
            ``result.labels.grid == image.grid``.

        Raises
        ------
        InputMismatch
            If the image is not what the model takes.
        OutOfMemory
            If memory runs out even with small tiles on the CPU.
        """
        options = options or RunOptions()
        family = family_of(self.card.task)
        with_objects = bool(options.objects) or objects is not None
        self._check(image, options, with_objects=with_objects)
        start = time.perf_counter()
        trial = image is not None and self._decide_trial(image)
        device = self._choose_device(options)
        first = first_rung(
            self.card, device, precision=options.precision, tile=options.tile, batch=options.batch
        )
        open_for = opener or self.opener(options, trial=trial)
        more: dict[str, Any] = {}
        if with_objects and image is not None:
            more["objects"] = self._objects(image, options, objects, on_progress)
        if self.card.first_stage is not None and image is not None:
            more["guide"] = self._first_labels(image, options, on_progress)
        asked = options.output or family.outputs
        # an uncertainty of objects needs the labels that the rows of the table are of
        labelled = family.name in ("segment", "sequence") and "table" in asked
        besides = ("labels",) if options.uncertainty and labelled and "labels" not in asked else ()
        wanted = options.replace(output=tuple(dict.fromkeys((*asked, *besides))))
        result: Result = family.load("run")(
            image, self.card, open_for, first, wanted, listener=on_progress, **more
        )
        if options.explain or options.uncertainty or options.layer:
            from deepbio.explanation import with_maps

            result = with_maps(image, self, options, result, on_progress, **more)
            if besides:
                result = replace(result, labels=None)
        told = {"task": self.card.task or "segment"}
        record = run_record({**self.describe(), **told}, result.record, options, time.perf_counter() - start)
        return replace(result, record=record)

    def opener(self, options: RunOptions, *, trial: bool = False) -> Opener:
        """What opens the network for a rung as a run does; with `trial` after trying the runtimes."""

        def open_for(rung: Rung, listener: Listener) -> Runtime:
            return self._open(rung, options.runtime, trial, listener)

        return open_for

    def describe(self) -> dict[str, Any]:
        """What a record says of the model."""
        return {
            "model": self.card.name,
            "model_version": self.card.version,
            "weights_sha256": self.card.weights_hash,
            **({"first_stage_sha256": self._first.card.weights_hash} if self._first is not None else {}),
        }

    def device_for(self, options: RunOptions | None = None) -> Device:
        """The device that a run with these options computes on."""
        return self._choose_device(options or RunOptions())

    def module(self, options: RunOptions | None = None) -> nn.Module:
        """The network as a torch module: to look into its layers, and for gradients.

        Parameters
        ----------
        options : RunOptions, optional
            Names the device.

        Returns
        -------
        torch.nn.Module
            In evaluation mode, without gradients of its parameters; kept until :meth:`close`.

        Raises
        ------
        CardError
            If the package has no weights of a network of ours.
        MissingPackage
            If torch is not installed.
        """
        if find_spec("torch") is None:
            raise MissingPackage("torch", "Looking into a network", extra="torch")
        from deepbio.engine.runtimes.inside import open_module

        device = self.device_for(options)
        if device.name not in self._modules:
            self._modules[device.name] = open_module(self.card, device)
        return self._modules[device.name]

    def close(self) -> None:
        """Let the network and its memory go; the next run loads it again."""
        self._runtimes.clear()
        self._modules.clear()
        for other in (self._finder, self._first):
            if other is not None:
                other.close()
        self._finder = self._first = None
        if self._release is not None:
            self._release()
            self._release = None

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check(self, image: Image | None, options: RunOptions, *, with_objects: bool) -> None:
        """Refuse what this model cannot do, before anything is computed."""
        if image is None:
            check_imageless(self.card)
        elif not isinstance(image, Image):
            raise ImageError(
                f"Expected an Image, found {type(image).__name__}.",
                "Use deepbio.read(path) or deepbio.Image(array, axes).",
            )
        for name in ("explain", "uncertainty", "layer"):
            if getattr(options, name):
                check_within(self.card, f"'{name}'")
        if options.explain or options.uncertainty:
            from deepbio.explanation.targets import check_asked

            check_asked(self.card, options.explain, options.uncertainty)
        task = family_of(self.card.task).name
        if with_objects and task != "classify":
            raise OptionError(
                f"The option 'objects' is for classifiers; '{self.card.name}' is for the task {task!r}.",
                "Leave it out.",
            )

    def _objects(
        self, image: Image, options: RunOptions, given: LabelMap | None, listener: Listener
    ) -> LabelMap:
        """The objects to classify: as given, from a label image, or found by another model."""
        if given is not None:
            return given
        if names_labels(options.objects):
            from deepbio.io import read_labels

            return read_labels(labels_of(options.objects, str(image.meta.get("source", ""))))
        finder = self._finder
        if finder is None or options.objects not in (finder.card.name, str(finder.card.root)):
            finder = self._finder = load_model(options.objects, device=self.device)
        how = RunOptions(
            device=options.device,
            runtime=options.runtime,
            per_slice=options.per_slice and finder.card.ndim == 2,
            output=("labels",),
        )
        labels = finder.run(image, how, on_progress=listener).labels
        if labels is None:
            raise OptionError(f"The model '{finder.card.name}' finds no objects.", "Choose another one.")
        return labels

    def _first_labels(self, image: Image, options: RunOptions, listener: Listener) -> LabelMap:
        """What the first stage of a cascade finds."""
        family_of(self.card.task).load("check")(image, self.card, options)
        if self._first is None:
            self._first = Model(first_stage_of(self.card), self.device)
        self._first.many = self.many
        listener(Notice(f"First stage of '{self.card.name}'."))
        how = options_for_first(self._first.card, options)
        labels = self._first.run(as_taken(image, self.card), how, on_progress=listener).labels
        assert labels is not None, "it was asked for labels"  # noqa: S101
        return labels

    def _choose_device(self, options: RunOptions) -> Device:
        asked = options.device if options.device != "auto" else self.device
        return choose_device(asked, runtime=options.runtime)

    def _decide_trial(self, image: Image) -> bool:
        """Whether to try the runtimes now; those that were opened without a trial are then let go."""
        self._untried_pixels += math.prod(image.shape)
        trial = self.many or trial_pays(self.card, self._untried_pixels)
        if trial:
            self._runtimes = {key: one for key, one in self._runtimes.items() if one.why != UNTRIED}
        return trial

    def _open(self, rung: Rung, runtime: str, trial: bool, listener: Listener) -> Runtime:
        key = (rung.device.name, runtime, rung.precision)
        if key not in self._runtimes:
            if any(name != rung.device.name for name, _, _ in self._runtimes):
                self._runtimes.clear()  # the ladder has left that device
            self.opened += 1
            self._runtimes[key] = open_runtime(
                self.card,
                device=rung.device,
                runtime=runtime,
                precision=rung.precision,
                tile=rung.tile,
                trial=trial,
                listener=listener,
            )
            if rung.device.kind == "cpu" and keep_pages() and self._release is None:
                # tiles and windows of scores find their memory warm; given back with the model
                self._release = weakref.finalize(self, release_pages)
        return self._runtimes[key]


def load_model(name_or_path: str | Path | ModelCard, *, device: str = "auto") -> Model:
    """Load a model by its name, or from the folder of a package.

    The network itself is opened at the first run, when tile and precision are known; its weights'
    hashes are compared then.

    Parameters
    ----------
    name_or_path : str, Path or ModelCard
        A name from ``list_models()``, or a folder with a ``bioimageio.yaml``.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:N"``, ``"mps"`` or ``"xpu"``.

    Returns
    -------
    Model

    Raises
    ------
    UnknownModel
        If there is no such model; the hint names the nearest.
    OptionError
        If the device is not one of those.
    """
    RunOptions(device=device)  # checks the name
    card = name_or_path if isinstance(name_or_path, ModelCard) else find_model(name_or_path)
    return Model(card, device)


def run(
    image: Image | str | Path,
    model: Model | str | Path,
    options: RunOptions | None = None,
    *,
    on_progress: Listener = silent,
) -> Result:
    """Run a model on an image once.

    Parameters
    ----------
    image : Image or path
        What to analyse; a path is read first.
    model : Model, str or path
        The model, its name or its folder. To run it on many images, load it once.
    options : RunOptions, optional
        How.
    on_progress : Listener
        Hears tiles, frames and notices; may raise `Cancelled`.

    Returns
    -------
    Result
        Labels, table, image or scores, and a record.
    """
    if isinstance(image, str | Path):
        from deepbio.io import read

        image = read(image)
    loaded = model if isinstance(model, Model) else load_model(model)
    return loaded.run(image, options, on_progress=on_progress)


def generate(
    model: Model | str | Path, options: RunOptions | None = None, *, on_progress: Listener = silent
) -> Result:
    """Make images without one to begin with.

    Parameters
    ----------
    model : Model, str or path
        A generator: of classes, or of images with masks (then the masks are made too).
    options : RunOptions, optional
        ``count``, ``classes`` and ``seed`` say what to make.
    on_progress : Listener
        Hears batches and notices; may raise `Cancelled`.

    Returns
    -------
    Result
        ``image`` with the images along T, ``table`` with class and seed of each; of images with
        masks also ``labels``.

    Raises
    ------
    InputMismatch
        If the model is no generator.
    """
    loaded = model if isinstance(model, Model) else load_model(model)
    return loaded.run(None, options, on_progress=on_progress)
