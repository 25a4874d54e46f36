"""Models of StarDist in 3D give the probabilities, distances and objects that StarDist 0.9.2 gives with them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

torch = pytest.importorskip("torch")
h5py = pytest.importorskip("h5py")

import deepbio  # noqa: E402
from deepbio.engine.tensors import run_tensors  # noqa: E402
from deepbio.errors import CardError, WeightsError  # noqa: E402
from deepbio.importing import add_model  # noqa: E402
from deepbio.importing.stardist import find_stardist, read_stardist  # noqa: E402
from deepbio.importing.stardist_facts import star_facts  # noqa: E402
from deepbio.importing.stardist_package import write_stardist_package  # noqa: E402
from deepbio.importing.stardist_weights import star_state  # noqa: E402
from deepbio.library.check import check_package, validate_package  # noqa: E402
from deepbio.networks import build  # noqa: E402
from deepbio.options import RunOptions  # noqa: E402
from deepbio.predict import Model, load_model  # noqa: E402
from deepbio.tasks.result import Result  # noqa: E402
from tests.core.command import deepbio as command  # noqa: E402

from .stars import FILES, STARDIST, changed_copy, exported, zipped  # noqa: E402

UNET, RESNET = STARDIST / "stack_unet", STARDIST / "stack_resnet"
CASES = [(path.parent.name, path.stem) for path in sorted(STARDIST.glob("stack_*/*.npz"))]
Models = Callable[[str], Model]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """``models("stack_unet")`` imports and loads."""
    made: dict[str, Model] = {}

    def load(name: str) -> Model:
        if name not in made:
            found = find_stardist(STARDIST / name, STARDIST / name)
            card = write_stardist_package(found, name, tmp_path_factory.mktemp("imported"))
            made[name] = load_model(card.root)
        return made[name]

    return load


@pytest.fixture
def copied(tmp_path: Path) -> Callable[..., Path]:
    """``copied(UNET, n_rays=8)``: a model whose configuration has been changed; None takes an entry away."""

    def make(source: Path = UNET, **changes: object) -> Path:
        return changed_copy(source, tmp_path, **changes)

    return make


def _run(model: Model, pixels: np.ndarray, **options: object) -> Result:
    wanted = {"output": ("labels",), "runtime": "torch", "precision": "fp32", **options}
    return model.run(deepbio.Image(pixels, "ZYX"), RunOptions(**wanted))


def _differing(labels: np.ndarray, expected: np.ndarray) -> int:
    """Voxels that are not in the same object, whatever its number: StarDist counts by probability, we by centres."""
    counts = np.zeros((labels.max() + 1, expected.max() + 1), int)
    np.add.at(counts, (labels, expected), 1)
    return labels.size - counts[linear_sum_assignment(counts, maximize=True)].sum()


@pytest.mark.parametrize(("name", "case"), CASES)
def test_probabilities_distances_and_labels_are_stardists(models: Models, name: str, case: str) -> None:
    assert len(CASES) == 4
    told, model = np.load(STARDIST / name / f"{case}.npz"), models(name)
    assert all(n % 2 for n in told["image"].shape)
    result = _run(model, told["image"], output=("labels", "scores"))
    steps = model.card.deepbio["decode"]["grid"]
    scores = np.moveaxis(result.scores.numpy(), result.scores.axes.index("C"), 0)
    scores = scores[:, :: steps[0], :: steps[1], :: steps[2]]
    np.testing.assert_allclose(scores[0, ::2], told["prob"], atol=1e-4)
    dist = np.maximum(np.moveaxis(scores[1:], 0, -1)[::6, ::7, ::7], 1e-3)
    np.testing.assert_allclose(dist, told["dist"], atol=1e-3)
    labels = result.labels.numpy()
    assert labels.max() == told["labels"].max() > 15
    # 0 where this was written; on other processors the last digit of a probability may choose another centre
    assert _differing(labels, told["labels"]) <= 0.002 * labels.size
    # without scores only candidates are kept
    np.testing.assert_array_equal(_run(model, told["image"]).labels.numpy(), labels)


@pytest.mark.parametrize(("name", "tile"), [("stack_resnet", 48), ("stack_unet", 152)])
def test_tiles_give_what_the_whole_gives(models: Models, name: str, tile: int) -> None:
    pixels = np.load(STARDIST / name / "real.npz")["image"]
    repeats = {"stack_unet": (1, 4, 1), "stack_resnet": (3, 1, 1)}  # the one looks far in planes only
    pixels = np.tile(pixels[:9] if name == "stack_unet" else pixels, repeats[name])
    whole, tiled = _run(models(name), pixels), _run(models(name), pixels, tile=tile)
    assert (whole.record["tiles"], tiled.record["tiles"] > 1) == (1, True)
    assert whole.labels.numpy().max() > 25
    np.testing.assert_array_equal(tiled.labels.numpy(), whole.labels.numpy())
    dense = _run(models(name), pixels, tile=tile, output=("labels", "scores"))
    np.testing.assert_array_equal(dense.labels.numpy(), whole.labels.numpy())


def test_the_card_says_how_it_is_run(models: Models) -> None:
    card = models("stack_unet").card
    assert card.deepbio["tile"] == {
        "size": [128, 216, 216],
        "shared": [28, 108, 108],
        "cell": [1, 2, 2],
        "spread": "aligned",
        "blend": "nearest",
    }
    decode = card.deepbio["decode"]
    assert (decode["grid"], decode["divisor"], decode["reach"]) == ([1, 2, 2], [1, 8, 8], 64)
    assert decode["rays"] == {"name": "GoldenSpiral", "n": 32, "anisotropy": [2.0, 1.0, 1.0]}
    assert list(card.input.steps[1].kwargs["axes"]) == ["z", "y", "x"]
    assert [axis.step for axis in card.input.spatial] == [1, 8, 8]
    assert "32 rays on a grid of 1 x 2 x 2 pixels" in card.documentation.read_text()
    assert "doi:10.1109/WACV45572.2020.9093435" in " ".join(card.citations)


# bioimageio.spec leaves files open and says so by its own warnings
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("source", [UNET, RESNET])
def test_the_package_passes_its_own_test_and_the_format(models: Models, tmp_path: Path, source: Path) -> None:
    assert check_package(models(source.name).card, run_tensors).passed
    pytest.importorskip("bioimageio.spec")
    for name, content in exported(source).items():  # which says its licence, as the format wants
        (tmp_path / name).write_bytes(content)
    card = write_stardist_package(tmp_path / "rdf.yaml", "export", tmp_path)
    assert check_package(card, run_tensors).passed
    assert list(validate_package(card.root)) == []


def test_the_command_adds_shows_checks_and_runs_it(library: Path, tmp_path: Path) -> None:
    archive = zipped(tmp_path / "nuclei3d.zip", {name: (RESNET / name).read_bytes() for name in FILES})
    assert command("models", "add", archive).code == 0
    assert command("models", "show", "nuclei3d").code == 0
    assert command("models", "check", "nuclei3d").code == 0
    told = np.load(RESNET / "real.npz")
    grid = deepbio.Grid(told["image"].shape, (0.5, 0.25, 0.25), unit="micrometer")
    deepbio.write(tmp_path / "stack.tif", deepbio.Image(told["image"], "ZYX", grid))
    done = command(
        "run", "nuclei3d", tmp_path / "stack.tif", "-o", tmp_path / "out", "--save", "labels,table"
    )
    assert done.code == 0
    labels = deepbio.read_labels(tmp_path / "out" / "stack-labels.tif").numpy()
    assert _differing(labels, told["labels"]) <= 0.002 * labels.size
    assert len((tmp_path / "out" / "stack-table.csv").read_text().splitlines()) == 1 + labels.max()


def test_series_of_stacks_and_thresholds_of_the_user(models: Models) -> None:
    pixels = np.load(RESNET / "real.npz")["image"]
    model = models("stack_resnet")
    single = _run(model, pixels).labels.numpy()
    series = model.run(
        deepbio.Image(np.stack([pixels, pixels[:, ::-1]]), "TZYX"),
        RunOptions(output=("labels", "table"), runtime="torch", precision="fp32"),
    )
    np.testing.assert_array_equal(series.labels.numpy()[0], single)
    assert series.labels.numpy()[1].max() > 10
    counts = [_run(model, pixels, threshold=t).labels.numpy().max() for t in (0.3, 0.5, 0.8)]
    assert counts[0] > counts[1] > counts[2]


@pytest.mark.parametrize("how", [{"explain": "gradcam"}, {"explain": "occlusion"}, {"uncertainty": "tta"}])
def test_explanations_and_doubts_have_a_value_for_each_voxel(models: Models, how: dict[str, str]) -> None:
    pixels = np.load(RESNET / "real.npz")["image"][:9, :19, :17]
    result = _run(models("stack_resnet"), pixels, output=("labels",), **how)
    (found,) = (one for one in (result.explanation, result.uncertainty) if one is not None)
    assert tuple(found.size(axis) for axis in "ZYX") == pixels.shape
    assert np.unique(found.numpy()).size > 50


@pytest.mark.parametrize("network", ["unet", "resnet"])
def test_the_newer_layout_of_keras_holds_the_same_weights(tmp_path: Path, network: str) -> None:
    """Layers numbered by kind, as `.weights.h5` has them; written here as StarDist's Keras 3 does."""
    source = STARDIST / f"stack_{network}"
    model = read_stardist(find_stardist(source, source))
    facts = star_facts(model)
    with h5py.File(model.weights) as old, h5py.File(tmp_path / "new.weights.h5", "w") as new:
        counts: dict[str, int] = {}
        for layer in (
            name.decode() if isinstance(name, bytes) else name for name in old.attrs["layer_names"]
        ):
            names = list(old[layer].attrs["weight_names"])
            if not names:
                continue
            kind = "batch_normalization" if len(names) == 4 else "conv3d"
            number = counts.setdefault(kind, 0)
            counts[kind] += 1
            for k, name in enumerate(names):
                value = old[layer][name][()]
                new[f"layers/{kind}{f'_{number}' if number else ''}/vars/{k}"] = value
    built = build(facts.network, facts.arguments)
    expected = star_state(model.weights, built, facts.arguments)
    found = star_state(tmp_path / "new.weights.h5", built, facts.arguments)
    assert found.keys() == expected.keys() == built.state_dict().keys()
    assert all(torch.equal(found[key], value) for key, value in expected.items())


