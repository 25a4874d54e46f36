"""What generators make, as files: sheets, tables, and data sets to train on."""

import json
from pathlib import Path

import pytest

from deepbio.cases import read_cases
from deepbio.cases.classify import load_pixels, read_class_cases
from deepbio.errors import InputMismatch, OptionError, OutputError
from deepbio.io import read, read_labels
from deepbio.making import make_files
from deepbio.options import RunOptions
from deepbio.predict import load_model
from tests.core.command import ONNX, deepbio
from tests.core.tasks.makers import write_class_maker, write_mask_maker

OPTIONS = RunOptions(device="cpu", runtime="onnx", count=5, seed=2)


def test_classes_as_files(tmp_path: Path) -> None:
    model = load_model(write_class_maker(tmp_path))
    paths = make_files(model, tmp_path / "out", OPTIONS, save=("image", "table", "overlay", "dataset"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "shades-dataset", "shades-image.tif", "shades-overlay.png", "shades-table.csv", "shades.deepbio.json",
    ]  # fmt: skip
    assert read(paths["image"]).shape == (5, 3, 4, 6)
    cases = read_class_cases(paths["dataset"])
    assert [(case.class_name, case.image.name) for case in cases] == [
        ("dark", "made_000000002.png"), ("dark", "made_000000005.png"), ("grey", "made_000000003.png"),
        ("grey", "made_000000006.png"), ("light", "made_000000004.png"),
    ]  # fmt: skip
    assert load_pixels(cases[4])[:, 1, 1].tolist() == [200, 200, 200]
    record = json.loads((tmp_path / "out" / "shades.deepbio.json").read_text())
    assert record["run"]["options"]["count"] == 5


def test_pairs_as_a_data_set(tmp_path: Path) -> None:
    model = load_model(write_mask_maker(tmp_path))
    folder = make_files(model, tmp_path / "out", OPTIONS.replace(count=2), save=("dataset",))["dataset"]
    cases = read_cases(folder)
    assert [case.image.name for case in cases] == ["made_2_000001.tif", "made_2_000002.tif"]
    assert read_labels(cases[0].labels).shape == read(cases[0].image).shape == (48, 48)


def test_what_is_refused(tmp_path: Path, threshold_model: Path) -> None:
    model = load_model(write_class_maker(tmp_path))
    make_files(model, tmp_path / "out", OPTIONS, save=("image", "dataset"))
    with pytest.raises(OutputError, match="exists already"):
        make_files(model, tmp_path / "out", OPTIONS)
    make_files(model, tmp_path / "out", OPTIONS.replace(count=2), save=("image", "dataset"), overwrite=True)
    assert len(list((tmp_path / "out" / "shades-dataset").glob("*/*.png"))) == 2
    with pytest.raises(OptionError, match="Cannot save rois here"):
        make_files(model, tmp_path / "out", OPTIONS, save=("rois",))
    with pytest.raises(InputMismatch, match="needs images; found none"):
        make_files(load_model(threshold_model), tmp_path / "other", OPTIONS)
    assert not (tmp_path / "other").exists()
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be made"):
        make_files(model, tmp_path / "file", OPTIONS)


def test_the_command_without_input(tmp_path: Path) -> None:
    maker = write_class_maker(tmp_path)
    words = ["run", maker, "-o", tmp_path / "out", "--count", 2, "--classes", "light", "--seed", 1, *ONNX]
    done = deepbio(*words, "--json")
    assert done.code == 0
    assert done.lines[-1]["outputs"] == {
        kind: str(tmp_path / "out" / f"shades-{kind}{suffix}")
        for kind, suffix in (("image", ".tif"), ("table", ".csv"))
    }
    text = (tmp_path / "out" / "shades-table.csv").read_text().splitlines()
    assert text == ["image,class,seed", "1,light,1", "2,light,2"]
    again = deepbio(*words)
    assert again.code != 0
    assert "exists already" in again.err


def test_features_of_what_is_made(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from tests.core.extraction.makers import write_maker

    maker = write_maker(tmp_path, "class")
    words = ["run", maker, "-o", tmp_path / "out", "--count", 3, "--layer", "same.0", "--runtime", "torch"]
    done = deepbio(*words, "--json")
    assert done.code == 0, done.err
    assert set(done.lines[-1]["outputs"]) == {"image", "table", "features"}
    rows = (tmp_path / "out" / "class-features.csv").read_text().splitlines()
    assert rows[0].startswith("image,class,seed,mean_0,mean_1")
    assert len(rows) == 4
    done = deepbio(*words, "--explain", "gradcam", "--overwrite")
    assert done.code == 4
    assert "makes images and says nothing of one" in done.err
