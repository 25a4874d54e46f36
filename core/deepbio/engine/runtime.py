"""Opens the network of a card in the runtime that was asked for, or the fastest that is installed.

``auto`` gives each runtime a short trial with the network on the device: scores must equal the
reference's, and the fastest of those that do is taken and remembered. For an image that is smaller
than the trial itself it takes ONNX Runtime, which every installation has.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np

from deepbio.engine import memory
from deepbio.engine.choices import choice_key, recall, remember
from deepbio.engine.device import Device, choose_device
from deepbio.engine.ladder import is_out_of_memory
from deepbio.engine.layout import arranged, input_frames, network_channels, network_shape
from deepbio.engine.runtimes import BACKENDS, Backend, Opening, Runtime
from deepbio.engine.tiling import plan_tiles
from deepbio.errors import CardError, MissingPackage, OptionError
from deepbio.events import Listener, Notice, silent
from deepbio.library.card import ModelCard, Weights

__all__ = ["UNTRIED", "Runtime", "describe_runtime", "open_runtime", "trial_pays"]

_TRIAL_EDGE = {2: 512, 3: 96}  # pixels; smaller ones rank otherwise, as they stay in the cache
_TRIAL_RUNS = 3
_TRIAL_TILES = 24  # forwards of the trial's tile that three runtimes need, and half of them for opening three
_UNTRIED = "onnx"  # what small images get: exact, and ready in a tenth of a second
_SAME = 1e-3  # largest difference of scores, relative to the largest score or 1
_NEAR = 2e-2  # the same for half precision, whose labels are compared, too
_LABELS = 1e-3  # part of the pixels whose strongest channel may differ (ties of an untrained channel)
_REFERENCES = ("torch", "onnx", "openvino")

UNTRIED = "no trial for so little work"


@dataclass(frozen=True)
class _Request:
    """What is the same for all candidates of one choice."""

    card: ModelCard
    device: Device
    precision: str
    tile: tuple[int, ...]
    threads: int
    listener: Listener

    def open(self, backend: Backend, precision: str = "") -> Runtime:
        weights = backend.weights(self.card.weights)
        if weights is None:
            raise _no_weights(backend, self.card)
        weights.verify()
        shape = network_shape(self.card, self.tile)
        wanted = precision or self.precision
        opening = Opening(weights, self.device, wanted, shape, self.threads, self.listener)
        return arranged(backend.open(opening), self.card)


def open_runtime(
    card: ModelCard,
    *,
    device: Device | None = None,
    runtime: str = "auto",
    precision: str = "auto",
    tile: Sequence[int] | None = None,
    trial: bool = True,
    listener: Listener = silent,
) -> Runtime:
    """Open the network of a card.

    Parameters
    ----------
    card : ModelCard
        Names the weights; their hashes are compared before they are loaded.
    device : Device, optional
        Where to compute; by default ``choose_device("auto")``.
    runtime : str
        ``"auto"``, ``"torch"``, ``"compile"``, ``"openvino"`` or ``"onnx"``.
    precision : str
        ``"auto"`` is float32 on the CPU; elsewhere half precision where a trial gives the same
        labels. Else ``"fp32"``, ``"bf16"`` or ``"fp16"``.
    tile : sequence of int, optional
        Size of the tiles to expect; others may come.
    trial : bool
        Whether ``auto`` may try the runtimes when no trial is remembered; see `trial_pays`.
    listener : Listener
        Told what was chosen and what was passed over.

    Returns
    -------
    Runtime
        Its attribute ``why`` says why it was taken.

    Raises
    ------
    MissingPackage
        If the runtime asked for is not installed, or none that can run these weights is.
    OptionError
        If the runtime does not compute on this device or in this precision, or the model has no
        weights for it.
    WeightsError
        If the weights are damaged or do not fit.
    """
    device = device or choose_device("auto", runtime=runtime)
    edge = tuple(tile or (512 if card.ndim == 2 else 128,) * card.ndim)
    wanted = "fp32" if precision == "auto" else precision
    request = _Request(card, device, wanted, edge, memory.cpu_threads(), listener)
    chosen, why = _opened(runtime, request, listener, trial=trial)
    if precision == "auto" and device.kind != "cpu":
        chosen = _half_if_same(chosen, BACKENDS[chosen.name], request, listener)
    chosen.why = why
    return chosen


def describe_runtime(runtime: Runtime) -> dict[str, Any]:
    """What a result's record says of the runtime; plain values only."""
    package = BACKENDS[runtime.name].package if runtime.name in BACKENDS else ""
    return {
        "runtime": runtime.name,
        "runtime_version": _version(package),
        "runtime_why": runtime.why,
        "precision": runtime.precision,
        "device": runtime.device.name,
        "device_label": runtime.device.label,
        "device_why": runtime.device.why,
        "threads": memory.cpu_threads(),
    }


