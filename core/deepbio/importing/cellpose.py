"""Models of Cellpose, versions 1 to 3: which files are one, and what their weights say.

Cellpose keeps a network in one file of PyTorch without an ending, such as ``cyto3`` or what its own training names. It
holds a mapping of tensors and nothing else, so the shape of the network is read off them. Facts: Cellpose 3.1,
https://github.com/MouseLand/cellpose (BSD-3-Clause).
"""

from __future__ import annotations

import math
import os
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepbio.errors import CardError, WeightsError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["CellposeFacts", "cellpose_facts", "cellpose_state", "find_own_file", "is_cellpose"]

_OLD = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # what torch wrote before it wrote zips
_NUCLEI = "nuclei"  # in the name of models that Cellpose gives objects of 17 pixels
_DIAMETERS = {_NUCLEI: 17.0}
_DIAMETER = 30.0
_OUTPUTS = 3  # flows along y and x, and whether a pixel belongs to a cell
_LIKELY = (1.0, 1000.0)  # pixels: a diameter beyond this is no diameter
_MOST_STAGES, _MOST_FEATURES = 8, 4096  # what is more is no network of Cellpose
_STEM = "downsample.down.res_down_"
_OTHERS = (  # what others of its networks are known by, and what they are
    ("encoder.pos_embed", "Cellpose-SAM (version 4)"),
    ("encoder.encoder.patch_embed", "the transformer of Cellpose 3"),
    ("encoder.patch_embed", "the transformer of Cellpose 3"),
    ("net.encoder.pos_embed", "Cellpose-SAM (version 4)"),
)


@dataclass(frozen=True)
class CellposeFacts:
    """What a file of weights says.

    Attributes
    ----------
    arguments : mapping
        Of :class:`deepbio.networks.style.StyleUNet`.
    diameter : float
        Of objects as the network knows them, in pixels.
    usual : float
        Mean diameter in the images that it was trained on, before they were brought to `diameter`.
    """

    arguments: Mapping[str, Any]
    diameter: float
    usual: float


def is_cellpose(path: Path) -> bool:
    """Whether a file is one of PyTorch without a card around it, which of the known kinds only Cellpose has.

    A zip with a card, or plans of nnU-Net, is not.
    """
    if not path.is_file():
        return False
    with path.open("rb") as file:
        if file.read(len(_OLD)) == _OLD:
            return True
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    # TorchScript has code beside it
    script = any(re.match(r"[^/]+/code/", name) for name in names)
    return not script and any(re.fullmatch(r"[^/]+/data\.pkl", name) for name in names)


def find_own_file(name: str) -> Path | None:
    """The file of this name where Cellpose keeps its models, if there is one."""
    folder = os.environ.get("CELLPOSE_LOCAL_MODELS_PATH") or Path.home() / ".cellpose" / "models"
    path = Path(folder) / name
    return path if name and path.name == name and path.is_file() else None


def cellpose_facts(state: Mapping[str, Any], path: Path) -> CellposeFacts:
    """Read the shape of the network off its weights.

    Parameters
    ----------
    state : mapping of str to Tensor
        The file's content.
    path : Path
        For messages, and for models that are known by their name.

    Raises
    ------
    CardError
        If it is a network of another kind.
    WeightsError
        If the weights contradict each other.
    """
    stages = sorted(
        {int(found[1]) for key in state if (found := re.match(rf"{re.escape(_STEM)}(\d+)\.", key))}
    )
    if not stages:
        raise CardError(f"'{path}' holds weights of {_kind(state)}.", _WHAT)
    try:
        firsts = [state[f"{_STEM}{stage}.conv.conv_0.2.weight"] for stage in stages]
        outputs = int(state["output.2.weight"].shape[0])
    except KeyError as error:
        raise WeightsError(
            f"'{path}' lacks the weights {error} of Cellpose's network.", "Get it again."
        ) from error
    shapes = [tuple(one.shape) for one in firsts]
    if any(len(shape) != 4 for shape in shapes):
        raise CardError(
            f"'{path}' is a network for {len(shapes[0]) - 2}D images, which is not known here.", _WHAT
        )
    if len(shapes) > _MOST_STAGES or max(max(shape) for shape in shapes) > _MOST_FEATURES:
        raise WeightsError(
            f"'{path}' has convolutions of the shapes {shapes[:_MOST_STAGES]}; expected at most {_MOST_STAGES} "
            f"stages of {_MOST_FEATURES} features.",
            "Get it again.",
        )
    if outputs != _OUTPUTS:
        raise CardError(
            f"'{path}' gives {outputs} channel{'s' * (outputs > 1)}, as networks of Cellpose that restore images do; "
            f"expected {_OUTPUTS}: flows along y and x, and cells.",
            _WHAT,
        )
    arguments = {
        "in_channels": shapes[0][1],
        "out_channels": outputs,
        "features": [shape[0] for shape in shapes],
        "kernel": shapes[0][2],
    }
    known = next((size for word, size in _DIAMETERS.items() if word in path.name.lower()), _DIAMETER)
    diameter = _diameter(state, "diam_mean", known, path)
    return CellposeFacts(arguments, diameter, _diameter(state, "diam_labels", diameter, path))


