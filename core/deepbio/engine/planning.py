"""Makes the plan for one image from the card, the device and what the user asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from deepbio.engine.device import Device
from deepbio.engine.ladder import Rung, make_rungs
from deepbio.engine.memory import tile_bytes
from deepbio.engine.tiling import BLENDS, PADDINGS, SPREADS, TilePlan, plan_tiles
from deepbio.errors import CardError
from deepbio.library.card import ModelCard

__all__ = ["first_rung", "ladder_for", "plan_for"]

_EDGE = {2: 512, 3: 128}  # pixels; on a CPU larger tiles are slower (cache) and take more memory
_LARGE_EDGE = {2: 1024, 3: 160}  # on an accelerator
_SMALL_EDGE = {2: 64, 3: 32}
_SHARE = 0.5  # of the free memory, for the forward
_CHANNELS = 64  # at full resolution, where the card does not say
_MOST_AT_ONCE = 16
_MOST_SHARED = 0.75  # of a tile
_EFFECTIVE = 3  # the part of the receptive field that matters is about a third of it


def first_rung(
    card: ModelCard,
    device: Device,
    *,
    precision: str = "auto",
    tile: int | Sequence[int] | None = None,
    batch: int | None = None,
) -> Rung:
    """Largest tile and batch to begin with.

    Parameters
    ----------
    card : ModelCard
        Its ``config: deepbio: tile: size`` is the tile, unless the memory that is free says less and the
        card does not say that it is ``fixed``.
    device : Device
        Where the network runs.
    precision : str
        As in RunOptions.
    tile : int or sequence of int, optional
        What the user asked for: kept, whatever the memory.
    batch : int, optional
        Tiles at once; by default 1 on the CPU, else what fits.

    Raises
    ------
    CardError
        If the card's tile does not have the network's number of axes.
    """
    ndim = card.ndim
    fixed = tuple(axis.size for axis in card.input.spatial)
    channels = _full_resolution_channels(card)
    budget = int(device.free() * _SHARE)
    if not ndim:  # a vector has no tiles
        return Rung(device, precision, (), batch or 1)
    if tile is not None:
        size = (tile,) * ndim if isinstance(tile, int) else tuple(tile)
    else:
        size = _card_tile(card) or ((_EDGE if device.kind == "cpu" else _LARGE_EDGE)[ndim],) * ndim
        kept = _keeps_tile(card)
        while not kept and tile_bytes(size, channels=channels) > budget and max(size) > _SMALL_EDGE[ndim]:
            size = tuple(max(min(t, _SMALL_EDGE[ndim]), t // 2) for t in size)
    size = tuple(only or t for t, only in zip(size, fixed, strict=True))
    if batch is None:
        fits = budget // tile_bytes(size, channels=channels)
        batch = 1 if device.kind == "cpu" else max(1, min(_MOST_AT_ONCE, fits))
    return Rung(device, precision, size, batch)


def ladder_for(card: ModelCard, first: Rung) -> tuple[Rung, ...]:
    """The ladder for this card: tiles never smaller than what its network takes."""
    axes = card.input.spatial
    floor = [max(axis.minimum, _SMALL_EDGE[card.ndim]) for axis in axes]
    if _keeps_tile(card):
        floor = list(first.tile)
    return make_rungs(first, minimum=floor, fixed=[axis.size for axis in axes])


def plan_for(
    card: ModelCard, spatial_shape: Sequence[int], rung: Rung, *, overlap: float | None = None
) -> TilePlan:
    """Tiles for one image.

    Parameters
    ----------
    card : ModelCard
        Sizes that the network takes, and the overlap.
    spatial_shape : sequence of int
        Size of the image.
    rung : Rung
        Largest tile and batch.
    overlap : float, optional
        What the user asked for; by default the card's ``config: deepbio: tile: overlap``, or what its ``shared``
        (pixels that neighbours have in common at least, along all axes or each) is of the tile, else what the
        output's halo or the network's receptive field ask for, 0.125 to 0.5.
    """
    axes = card.input.spatial
    shares = _card_overlap(card, rung.tile) if overlap is None else overlap
    plan = plan_tiles(
        spatial_shape,
        tile=rung.tile,
        overlap=shares,
        batch=rung.batch,
        multiple_of=[axis.step or 1 for axis in axes],
        minimum=rung.tile if _keeps_tile(card) else [axis.minimum for axis in axes],
        fixed=[axis.size for axis in axes],
        spread=_card_word(card, "spread", SPREADS),
    )
    return replace(
        plan,
        pad=_card_word(card, "pad", PADDINGS),
        blend=_card_word(card, "blend", BLENDS),
        cell=_card_cell(card),
    )


def _card_tile(card: ModelCard) -> tuple[int, ...] | None:
    """The tile that the card names, or None."""
    size: Any = card.deepbio.get("tile", {}).get("size")
    if size is None:
        return None
    if len(size) != card.ndim or min(size) < 1:
        raise CardError(
            f"The card '{card.name}' has a tile of {list(size)}; expected {card.ndim} positive numbers."
        )
    return tuple(int(t) for t in size)


def _keeps_tile(card: ModelCard) -> bool:
    """Whether the network sees tiles of the card's size and no smaller ones, as nnU-Net's do."""
    kept = card.deepbio.get("tile", {}).get("fixed", False)
    if not isinstance(kept, bool) or (kept and _card_tile(card) is None):
        raise CardError(
            f"The card '{card.name}' has a tile with fixed {kept!r}; expected true, with a size, or false."
        )
    return kept


def _card_word(card: ModelCard, name: str, known: Sequence[str]) -> str:
    """What the card says of its tiles in a word; the first that is known where it says nothing."""
    word = card.deepbio.get("tile", {}).get(name, known[0])
    if word not in known:
        raise CardError(
            f"The card '{card.name}' has a tile with {name} {word!r}; expected one of {', '.join(known)}."
        )
    return str(word)


def _card_cell(card: ModelCard) -> tuple[int, ...]:
    """Pixels that one answer stands for; empty for one."""
    cell: Any = card.deepbio.get("tile", {}).get("cell", ())
    steps = [axis.step or axis.size or 1 for axis in card.input.spatial]
    good = isinstance(cell, (list, tuple)) and all(type(n) is int and n > 0 for n in cell)
    if not good or (
        cell and (len(cell) != card.ndim or any(s % n for s, n in zip(steps, cell, strict=True)))
    ):
        raise CardError(
            f"The card '{card.name}' has a tile with cell {cell!r}; expected {card.ndim} numbers that divide its "
            f"steps {steps}."
        )
    return tuple(cell)


def _card_overlap(card: ModelCard, tile: tuple[int, ...]) -> float | list[float]:
    """The overlap that the card asks for, as a fraction of the tile (along each axis)."""
    said = card.deepbio.get("tile", {})
    if said.get("overlap") is not None:
        return float(said["overlap"])
    shared = said.get("shared")
    if shared is not None:
        listed = shared if isinstance(shared, list) else [shared]
        if not all(type(n) is int and n >= 0 for n in listed) or len(listed) not in (1, len(tile)):
            raise CardError(
                f"The card '{card.name}' has a tile with shared {shared!r}; expected a number of pixels, or one for "
                "each axis."
            )
        if isinstance(shared, list):
            return [min(_MOST_SHARED, n / t) for n, t in zip(shared, tile, strict=True)]
        return min(_MOST_SHARED, shared / min(tile))
    halo = max((2 * axis.halo / t for axis, t in zip(card.output.spatial, tile, strict=True)), default=0.0)
    field = card.deepbio.get("network", {}).get("receptive_field", ())
    reach = max((r / _EFFECTIVE / t for r, t in zip(field, tile, strict=False)), default=0.0)
    return min(0.5, max(0.125, halo, reach))


def _full_resolution_channels(card: ModelCard) -> int:
    """Channels of the network's first stage, inputs (of a cascade one for each class, too) or outputs, the most."""
    features = [
        weights.arguments["features"][0] for weights in card.weights if "features" in dict(weights.arguments)
    ]
    inputs = [int(weights.arguments.get("in_channels", 0)) for weights in card.weights]
    tensors = [len(card.input.channels), *inputs, math.ceil(len(card.output.channels) / 3)]
    return max(*tensors, max(features, default=_CHANNELS), 1)
