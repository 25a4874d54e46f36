"""The parts of an image that a network takes one at a time: channels, frames, slices.

Here, and only here, the axes of an image meet those of a network's input.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepbio.engine.steps import Normaliser, prepare
from deepbio.errors import InputMismatch
from deepbio.image import ArrayLike, Grid, Image
from deepbio.library import ModelCard
from deepbio.options import RunOptions

__all__ = ["Frame", "FrameSource", "View", "frame_grid", "input_channels", "split_frames", "stack_of"]

_TOLD = 8  # channels that a message names
_GREY = ("grey", "gray")  # the mean of all

Pick = int | tuple[int, ...] | None
"""A channel: its number, several whose mean is meant, or None in an image without that axis."""


@dataclass(frozen=True)
class Frame:
    """One spatial image of a longer one.

    Attributes
    ----------
    view : View
        Its pixels, shape (C, [z,] y, x), read when sliced.
    index : tuple of int
        Where its labels belong in an array with the image's axes without C: (), (t,), (z,) or (t, z).
    name : str
        For progress: ``"frame 3"``, ``"frame 3, slice 2"`` or empty.
    t, z : int or None
        Position in time and, for slices, in depth.
    """

    view: View
    index: tuple[int, ...]
    name: str
    t: int | None = None
    z: int | None = None

    @property
    def place(self) -> dict[str, int]:
        """Position as tables tell it, counted from 1: ``frame``, ``slice`` or both."""
        return {word: at + 1 for word, at in (("frame", self.t), ("slice", self.z)) if at is not None}


def frame_grid(image: Image, frame: Frame) -> Grid:
    """Where the pixels of a frame are: the image's grid, or that of one of its slices."""
    grid = image.grid
    return grid if frame.z is None else Grid(grid.shape[1:], grid.spacing[1:], unit=grid.unit)


class View:
    """An array-like of shape (C, [z,] y, x) into one frame of an image; reads only what is sliced.

    Examples
    --------
    >>> image = Image(np.arange(24).reshape(2, 3, 4), "TYX")
    >>> View(image, [None], {"T": 1})[:, 1:2, :2].tolist()
    [[[16, 17]]]
    """

    def __init__(self, image: Image, channels: Sequence[Pick], fixed: dict[str, int]) -> None:
        self._image, self._channels, self._fixed = image, list(channels), fixed
        spatial = [image.size(axis) for axis in image.axes if axis in "ZYX" and axis not in fixed]
        self.shape = (len(channels), *spatial)
        mixed = any(isinstance(channel, tuple) for channel in channels)
        self.dtype = np.dtype(np.float32) if mixed else image.dtype

    def __getitem__(self, key: Any) -> np.ndarray:
        keys = list(key) if isinstance(key, tuple) else [key]
        if Ellipsis in keys:
            at = keys.index(Ellipsis)
            keys[at : at + 1] = [slice(None)] * (len(self.shape) - len(keys) + 1)
        keys += [slice(None)] * (len(self.shape) - len(keys))
        wanted = self._channels[keys[0]]
        if not isinstance(wanted, list):
            return self._read(wanted, keys[1:])
        return np.stack([self._read(channel, keys[1:]) for channel in wanted])

    def _read(self, channel: Pick, spatial: list[Any]) -> np.ndarray:
        if isinstance(channel, tuple):
            parts = [self._read(one, spatial).astype(np.float32) for one in channel]
            return np.asarray(np.mean(parts, axis=0, dtype=np.float32))
        left = iter(spatial)
        full = []
        for axis in self._image.axes:
            if axis == "C":
                full.append(channel or 0)
            elif axis in self._fixed:
                full.append(self._fixed[axis])
            else:
                full.append(0 if axis == "T" else next(left))
        return np.asarray(self._image.array[tuple(full)])


