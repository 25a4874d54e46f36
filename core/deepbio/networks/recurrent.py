"""Recurrent cells over frames: LSTM and GRU, and their convolutional forms, in one or both directions.

Method: Hochreiter & Schmidhuber, Neural Computation 9:1735 (1997, doi:10.1162/neco.1997.9.8.1735);
Cho et al., EMNLP 2014 (doi:10.3115/v1/D14-1179); the convolutional LSTM is Shi et al., NeurIPS
2015 (arXiv:1506.04214). A cell keeps its state in a tuple of tensors, so that it can be handed on from one part of
a movie to the next.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["CELLS", "Recurrent", "State"]

CELLS = ("gru", "lstm")

State = tuple[Tensor, ...]
"""What a cell remembers: its hidden values, and those of an LSTM's memory."""


class _Cell(nn.Module):
    """One direction. What comes from the frames is computed for all of them at once."""

    def __init__(self, cell: str, inputs: int, hidden: int, kernel: int) -> None:
        super().__init__()
        if cell not in CELLS:
            raise ValueError(f"no cell {cell!r}; known are {', '.join(CELLS)}")
        self.lstm, self.hidden = cell == "lstm", hidden
        gates = 4 if self.lstm else 3
        self.from_frame = _mix(inputs, gates * hidden, kernel)
        self.from_state = _mix(hidden, gates * hidden, kernel, bias=False)
        if self.lstm:
            # a memory that keeps at first is easier to learn: Jozefowicz et al., ICML 2015
            bias = self.from_frame.bias
            assert isinstance(bias, Tensor)  # noqa: S101 - for the type checker
            with torch.no_grad():
                bias[hidden : 2 * hidden] = 1.0

    def start(self, like: Tensor) -> State:
        """The state before the first frame; `like` has shape (N, C, ...)."""
        shape = (like.shape[0], self.hidden, *like.shape[2:])
        zeros = torch.zeros(shape, dtype=like.dtype, device=like.device)
        return (zeros, zeros) if self.lstm else (zeros,)

    def step(self, seen: Tensor, state: State) -> State:
        """State after a frame, of which `seen` is what `from_frame` gives."""
        known = self.from_state(state[0])
        if self.lstm:
            enter, keep, leave, new = (seen + known).chunk(4, dim=1)
            memory = keep.sigmoid() * state[1] + enter.sigmoid() * new.tanh()
            return leave.sigmoid() * memory.tanh(), memory
        seen_update, seen_reset, seen_new = seen.chunk(3, dim=1)
        known_update, known_reset, known_new = known.chunk(3, dim=1)
        update = (seen_update + known_update).sigmoid()
        reset = (seen_reset + known_reset).sigmoid()
        new = (seen_new + reset * known_new).tanh()
        return (update * state[0] + (1 - update) * new,)


class Recurrent(nn.Module):
    """Frames in, hidden values of each frame out.

    Parameters
    ----------
    cell : {"gru", "lstm"}
        Kind of cell.
    inputs, hidden : int
        Channels of a frame, and of the hidden values in each direction.
    kernel : int
        Size of the cell's convolutions; 0 for frames without space.
    bidirectional : bool
        Whether a second cell goes through the frames from the last to the first.

    Examples
    --------
    >>> layer = Recurrent("lstm", 3, 4, kernel=3, bidirectional=True)
    >>> hidden, state = layer(torch.zeros(2, 5, 3, 6, 7))
    >>> hidden.shape, len(state)
    (torch.Size([2, 5, 8, 6, 7]), 2)
    """

    def __init__(
        self, cell: str, inputs: int, hidden: int, *, kernel: int = 3, bidirectional: bool = False
    ) -> None:
        super().__init__()
        self.forwards = _Cell(cell, inputs, hidden, kernel)
        self.backwards = _Cell(cell, inputs, hidden, kernel) if bidirectional else None
        self.outputs = hidden * (2 if bidirectional else 1)

    def forward(self, frames: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Go through frames.

        Parameters
        ----------
        frames : Tensor, shape (N, T, inputs, ...)
            In their order.
        state : tuple of Tensor, optional
            Of the forward cell after the frame before the first; by default nothing was before.

        Returns
        -------
        hidden : Tensor, shape (N, T, outputs, ...)
            Of each frame.
        state : tuple of Tensor
            Of the forward cell after the last frame.
        """
        ahead, state = _follow(self.forwards, frames, state, back=False)
        if self.backwards is None:
            return torch.stack(ahead, dim=1), state
        behind, _ = _follow(self.backwards, frames, None, back=True)
        return torch.cat((torch.stack(ahead, dim=1), torch.stack(behind, dim=1)), dim=2), state


def _follow(cell: _Cell, frames: Tensor, state: State | None, *, back: bool) -> tuple[list[Tensor], State]:
    """Hidden values of each frame, in the frames' order, and the last state."""
    count, length = frames.shape[:2]
    seen = cell.from_frame(frames.flatten(0, 1)).unflatten(0, (count, length))
    state = cell.start(frames[:, 0]) if state is None else state
    hidden: list[Tensor] = []
    for t in reversed(range(length)) if back else range(length):
        state = cell.step(seen[:, t], state)
        hidden.append(state[0])
    return hidden[::-1] if back else hidden, state


def _mix(inputs: int, outputs: int, kernel: int, *, bias: bool = True) -> Any:
    """A convolution, or without space a matrix."""
    if not kernel:
        return nn.Linear(inputs, outputs, bias=bias)
    if kernel % 2 == 0:
        raise ValueError(f"kernel sizes must be odd, found {kernel}")
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=bias)