@pytest.mark.parametrize(
    ("source", "changes", "message"),
    [
        (UNET, {"n_classes": 2}, "tells 2 classes of objects apart"),
        (UNET, {"axes": "YXC"}, "axes 'YXC' and 3 dimensions; expected 'YXC' or 'ZYXC'"),
        (UNET, {"backbone": "vnet"}, "backbone 'vnet'; known is 'unet' or 'resnet'"),
        (UNET, {"grid": [1, 2]}, "expected three whole numbers"),
        (UNET, {"grid": [1, 3, 3]}, "expected powers of 2"),
        (UNET, {"unet_kernel_size": [3, 3]}, "unet_kernel_size .* expected three whole numbers"),
        (UNET, {"rays_json": None}, "rays_json None; expected the name"),
        (UNET, {"rays_json": {"name": "os.system", "kwargs": {}}}, "rays_json .*; expected the name"),
        (UNET, {"rays_json": {"name": "Rays_Other", "kwargs": {}}}, "'Other' is not known"),
        (
            UNET,
            {"rays_json": {"name": "Rays_GoldenSpiral", "kwargs": {"n": 30}}},
            r"32 rays \(n_rays\), and rays_json names 30",
        ),
        (UNET, {"anisotropy": [2, 0, 1]}, "anisotropy .* expected three numbers"),
        (
            RESNET,
            {"resnet_n_blocks": 1, "grid": [2, 4, 4]},
            r"resnet_n_blocks 1; expected .* grid \[2, 4, 4\]",
        ),
        (RESNET, {"resnet_n_conv_per_block": 1}, "resnet_n_conv_per_block 1"),
        (RESNET, {"resnet_n_filter_base": 10**6}, "resnet_n_filter_base 1000000"),
        (RESNET, {"resnet_activation": "exec"}, "expected one of relu"),
    ],
)
def test_configurations_that_are_not_known_or_absurd(library: Path, copied, source, changes, message) -> None:
    with pytest.raises(CardError, match=message):
        add_model(copied(source, **changes))
    assert not library.exists() or not list(library.iterdir())


