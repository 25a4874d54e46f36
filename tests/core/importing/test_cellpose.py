"""A real training of Cellpose (tests/data/cellpose), what Cellpose finds with it, and files that are no such thing."""

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import deepbio  # noqa: E402
from deepbio.errors import CardError, DeepBioError, InputMismatch, WeightsError  # noqa: E402
from deepbio.importing import ImportChoice, add_model  # noqa: E402
from deepbio.importing.cellpose import cellpose_facts, is_cellpose  # noqa: E402
from deepbio.options import RunOptions  # noqa: E402
from tests.core.command import deepbio as command  # noqa: E402

CELLPOSE = Path(__file__).parents[2] / "data" / "cellpose"
FILE = CELLPOSE / "CP_nuclei"
CASES = sorted(path.stem for path in CELLPOSE.glob("*.npz") if not path.stem.startswith("stack"))
STACKS = sorted(path.stem for path in CELLPOSE.glob("stack*.npz"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEEPBIO_HOME", str(tmp_path_factory.mktemp("home")))
        return deepbio.load_model(add_model(FILE).root)


def differing(ours: np.ndarray, theirs: np.ndarray) -> int:
    """Pixels outside of the object of ours that has most pixels of theirs, in both directions."""
    wrong = 0
    for one, other in ((theirs, ours), (ours, theirs)):
        for label in np.unique(one):
            counts = np.bincount(other[one == label])
            best = 0 if label == 0 else int(counts.argmax())
            wrong += int(counts.sum() - counts[best])
    return wrong


@pytest.mark.parametrize("case", CASES)
def test_scores_and_labels_are_those_of_cellpose(model: Any, case: str) -> None:
    name, _, diameter = case.rpartition("_")
    expected = np.load(CELLPOSE / f"{case}.npz")
    options = RunOptions(
        output=("labels", "scores", "table"),
        diameter=None if diameter == "own" else float(diameter),
        runtime="torch",
        device="cpu",
    )
    result = model.run(deepbio.read(CELLPOSE / f"{name}.tif"), options)
    np.testing.assert_allclose(result.scores.array[:, ::5, ::5], expected["scores"], rtol=1e-5, atol=1e-4)
    labels = result.labels.numpy()
    assert labels.max() == expected["masks"].max() >= 10
    assert differing(labels, expected["masks"].astype(int)) <= 2
    assert len(result.table) == labels.max()


def _stack(apart: float) -> deepbio.Image:
    pixels = deepbio.read(CELLPOSE.parent / "imagej" / "nuclei_stack.tif").array
    return deepbio.Image(
        pixels, "ZYX", deepbio.Grid(pixels.shape, (apart * 0.4, 0.4, 0.4), unit="micrometer")
    )


@pytest.mark.parametrize("case", STACKS)
def test_objects_of_a_stack_are_those_of_cellpose(model: Any, case: str) -> None:
    _, diameter, anisotropy = case.split("_")
    expected = np.load(CELLPOSE / f"{case}.npz")
    options = RunOptions(
        output=("labels", "scores", "table"),
        do_3d=True,
        diameter=float(diameter),
        runtime="torch",
        device="cpu",
    )
    result = model.run(_stack(float(anisotropy)), options)
    scores = result.scores.array[:, ::2, ::5, ::5]
    np.testing.assert_allclose(scores, expected["scores"], rtol=1e-5, atol=2e-4)
    labels = result.labels.numpy()
    assert labels.max() == expected["masks"].max() > 10
    assert differing(labels, expected["masks"].astype(int)) <= 2
    assert len(result.table) == labels.max()
    assert result.record["do_3d"] is True


def test_a_movie_of_stacks_is_looked_at_frame_by_frame(model: Any) -> None:
    stack = _stack(2.0)
    movie = deepbio.Image(np.stack([stack.array, stack.array[:, ::-1]]), "TZYX", stack.grid)
    options = RunOptions(do_3d=True, diameter=14.0, runtime="torch", device="cpu")
    labels = model.run(movie, options).labels.numpy()
    assert labels.shape == movie.shape
    expected = np.load(CELLPOSE / "stack_14.0_2.0.npz")["masks"]
    assert labels[0].max() == expected.max()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"link_slices": 0.5}, "without link_slices"),
        ({"uncertainty": "tta"}, "without uncertainty"),
    ],
)
def test_what_do_3d_cannot_be_with(model: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputMismatch, match=message):
        model.run(_stack(1.0), RunOptions(do_3d=True, **options))