_WHAT = (
    "Known are networks of Cellpose 1 to 3 that segment, such as cyto3, nuclei, and those trained from them."
)


def _kind(state: Mapping[str, Any]) -> str:
    for key, kind in _OTHERS:
        if any(name.startswith(key) for name in state):
            return f"{kind}, which is not known here"
    return "a network that is not known here"


def _diameter(state: Mapping[str, Any], key: str, otherwise: float, path: Path) -> float:
    """A diameter that the file holds as a tensor of one number; old files have none."""
    if key not in state:
        return otherwise
    told = state[key]
    value = float(told.reshape(-1)[0]) if told.numel() == 1 else math.nan
    if not _LIKELY[0] <= value <= _LIKELY[1]:
        raise WeightsError(
            f"'{path}' has {key} {told.reshape(-1)[:3].tolist()}; expected one diameter of {_LIKELY[0]:g} to "
            f"{_LIKELY[1]:g} pixels.",
            "Get it again.",
        )
    return value


def cellpose_state(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path
) -> dict[str, Tensor]:
    """The weights under the names that they have here.

    Parameters
    ----------
    state : mapping of str to Tensor
        The file's content.
    expected : mapping of str to Tensor
        State of the network that they are for.
    path : Path
        For messages.

    Raises
    ------
    WeightsError
        If weights are missing or of another shape.
    """
    found = {}
    for name, tensor in expected.items():
        theirs = _their_name(name)
        if theirs not in state:
            raise WeightsError(
                f"'{path}' lacks the weights {theirs!r} of Cellpose's network.", "Get it again."
            )
        given = state[theirs]
        if tuple(given.shape) != tuple(tensor.shape):
            raise WeightsError(
                f"'{path}' has {theirs!r} of shape {tuple(given.shape)}; expected {tuple(tensor.shape)}.",
                "Get it again.",
            )
        found[name] = given
    return found


def _their_name(name: str) -> str:
    """Name in Cellpose's network of what is called so in ours.

    Examples
    --------
    >>> _their_name("encoder.1.convs.2.0.running_mean"), _their_name("decoder.0.convs.1.2.bias")
    ('downsample.down.res_down_1.conv.conv_2.0.running_mean', 'upsample.up.res_up_0.conv.conv_1.conv.2.bias')
    >>> _their_name("decoder.2.styles.0.weight"), _their_name("decoder.0.shortcut.1.weight"), _their_name("head.2.bias")
    ('upsample.up.res_up_2.conv.conv_1.full.weight', 'upsample.up.res_up_0.proj.1.weight', 'output.2.bias')
    """
    part, _, rest = name.partition(".")
    if part == "head":
        return f"output.{rest}"
    stage, kind, rest = rest.split(".", 2)
    stem = f"{_STEM}{stage}" if part == "encoder" else f"upsample.up.res_up_{stage}"
    if kind == "shortcut":
        return f"{stem}.proj.{rest}"
    number, rest = rest.split(".", 1)
    if kind == "styles":
        return f"{stem}.conv.conv_{int(number) + 1}.full.{rest}"
    inner = "conv." if part == "decoder" and number != "0" else ""
    return f"{stem}.conv.conv_{number}.{inner}{rest}"
