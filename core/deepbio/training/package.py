"""From a trained network to a model package: weights, ONNX twin, card, sample and self-test."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from deepbio.errors import MissingPackage
from deepbio.image import RGB
from deepbio.library.card import Step
from deepbio.library.content import PackageContent, TensorContent
from deepbio.networks import build
from deepbio.networks.ensemble import Ensemble
from deepbio.networks.unet import UNet, fold_norms
from deepbio.tasks.decode import Decoder
from deepbio.training.description import Description
from deepbio.training.plan import Plan
from deepbio.training.targets import channel_names

__all__ = ["export_onnx", "package_content"]

_OPSET = 18
# In 2D 64 pixels: large tiles waste less of it and cost no more per pixel. In 3D as nnU-Net: nothing
# smaller was seen to be as accurate (benchmarks/).
_OVERLAP = {2: 0.0625, 3: 0.5}
_TILE = {2: 1024, 3: 128}
_SAMPLE_EDGE = {2: 256, 3: 64}


@contextmanager
def package_content(
    network: UNet | Ensemble, plan: Plan, sample: np.ndarray, decoder: Decoder, about: Description
) -> Iterator[PackageContent]:
    """Prepare a trained network for `write_package`; its files last as long as the context.

    Weights are rounded to float16 and used as float32, in both of their files the same numbers.

    Parameters
    ----------
    network : UNet or Ensemble
        Trained, in evaluation mode, on the CPU; an ensemble's members are those of the folds.
    plan : Plan
        What it was trained with.
    sample : ndarray, shape (C, [z,] y, x)
        Raw pixels of an image (of the val part), on the grid that the network works on, for the
        self-test; cut to a small piece.
    decoder : Decoder
        How its scores become labels.
    about : Description
        What people should know.

    Yields
    ------
    PackageContent
        Without scores.
    """
    name, arguments, state = _folded(network, plan)
    rounded = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    final = build(name, arguments).eval()
    final.load_state_dict({key: value.float() for key, value in rounded.items()})
    steps = [Step(step["id"], step.get("kwargs", {})) for step in plan.normalisation]
    raw = _sample_piece(sample, network.divisor)
    tile, overlap = _tile(plan, network.divisor)
    expected = _scores_of(final, raw, steps, plan)
    with tempfile.TemporaryDirectory(prefix="deepbio-package-") as temporary:
        weights = Path(temporary) / "weights.safetensors"
        save_file({key: value.contiguous() for key, value in rounded.items()}, weights)
        onnx = Path(temporary) / "weights.onnx"
        export_onnx(final, raw.shape, onnx)
        inputs = TensorContent(
            test=raw[None],
            sample=raw[None],
            channels=_input_channels(raw.shape[0]),
            minimum=network.divisor,
            step=network.divisor,
            steps=steps,
            description="raw intensities" + (", grey or RGB" if raw.shape[0] == 3 else ""),
        )
        outputs = TensorContent(
            test=expected[None],
            channels=_output_channels(plan, about),
            halo=tuple(round(overlap / 2 * edge) for edge in tile),
            description="scores; foreground is before the sigmoid"
            if plan.target == "instances"
            else "scores before softmax",
        )
        yield PackageContent(
            title=about.title,
            description=about.summary,
            task="segment",
            license=about.license,
            authors=about.authors,
            inputs=[inputs],
            outputs=[outputs],
            network=name,
            arguments=arguments,
            safetensors=weights,
            onnx=onnx,
            opset=_OPSET,
            documentation=about.documentation,
            citations=about.citations,
            tags=about.tags,
            modality=about.modality,
            version=about.version,
            training_data=about.training_data,
            config=_config(plan, decoder, about, tile),
        )


def _folded(network: UNet | Ensemble, plan: Plan) -> tuple[str, dict[str, Any], dict[str, torch.Tensor]]:
    """Name, arguments and state of the network for prediction, normalisations folded into it."""
    name = plan.network["name"]
    arguments = {**plan.network["arguments"], "deep_supervision": False}
    if arguments.get("norm") == "batch":
        arguments["norm"] = "none"
    if not isinstance(network, Ensemble):
        return name, arguments, fold_norms(network).state_dict()
    state = {}
    for number, member in enumerate(network.members):
        assert isinstance(member, UNet)  # noqa: S101 - for the type checker
        for key, value in fold_norms(member).state_dict().items():
            state[f"members.{number}.{key}"] = value
    return "ensemble", {"network": name, "arguments": arguments, "members": len(network.members)}, state


def _tile(plan: Plan, divisor: Sequence[int]) -> tuple[tuple[int, ...], float]:
    """Tile and overlap to begin with."""
    if plan.dims == 2 or not plan.configuration:
        return (_TILE[plan.dims],) * plan.dims, _OVERLAP[plan.dims]
    # as large as what the network saw, and half more: most images of the data set are then one tile
    tile = tuple(-(-3 * n // (2 * d)) * d for n, d in zip(plan.patch, divisor, strict=True))
    return tile, _OVERLAP[plan.dims]


def _config(plan: Plan, decoder: Decoder, about: Description, tile: tuple[int, ...]) -> dict[str, Any]:
    """The rest of ``config: deepbio:``."""
    default = asdict(Decoder())
    told = {k: v for k, v in asdict(decoder).items() if k == "method" or v != default[k]}
    config: dict[str, Any] = {
        "decode": told,
        "tile": {"size": list(tile), "overlap": _OVERLAP[plan.dims]},
        "grid": plan.grid,
        "classes": about.card_classes,
        "training": asdict(plan),
    }
    # the offsets of objects point the other way in a mirror, so only classes can be averaged
    if plan.target == "classes" and plan.augmentation.mirror:
        config["mirror"] = list(plan.augmentation.mirror)
    if plan.per_slice or about.per_slice:
        config["per_slice"] = True
    if plan.channels == 3:
        config["grey"] = "repeat"
    return config


def _input_channels(count: int) -> tuple[str, ...]:
    if count == 3:
        return RGB
    return ("intensity",) if count == 1 else tuple(f"channel_{i + 1}" for i in range(count))


def _output_channels(plan: Plan, about: Description) -> tuple[str, ...]:
    if plan.target == "instances":
        return channel_names(plan.dims)
    return ("background", *(about.names.get(i, f"class_{i}") for i in range(1, plan.classes + 1)))


def _sample_piece(sample: np.ndarray, divisor: Sequence[int]) -> np.ndarray:
    """The middle of a sample, small and in a size that the network takes."""
    edge = _SAMPLE_EDGE[sample.ndim - 1]
    key: list[slice] = [slice(None)]
    for n, d in zip(sample.shape[1:], divisor, strict=True):
        size = max(min(n, edge) // d, 1) * d
        start = max(0, (n - size) // 2)
        key.append(slice(start, start + size))
    piece = sample[tuple(key)]
    short = [(0, -n % d) for n, d in zip(piece.shape[1:], divisor, strict=True)]
    return np.ascontiguousarray(np.pad(piece, [(0, 0), *short], mode="symmetric"))


def _scores_of(network: nn.Module, raw: np.ndarray, steps: Sequence[Step], plan: Plan) -> np.ndarray:
    from deepbio.engine.steps import apply_steps

    axes = ("channel", *"zyx"[3 - plan.dims :])
    pixels = apply_steps(raw.astype(np.float32), axes, steps)
    with torch.inference_mode():
        scores: np.ndarray = network(torch.from_numpy(pixels)[None])[0].numpy()
    return scores


def export_onnx(network: nn.Module, shape: Sequence[int], path: Path) -> None:
    """Write a network as ONNX for any image size, its weights in float16.

    The weights are stored as float16 and cast to float32 at their use, so a network whose
    weights are float16 numbers computes with the same ones.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode.
    shape : sequence of int, (C, [z,] y, x)
        An input that it takes.
    path : Path
        File to write.

    Raises
    ------
    MissingPackage
        If onnx or onnxscript are not installed.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401 - the exporter needs it and says so late
    except ImportError as error:
        raise MissingPackage(error.name or "onnx", "Writing a model package", extra="train") from error
    dynamic = torch.export.Dim.DYNAMIC
    # two images, since an axis of size 1 would be taken as constant
    example = torch.zeros(2, *shape)
    axes = {0: dynamic} | dict.fromkeys(range(2, example.ndim), dynamic)
    with warnings.catch_warnings(), _Quiet("torch.onnx"):
        # torch's own exporter uses what torch has deprecated
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            optimize=True,
            verbose=False,
            opset_version=_OPSET,
            input_names=["input"],
            output_names=["output"],
            dynamic_shapes=(axes,),
        )
    assert program is not None  # noqa: S101 - for the type checker: dynamo always returns it
    model = program.model_proto
    _store_as_half(model.graph, onnx)
    del model.metadata_props[:]
    for node in model.graph.node:
        del node.metadata_props[:]  # source lines of this machine
        node.doc_string = ""
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _store_as_half(graph: Any, onnx: Any) -> None:
    """Replace float32 initialisers by float16 ones, each followed by a cast to float32."""
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        values = onnx.numpy_helper.to_array(tensor)
        name = tensor.name
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}_half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]


class _Quiet:
    """Keep a logger at errors for a while."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def __enter__(self) -> None:
        self._level = self._logger.level
        self._logger.setLevel(logging.ERROR)

    def __exit__(self, *error: object) -> None:
        self._logger.setLevel(self._level)
