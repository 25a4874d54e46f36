"""Models of StarDist are found and read as data; what is no model, or not sound, is told in one error."""

import json
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
h5py = pytest.importorskip("h5py")

import yaml  # noqa: E402

import deepbio  # noqa: E402
from deepbio.errors import CardError, DeepBioError, MissingPackage, WeightsError  # noqa: E402
from deepbio.importing import ImportChoice, add_model  # noqa: E402
from deepbio.importing.stardist import find_stardist, is_stardist, read_stardist  # noqa: E402
from tests.core.command import deepbio as command  # noqa: E402

from .stars import FILES, FLUO, STARDIST, TISSUE, changed_copy, exported, zipped  # noqa: E402


@pytest.fixture
def copied(tmp_path: Path) -> Callable[..., Path]:
    """``copied(FLUO, n_rays=8)``: a model whose configuration has been changed; None takes an entry away."""

    def make(source: Path = FLUO, **changes: object) -> Path:
        return changed_copy(source, tmp_path, **changes)

    return make


def test_a_folder_becomes_a_model(library: Path) -> None:
    card = deepbio.add_model(FLUO)
    assert (card.name, card.title, card.task) == ("fluo_grid2", "fluo_grid2 (StarDist)", "segment")
    assert card.root == library / "fluo_grid2"
    step = card.input.steps[1]  # after the type
    assert step.id == "scale_range"
    assert (step.kwargs["min_percentile"], step.kwargs["max_percentile"]) == (1.0, 99.8)
    assert list(step.kwargs["axes"]) == ["y", "x"]
    decode = card.deepbio["decode"]
    assert decode["method"] == "stars"
    assert decode["threshold"] == pytest.approx(0.42504263)
    assert (decode["overlap"], decode["grid"], decode["divisor"]) == (0.3, [2, 2], [8, 8])
    assert {axis.step for axis in card.input.spatial} == {8}
    assert "doi:10.1007/978-3-030-00934-2_30" in " ".join(card.citations)


@pytest.mark.parametrize("top", ["", "model/"])
def test_a_zip_of_the_folder_is_taken(library: Path, tmp_path: Path, top: str) -> None:
    files = {f"{top}{name}": (FLUO / name).read_bytes() for name in FILES}
    archive = zipped(tmp_path / "My nuclei.zip", files)
    assert add_model(archive).name == ("model" if top else "my-nuclei")


@pytest.mark.parametrize("packed", [True, False])
def test_an_export_says_its_name_percentiles_and_thresholds(
    library: Path, tmp_path: Path, packed: bool
) -> None:
    files = exported(TISSUE, axes="yxc", min_percentile=2.0, max_percentile=99.0)
    source = zipped(tmp_path / "export.zip", files)
    if not packed:
        source = tmp_path / "unpacked"
        with zipfile.ZipFile(tmp_path / "export.zip") as file:
            file.extractall(source)
    card = add_model(source)
    assert (card.name, card.license, card.authors) == ("nuclei-of-the-export", "BSD-3-Clause", ("A. Author",))
    kwargs = card.input.steps[1].kwargs
    assert (kwargs["min_percentile"], kwargs["max_percentile"]) == (2.0, 99.0)
    assert list(kwargs["axes"]) == ["channel", "y", "x"]
    assert card.deepbio["decode"]["threshold"] == pytest.approx(0.5732466)


def test_the_command_adds_and_runs_it(library: Path, tmp_path: Path) -> None:
    assert command("models", "add", FLUO, "--name", "mine").code == 0
    image = np.load(FLUO / "6fe2df.npz")
    deepbio.write(tmp_path / "image.tif", deepbio.Image(image["image"], "YX"))
    done = command("run", "mine", tmp_path / "image.tif", "-o", tmp_path / "out", "--save", "labels,table")
    assert done.code == 0
    labels = deepbio.read_labels(tmp_path / "out" / "image-labels.tif").numpy()
    assert ((labels > 0) != (image["labels"] > 0)).mean() < 0.002
    assert len((tmp_path / "out" / "image-table.csv").read_text().splitlines()) == 1 + labels.max()
    done = command(
        "run",
        "mine",
        tmp_path / "image.tif",
        "-o",
        tmp_path / "few",
        "--threshold",
        "0.8",
        "--min-size",
        "100",
    )
    assert done.code == 0
    few = deepbio.read_labels(tmp_path / "few" / "image-labels.tif").numpy()
    assert few.max() < labels.max()
    assert np.bincount(few.ravel())[1:].min(initial=100) >= 100


def test_other_models_are_not_taken_for_stardists(tmp_path: Path) -> None:
    package = STARDIST.parent / "bioimageio_unet2d_nuclei_broad.zip"
    assert not is_stardist(package)
    assert not is_stardist(STARDIST.parent / "nnunet" / "plain_3d")
    assert not is_stardist(tmp_path)
    assert not is_stardist(tmp_path / "missing")
    (tmp_path / "config.json").write_text('{"n_channels": 3}')
    assert not is_stardist(tmp_path)
    (tmp_path / "config.json").write_text("n_rays {")
    assert not is_stardist(tmp_path)