class FrameSource:
    """A frame, normalised tile by tile as the card says: the engine's source.

    Statistics that the normalisation needs are found here, in one pass over the frame, unless
    `normalise` is given: what another view of the same frame was normalised with.

    Attributes
    ----------
    normalise : Normaliser
        What is done to each block of pixels.

    Raises
    ------
    InputMismatch
        If the frame has NaN or infinite pixels.
    """

    def __init__(self, view: ArrayLike, card: ModelCard, normalise: Normaliser | None = None) -> None:
        self._view = view
        axes = ("channel", *"zyx"[3 - (len(view.shape) - 1) :])
        self.normalise = normalise or prepare(view, axes, card.input.steps)
        self._channels, self._fills = input_channels(card), card.deepbio.get("grey") == "first"
        self.shape = (self._channels, *view.shape[1:])

    def read(self, start: tuple[int, ...], stop: tuple[int, ...]) -> np.ndarray:
        """Normalised pixels, float32, shape (C, *(stop - start))."""
        key = (slice(None), *(slice(a, b) for a, b in zip(start, stop, strict=True)))
        block = self.normalise(np.array(self._view[key], np.float32))
        if block.shape[0] == self._channels:
            return block
        if self._fills:
            return np.pad(block, ((0, self._channels - block.shape[0]), *((0, 0),) * (block.ndim - 1)))
        return np.broadcast_to(block, (self._channels, *block.shape[1:]))


def input_channels(card: ModelCard) -> int:
    """Channels that the network takes."""
    if "channel" not in card.input.axis_ids:
        return 1
    return card.input.axis("channel").size or len(card.input.channels) or 1


def split_frames(image: Image, card: ModelCard, options: RunOptions) -> Iterator[Frame]:
    """List the parts of an image that the model takes one at a time.

    Raises
    ------
    InputMismatch
        If the image's channels or spatial axes are not what the model takes; the hint offers
        the option that helps.
    """
    slices = _slices(image, card, options)
    channels = _channels(image, card, options)
    frames: list[int | None] = list(range(image.size("T"))) if "T" in image.axes else [None]
    return (_frame(image, channels, t, z) for t in frames for z in slices)


def stack_of(image: Image, frame: Frame) -> Frame:
    """The whole stack that a slice belongs to, in all channels."""
    channels: list[Pick] = list(range(image.size("C"))) if "C" in image.axes else [None]
    return _frame(image, channels, frame.t, None)


def _frame(image: Image, channels: Sequence[Pick], t: int | None, z: int | None) -> Frame:
    fixed = {axis: at for axis, at in (("T", t), ("Z", z)) if at is not None}
    told = [f"{word} {at + 1}" for word, at in (("frame", t), ("slice", z)) if at is not None]
    return Frame(View(image, channels, fixed), tuple(fixed.values()), ", ".join(told), t, z)


def _slices(image: Image, card: ModelCard, options: RunOptions) -> list[int | None]:
    depth = "Z" in image.axes
    linked = options.link_slices is not None
    if linked and (card.ndim == 3 or not depth):
        found = f"the model '{card.name}' is 3D" if card.ndim == 3 else f"the image is 2D ({_sizes(image)})"
        raise InputMismatch(
            f"link_slices joins what a 2D model finds in the slices of a stack; {found}.",
            "Leave link_slices out.",
        )
    if card.ndim == 3 and not depth:
        raise InputMismatch(
            f"The model '{card.name}' takes 3D stacks; the image is 2D ({_sizes(image)}).",
            "Give it a stack, or choose a 2D model.",
        )
    if card.ndim == 3 or not depth:
        return [None]
    always = card.deepbio.get("per_slice") is True
    if image.size("Z") > 1 and not (options.per_slice or linked or always):
        raise InputMismatch(
            f"The model '{card.name}' is 2D; the image is a stack of {image.size('Z')} slices ({_sizes(image)}).",
            "Set per_slice=true (on the command line --per-slice) to run it on every slice.",
        )
    return list(range(image.size("Z")))