def test_do_3d_is_for_stacks_and_models_of_flows(model: Any) -> None:
    with pytest.raises(InputMismatch, match="do_3d is for stacks; the image has the axes YX"):
        model.run(deepbio.Image(np.zeros((20, 21), np.uint8)), RunOptions(do_3d=True))
    with pytest.raises(InputMismatch, match=r"by flows, votes, watershed, .*; 'heart-lv' is none"):
        deepbio.load_model("heart-lv").run(_stack(1.0), RunOptions(do_3d=True))


def test_there_are_cases_with_several_zooms_and_tiles(model: Any) -> None:
    zooms, tiles = set(), set()
    for case in CASES:
        name, _, diameter = case.rpartition("_")
        options = RunOptions(output=("scores",), diameter=None if diameter == "own" else float(diameter))
        record = model.run(deepbio.read(CELLPOSE / f"{name}.tif"), options).record
        zooms.add(round(record["zoom"], 2))
        tiles.add(record["tiles"])
    assert zooms == {1.13, 1.4, 2.5}
    assert max(tiles) >= 4


def test_what_the_card_says(model: Any) -> None:
    card = model.card
    state = torch.load(FILE, weights_only=True)
    assert (card.name, card.task, card.ndim) == ("cp_nuclei", "segment", 2)
    assert card.input.channels == ("cells", "nuclei")
    assert card.deepbio["sizes"]["usual"] == pytest.approx(float(state["diam_labels"]))
    assert card.deepbio["origin"] == {"program": "Cellpose", "file": "CP_nuclei"}
    arguments = {"in_channels": 2, "out_channels": 3, "features": [8, 16, 32, 32], "kernel": 3}
    assert card.deepbio["network"]["arguments"] == arguments


def test_the_command_adds_checks_and_runs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPBIO_HOME", str(tmp_path / "home"))
    assert command("models", "add", FILE, "--name", "mine").code == 0
    assert command("models", "check", "mine").code == 0
    done = command(
        "run",
        "mine",
        CELLPOSE / "small_pair.tif",
        "-o",
        tmp_path / "out",
        "--channel",
        "1,2",
        "--diameter",
        "12",
    )
    assert done.code == 0, done.err
    expected = np.load(CELLPOSE / "small_pair_12.0.npz")["masks"]
    assert deepbio.read(tmp_path / "out" / "small_pair-labels.tif").array.max() == expected.max()


def test_windows_mirrors_and_stacks(model: Any) -> None:
    image = deepbio.read(CELLPOSE / "small.tif")
    plain = model.run(image).labels.numpy()
    mirrored = model.run(image, RunOptions(mirror=True)).labels.numpy()
    assert abs(int(mirrored.max()) - int(plain.max())) <= 4
    assert ((mirrored > 0) == (plain > 0)).mean() > 0.97
    stack = deepbio.Image(np.stack([image.array] * 2), "ZYX")
    linked = model.run(stack, RunOptions(link_slices=0.5)).labels.numpy()
    np.testing.assert_array_equal(linked[0], linked[1])
    assert linked.max() == plain.max()


def test_the_flow_threshold_drops_objects(model: Any) -> None:
    image = deepbio.read(CELLPOSE / "wide.tif")
    counts = [model.run(image, RunOptions(flow_threshold=most)).labels.count for most in (0.0, None, 0.05)]
    assert counts[0] >= counts[1] > counts[2]


def test_three_channels_have_to_be_chosen_from(model: Any) -> None:
    image = deepbio.Image(np.zeros((3, 40, 41), np.uint8), "CYX")
    with pytest.raises(
        InputMismatch, match=r"1 to 2 channels \(cells, nuclei\); the image has 3.*channel=1,2"
    ):
        model.run(image)


def _state() -> dict[str, Any]:
    return dict(torch.load(FILE, weights_only=True))


def _without(key: str) -> Callable[[], Any]:
    def make() -> Any:
        state = _state()
        del state[key]
        return state

    return make