def test_what_only_other_programs_have_is_refused(library: Path) -> None:
    for choice in (ImportChoice(folds=("1",)), ImportChoice(regions=("1=2",))):
        with pytest.raises(CardError, match="Leave"):
            add_model(FLUO, choice=choice)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_dim": 3, "axes": "YXC"}, "axes 'YXC' and 3 dimensions"),
        ({"axes": "CYX"}, "axes 'CYX' and 2 dimensions; expected 'YXC'"),
        ({"backbone": "resnet"}, "backbone 'resnet'; known is 'unet'"),
        ({"n_classes": 2}, "tells 2 classes of objects apart"),
        ({"n_rays": 10**9}, "n_rays 1000000000; expected a whole number from 3 to 1024"),
        ({"unet_n_depth": "2"}, "unet_n_depth '2'; expected a whole number"),
        ({"unet_n_filter_base": 1024, "unet_n_depth": 8}, "at most 16384 feature maps"),
        ({"grid": [3, 3]}, "grid .* expected powers of 2"),
        ({"grid": 2}, "grid 2; expected two whole numbers"),
        ({"unet_activation": "__import__('os')"}, "unet_activation .* expected one of relu"),
        ({"unet_batch_norm": "yes"}, "unet_batch_norm 'yes'; expected true or false"),
        ({"unet_expansion": float("nan")}, "unet_expansion nan"),
        ({"unet_expansion": "2"}, "unet_expansion '2'; expected a number"),
    ],
)
def test_configurations_that_are_not_known_or_absurd(library: Path, copied, changes, message: str) -> None:
    with pytest.raises(CardError, match=message):
        add_model(copied(**changes))
    assert not library.exists() or not list(library.iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_rays": 16, "n_channel_out": 17}, r"kernel of dist .* \(1, 1, 32, 32\).* shape \(1, 1, 32, 16\)"),
        ({"n_channel_in": 2}, "kernel of conv2d .* asks for"),
        ({"unet_n_depth": 3}, "has 15 convolutions .* asks for 19, such as down_level_2_no_0"),
        ({"unet_batch_norm": True}, "0 layers of batch normalisation; .* asks for 10"),
        ({"unet_prefix": "other_"}, "asks for 15, such as other_down_level_0_no_0"),
        ({"net_conv_after_unet": 0}, "convolutions .* asks for 14"),
    ],
)
def test_weights_of_another_configuration(library: Path, copied, changes, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        add_model(copied(**changes))


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\x80\x04}q.", "cannot be read as HDF5"), (b"", "cannot be read as HDF5")],
)
def test_weights_that_are_no_hdf5(library: Path, copied, content: bytes, message: str) -> None:
    folder = copied()
    (folder / "weights_best.h5").write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        add_model(folder)


def _damage_nothing(file) -> None:
    for name in list(file):
        del file[name]
    del file.attrs["layer_names"]


def _damage_root(file) -> None:
    file["model_weights"] = h5py.ExternalLink("/etc/passwd", "/x")


def _damage_missing(file) -> None:
    del file["prob/prob/bias"]


def _damage_link(file) -> None:
    del file["prob/prob/bias"]
    file["prob/prob/bias"] = h5py.ExternalLink("/etc/passwd", "/x")


def _damage_external(file) -> None:
    del file["prob/prob/bias"]
    file.create_dataset("prob/prob/bias", (1,), "f4", external=[("/etc/hostname", 0, 4)])


def _damage_nan(file) -> None:
    file["prob/prob/bias"][0] = np.nan


def _damage_text(file) -> None:
    del file["prob/prob/bias"]
    file["prob/prob/bias"] = np.array([b"x"])


def _damage_huge(file) -> None:
    del file["dist/dist/kernel"]
    file.create_dataset("dist/dist/kernel", (2**40,), "f4", chunks=(2**20,))


def _damage_names(file) -> None:
    file.attrs["layer_names"] = np.array([b"\xff\xfe", b"prob"])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_damage_nothing, "^'.*weights_best.h5' holds no weights of Keras"),
        (_damage_root, "model_weights is a link to somewhere else"),
        (_damage_missing, "prob/bias is missing"),
        (_damage_link, "is a link to somewhere else"),
        (_damage_external, "stored elsewhere"),
        (_damage_nan, "not finite"),
        (_damage_text, "asks for floating-point numbers"),
        (_damage_huge, r"kernel of dist .* is \(1099511627776,\)"),
        (_damage_names, "cannot be read as HDF5"),
    ],
)
def test_weights_that_are_damaged_or_hostile(library: Path, copied, damage, message: str) -> None:
    folder = copied()
    with h5py.File(folder / "weights_best.h5", "a") as file:
        damage(file)
    with pytest.raises(WeightsError, match=message):
        add_model(folder)
    assert not library.exists() or not list(library.iterdir())


