"""The network of a MONAI bundle, as a file that runs without MONAI.

Networks are built by MONAI itself, from a table of its classes, with literal arguments; weights are read as tensors.
What is written is compared with the original on random images.
"""

from __future__ import annotations

import importlib
import inspect
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deepbio.engine.runtimes.with_torch import load_module
from deepbio.errors import CardError, MissingPackage, WeightsError
from deepbio.importing.checkpoint import read_checkpoint
from deepbio.importing.monai_config import Component
from deepbio.library.card import Weights
from deepbio.training.export import export_onnx

__all__ = ["NETWORKS", "Exported", "Shapes", "Turned", "build_network", "export_network", "read_script"]

_SAME = 1e-4  # largest difference of scores, relative to the largest score or 1
_HOLDERS = ("model", "state_dict", "network", "net", "model_state_dict")
_WRAPPERS = ("module.", "_orig_mod.")


@dataclass(frozen=True)
class Shapes:
    """Sizes that a network takes.

    Attributes
    ----------
    channels : int
        Of its input.
    outputs : int
        Of its scores.
    step : tuple of int
        Sizes along z, y and x are multiples of it, twice at least; empty where only `size` is known.
    size : tuple of int
        Of the tiles.
    """

    channels: int
    outputs: int
    step: tuple[int, ...]
    size: tuple[int, ...]


@dataclass(frozen=True)
class Exported:
    """A network as a file.

    Attributes
    ----------
    path : Path
        Ends with ``.onnx`` or ``.ts``.
    free : bool
        Whether it takes all sizes that are multiples of `step`.
    step, size : tuple of int
        As of its `Shapes`.
    network : nn.Module
        The original, on arrays in our order of axes.
    """

    path: Path
    free: bool
    step: tuple[int, ...]
    size: tuple[int, ...]
    network: nn.Module


class Turned(nn.Module):
    """A network of MONAI, whose arrays are (batch, channel, x, y, z), on ours.

    Parameters
    ----------
    network : nn.Module
        As MONAI has it.
    dims : int
        Spatial axes.

    Attributes
    ----------
    channels : list of int
        Of the scores, in this order; empty for all of them as they are.
    """

    def __init__(self, network: nn.Module, dims: int) -> None:
        super().__init__()
        self.network = network
        self.channels: list[int] = []
        self._order = (0, 1, *range(dims + 1, 1, -1))
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Scores of an image."""
        scores = self.network(x.permute(self._order))
        if isinstance(scores, (list, tuple)):
            scores = scores[0]
        if self.channels:
            scores = scores[:, self.channels]
        return scores.permute(self._order).contiguous()


def _powers(name: str, less: int = 0) -> Callable[[Mapping[str, Any], int], list[int]]:
    """Two for each entry of an argument, but for some."""
    return lambda arguments, dims: [2 ** (len(arguments[name]) - less)] * dims


def _strides(arguments: Mapping[str, Any], dims: int) -> list[int]:
    each = [s if isinstance(s, list) else [s] * dims for s in arguments["strides"]]
    return [math.prod(stride[axis] for stride in each) for axis in range(dims)]


def _same(number: int) -> Callable[[Mapping[str, Any], int], list[int]]:
    return lambda arguments, dims: [number] * dims


NETWORKS: dict[str, Callable[[Mapping[str, Any], int], list[int]]] = {
    "UNet": _strides,
    "BasicUNet": _same(16),
    "DynUNet": _strides,
    "SegResNet": _powers("blocks_down", 1),
    "UNETR": _same(0),
    "SwinUNETR": _same(0),
    "AttentionUnet": _strides,
    "VNet": _same(16),
}
"""Classes of monai.networks.nets, and what the sizes of their images are multiples of, along MONAI's axes.