def _channels(image: Image, card: ModelCard, options: RunOptions) -> list[Pick]:
    count, wanted, grey = image.size("C"), input_channels(card), card.deepbio.get("grey")
    if options.channel not in ("auto", "all"):
        chosen = _find_channels(image, options.channel)
        least = 1 if grey else wanted
        if not (least <= len(chosen) <= wanted) or (grey == "repeat" and len(chosen) > 1):
            takes = (
                "one" if wanted == 1 or grey == "repeat" else f"{least} to {wanted}" if grey else f"{wanted}"
            )
            raise InputMismatch(
                f"The model '{card.name}' takes {takes} channel{'s' * (takes != 'one')}; {len(chosen)} "
                f"{'was' if len(chosen) == 1 else 'were'} chosen.",
                _how_to_choose(card, image),
            )
        return chosen
    if count == 1 and (wanted == 1 or grey):
        return [0 if "C" in image.axes else None]
    # three channels of fluorescence are not a colour picture
    if count == wanted and (image.is_rgb or grey != "repeat"):
        return list(range(count))
    expected = "one grey channel or RGB" if grey == "repeat" else f"{wanted} channel{'s' * (wanted > 1)}"
    if grey == "first":
        expected = f"1 to {wanted} channels ({', '.join(card.input.channels)})"
    names = f" ({_names(image)})" if image.channels else ""
    raise InputMismatch(
        f"The model '{card.name}' takes {expected}; the image has {count} channel{'s' * (count > 1)}{names}.",
        _how_to_choose(card, image),
    )


def _how_to_choose(card: ModelCard, image: Image) -> str:
    """What to write for `channel`, where the image has enough of them."""
    count, wanted, grey = image.size("C"), input_channels(card), card.deepbio.get("grey")
    one = f"Choose one with channel=1 to channel={count}, or by its name" if count > 1 else ""
    if one and image.is_rgb:
        one += "; channel=grey is the mean of the colours"
    if wanted == 1 or grey == "repeat":
        return one and f"{one}."
    if count < wanted:
        names = ", ".join(card.input.channels)
        return (
            "" if grey or not names else f"They are {names}: the channels of one image, or an image for each."
        )
    some = ",".join(str(k) for k in range(1, wanted + 1))
    many = f"with channel={some} or other numbers or names, in the order {', '.join(card.input.channels)}"
    return f"{one}; or {wanted} {many}." if grey else f"Choose {wanted} {many}."


def _find_channels(image: Image, wanted: str) -> list[Pick]:
    """Channels by name or number, with commas between them; a name may have commas itself."""
    if "," not in wanted or wanted.lower() in (name.lower() for name in image.channels):
        return [_find_channel(image, wanted)]
    return [_find_channel(image, one.strip()) for one in wanted.split(",")]


def _find_channel(image: Image, wanted: str) -> Pick:
    count = image.size("C")
    lowered = [name.lower() for name in image.channels]
    if wanted.lower() in lowered:
        return lowered.index(wanted.lower())
    if wanted.isdigit() and 1 <= int(wanted) <= count:
        return int(wanted) - 1 if "C" in image.axes else None
    if wanted.lower() in _GREY:
        return (tuple(range(count)) if count > 1 else 0) if "C" in image.axes else None
    names = f", named {_names(image)}" if image.channels else ""
    raise InputMismatch(
        f"There is no channel {wanted!r}; the image has {count}{names}.",
        "Channels are counted from 1; grey is the mean of all.",
    )


def _names(image: Image) -> str:
    """The first of the channels by name: maps of features have hundreds."""
    rest = len(image.channels) - _TOLD
    return ", ".join(image.channels[:_TOLD]) + (f" and {rest} more" if rest > 0 else "")


def _sizes(image: Image) -> str:
    return " x ".join(f"{axis}={n}" for axis, n in zip(image.axes, image.shape, strict=True))
