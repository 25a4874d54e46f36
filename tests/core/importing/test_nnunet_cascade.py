"""Imported cascades give what nnU-Net 2.8 gives with both stages: what tests/data/nnunet/make.py saved."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax

torch = pytest.importorskip("torch")

from deepbio.engine.tensors import run_tensors  # noqa: E402
from deepbio.errors import CardError, WeightsError  # noqa: E402
from deepbio.events import Event, Notice  # noqa: E402
from deepbio.image import Grid, Image  # noqa: E402
from deepbio.importing import add_model  # noqa: E402
from deepbio.io import read  # noqa: E402
from deepbio.library import read_card  # noqa: E402
from deepbio.library.check import check_package, validate_package  # noqa: E402
from deepbio.options import RunOptions  # noqa: E402
from deepbio.predict import Model, load_model  # noqa: E402

from .conftest import NNUNET  # noqa: E402

CASCADE = NNUNET / "cascade_3d"
TORCH = RunOptions(output=("labels",), runtime="torch")
LOWRES, FULLRES = (f"nnUNetTrainer__nnUNetPlans__3d_{one}" for one in ("lowres", "cascade_fullres"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory):
    """Added from the folder that holds both stages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEEPBIO_HOME", str(tmp_path_factory.mktemp("home")))
        yield load_model(add_model(CASCADE))


@pytest.mark.parametrize("case", ["asis", "fine", "thick", "coarse-mirrored"])
def test_both_stages_answer_as_nnunet(model: Model, case: str) -> None:
    told = np.load(NNUNET / "expected" / f"cascade_3d-{case}.npz")
    file, _, mirrored = case.partition("-")
    image = read(NNUNET / "cases" / f"{file}.nii.gz")
    options = RunOptions(
        output=("labels", "scores"), runtime="torch", precision="fp32", mirror=bool(mirrored)
    )
    result = model.run(image, options)
    labels, scores = result.labels.numpy(), result.scores.numpy()
    assert result.labels.grid == image.grid
    # the stages disagree where the second is not led by the first alone
    assert (told["first"] != told["exact"]).sum() > 100
    # one voxel of the guide of "fine" lies as near to a class as to background: there nnU-Net's rounding decides
    tied = 5 if case == "fine" else 0
    assert (labels != told["exact"]).sum() <= 1 + tied
    computed = scores.any(axis=0)  # the rest was cropped away
    found = softmax(scores, axis=0)[1:]
    far = np.abs(found[:, computed] - told["probabilities"][:, computed]) > 6e-4
    assert far.mean() <= (5e-3 if tied else 0)
    first_stage = load_model(model.card.first_stage)
    assert result.record["first_stage_sha256"] == first_stage.card.weights_hash
    first = first_stage.run(image, options).labels.numpy()
    assert (first != told["first"]).sum() <= 1


def test_progress_tells_the_stages_apart(model: Model) -> None:
    heard: list[Event] = []
    model.run(
        read(NNUNET / "cases" / "asis.nii.gz"), RunOptions(output=("labels",)), on_progress=heard.append
    )
    told = [event.message for event in heard if isinstance(event, Notice)]
    assert told[0] == "First stage of 'cascade-3d_cascade_fullres'."


def test_the_card_says_what_the_plans_say(model: Model) -> None:
    card, first = model.card, load_model(model.card.first_stage).card
    assert (card.name, card.input.channels) == ("cascade-3d_cascade_fullres", ("MRI",))
    assert card.deepbio["network"]["name"] == "guided_unet"
    arguments = card.deepbio["network"]["arguments"]
    assert (arguments["in_channels"], arguments["labels"], arguments["out_channels"]) == (3, 2, 3)
    assert card.deepbio["grid"]["spacing"] == [1.0, 1.0, 1.0]
    assert first.deepbio["grid"]["spacing"] == [2.0, 2.0, 2.0]
    assert [step.id for step in card.input.steps] == ["zero_mean_unit_variance"]


# bioimageio.spec leaves files open and says so by its own warnings
@pytest.mark.filterwarnings("ignore")
def test_the_package_passes_its_own_test_and_the_format(model: Model) -> None:
    assert check_package(model.card, run_tensors).passed
    pytest.importorskip("bioimageio.spec")
    assert list(validate_package(model.card.root)) == []


def test_a_zip_with_both_stages_is_the_cascade(tmp_path: Path, library: Path) -> None:
    archive = tmp_path / "both.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(CASCADE.rglob("*.*")):
            file.write(path, f"Dataset903_Cascade/{path.relative_to(CASCADE).as_posix()}")
    card = add_model(archive, name="both")
    assert card.first_stage == library / "both" / "first_stage"
    # and a package goes on as a zip of its own
    again = tmp_path / "again.zip"
    with zipfile.ZipFile(again, "w") as file:
        for path in sorted(card.root.rglob("*.*")):
            file.write(path, path.relative_to(card.root).as_posix())
    image = read(NNUNET / "cases" / "thick.nii.gz")
    options = RunOptions(output=("labels",), runtime="torch")
    found = [
        load_model(one).run(image, options).labels.numpy() for one in (card, add_model(again, name="copy"))
    ]
    assert found[0].any()
    np.testing.assert_array_equal(*found)