def _opened(name: str, request: _Request, listener: Listener, *, trial: bool) -> tuple[Runtime, str]:
    """The runtime asked for, or for ``"auto"`` the best that there is, and why it was taken."""
    if name != "auto":
        return request.open(_asked_for(name, request)), "asked for"
    candidates = _candidates(request)
    if len(candidates) == 1:
        why = "the only one installed for this model, device and precision"
        return request.open(candidates[0]), why
    return _fastest(candidates, request, listener, trial=trial)


def _asked_for(name: str, request: _Request) -> Backend:
    """The backend of this name, if it can run the card as requested."""
    if name not in BACKENDS:
        raise OptionError(f"The runtime is {name!r}; expected auto, {', '.join(BACKENDS)}.")
    backend = BACKENDS[name]
    if not backend.installed:
        raise MissingPackage(backend.package, f"The runtime '{name}'", backend.extra)
    if request.device.kind not in backend.devices:
        raise OptionError(
            f"The runtime '{name}' computes on {', '.join(backend.devices)}, not on '{request.device.name}'.",
            "Choose the device 'cpu' or the runtime 'torch'.",
        )
    if request.precision not in backend.precisions:
        raise OptionError(
            f"The runtime '{name}' computes in {', '.join(backend.precisions)}, not in {request.precision}.",
            "Choose the precision 'auto' or another runtime.",
        )
    return backend


def _candidates(request: _Request) -> list[Backend]:
    """Backends that auto may take, in the order of the table."""
    fitting = [
        backend
        for backend in BACKENDS.values()
        if backend.automatic
        and request.device.kind in backend.devices
        and request.precision in backend.precisions
    ]
    found = [backend for backend in fitting if backend.installed and backend.weights(request.card.weights)]
    if found:
        return found
    formats = {weights.format for weights in request.card.weights}
    for backend in reversed(fitting):  # the most general first
        if formats & set(backend.formats) and not backend.installed:
            purpose = f"The model '{request.card.name}' (weights: {', '.join(sorted(formats))})"
            raise MissingPackage(backend.package, purpose, backend.extra)
    raise CardError(
        f"The model '{request.card.name}' has weights in the formats {', '.join(sorted(formats))}; none of the "
        f"runtimes can run them on '{request.device.name}' in {request.precision}.",
        "Try the device 'cpu' and the precision 'auto'.",
    )


def _no_weights(backend: Backend, card: ModelCard) -> OptionError | MissingPackage:
    readable = [weights.format for weights in card.weights if weights.format in backend.formats]
    if readable:  # by torch, which turns them into what this runtime takes
        return MissingPackage(
            "torch", f"Reading {readable[0]} weights for the runtime '{backend.name}'", "torch"
        )
    formats = ", ".join(weights.format for weights in card.weights)
    return OptionError(
        f"The runtime '{backend.name}' runs {', '.join(backend.formats)}; the model '{card.name}' has {formats}.",
        "Choose the runtime 'auto'.",
    )


def _fastest(
    candidates: list[Backend], request: _Request, listener: Listener, *, trial: bool
) -> tuple[Runtime, str]:
    """The fastest of the candidates that give the reference's scores; remembered from trial to trial."""
    small = _trial_tile(request)
    key = choice_key(_facts(candidates, request, small))
    known = recall(key, listener)
    names = [backend.name for backend in candidates]
    if known is not None and known.get("runtime") in names:
        return request.open(BACKENDS[known["runtime"]]), f"the fastest in a trial: {known.get('seconds')} s"
    if not trial and _UNTRIED in names:
        return request.open(BACKENDS[_UNTRIED]), UNTRIED
    sample = _sample(request.card, small)
    ordered = sorted(candidates, key=lambda backend: _REFERENCES.index(backend.name))
    reference: np.ndarray | None = None
    best: Runtime | None = None
    seconds: dict[str, float] = {}
    failures: list[Exception] = []
    for backend in ordered:
        try:
            runtime = request.open(backend)
            scores, spent = _timed(runtime, sample)
        except Exception as error:
            if is_out_of_memory(error) or len(ordered) == len(failures) + 1:
                raise
            failures.append(error)
            listener(Notice(f"The runtime '{backend.name}' cannot run this network: {error}", "warning"))
            continue
        reference = scores if reference is None else reference
        difference = _difference(reference, scores)
        if not difference <= _SAME:
            listener(
                Notice(
                    f"The runtime '{backend.name}' is passed over: scores differ by {difference:.2g}.",
                    "warning",
                )
            )
            continue
        seconds[backend.name] = round(spent, 4)
        if best is None or spent < seconds[best.name]:
            best = runtime
    assert best is not None, "the reference agrees with itself"  # noqa: S101
    remember(key, {"runtime": best.name, "seconds": seconds}, listener)
    listener(Notice(f"Runtime '{best.name}': the fastest of {', '.join(seconds)} in a trial (remembered)."))
    return best, f"the fastest in a trial: {seconds} s"