def _with(key: str, value: Any) -> Callable[[], Any]:
    return lambda: {**_state(), key: value}


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: {"encoder.pos_embed": torch.zeros(1)},
            CardError,
            r"Cellpose-SAM \(version 4\), which is not known",
        ),
        (
            lambda: {"encoder.patch_embed1.proj.weight": torch.zeros(1)},
            CardError,
            "the transformer of Cellpose 3",
        ),
        (lambda: {"layer.weight": torch.zeros(1)}, CardError, "a network that is not known here"),
        (
            _with("output.2.weight", torch.zeros(1, 8, 1, 1)),
            CardError,
            "gives 1 channel, as networks .* restore",
        ),
        (_without("output.2.weight"), WeightsError, r"lacks the weights 'output\.2\.weight'"),
        (_without("upsample.up.res_up_1.conv.conv_2.full.bias"), WeightsError, "lacks .*res_up_1.*full.bias"),
        (_with("upsample.up.res_up_0.proj.1.bias", torch.zeros(5)), WeightsError, r"\(5,\); expected \(8,\)"),
        (_with("diam_mean", torch.tensor([0.0])), WeightsError, r"diam_mean \[0\.0\].*1 to 1000 pixels"),
        (_with("diam_labels", torch.tensor([3.0, 4.0])), WeightsError, "diam_labels"),
        (
            _with("downsample.down.res_down_0.conv.conv_0.2.weight", torch.zeros(8, 2, 3, 3, 3)),
            CardError,
            "3D images",
        ),
        (
            _with(
                "downsample.down.res_down_1.conv.conv_0.2.weight", torch.zeros(1).expand(10**6, 10**6, 3, 3)
            ),
            WeightsError,
            "at most 8 stages of 4096 features",
        ),
        (lambda: [1, 2], WeightsError, "holds list; expected a mapping"),
        (lambda: {"code": Path("x")}, WeightsError, "more than tensors"),
    ],
)
def test_other_files_of_torch_are_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[], Any],
    error: type[DeepBioError],
    message: str,
) -> None:
    monkeypatch.setenv("DEEPBIO_HOME", str(tmp_path / "home"))
    path = tmp_path / "cyto9"
    torch.save(make(), path)
    with pytest.raises(error, match=message):
        add_model(path)
    assert not list((tmp_path / "home").rglob("*.safetensors"))


def test_a_file_cut_short_or_with_choices_is_refused(tmp_path: Path) -> None:
    short = tmp_path / "short"
    short.write_bytes(FILE.read_bytes()[:-5000])
    with pytest.raises(DeepBioError):
        add_model(short)
    with pytest.raises(CardError, match="a model of Cellpose, of which nothing can be chosen; found folds"):
        add_model(FILE, choice=ImportChoice(folds=("0",)))


def test_old_files_of_torch_are_known_and_torchscript_is_not(tmp_path: Path) -> None:
    old, script, package = tmp_path / "cytotorch_0", tmp_path / "net.pt", tmp_path / "package.zip"
    torch.save(_state(), old, _use_new_zipfile_serialization=False)
    with zipfile.ZipFile(script, "w") as file:
        for name in ("net/data.pkl", "net/code/__torch__.py"):
            file.writestr(name, b"")
    shutil.copyfile(CELLPOSE.parent / "bioimageio_unet2d_nuclei_broad.zip", package)
    assert [is_cellpose(path) for path in (FILE, old, script, package, tmp_path, tmp_path / "none")] == [
        True, True, False, False, False, False,
    ]  # fmt: skip


def test_files_without_diameters_have_those_of_their_names() -> None:
    state = {key: value for key, value in _state().items() if not key.startswith("diam")}
    assert cellpose_facts(state, Path("nucleitorch_0")).usual == 17
    facts = cellpose_facts(state, Path("cytotorch_0"))
    assert (facts.diameter, facts.usual) == (30, 30)


def test_a_name_of_cellpose_tells_where_its_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELLPOSE_LOCAL_MODELS_PATH", str(tmp_path))
    with pytest.raises(CardError, match="There is no folder or zip 'cyto3'"):
        add_model("cyto3")
    (tmp_path / "cyto3").write_bytes(b"")
    with pytest.raises(CardError, match=r"There is no file 'cyto3' here\. Cellpose has one: '.*cyto3'"):
        add_model("cyto3")