0 where they are tied to one size.
"""
_ALIASES = {"Unet": "UNet", "BasicUnet": "BasicUNet", "DynUnet": "DynUNet", "AttentionUNet": "AttentionUnet"}


def build_network(component: Component, weights: Path, dims: int) -> tuple[Turned, tuple[int, ...]]:
    """Let MONAI build a network, and load its weights.

    Parameters
    ----------
    component : Component
        Its class, one of `NETWORKS`, and arguments.
    weights : Path
        ``model.pt``.
    dims : int
        Spatial axes.

    Returns
    -------
    network : Turned
        In evaluation mode, on arrays in our order of axes.
    step : tuple of int
        What sizes along z, y and x are multiples of; empty where they are tied to one.

    Raises
    ------
    CardError
        If the class or an argument is not known.
    MissingPackage
        If MONAI is not installed.
    WeightsError
        If the weights cannot be read or do not fit.
    """
    name = component.name.rpartition(".")[2] if component.name.startswith("monai.") else component.name
    name = _ALIASES.get(name, name)
    if name not in NETWORKS:
        raise CardError(
            f"The bundle's {component.where} is {component.name!r}; known are {', '.join(NETWORKS)} of MONAI.",
            "Export it as TorchScript (python -m monai.bundle ckpt_export) and put it into models/model.ts.",
        )
    arguments = component.arguments()
    state = _state(weights)
    network = _built(name, arguments, component)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        told = "; ".join(line.strip() for line in str(error).splitlines()[1:3])
        raise WeightsError(
            f"The weights '{weights}' do not fit the network of the bundle ({name}): {told[:400]}",
            "Get the bundle again.",
        ) from error
    full = {**_defaults(network), **arguments}
    try:
        step = NETWORKS[name](full, dims)
    except (KeyError, TypeError, IndexError) as error:
        raise CardError(f"The bundle's {component.where} ({name}) lacks the argument {error}.") from error
    return Turned(network.float(), dims), tuple(reversed(step)) if all(step) else ()


def _built(name: str, arguments: dict[str, Any], component: Component) -> nn.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            nets: Any = importlib.import_module("monai.networks.nets")
    except ImportError as error:
        raise MissingPackage("monai", f"Building the network {name} of a MONAI bundle") from error
    kind = getattr(nets, name)
    known = inspect.signature(kind).parameters
    if name == "SwinUNETR" and "img_size" not in known:  # which older versions wanted, to check it only
        arguments.pop("img_size", None)
    unknown = [argument for argument in arguments if argument not in known]
    if unknown:
        raise CardError(
            f"{component.place} has the argument {unknown[0]!r}, which the installed MONAI does not know; it knows "
            f"{', '.join(known)}."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made: nn.Module = kind(**arguments)
    except ImportError as error:
        raise _missing(error, name) from error
    except Exception as error:
        raise CardError(
            f"MONAI does not build the bundle's {component.where} ({name}): {type(error).__name__} {error}."
        ) from error
    return made


def _missing(error: ImportError, name: str) -> MissingPackage:
    """The error for a package that MONAI wants for a network."""
    found = re.search(r"No module named '(\w+)", str(error))
    return MissingPackage(found[1] if found else "einops", f"The network {name} of a MONAI bundle")


def _defaults(network: nn.Module) -> dict[str, Any]:
    """Arguments of a class that have a default."""
    parameters = inspect.signature(type(network)).parameters
    return {key: one.default for key, one in parameters.items() if one.default is not inspect.Parameter.empty}


def _state(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint, without the names of what was wrapped around the network."""
    found: Any = read_checkpoint(path)
    top = ", ".join(map(str, list(found)[:5])) or "nothing"
    for name in _HOLDERS:
        if isinstance(found.get(name), Mapping):
            found = found[name]
            break
    if not found or not all(isinstance(value, Tensor) for value in found.values()):
        raise WeightsError(f"The checkpoint '{path}' holds {top}; expected the tensors of a network.")
    state = {str(key): value for key, value in found.items()}
    for wrapper in _WRAPPERS:
        if all(key.startswith(wrapper) for key in state):
            state = {key.removeprefix(wrapper): value for key, value in state.items()}
    return state


def read_script(path: Path, dims: int) -> Turned:
    """A network in TorchScript, on arrays in our order of axes.

    Raises
    ------
    WeightsError
        If the file is none, or calls for files.
    """
    return Turned(load_module(Weights("torchscript", path)), dims)


