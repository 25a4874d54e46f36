"""Weights of nnU-Net's networks under the names of our U-Net, turned to the axes of the image."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from deepbio.errors import WeightsError

__all__ = ["our_state"]

# keys that say the same once more, or are only used while training
_IGNORED = re.compile(r".*\.all_modules\.\d+\..*|decoder\.encoder\..*|.*\.num_batches_tracked")
_WRAPPERS = ("module.", "_orig_mod.")  # of parallel and of compiled training


def our_state(
    state: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    *,
    stages: int,
    order: Sequence[int],
    path: Path,
) -> dict[str, Tensor]:
    """Rename and turn the weights of a network.

    A bias before a normalisation changes nothing: it is left out, or (batch normalisation) goes into the mean.

    Parameters
    ----------
    state : mapping of str to Tensor
        Of a PlainConvUNet or ResidualEncoderUNet.
    expected : mapping of str to Tensor
        State of our network with random weights, for names and shapes.
    stages : int
        Stages of the encoder.
    order : sequence of int
        Axis of their network for each axis of ours.
    path : Path
        Of the checkpoint, for messages.

    Returns
    -------
    dict of str to Tensor
        float32, as many as `expected`.

    Raises
    ------
    WeightsError
        If a weight is missing, left over, or of another shape than the plans say.
    """
    theirs = {_unwrapped(key): value for key, value in state.items()}
    theirs = {key: value for key, value in theirs.items() if not _IGNORED.fullmatch(key)}
    residual = "encoder.stem.convs.0.conv.weight" in theirs
    found: dict[str, Tensor] = {}
    unused: list[str] = []
    for key, value in theirs.items():
        name = _renamed(key, stages, residual=residual)
        if name is None or name not in expected:
            unused.append(key)
        else:
            found[name] = _turned(value, order).float().contiguous()
    for key in [key for key in unused if _is_spare(key, stages)]:
        _take_bias(theirs[key], _renamed(key, stages, residual=residual), found)
        unused.remove(key)
    for name, tensor in expected.items():
        if name.endswith("num_batches_tracked") or (name.startswith("up.") and name.endswith(".bias")):
            found.setdefault(name, tensor.new_zeros(tensor.shape))
    _check(found, expected, unused, path)
    return found


def _unwrapped(key: str) -> str:
    for prefix in _WRAPPERS:
        key = key.removeprefix(prefix)
    return key


def _renamed(key: str, stages: int, *, residual: bool) -> str | None:
    """Our name for one of theirs; None for what has none."""
    parts = key.split(".")
    match parts:
        case ["encoder", "stem", "convs", "0", kind, leaf]:
            return f"encoder.0.0.{_part(kind)}.{leaf}"
        case ["encoder", "stages", stage, "blocks", block, conv, kind, leaf] if conv in ("conv1", "conv2"):
            place = f"encoder.{stage}.{_block(stage, block)}"
            return f"{place}.body.{0 if conv == 'conv1' else 2}.{_part(kind)}.{leaf}"
        case ["encoder", "stages", stage, "blocks", block, "skip", number, kind, leaf]:
            return f"encoder.{stage}.{_block(stage, block)}.shortcut.{number}.{_part(kind)}.{leaf}"
        case ["encoder", "stages", stage, "0", "convs", conv, kind, leaf] if not residual:
            return f"encoder.{stage}.{2 * int(conv)}.{_part(kind)}.{leaf}"
        case ["decoder", "stages", stage, "convs", conv, kind, leaf]:
            return f"decoder.{stages - 2 - int(stage)}.{2 * int(conv)}.{_part(kind)}.{leaf}"
        case ["decoder", "transpconvs", stage, leaf]:
            return f"up.{stages - 2 - int(stage)}.{leaf}"
        case ["decoder", "seg_layers", stage, leaf] if int(stage) == stages - 2:
            return f"heads.0.{leaf}"
    return None


def _part(kind: str) -> str:
    return {"conv": "0", "norm": "1"}.get(kind, kind)


def _block(stage: str, block: str) -> int:
    """Place of a block in our stage: the first one begins with the stem and its rectifier."""
    return int(block) + (2 if stage == "0" else 0)


def _turned(value: Tensor, order: Sequence[int]) -> Tensor:
    """Kernels along our axes."""
    if value.ndim != 2 + len(order):
        return value
    return value.permute(0, 1, *(2 + axis for axis in order))


def _is_spare(key: str, stages: int) -> bool:
    """A bias before a normalisation, or a head for deep supervision."""
    if key.endswith(".conv.bias"):
        return True
    return key.startswith("decoder.seg_layers.") and int(key.split(".")[2]) < stages - 2


def _take_bias(bias: Tensor, name: str | None, found: dict[str, Tensor]) -> None:
    """Batch normalisation subtracts a mean that was measured with the bias."""
    if name is None or not name.endswith(".0.bias"):
        return
    mean = name.removesuffix(".0.bias") + ".1.running_mean"
    if mean in found:
        found[mean] = found[mean] - bias.float()


def _check(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor], unused: Sequence[str], path: Path
) -> None:
    missing = [name for name in expected if name not in found]
    wrong = [name for name in found if found[name].shape != expected[name].shape]
    if not (missing or unused or wrong):
        return
    told = [f"{len(unused)} weights have no place, such as {unused[0]}"] if unused else []
    told += [f"{len(missing)} are missing, such as {missing[0]}"] if missing else []
    if wrong:
        name = wrong[0]
        told.append(f"{name} has shape {tuple(found[name].shape)} instead of {tuple(expected[name].shape)}")
    raise WeightsError(
        f"The checkpoint '{path}' does not fit the network of the plans: {'; '.join(told)}.",
        "Networks of trainers that change the architecture are not known here.",
    )