@pytest.mark.parametrize(
    ("source", "changes", "message"),
    [
        (UNET, {"unet_n_depth": 3}, "convolutions .* asks for"),
        (RESNET, {"resnet_n_blocks": 3}, "has 12 convolutions .* asks for 15"),
        (RESNET, {"resnet_batch_norm": False}, "conv3d_4 .* has no bias"),
        (RESNET, {"net_conv_after_resnet": 0}, "asks for 11"),
        (RESNET, {"grid": [1, 1, 1]}, "asks for 11"),
        (RESNET, {"resnet_n_filter_base": 8}, r"kernel of conv3d_2 .* shape \(7, 7, 7, 1, 8\)"),
    ],
)
def test_weights_of_another_configuration(library: Path, copied, source, changes, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        add_model(copied(source, **changes))


def test_a_bias_that_the_network_does_not_have_is_told(library: Path, copied) -> None:
    folder = copied(RESNET)
    with h5py.File(folder / "weights_best.h5", "a") as file:
        layer = file["conv3d_4"]
        layer["conv3d_4/bias"] = np.ones(8, np.float32)
        layer.attrs["weight_names"] = ["conv3d_4/kernel", "conv3d_4/bias"]
    with pytest.raises(WeightsError, match=r"conv3d_4 .* has a bias"):
        add_model(folder)
