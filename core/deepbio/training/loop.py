"""The training loop of every family: fit a network, keep the best moving average, resume after a kill."""

from __future__ import annotations

import csv
import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from deepbio.engine.memory import keep_pages
from deepbio.errors import TrainingError, WeightsError
from deepbio.events import Listener, Notice, Stage, silent
from deepbio.io import atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Fit", "Loop", "Schedule", "curve_picture", "half_precision", "write_history", "write_rows"]

_WARM_UP = 0.03  # of the steps
_CLIP = 5.0  # largest norm of the gradient

Batch = TypeVar("Batch")
Loss = Callable[[nn.Module, Batch], Tensor]
Scorer = Callable[[nn.Module], dict[str, float]]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a network is fitted.

    Attributes
    ----------
    steps : int
        Batches in all.
    learning_rate, weight_decay : float
        Of AdamW; the rate warms up, then falls by a cosine to 0.
    ema : float
        Decay of the weights' moving average, which is what is kept.
    validate_every : int
        Steps between validations.
    seed : int
        Of the first weights and of every draw on the device.
    """

    steps: int
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    ema: float = 0.998
    validate_every: int = 500
    seed: int = 0

    def rate(self, step: int) -> float:
        """Learning rate at a step: linear warm-up, then a cosine to 0.

        Examples
        --------
        >>> [round(Schedule(100, learning_rate=1.0).rate(step), 3) for step in (0, 3, 51, 100)]
        [0.333, 1.0, 0.508, 0.0]
        """
        warm = max(1, round(_WARM_UP * self.steps))
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        along = (step - warm) / max(1, self.steps - warm)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * along))


@dataclass
class Fit:
    """The state of a run that can be saved and taken up again.

    Attributes
    ----------
    step : int
        Steps done.
    best : float
        Best validation score so far.
    history : list of dict
        One row per validation: step, loss, learning_rate, score and what else the scorer tells.
    """

    step: int
    best: float
    history: list[dict[str, float]]


class Loop(Generic[Batch]):
    """A network being fitted.

    Parameters
    ----------
    make_network : callable
        Builds the network; called once the seed is set, so that its first weights follow from it.
    schedule : Schedule
        How long and how fast.
    device : str
        Name of a torch device.
    loss : callable
        ``loss(network, batch)`` gives a scalar tensor; it runs in the loop's precision.
    channels_last : bool
        Keep a 2D network's weights in that memory format, which is faster.
    """

    def __init__(
        self,
        make_network: Callable[[], nn.Module],
        schedule: Schedule,
        device: str,
        loss: Loss[Batch],
        *,
        channels_last: bool = False,
    ) -> None:
        torch.manual_seed(schedule.seed)
        random.seed(schedule.seed)
        if device == "cpu":
            keep_pages()  # else half of the time goes into taking and zeroing memory again
        self.make_network, self.schedule, self.loss = make_network, schedule, loss
        self.device = torch.device(device)
        self.network = make_network().to(self.device)
        if channels_last:
            self.network = self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = deepcopy(self.network).eval().requires_grad_(False)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay
        )
        self.precision = half_precision(self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == torch.float16)
        self.state = Fit(0, -math.inf, [])

    def fit(
        self,
        batches: Callable[[int, int], Iterable[Batch]],
        score: Scorer,
        folder: Path,
        listener: Listener = silent,
    ) -> tuple[nn.Module, Fit]:
        """Fit until the schedule's last step; go on from the folder's checkpoint where there is one.

        Parameters
        ----------
        batches : callable
            ``batches(first, last)`` yields the batch of each step from `first` up to, not including,
            `last`: always the same for a step, so that a run that was stopped goes on as if it had not.
        score : callable
            ``score(network)`` gives ``"score"``, to be as large as can be, and what else is to be told.
        folder : Path
            For ``checkpoint.pt``, ``best.pt``, ``history.csv`` and ``history.png``.
        listener : Listener
            Hears every step; may raise `Cancelled` (the last checkpoint stays).

        Returns
        -------
        network : torch.nn.Module
            The moving average with the best score, in evaluation mode, on the CPU.
        result : Fit
            How the run went.

        Raises
        ------
        WeightsError
            If the checkpoint is not of this network.
        TrainingError
            If the loss is no longer a number.
        """
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint, last = folder / "checkpoint.pt", self.schedule.steps
        if checkpoint.exists():
            self.load(checkpoint)
            listener(Notice(f"Going on from step {self.state.step} of {last} ({checkpoint.name})."))
        stage = Stage(listener, "fit", last - self.state.step)
        losses: list[float] = []
        self.network.train()
        for batch in batches(self.state.step, last):
            losses.append(self.train_step(batch))
            stage.step()
            if self.state.step % self.schedule.validate_every and self.state.step != last:
                continue
            self._validate(score, losses, folder, listener)
            losses.clear()
        network = self.make_network()
        network.load_state_dict(torch.load(folder / "best.pt", map_location="cpu", weights_only=True))
        return network.eval(), self.state

    def train_step(self, batch: Batch) -> float:
        """Fit one batch and return its loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.schedule.rate(self.state.step)
        with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
            loss = self.loss(self.network, batch)
        value = float(loss.detach())
        if not math.isfinite(value) and not self.scaler.is_enabled():
            raise TrainingError(
                f"The loss is {value} at step {self.state.step + 1}.",
                "Choose a smaller learning rate in the plan; the last checkpoint is kept.",
            )
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimiser)
        nn.utils.clip_grad_norm_(self.network.parameters(), _CLIP)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)
        self.state.step += 1
        self._move_average()
        return value

    @torch.no_grad()
    def _move_average(self) -> None:
        """Exponential moving average of weights; short at first so that it follows the start."""
        decay = min(self.schedule.ema, self.state.step / (self.state.step + 10))
        for kept, new in zip(
            self.average.state_dict().values(), self.network.state_dict().values(), strict=True
        ):
            if kept.dtype.is_floating_point:
                kept.lerp_(new, 1 - decay)
            else:
                kept.copy_(new)

    def _validate(self, score: Scorer, losses: Sequence[float], folder: Path, listener: Listener) -> None:
        """Score the moving average; keep it if it is the best so far; write checkpoint and curve."""
        state = self.state
        scores = score(self.average)
        self.average.eval()
        row = {
            "step": float(state.step),
            "loss": float(np.mean(losses)),
            "learning_rate": self.schedule.rate(state.step - 1),
            **scores,
        }
        state.history.append(row)
        if scores["score"] > state.best:
            state.best = scores["score"]
            with atomic(folder / "best.pt") as temporary:
                torch.save(self.average.state_dict(), temporary)
        self.save(folder / "checkpoint.pt")
        write_history(folder, state.history)
        told = ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
        listener(Notice(f"Step {state.step}: loss {row['loss']:.3f}, {told}"))

    def save(self, path: Path) -> None:
        """Write all that the rest of the run follows from."""
        content = {
            "state": asdict(self.state),
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        with atomic(path) as temporary:
            torch.save(content, temporary)

    def load(self, path: Path) -> None:
        """Take up a run where `save` left it.

        Raises
        ------
        WeightsError
            If the file is damaged or of another network.
        """
        try:
            content = torch.load(path, map_location=self.device, weights_only=True)
            self.network.load_state_dict(content["network"])
            self.average.load_state_dict(content["average"])
            self.optimiser.load_state_dict(content["optimiser"])
            self.scaler.load_state_dict(content["scaler"])
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            raise WeightsError(
                f"The checkpoint {str(path)!r} does not fit this plan: {error}",
                "Train into another folder, or delete the checkpoint to start again.",
            ) from error
        self.state = Fit(**content["state"])


def write_rows(path: Path, rows: Sequence[dict[str, float]]) -> list[str]:
    """Write rows as CSV with the columns of the last one; return their names."""
    names = list(rows[-1])
    with atomic(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore", restval="")
        writer.writeheader()
        writer.writerows(rows)
    return names


def write_history(folder: Path, history: Sequence[dict[str, float]]) -> None:
    """Write the training curve as ``history.csv`` and ``history.png``."""
    names = write_rows(folder / "history.csv", history)
    with curve_picture(folder) as left:
        _draw(left, history, names[3:])


def _draw(left: Axes, history: Sequence[dict[str, float]], names: Sequence[str]) -> None:
    """The loss, and the scores of these names on an axis of their own."""
    steps = [row["step"] for row in history]
    left.plot(steps, [row["loss"] for row in history], color="tab:grey", label="training loss")
    left.set_xlabel("step")
    left.set_ylabel("loss")
    right = left.twinx()
    for name in names:
        style = {"linewidth": 2.5, "color": "black"} if name == "score" else {"linewidth": 1.2}
        right.plot(steps, [row.get(name, math.nan) for row in history], label=f"val {name}", **style)
    shown = [row[name] for row in history for name in names if name in row]
    if all(0 <= value <= 1 for value in shown if math.isfinite(value)):
        right.set_ylim(0, 1)  # most scores are a part of something
    right.set_ylabel("validation score")
    handles = [
        (line, name)
        for axes in (left, right)
        for line, name in zip(*axes.get_legend_handles_labels(), strict=True)
    ]
    right.legend(*zip(*handles, strict=True), loc="lower right")


@contextmanager
def curve_picture(folder: Path) -> Iterator[Axes]:
    """Axes to draw on, which become ``history.png``."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    FigureCanvasAgg(figure)
    yield figure.add_subplot()
    with atomic(folder / "history.png") as temporary:
        figure.savefig(temporary, dpi=120, format="png")


def half_precision(device: torch.device) -> torch.dtype:
    """The type for matrix products while training: where it is fast and sound, half the bits."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device.type == "cpu":
        # without such units in the CPU, bfloat16 is emulated and slower than float32
        capability: Any = torch.backends.cpu.get_cpu_capability()
        return torch.bfloat16 if "AVX512" in capability and _cpu_flag("avx512_bf16") else torch.float32
    return torch.float32


def _cpu_flag(name: str) -> bool:
    info = Path("/proc/cpuinfo")
    return info.exists() and name in info.read_text(encoding="utf-8", errors="replace")