def export_network(network: nn.Module, shapes: Shapes, folder: Path, *, scripted: bool) -> Exported:
    """Write a network as ONNX, for all sizes or for one, else as TorchScript.

    Parameters
    ----------
    network : nn.Module
        From :func:`build_network` or :func:`read_script`.
    shapes : Shapes
        What it takes and gives.
    folder : Path
        Where to write.
    scripted : bool
        Whether it is TorchScript already.

    Raises
    ------
    WeightsError
        If the network does not take its size, gives other scores, or nothing that was written gives the same.
    """
    small = tuple(2 * s for s in shapes.step) or shapes.size
    _check(network, shapes, small)
    tried: list[str] = []
    for kind, first, others in _ways(shapes, small, scripted=scripted):
        path = folder / f"network-{'free' if others else 'fixed'}.{kind}"
        try:
            with _quiet():
                run = _write(network, _image(shapes, first), path, kind, free=bool(others))
                worst = max(_difference(network, run, _image(shapes, size)) for size in (first, *others))
        except MissingPackage:
            raise
        except Exception as error:  # noqa: BLE001 - exporters and runtimes fail in their own ways
            tried.append(f"{kind}: {type(error).__name__}")
            continue
        if worst <= _SAME:
            return Exported(path, bool(others), shapes.step, shapes.size, network)
        tried.append(f"{kind}: scores differ by {worst:.2g}")
    raise WeightsError(
        f"The bundle's network cannot be written so that it gives the same scores ({'; '.join(tried)}).",
        "Open an issue with the bundle's name.",
    )


_Way = tuple[str, tuple[int, ...], list[tuple[int, ...]]]


def _ways(shapes: Shapes, small: tuple[int, ...], *, scripted: bool) -> list[_Way]:
    """Formats to try: each with the size of its example, and other sizes that it must take, too."""
    others = [tuple((3 if k == 0 else 2) * s for k, s in enumerate(shapes.step))] if shapes.step else []
    fits = all(n % s == 0 and n >= 2 * s for n, s in zip(shapes.size, shapes.step, strict=False))
    ways: list[_Way] = [("ts", shapes.size, [])]
    if others and fits:
        ways.insert(0, ("ts", small, others))
    if scripted:
        return ways
    return [*([("onnx", small, others)] if others and fits else []), ("onnx", shapes.size, []), *ways]


def _check(network: nn.Module, shapes: Shapes, size: tuple[int, ...]) -> None:
    """Refuse a network that does not take its size, or has other scores than the bundle says."""
    image = _image(shapes, size)
    found, expected = _scores(network, image).shape, (1, shapes.outputs, *size)
    if found != expected:
        raise WeightsError(
            f"The bundle's network gives scores of the shape {found} for an image of {image.shape}; expected "
            f"{expected}."
        )


def _write(
    network: nn.Module, first: np.ndarray, path: Path, kind: str, *, free: bool
) -> Callable[[np.ndarray], np.ndarray]:
    """Write a network; what comes back runs the file."""
    if kind == "onnx":
        import onnxruntime

        fixed = () if free else range(1, first.ndim - 1)
        export_onnx(network, first.shape[1:], path, tuple(fixed), half=False)
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return lambda image: np.asarray(session.run(None, {"input": image})[0])
    trace: Any = torch.jit.trace
    with torch.inference_mode():
        trace(network, torch.from_numpy(first), check_trace=False).save(str(path))
    load: Any = torch.jit.load
    again = load(str(path), map_location="cpu").eval()
    return lambda image: _scores(again, image)


def _image(shapes: Shapes, size: Sequence[int]) -> np.ndarray:
    drawn = np.random.default_rng(0).standard_normal((1, shapes.channels, *size))
    return drawn.astype(np.float32)


def _scores(network: nn.Module, image: np.ndarray) -> np.ndarray:
    try:
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.asarray(network(torch.from_numpy(image)).float().numpy())
    except ImportError as error:
        raise _missing(error, type(getattr(network, "network", network)).__name__) from error
    except (RuntimeError, ValueError, TypeError, AttributeError) as error:
        told = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise WeightsError(
            f"The bundle's network does not take an image of the shape {image.shape}: {told[0][:300]}"
        ) from error


def _difference(network: nn.Module, run: Callable[[np.ndarray], np.ndarray], image: np.ndarray) -> float:
    """Largest difference of the scores, relative to the largest or 1."""
    one, other = _scores(network, image), run(image)
    if one.shape != other.shape or not np.isfinite(other).all():
        return math.inf
    return float(np.abs(one - other).max() / max(1.0, float(np.abs(one).max())))


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
