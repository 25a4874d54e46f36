"""The training loop: fit a plan's network, keep the best moving average, resume after a kill."""

from __future__ import annotations

import csv
import math
import random
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deepbio.cases import Case
from deepbio.engine.memory import keep_pages
from deepbio.errors import WeightsError
from deepbio.events import Listener, Notice, Stage, silent
from deepbio.io import atomic
from deepbio.networks import build
from deepbio.training.losses import class_loss, deep_loss, instance_loss
from deepbio.training.plan import Plan
from deepbio.training.sampler import PatchSampler
from deepbio.training.validate import validate
from deepbio.training.volumes import Volumes

__all__ = ["Fit", "fit"]

_WARM_UP = 0.03  # of the steps
_CLIP = 5.0  # largest norm of the gradient


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
        One row per validation: step, loss, learning_rate, score and the score of each group.
    """

    step: int
    best: float
    history: list[dict[str, float]]


class _Trainer:
    def __init__(self, plan: Plan, device: torch.device) -> None:
        torch.manual_seed(plan.seed)
        random.seed(plan.seed)
        self.plan, self.device = plan, device
        self.network = build(plan.network["name"], plan.network["arguments"]).to(device)
        if plan.dims == 2:
            self.network = self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = deepcopy(self.network).eval().requires_grad_(False)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay
        )
        self.precision = _half_precision(device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.precision == torch.float16)
        self.loss = instance_loss if plan.target == "instances" else class_loss
        self.state = Fit(0, -math.inf, [])

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then a cosine to 0."""
        warm = max(1, round(_WARM_UP * self.plan.steps))
        if step < warm:
            return self.plan.learning_rate * (step + 1) / warm
        along = (step - warm) / max(1, self.plan.steps - warm)
        return self.plan.learning_rate * 0.5 * (1 + math.cos(math.pi * along))

    def train_step(self, images: np.ndarray, targets: np.ndarray) -> float:
        """Fit one batch and return its loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate(self.state.step)
        x = torch.from_numpy(images).to(self.device)
        if self.plan.dims == 2:
            x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
            scores = self.network(x)
        if isinstance(scores, Tensor):
            scores = [scores]
        loss = deep_loss(self.loss, scores, torch.from_numpy(targets).to(self.device))
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimiser)
        nn.utils.clip_grad_norm_(self.network.parameters(), _CLIP)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)
        self.state.step += 1
        self._move_average()
        return float(loss.detach())

    @torch.no_grad()
    def _move_average(self) -> None:
        """Exponential moving average of weights; short at first so that it follows the start."""
        decay = min(self.plan.ema, self.state.step / (self.state.step + 10))
        for kept, new in zip(
            self.average.state_dict().values(), self.network.state_dict().values(), strict=True
        ):
            if kept.dtype.is_floating_point:
                kept.lerp_(new, 1 - decay)
            else:
                kept.copy_(new)

    def validate(self, val: Volumes, losses: Sequence[float], folder: Path, listener: Listener) -> None:
        """Score the moving average; keep it if it is the best so far; write checkpoint and curve."""
        state = self.state
        scores = validate(self.average, val, self.plan, device=self.device)
        row = {
            "step": float(state.step),
            "loss": float(np.mean(losses)),
            "learning_rate": self.learning_rate(state.step - 1),
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


def fit(
    plan: Plan,
    train: Sequence[Case],
    val: Sequence[Case],
    folder: Path,
    *,
    device: str = "cpu",
    cache: Path | None = None,
    on_progress: Listener = silent,
) -> tuple[nn.Module, Fit]:
    """Train a plan's network and return the best one.

    A checkpoint is written to `folder` at every validation; if one is there already, the run
    goes on from it.

    Parameters
    ----------
    plan : Plan
        What to train.
    train, val : sequence of Case
        The two parts of the data.
    folder : Path
        Where ``checkpoint.pt``, ``best.pt``, ``history.csv`` and ``history.png`` are written.
    device : str
        Name of a torch device.
    cache : Path, optional
        Folder where volumes are kept on the grid that the network works on.
    on_progress : Listener
        Hears every step; may raise `Cancelled` (the last checkpoint stays).

    Returns
    -------
    network : torch.nn.Module
        The moving average with the best validation score, in evaluation mode, on the CPU.
    result : Fit
        How the run went.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if device == "cpu":
        keep_pages()  # else half of the time goes into taking and zeroing memory again
    trainer = _Trainer(plan, torch.device(device))
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.exists():
        trainer.load(checkpoint)
        on_progress(Notice(f"Going on from step {trainer.state.step} of {plan.steps} ({checkpoint.name})."))
    state = trainer.state
    trained, held = Volumes(train, plan, cache), Volumes(val, plan, cache)
    if state.step < plan.steps:
        trained.prepare(on_progress)
        held.prepare(on_progress)
    sampler = PatchSampler(trained, plan)
    stage = Stage(on_progress, "fit", plan.steps - state.step)
    losses: list[float] = []
    trainer.network.train()
    for images, targets in sampler.batches(state.step, plan.steps):
        losses.append(trainer.train_step(images, targets))
        stage.step()
        if state.step % plan.validate_every and state.step != plan.steps:
            continue
        trainer.validate(held, losses, folder, on_progress)
        losses.clear()
    network = build(plan.network["name"], plan.network["arguments"])
    network.load_state_dict(torch.load(folder / "best.pt", map_location="cpu", weights_only=True))
    return network.eval(), state


def write_history(folder: Path, history: Sequence[dict[str, float]]) -> None:
    """Write the training curve as ``history.csv`` and ``history.png``."""
    names = list(history[-1])
    with atomic(folder / "history.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore", restval="")
        writer.writeheader()
        writer.writerows(history)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left = figure.add_subplot()
    steps = [row["step"] for row in history]
    left.plot(steps, [row["loss"] for row in history], color="tab:grey", label="training loss")
    left.set_xlabel("step")
    left.set_ylabel("loss")
    right = left.twinx()
    for name in names[3:]:
        style = {"linewidth": 2.5, "color": "black"} if name == "score" else {"linewidth": 1.2}
        right.plot(steps, [row.get(name, math.nan) for row in history], label=f"val {name}", **style)
    right.set_ylim(0, 1)
    right.set_ylabel("validation score")
    handles = [
        (line, name)
        for axes in (left, right)
        for line, name in zip(*axes.get_legend_handles_labels(), strict=True)
    ]
    right.legend(*zip(*handles, strict=True), loc="lower right")
    with atomic(folder / "history.png") as temporary:
        figure.savefig(temporary, dpi=120, format="png")


def _half_precision(device: torch.device) -> torch.dtype:
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