def test_without_weights_or_with_a_saved_model_only(library: Path, copied, tmp_path: Path) -> None:
    folder = copied()
    (folder / "weights_best.h5").rename(folder / "TF_SavedModel.zip")
    with pytest.raises(CardError, match=r"no weights as HDF5 .* it holds TF_SavedModel.zip, config.json"):
        add_model(folder)
    saved = zipped(tmp_path / "saved.zip", {"saved_model.pb": b"x", "variables/variables.index": b"x"})
    with pytest.raises(CardError, match=r"TensorFlow SavedModel .* is not run; expected"):
        add_model(saved)
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").touch()
    with pytest.raises(CardError, match="TensorFlow SavedModel"):
        add_model(tmp_path / "saved")
    files = exported(FLUO)
    del files["stardist_weights.h5"]
    with pytest.raises(CardError, match="no weights as HDF5"):
        add_model(zipped(tmp_path / "export.zip", files))


def test_the_best_weights_are_taken_and_two_models_are_told_apart(copied, tmp_path: Path) -> None:
    folder = copied()
    (folder / "weights_last.h5").touch()
    assert read_stardist(find_stardist(folder, folder)).weights.name == "weights_best.h5"
    (folder / "weights_best.h5").unlink()
    assert read_stardist(find_stardist(folder, folder)).weights.name == "weights_last.h5"
    shutil.copytree(folder, folder.parent / "second")
    with pytest.raises(CardError, match=r"holds 2 models of StarDist: fluo_grid2, second"):
        find_stardist(folder.parent, tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[1]", "holds list; expected prob and nms"),
        ('{"prob": 2}', "prob 2; expected a number"),
    ],
)
def test_thresholds_that_are_none(copied, library: Path, text: str, message: str) -> None:
    folder = copied()
    (folder / "thresholds.json").write_text(text)
    with pytest.raises(CardError, match=message):
        add_model(folder)


def test_without_thresholds_those_of_stardist_hold(copied, library: Path) -> None:
    folder = copied()
    (folder / "thresholds.json").unlink()
    decode = add_model(folder).deepbio["decode"]
    assert (decode["threshold"], decode["overlap"]) == (0.5, 0.4)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"name": "zero_mean_unit_variance", "kwargs": {}}, "known is one step 'scale_range'"),
        ({"name": "scale_range", "kwargs": {"min_percentile": "low"}}, "percentiles that are no numbers"),
        (
            {"name": "scale_range", "kwargs": {"min_percentile": 99, "max_percentile": 2}},
            "percentiles 99.0 and 2.0",
        ),
    ],
)
def test_exports_with_another_pre_processing(library: Path, tmp_path: Path, step, message: str) -> None:
    files = exported(FLUO)
    card = yaml.safe_load(files["rdf.yaml"])
    card["inputs"][0]["preprocessing"] = [step]
    files["rdf.yaml"] = yaml.safe_dump(card).encode()
    with pytest.raises(CardError, match=message):
        add_model(zipped(tmp_path / "export.zip", files))


def test_exports_in_the_newer_format(library: Path, tmp_path: Path) -> None:
    files = exported(FLUO)
    card = yaml.safe_load(files.pop("rdf.yaml"))
    kwargs = {"axes": ["channel", "y", "x"], "min_percentile": 3, "max_percentile": 97.0}
    card["inputs"][0]["preprocessing"] = [
        {"id": "ensure_dtype", "kwargs": {"dtype": "float32"}},
        {"id": "scale_range", "kwargs": kwargs},
    ]
    files["bioimageio.yaml"] = yaml.safe_dump(card).encode()
    step = add_model(zipped(tmp_path / "export.zip", files)).input.steps[1]
    assert {**step.kwargs, "eps": 0} == {**kwargs, "eps": 0}


def test_entries_that_old_configurations_lack(library: Path, copied) -> None:
    folder = copied()
    config = json.loads((folder / "config.json").read_text())
    for name in ("n_classes", "unet_expansion", "unet_prefix", "train_patch_size", "unet_batch_norm"):
        del config[name]
    (folder / "config.json").write_text(json.dumps({**config, "unet_last_activation": None}))
    arguments = add_model(folder).deepbio["network"]["arguments"]
    assert (arguments["expansion"], arguments["last_activation"]) == (2, "relu")


def test_a_zip_cannot_write_outside(library: Path, tmp_path: Path) -> None:
    files = {name: (FLUO / name).read_bytes() for name in FILES}
    archive = zipped(tmp_path / "model.zip", {**files, "../../weights_evil.h5": b"x"})
    with pytest.raises(CardError, match="leaves the model package"):
        add_model(archive)
    assert not list(tmp_path.parent.glob("weights_evil.h5"))


def test_a_broken_zip_is_told(library: Path, tmp_path: Path) -> None:
    archive = zipped(tmp_path / "model.zip", {name: (FLUO / name).read_bytes() for name in FILES})
    content = bytearray(archive.read_bytes())
    content[60:90] = bytes(30)
    archive.write_bytes(content)
    with pytest.raises(DeepBioError):
        add_model(archive)


@pytest.mark.parametrize("package", ["h5py", "torch"])
def test_what_is_not_installed_is_named(library: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setattr("deepbio.importing.add.find_spec", lambda name: None if name == package else sys)
    with pytest.raises(MissingPackage, match=f"StarDist needs the package '{package}'") as caught:
        add_model(FLUO)
    assert "deepbio-imaging[stardist]" in str(caught.value.hint)
