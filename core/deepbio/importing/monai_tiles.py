"""How a bundle of MONAI cuts images into tiles, as a card says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from deepbio.errors import CardError
from deepbio.importing.monai_config import Component
from deepbio.importing.monai_terms import Terms

__all__ = ["Tiles", "read_tiles"]

_PADDINGS = {"constant": "zero", "reflect": "reflect", "replicate": "edge"}
_WHOLE = {2: 2048, 3: 256}  # pixels of an image that is run as one
_SPEED = (
    "sw_batch_size",
    "sw_device",
    "device",
    "progress",
    "cache_roi_weight_map",
    "cpu_thresh",
    "buffer_steps",
    "buffer_dim",
)


@dataclass(frozen=True)
class Tiles:
    """What of an image the network sees at once.

    Attributes
    ----------
    size : tuple of int
        Along z, y and x.
    card : dict
        What stands under ``tile`` on the card.
    fixed : bool
        Whether the network sees that size only.
    """

    size: tuple[int, ...]
    card: dict[str, Any]
    fixed: bool


def read_tiles(component: Component, *, dims: int) -> Tiles:
    """Read the inferer.

    Parameters
    ----------
    component : Component
        SlidingWindowInferer or SimpleInferer.
    dims : int
        Spatial axes of the network.

    Raises
    ------
    CardError
        If it is another one, or has arguments that are not known.
    """
    if component.name == "SimpleInferer":
        Terms(component).done()
        size = (_WHOLE[dims],) * dims
        return Tiles(size, {"size": list(size), "overlap": 0.5, "pad": "zero"}, fixed=False)
    if component.name != "SlidingWindowInferer":
        raise CardError(
            f"The bundle's {component.where} is {component.name!r}; known are SlidingWindowInferer and SimpleInferer."
        )
    terms = Terms(component, _SPEED)
    size = _size(terms, dims)
    overlap = terms.take("overlap", 0.25)
    each = set(overlap) if isinstance(overlap, list) else {overlap}
    if len(each) != 1 or not all(isinstance(v, (int, float)) and 0 <= v <= 0.9 for v in each):
        raise terms.refused("overlap", overlap, "one number from 0 to 0.9")
    blend = terms.take("mode", "constant")
    if blend not in ("constant", "gaussian"):
        raise terms.refused("mode", blend, "'constant' or 'gaussian'")
    padding = terms.take("padding_mode", "constant")
    if padding not in _PADDINGS:
        raise terms.refused("padding_mode", padding, " or ".join(map(repr, _PADDINGS)))
    terms.only("sigma_scale", 0.125)
    terms.only("cval", 0.0)
    terms.only("roi_weight_map", None)
    terms.only("process_fn", None)
    terms.only("with_coord", False)
    terms.done()
    card = {
        "size": list(size),
        "overlap": float(each.pop()),
        "fixed": True,
        "pad": _PADDINGS[padding],
        "blend": "floored" if blend == "gaussian" else blend,
        "spread": "stride",
    }
    return Tiles(size, card, fixed=True)


def _size(terms: Terms, dims: int) -> tuple[int, ...]:
    roi = terms.take("roi_size")
    each = roi if isinstance(roi, list) else [roi] * dims
    if len(each) != dims or not all(type(n) is int and 0 < n <= 4096 for n in each):
        raise terms.refused("roi_size", roi, f"{dims} sizes of at least 1 pixel")
    return tuple(reversed(each))