def test_a_cascade_without_its_first_stage_is_refused(tmp_path: Path, library: Path) -> None:
    alone = tmp_path / FULLRES
    shutil.copytree(CASCADE / FULLRES, alone)
    with pytest.raises(
        CardError, match=r"is a cascade, whose first stage belongs beside it; '.*3d_lowres' is not there"
    ) as told:
        add_model(alone)
    assert told.value.hint.startswith("Name a folder that holds both")
    renamed = alone.rename(tmp_path / "renamed")
    with pytest.raises(CardError, match="belongs beside it; the folder was renamed"):
        add_model(renamed)
    assert not any(library.glob("*"))


def test_a_broken_entry_is_told(model: Model, tmp_path: Path) -> None:
    def changed(old: str, new: str) -> Path:
        folder = tmp_path / "changed"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(model.card.root, folder)
        card = folder / "bioimageio.yaml"
        text = card.read_text()
        assert old in text
        card.write_text(text.replace(old, new))
        return folder

    for old, new, message in (
        ("package: first_stage", "package: ../elsewhere", "leaves the model package"),
        ("package: first_stage", "package: second", "first stage 'second' is no model package"),
        (
            "package: first_stage",
            "packages: first_stage",
            r"cascade has \['packages'\]; known are package, steps",
        ),
        ("zero_mean_unit_variance", "magic", "processing step 'magic'"),
    ):
        with pytest.raises(CardError, match=message):
            load_model(changed(old, new))
    with pytest.raises(CardError, match="is a cascade itself; expected two stages"):
        add_model(changed("package: first_stage", "package: ."), name="endless")
    folder = changed("cascade:", "cascade:")
    inner = folder / "first_stage" / "bioimageio.yaml"
    inner.write_text(inner.read_text().replace("- MRI", "- CT"))
    with pytest.raises(
        CardError, match=r"of \('CT',\); expected the same images: 'segment' in 3D of \('MRI',\)"
    ):
        load_model(folder).run(read(NNUNET / "cases" / "asis.nii.gz"))


def test_both_stages_take_pixels_of_unknown_size_alike(model: Model) -> None:
    # the second works at 1 mm, the first at 2 mm: what one takes as 1 mm the other must not take as 2
    pixels = read(NNUNET / "cases" / "asis.nii.gz").numpy()
    told = Grid(pixels.shape, (1.0, 1.0, 1.0), unit="millimeter")
    heard: list[Event] = []
    known = model.run(Image(pixels, "ZYX", told), TORCH).labels.numpy()
    unknown = model.run(Image(pixels, "ZYX"), TORCH, on_progress=heard.append).labels
    assert known.any()
    np.testing.assert_array_equal(unknown.numpy(), known)
    assert unknown.grid == Grid(pixels.shape)
    warned = [one.message for one in heard if isinstance(one, Notice) and one.level == "warning"]
    assert len(warned) == 1
    assert "taken as 1 x 1 x 1 millimeter" in warned[0]


def test_a_time_series_is_guided_frame_by_frame(model: Model) -> None:
    pixels = read(NNUNET / "cases" / "asis.nii.gz").numpy()
    frames = (pixels, np.ascontiguousarray(pixels[::-1, :, 2:-1]))
    smaller = [frame[:, :, : frames[1].shape[2]] for frame in frames]
    found = model.run(Image(np.stack(smaller), "TZYX"), TORCH).labels.numpy()
    for number, frame in enumerate(smaller):
        np.testing.assert_array_equal(found[number], model.run(Image(frame, "ZYX"), TORCH).labels.numpy())
    assert (found[0] != found[1]).any()


def test_the_first_stage_is_checked_as_the_second(model: Model, tmp_path: Path, library: Path) -> None:
    report = check_package(model.card, run_tensors)
    second, first = (one.id for one in report.outputs)
    assert first == f"{second} of the first stage"
    folder = tmp_path / "damaged"
    shutil.copytree(model.card.root, folder)
    expected = folder / "first_stage" / "test_output.npy"
    np.save(expected, np.load(expected) + 1)
    assert [one.passed for one in check_package(read_card(folder), run_tensors).outputs] == [True, False]
    weights = folder / "first_stage" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    archive = shutil.make_archive(str(tmp_path / "damaged"), "zip", folder)
    for source in (folder, Path(archive)):
        with pytest.raises(WeightsError, match=r"first_stage/weights.safetensors' is damaged"):
            add_model(source, name="damaged")
    with pytest.raises(WeightsError, match="is damaged"):
        check_package(read_card(folder), run_tensors)
    assert not any(library.glob("*"))


def test_labels_with_gaps_are_refused(tmp_path: Path, library: Path) -> None:
    folder = tmp_path / "both"
    shutil.copytree(CASCADE, folder)
    path = folder / FULLRES / "dataset.json"
    content = json.loads(path.read_text())
    content["labels"] = {"background": 0, "whole": [1, 3], "part": 3}
    content["regions_class_order"] = [1, 3]
    path.write_text(json.dumps(content))
    with pytest.raises(
        CardError, match=r"takes the labels \[1, 3\] of its first stage; expected all from 1 on"
    ):
        add_model(folder)
