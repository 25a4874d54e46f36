"""Volumes through folds to an ensemble, and slice by slice: from files to a model that segments them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from deepbio.cases import read_cases  # noqa: E402
from deepbio.engine.tensors import run_tensors  # noqa: E402
from deepbio.errors import CardError, OptionError  # noqa: E402
from deepbio.image import Grid, Image, LabelMap  # noqa: E402
from deepbio.io import read, write  # noqa: E402
from deepbio.library.check import check_package  # noqa: E402
from deepbio.options import RunOptions  # noqa: E402
from deepbio.predict import load_model  # noqa: E402
from deepbio.training import Description, Plan, Wishes, propose_plan, train  # noqa: E402

NAMES = Description(classes={1: "bright", 2: {"name": "brighter", "color": "#e6194b"}})
TORCH = RunOptions(device="cpu", runtime="torch")


@pytest.fixture(scope="module")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four volumes of 7 x 15 x 19 thick slices with two classes, oblique."""
    folder = tmp_path_factory.mktemp("blocks")
    direction = np.linalg.qr(np.array([[0.1, 0.0, 1.0], [0.1, 1.0, 0.0], [1.0, 0.0, 0.1]]))[0]
    rng = np.random.default_rng(0)
    for kind in ("images", "labels"):
        (folder / kind).mkdir()
    lines = ["file,patient,split"]
    for number in range(4):
        shape = (7, 15, 19)
        grid = Grid(shape, (3.5, 1.0, 1.0), (5.0, -7.0, 11.0), direction, "millimeter")
        labels = np.zeros(shape, np.uint8)
        labels[1:4, 2:8, 3:9], labels[3:6, 8:13, 10:16] = 1, 2
        labels = np.roll(labels, number - 1, axis=2)
        values = (labels * 90 + rng.normal(20, 4, shape)).astype(np.int16)
        write(folder / "images" / f"{number}.nrrd", Image(values, "ZYX", grid))
        write(folder / "labels" / f"{number}.nrrd", LabelMap(labels, "ZYX", grid))
        lines.append(f"{number}.nrrd,P{number},{'val' if number == 3 else 'train'}")
    (folder / "index.csv").write_text("\n".join(lines))
    return folder


def _tiny(plan: Plan) -> Plan:
    arguments = {**plan.network["arguments"], "features": [6, 8]}
    arguments |= {name: arguments[name][:2] for name in ("strides", "kernels")}
    network = {"name": "unet", "arguments": arguments}
    patch = (4, 8, 8)[-plan.dims :]
    return replace(
        plan, network=network, patch=patch, batch=2, steps=30, validate_every=30, ema=0.8, learning_rate=1e-2
    )


@pytest.fixture(scope="module")
def folded(blocks: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("models") / "blocks"
    plan = _tiny(propose_plan(blocks, Wishes(folds=2, configuration="3d", memory=1.5), about=NAMES))
    return train(blocks, output, plan=plan, about=NAMES, device="cpu")


def test_the_ensemble_is_the_mean_of_its_folds(folded: Path, blocks: Path) -> None:
    image = read(read_cases(blocks)[0].image)
    options = TORCH.replace(output=("labels", "scores"))
    whole = load_model(folded).run(image, options)
    folds = [
        load_model(folded.with_name("blocks.training") / f"fold_{i}" / "blocks").run(image, options)
        for i in range(2)
    ]
    mean = np.mean([one.scores.numpy() for one in folds], axis=0)
    np.testing.assert_allclose(whole.scores.numpy(), mean, atol=1e-4)
    assert whole.labels.grid == image.grid
    assert whole.labels.names == {1: "bright", 2: "brighter"}


@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_the_ensemble_passes_its_own_test(folded: Path, runtime: str) -> None:
    card = load_model(folded).card
    report = check_package(card, lambda card, tensors: run_tensors(card, tensors, runtime=runtime))
    assert report.passed


def test_the_card_tells_out_of_fold_scores(folded: Path) -> None:
    card = load_model(folded).card
    assert card.weights[0].network == "ensemble"
    first = card.scores[0]
    assert (first["split"], first["metric"], first["n"]) == ("cross-validation (2 folds)", "Dice", 4)
    metrics = {row["metric"] for row in card.scores}
    assert {"Dice, bright", "Dice, brighter", "NSD at 1 mm, bright", "Dice with mirroring"} <= metrics
    assert card.deepbio["grid"]["spacing"] == [3.5, 1.0, 1.0]
    assert card.deepbio["mirror"] == [0, 1, 2]
    assert {row["class"] for row in card.deepbio["calibration"]} == {1, 2}
    assert card.deepbio["classes"][2] == {"name": "brighter", "color": "#e6194b"}


def test_one_fold_at_a_time(blocks: Path, folded: Path, tmp_path: Path) -> None:
    plan = replace(
        _tiny(propose_plan(blocks, Wishes(folds=2, configuration="3d"))), steps=1, validate_every=1
    )
    package = train(blocks, tmp_path / "m", plan=plan, device="cpu", fold=1)
    assert package == tmp_path / "m.training" / "fold_1" / "m"
    with pytest.raises(OptionError, match=r"not trained yet: fold_0\."):
        train(blocks, tmp_path / "m", device="cpu", ensemble=True)
    with pytest.raises(OptionError, match="There is no fold 2; the plan has folds 0 to 1"):
        train(blocks, tmp_path / "m", device="cpu", fold=2)
    with pytest.raises(OptionError, match="holds a run with another plan"):
        train(blocks, tmp_path / "m", plan=replace(plan, seed=9), device="cpu")


def test_slice_by_slice(blocks: Path, tmp_path: Path) -> None:
    plan = _tiny(propose_plan(blocks, Wishes(configuration="2d", memory=1.5), about=NAMES))
    assert (plan.dims, plan.per_slice, plan.grid["spacing"]) == (2, True, [1.0, 1.0])
    with pytest.raises(OptionError, match="has no folds"):
        train(blocks, tmp_path / "flat", plan=plan, about=NAMES, device="cpu", fold=0)
    model = load_model(train(blocks, tmp_path / "flat", about=NAMES, device="cpu"))
    image = read(read_cases(blocks)[0].image)
    result = model.run(image, TORCH)  # a stack, and nobody asks for per_slice
    assert result.labels.grid == image.grid
    assert model.card.deepbio["per_slice"] is True


def test_a_description_that_no_card_takes_is_told_at_once(blocks: Path, tmp_path: Path) -> None:
    with pytest.raises(CardError, match="title"):
        train(blocks, tmp_path / "m", about=Description(title="?"), device="cpu")
    assert not (tmp_path / "m.training").exists()
