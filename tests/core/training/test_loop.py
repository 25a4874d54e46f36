"""The loop that all families share: what it keeps, how it goes on, what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

from deepbio.errors import Cancelled, TrainingError, WeightsError  # noqa: E402
from deepbio.events import Event, Progress  # noqa: E402
from deepbio.training.loop import Loop, Schedule  # noqa: E402

TRUE = torch.tensor([[2.0, -3.0, 0.5]])


def _loss(network: nn.Module, batch: np.ndarray) -> Tensor:
    x = torch.from_numpy(batch)
    return ((network(x) - x @ TRUE.T) ** 2).mean()


def _batches(first: int, last: int) -> Iterator[np.ndarray]:
    for step in range(first, last):
        yield np.random.default_rng((7, step)).standard_normal((9, 3)).astype(np.float32)


def _score(network: nn.Module) -> dict[str, float]:
    assert isinstance(network, nn.Linear)
    error = float((network.weight - TRUE).abs().max())
    return {"score": 1 / (1 + error), "error": error}


def _loop(steps: int = 300, seed: int = 0) -> Loop[np.ndarray]:
    schedule = Schedule(steps, learning_rate=0.1, weight_decay=0.0, ema=0.9, validate_every=50, seed=seed)
    return Loop(lambda: nn.Linear(3, 1, bias=False), schedule, "cpu", _loss)


def test_finds_the_weights_and_writes_the_curve(tmp_path: Path) -> None:
    network, state = _loop().fit(_batches, _score, tmp_path)
    assert isinstance(network, nn.Linear)
    np.testing.assert_allclose(network.weight.detach().numpy(), TRUE.numpy(), atol=0.02)
    assert (state.step, len(state.history)) == (300, 6)
    assert state.best == max(row["score"] for row in state.history)
    assert not network.training
    assert (tmp_path / "history.csv").read_text().splitlines()[0] == "step,loss,learning_rate,score,error"
    assert (tmp_path / "history.png").stat().st_size > 1000


def test_a_stopped_run_ends_as_one_that_was_not(tmp_path: Path) -> None:
    straight, _ = _loop().fit(_batches, _score, tmp_path / "a")

    def stop(event: Event) -> None:
        if isinstance(event, Progress) and event.current == 120:
            raise Cancelled

    with pytest.raises(Cancelled):
        _loop().fit(_batches, _score, tmp_path / "b", stop)
    resumed, state = _loop().fit(_batches, _score, tmp_path / "b")
    assert [row["step"] for row in state.history] == [50.0, 100.0, 150.0, 200.0, 250.0, 300.0]
    assert torch.equal(straight.weight, resumed.weight)


def test_the_seed_decides_the_first_weights() -> None:
    first, same, other = (_loop(seed=seed).network.weight for seed in (3, 3, 4))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    _loop(50).fit(_batches, _score, tmp_path)
    other = Loop(lambda: nn.Linear(4, 1), Schedule(50), "cpu", _loss)
    with pytest.raises(WeightsError, match="does not fit this plan"):
        other.fit(_batches, _score, tmp_path)


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    def broken(first: int, last: int) -> Iterator[np.ndarray]:
        for step, batch in enumerate(_batches(first, last), first):
            yield batch * np.float32("nan") if step == 60 else batch

    with pytest.raises(TrainingError, match="The loss is nan at step 61"):
        _loop().fit(broken, _score, tmp_path)
    assert (tmp_path / "checkpoint.pt").exists()