def trial_pays(card: ModelCard, pixels: int) -> bool:
    """Whether so many pixels take longer than trying the runtimes does.

    Examples
    --------
    >>> from deepbio.library import find_model
    >>> trial_pays(find_model("nuclei"), 1024 * 1024), trial_pays(find_model("nuclei"), 8192 * 8192)
    (False, True)
    """
    return card.ndim > 0 and pixels > _TRIAL_TILES * _TRIAL_EDGE[card.ndim] ** card.ndim


def _facts(candidates: list[Backend], request: _Request, tile: tuple[int, ...]) -> dict[str, Any]:
    """All that the outcome of a trial depends on."""
    weights: list[Weights] = [found for b in candidates if (found := b.weights(request.card.weights))]
    return {
        "weights": sorted({one.sha256 or str(one.path) for one in weights}),
        "tile": tile,
        "device": request.device.label,
        "precision": request.precision,
        "threads": request.threads,
        "versions": {b.name: _version(b.package) for b in candidates},
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except (metadata.PackageNotFoundError, ValueError):
        return ""


def _trial_tile(request: _Request) -> tuple[int, ...]:
    """A tile for the trial: as asked, but at most `_TRIAL_EDGE`, in a size that the network takes."""
    axes = request.card.input.spatial
    if not axes:
        return ()
    edge = _TRIAL_EDGE[request.card.ndim]
    plan = plan_tiles(
        tuple(min(t, edge) for t in request.tile),
        tile=request.tile,
        multiple_of=[axis.step or 1 for axis in axes],
        minimum=[axis.minimum for axis in axes],
        fixed=[axis.size for axis in axes],
    )
    return plan.tile


def _sample(card: ModelCard, tile: tuple[int, ...]) -> np.ndarray:
    """Blobs and noise, like a normalised image; the same in every trial."""
    channels = network_channels(card)
    random = np.random.default_rng(0)
    coarse = random.normal(size=(1, channels, *(-(-t // 16) for t in tile)))
    for axis in range(2, coarse.ndim):
        coarse = coarse.repeat(16, axis)
    inside = (slice(None), slice(None), *(slice(t) for t in tile))
    sample = (coarse[inside] + 0.3 * random.normal(size=(1, channels, *tile))).astype(np.float32)
    frames = input_frames(card)
    return sample if frames is None else np.repeat(sample[:, :, None], frames, axis=2)


def _timed(runtime: Runtime, sample: np.ndarray) -> tuple[np.ndarray, float]:
    """Scores of the sample and the seconds of a run; the first run only warms up.

    Seconds are the geometric mean of those on the wall and of CPU time per thread, which other
    programs on the machine disturb less; the least of each, for the same reason.
    """
    runtime(sample)
    walls, cpus = [], []
    for _ in range(_TRIAL_RUNS):
        wall, cpu = time.perf_counter(), time.process_time()
        scores = runtime(sample)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return _numpy(scores).copy(), math.sqrt(min(walls) * min(cpus) / memory.cpu_threads())


def _half_if_same(runtime: Runtime, backend: Backend, request: _Request, listener: Listener) -> Runtime:
    """The network in half precision, if its scores and labels on a sample are those of float32."""
    sample = _sample(request.card, _trial_tile(request))
    reference = _numpy(runtime(sample)).copy()
    for precision in ("fp16", "bf16"):
        half = request.open(backend, precision)
        scores = _numpy(half(sample))
        if _difference(reference, scores) <= _NEAR and _labels_differ(reference, scores) <= _LABELS:
            return half
    listener(Notice(f"Half precision changes the scores of '{request.card.name}'; computing in fp32."))
    return runtime


def _numpy(scores: Any) -> np.ndarray:
    return scores if isinstance(scores, np.ndarray) else scores.cpu().numpy()


def _difference(reference: np.ndarray, scores: np.ndarray) -> float:
    """Largest difference relative to the largest score or 1; infinite if scores are not finite."""
    if reference.shape != scores.shape or not np.isfinite(scores).all():
        return float("inf")
    scale = max(1.0, float(np.abs(reference).max()))
    return float(np.abs(reference - scores).max()) / scale


def _labels_differ(reference: np.ndarray, scores: np.ndarray) -> float:
    """Part of the pixels whose strongest channel, or whose sign, differs."""
    if reference.shape[1] > 1:
        return float(np.mean(reference.argmax(1) != scores.argmax(1)))
    return float(np.mean((reference > 0) != (scores > 0)))
