"""Two networks against each other: the loop that trains a generator with its discriminator.

What differs between kinds of generators (where the inputs come from, which losses count) is a
`Game`; what is the same is here: alternating steps, the gradient penalty R1 now and then, a moving
average of the generator, sample sheets, checkpoints. All that is random follows from the seed and
the number of the step, so a run that was stopped and taken up again is the same run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from deepbio.engine.memory import keep_pages
from deepbio.errors import WeightsError
from deepbio.events import Listener, Notice, Stage, silent
from deepbio.io import atomic
from deepbio.training.loop import curve_picture, half_precision, write_rows

__all__ = ["Adversarial", "AdversarialFit", "AdversarialSchedule", "Game", "random_of", "write_sheet"]

Batch = Mapping[str, Tensor]
Losses = Mapping[str, Tensor]


@dataclass(frozen=True)
class AdversarialSchedule:
    """How long and how fast two networks are trained.

    Attributes
    ----------
    steps : int
        Steps of each network.
    learning_rate : float
        Of Adam; in the last fifth it falls to a tenth.
    rival_rate : float
        Learning rate of the discriminator over the generator's.
    beta : float
        Adam's first beta: 0 where only the discriminator leads, 0.5 with a loss to a target.
    r1 : float
        Weight of the gradient penalty on real images; 0 leaves it out.
    r1_every : int
        Steps from one penalty to the next; its weight grows by as much.
    average_images : int
        Images after which half of the moving average is forgotten.
    report_every : int
        Steps between checkpoints, each with a sample sheet and a row of the history.
    seed : int
        Of everything random.
    """

    steps: int = 6000
    learning_rate: float = 2e-3
    rival_rate: float = 1.0
    beta: float = 0.0
    r1: float = 1.0
    r1_every: int = 16
    average_images: int = 5000
    report_every: int = 250
    seed: int = 0


class Game(Protocol):
    """What a generator and its discriminator play for.

    Losses are mappings whose entry ``"loss"`` is minimised; the others are told beside it.
    """

    def discriminator_loss(
        self, generator: nn.Module, discriminator: nn.Module, batch: Batch, random: torch.Generator
    ) -> Losses:
        """Losses of the discriminator; the generator gets no gradient."""

    def generator_loss(
        self, generator: nn.Module, discriminator: nn.Module, batch: Batch, random: torch.Generator
    ) -> Losses:
        """Losses of the generator."""

    def penalty(self, discriminator: nn.Module, batch: Batch) -> Tensor:
        """Mean squared gradient of the discriminator at real images (R1), in float32."""

    def sheet(self, generator: nn.Module) -> np.ndarray:
        """Samples to look at, of the same inputs every time: uint8 (rows, columns[, 3])."""


@dataclass
class AdversarialFit:
    """The state of a run that can be saved and taken up again.

    Attributes
    ----------
    step : int
        Steps done.
    best : float
        Best score so far, where the run is scored.
    history : list of dict
        One row per report.
    """

    step: int
    best: float
    history: list[dict[str, float]]


def random_of(seed: int, step: int, device: torch.device | None = None) -> torch.Generator:
    """The random numbers of a step.

    Examples
    --------
    >>> one, two = (torch.rand(1, generator=random_of(3, 5)).item() for _ in range(2))
    >>> one == two
    True
    """
    words = np.random.SeedSequence([seed, step]).generate_state(2)
    return torch.Generator(device or "cpu").manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)


class Adversarial:
    """Trains a generator and a discriminator.

    Parameters
    ----------
    generator, discriminator : torch.nn.Module
        The two networks; the generator may hold several.
    schedule : AdversarialSchedule
        How.
    device : torch.device
        Where.
    game : Game
        What for.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        schedule: AdversarialSchedule,
        device: torch.device,
        game: Game,
    ) -> None:
        self.schedule, self.device, self.game = schedule, device, game
        self.generator = _laid_out(generator.to(device))
        self.discriminator = _laid_out(discriminator.to(device))
        self.average = deepcopy(self.generator).eval().requires_grad_(False)
        self.optimisers = {
            "generator": self._adam(self.generator, 1),
            "discriminator": self._adam(
                self.discriminator, schedule.r1_every if schedule.r1 else 1, schedule.rival_rate
            ),
        }
        self.precision = half_precision(device)
        if self.precision == torch.float16:  # whose range the losses leave
            self.precision = torch.float32
        self.state = AdversarialFit(0, -math.inf, [])

    def _adam(self, network: nn.Module, every: int, factor: float = 1.0) -> torch.optim.Optimizer:
        """Adam whose memory is as long as without the steps that a lazy penalty adds."""
        ratio = every / (every + 1) if every > 1 else 1.0
        betas = (self.schedule.beta**ratio, 0.99**ratio)
        return torch.optim.Adam(
            network.parameters(), lr=self.schedule.learning_rate * factor * ratio, betas=betas
        )

    def fit(
        self,
        batches: Callable[[int, int], Iterable[Batch]],
        folder: Path,
        listener: Listener = silent,
        score: Callable[[nn.Module], dict[str, float]] | None = None,
    ) -> tuple[nn.Module, AdversarialFit]:
        """Train, or go on from the checkpoint in `folder`.

        Parameters
        ----------
        batches : callable
            ``batches(first_step, last_step)`` gives a batch a step, a function of the step alone.
        folder : Path
            Where ``checkpoint.pt``, ``history.csv``, ``history.png`` and ``samples/`` are written.
        listener : Listener
            Hears every step; may raise `Cancelled` (the last checkpoint stays).
        score : callable, optional
            Gives ``{"score": to maximise, ...}`` for a generator; the best average is then kept.
            Without it the last one is.

        Returns
        -------
        generator : torch.nn.Module
            The moving average, in evaluation mode, on the CPU.
        state : AdversarialFit
            How the run went.
        """
        folder.mkdir(parents=True, exist_ok=True)
        if self.device.type == "cpu":
            keep_pages()
        checkpoint = folder / "checkpoint.pt"
        if checkpoint.exists():
            self.load(checkpoint)
            listener(Notice(f"Going on from step {self.state.step} of {self.schedule.steps}."))
        state, schedule = self.state, self.schedule
        stage = Stage(listener, "fit", max(schedule.steps - state.step, 0))
        rows: list[dict[str, float]] = []
        for batch in batches(state.step, schedule.steps):
            rows.append(self.step({name: value.to(self.device) for name, value in batch.items()}))
            stage.step()
            if state.step % schedule.report_every == 0 or state.step == schedule.steps:
                self.report(rows, folder, listener, score)
                rows.clear()
        best = folder / "best.pt"
        if score is not None and best.exists():
            self.average.load_state_dict(torch.load(best, map_location=self.device, weights_only=True))
        return self.average.cpu().eval(), state

    def step(self, batch: Batch) -> dict[str, float]:
        """One step of each network; returns what the game tells."""
        random = random_of(self.schedule.seed, self.state.step)
        self._set_rates()
        told = self._play("discriminator", batch, random)
        every = self.schedule.r1_every
        if self.schedule.r1 and self.state.step % every == 0:
            penalty = self.game.penalty(self.discriminator, batch)
            (penalty * (0.5 * self.schedule.r1 * every)).backward()  # type: ignore[no-untyped-call]
            self._take("discriminator")
            self._penalty = float(penalty.detach())
        told["r1"] = getattr(self, "_penalty", 0.0)
        self.discriminator.requires_grad_(False)
        told |= self._play("generator", batch, random)
        self.discriminator.requires_grad_(True)
        self.state.step += 1
        self._move_average(len(next(iter(batch.values()))))
        return told

    def _play(self, who: str, batch: Batch, random: torch.Generator) -> dict[str, float]:
        losses = getattr(self.game, f"{who}_loss")
        with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
            found = losses(self.generator, self.discriminator, batch, random)
        found["loss"].backward()
        self._take(who)
        return {f"{who}_{name}": float(value.detach()) for name, value in found.items()}

    def _take(self, who: str) -> None:
        self.optimisers[who].step()
        for one in self.optimisers.values():
            one.zero_grad(set_to_none=True)

    def _set_rates(self) -> None:
        along = self.state.step / self.schedule.steps
        factor = 1.0 if along < 0.8 else 1 - 0.9 * (along - 0.8) / 0.2
        for optimiser in self.optimisers.values():
            for group in optimiser.param_groups:
                group.setdefault("full_rate", group["lr"])
                group["lr"] = group["full_rate"] * factor

    @torch.no_grad()
    def _move_average(self, images: int) -> None:
        """Exponential moving average of the generator; short at first so that it follows the start."""
        half = min(self.schedule.average_images, 0.1 * self.state.step * images)
        decay = 0.5 ** (images / max(half, 1e-8))
        for kept, new in zip(
            self.average.state_dict().values(), self.generator.state_dict().values(), strict=True
        ):
            if kept.dtype.is_floating_point:
                kept.lerp_(new, 1 - decay)
            else:
                kept.copy_(new)

    def report(
        self,
        rows: list[dict[str, float]],
        folder: Path,
        listener: Listener,
        score: Callable[[nn.Module], dict[str, float]] | None,
    ) -> None:
        """Write the sample sheet, the history and the checkpoint; keep the best where it is scored."""
        means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        found = score(self.average) if score is not None else {}
        self.state.history.append({"step": float(self.state.step), **means, **found})
        if found and found["score"] > self.state.best:
            self.state.best = found["score"]
            with atomic(folder / "best.pt") as temporary:
                torch.save(self.average.state_dict(), temporary)
        write_sheet(folder / "samples" / f"step_{self.state.step:06d}.png", self.game.sheet(self.average))
        self.save(folder / "checkpoint.pt")
        _write_history(folder, self.state.history)
        told = ", ".join(f"{name} {value:.3f}" for name, value in (means | found).items())
        listener(Notice(f"Step {self.state.step}: {told}"))

    def save(self, path: Path) -> None:
        """Write everything that is needed to go on."""
        content = {
            "state": asdict(self.state),
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "average": self.average.state_dict(),
            "optimisers": {name: one.state_dict() for name, one in self.optimisers.items()},
            "penalty": getattr(self, "_penalty", 0.0),
        }
        with atomic(path) as temporary:
            torch.save(content, temporary)

    def load(self, path: Path) -> None:
        """Take up a run.

        Raises
        ------
        WeightsError
            If the checkpoint cannot be read or is of other networks.
        """
        try:
            content: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
            for name in ("generator", "discriminator", "average"):
                getattr(self, name).load_state_dict(content[name])
            for name, one in self.optimisers.items():
                one.load_state_dict(content["optimisers"][name])
            self._penalty = content["penalty"]
            self.state = AdversarialFit(**content["state"])
        except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
            raise WeightsError(
                f"The checkpoint {str(path)!r} does not fit this plan: {error}",
                "Train into another folder, or delete the checkpoint to start again.",
            ) from error


def _laid_out(network: nn.Module) -> nn.Module:
    """Weights of 2D convolutions in the order that is fast."""
    if any(p.ndim == 5 for p in network.parameters()):
        return network
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def write_sheet(path: Path, sheet: np.ndarray) -> None:
    """Write samples, uint8 (rows, columns[, 3]), as PNG; its folder is made."""
    from PIL import Image as Picture

    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary:
        Picture.fromarray(sheet).save(temporary, format="png")


def _write_history(folder: Path, history: list[dict[str, float]]) -> None:
    """Write the history as ``history.csv`` and ``history.png``."""
    names = write_rows(folder / "history.csv", history)
    steps = [row["step"] for row in history]
    with curve_picture(folder) as axes:
        for name in names[1:]:
            if "r1" not in name:
                axes.plot(steps, [row.get(name, math.nan) for row in history], label=name.replace("_", " "))
        axes.set_xlabel("step")
        axes.legend(loc="upper left", fontsize="small")
