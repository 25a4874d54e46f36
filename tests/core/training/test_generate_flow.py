"""Training a flow of codes: the plan, both parts, and runs that go on where they were stopped."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from deepbio.engine.tensors import run_tensors
from deepbio.errors import Cancelled, OptionError
from deepbio.library.check import check_package
from deepbio.networks.flow import CodeEncoder
from deepbio.options import RunOptions
from deepbio.predict import generate, load_model
from deepbio.training import propose_plan, train
from deepbio.training.generate import Plan, Wishes
from deepbio.training.generate_class import turned
from deepbio.training.generate_flow import Codes, FlowBatches, make_codes
from tests.core.training.test_generate import size_of, stop_at, write_classes

TINY = Wishes(method="flow", size=32, batch=4, width=16, steps=16)
CPU = RunOptions(device="cpu", output=("image", "table"))


def tiny_plan(data: Path) -> Plan:
    plan = propose_plan(data, TINY, task="generate")
    assert isinstance(plan, Plan)
    return replace(plan, flow={**plan.flow, "batch": 4, "validate_every": 5})


def test_from_a_folder_to_images(tmp_path: Path) -> None:
    data = write_classes(tmp_path / "data", {"dark": 10, "light": 8})
    plan = tiny_plan(data)
    assert (plan.kind, plan.method, plan.latent, plan.schedule.steps) == ("class", "flow", 8 * 4 * 4, 2)
    package = train(data, tmp_path / "made", task="generate", plan=plan)
    model = load_model(package)
    assert check_package(model.card, run_tensors).passed
    made = generate(model, CPU.replace(count=3, seed=5)).image
    again = generate(model, CPU.replace(count=1, seed=6, classes=("light",))).image
    assert made is not None
    assert again is not None
    assert made.shape == (3, 3, 32, 32)
    np.testing.assert_allclose(made.numpy()[1].astype(int), again.numpy()[0], atol=1)
    work = tmp_path / "made.training"
    assert size_of(work / "coder" / "samples" / "step_000002.png") == (9 * 32, 2 * 32)
    assert size_of(work / "samples" / "step_000016.png") == (8 * 32, 2 * 32)
    assert {row["metric"] for row in model.card.scores} >= {"KID", "FID", "copies"}


@pytest.mark.parametrize("step", [1, 8])
def test_a_run_that_was_stopped_is_the_same_run(tmp_path: Path, step: int) -> None:
    data = write_classes(tmp_path / "data", {"dark": 8, "light": 8})
    plan = tiny_plan(data)
    plan = replace(plan, schedule=replace(plan.schedule, report_every=1))
    train(data, tmp_path / "whole", task="generate", plan=plan)
    with pytest.raises(Cancelled):  # of the coder at its first step, of the flow at its eighth
        train(data, tmp_path / "parts", task="generate", plan=plan, on_progress=stop_at(step))
    train(data, tmp_path / "parts", task="generate", plan=plan)
    for place in ("coder/checkpoint.pt", "best.pt"):
        states = [
            torch.load(tmp_path / f"{name}.training" / place, weights_only=True)
            for name in ("whole", "parts")
        ]
        one, two = (state.get("average", state) for state in states)
        for key, value in one.items():
            torch.testing.assert_close(value, two[key], atol=0, rtol=0, msg=f"{place}: {key}")


@pytest.mark.parametrize("wish", [{"judge": "blood-cells"}, {"naming": 0.5}, {"naming": 0.0}])
def test_wishes_of_the_other_method(tmp_path: Path, wish: dict[str, object]) -> None:
    data = write_classes(tmp_path / "data", {"dark": 8, "light": 8})
    with pytest.raises(OptionError, match=f"'{next(iter(wish))}' is of the method 'adversarial'"):
        propose_plan(data, TINY.replace(**wish), task="generate")


def test_which_method_is_meant(tmp_path: Path) -> None:
    data = write_classes(tmp_path / "data", {"dark": 8, "light": 8})
    plain = propose_plan(data, Wishes(size=16), task="generate")
    named = propose_plan(data, Wishes(size=16, naming=0.0), task="generate")
    assert isinstance(plain, Plan)
    assert isinstance(named, Plan)
    assert (plain.method, plain.network["name"], plain.flow["steps"]) == ("flow", "flow_generator", 20000)
    assert (named.method, named.network["name"], named.flow) == ("adversarial", "style_generator", {})


def test_codes_of_all_ways_to_lay_an_image() -> None:
    encoder = CodeEncoder(1, 2, (8, 8)).eval()
    images = np.random.default_rng(0).integers(0, 256, (3, 1, 16, 16), np.uint8)
    codes = make_codes(encoder, images, np.array([0, 1, 0]), turn=True)
    assert codes.values.shape == (3, 8, 2, 4, 4)
    alone = encoder(torch.from_numpy(np.ascontiguousarray(turned(images[1:2], 5)) / np.float32(127.5) - 1))
    np.testing.assert_allclose(codes.values[1, 5], alone[0].detach().numpy(), atol=5e-3)
    assert make_codes(encoder, images, codes.labels, turn=False).values.shape == (3, 1, 2, 4, 4)


def test_batches_of_codes() -> None:
    labels = np.array([0] * 17 + [1] * 2 + [2])
    values = np.arange(20, dtype=np.float16).reshape(20, 1, 1, 1, 1) * np.ones((1, 1, 1, 2, 2), np.float16)
    batches = FlowBatches(Codes(values, labels), 3, 300, 5)
    (batch,), (again,) = batches(4, 5), batches(4, 5)
    assert all(torch.equal(batch[name], again[name]) for name in batch)
    seen = labels[batch["codes"][:, 0, 0, 0].int().numpy()]
    assert np.bincount(seen).tolist() == [100, 100, 100]
    named = batch["asked"].sum(1).bool().numpy()
    assert 0.8 < named.mean() < 0.97
    assert (batch["asked"].argmax(1).numpy() == seen)[named].all()
    assert 0.4 < float(batch["time"].mean()) < 0.6
    assert float(batch["noise"].std()) == pytest.approx(1, abs=0.1)


def test_an_edited_plan_with_an_unknown_entry(tmp_path: Path) -> None:
    data = write_classes(tmp_path / "data", {"dark": 8, "light": 8})
    plan = replace(tiny_plan(data), flow={"pace": 3})
    with pytest.raises(OptionError, match="entry 'pace', which is unknown"):
        train(data, tmp_path / "made", task="generate", plan=plan)
    assert not (tmp_path / "made.training" / "coder").exists()
