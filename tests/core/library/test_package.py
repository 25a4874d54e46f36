"""What is written is read back, keeps the BioImage.IO format, and is whole or not there."""

import dataclasses
import shutil

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file, save_file

from deepbio.errors import CardError, MissingPackage, OutputError
from deepbio.library import package as package_module
from deepbio.library.card import Axis, Step
from deepbio.library.check import validate_package
from deepbio.library.content import PackageContent, TensorContent
from deepbio.library.package import write_package

STEPS = [
    Step("scale_range", {"axes": ["y", "x"], "max_percentile": np.float64(99.8)}),
    Step("clip", {"min": 0, "max": 1}),
]


@pytest.fixture
def weights(tmp_path):
    save_file({"bias": np.arange(3, dtype=np.float32)}, tmp_path / "best.safetensors")
    (tmp_path / "best.onnx").write_bytes(b"onnx")
    (tmp_path / "curve.png").write_bytes(b"png")
    return tmp_path


@pytest.fixture(params=[2, 3], ids=["2D", "3D"])
def content(request, weights):
    shape = (5, 32, 48)[3 - request.param :]
    dims = request.param
    raw = np.arange(2 * np.prod(shape), dtype=np.uint16).reshape(1, 2, *shape)
    return PackageContent(
        title="Nuclei (test)",
        description="For tests.",
        task="segment",
        license="CC-BY-4.0",
        authors=[{"name": "Ada", "affiliation": "Home", "orcid": "0000-0001-6562-7187"}],
        inputs=[TensorContent(raw, ("red", "green"), minimum=(1, 16, 8)[3 - dims :], step=(1, 16, 8)[3 - dims :], steps=STEPS, sample=raw)],
        outputs=[TensorContent(np.full((1, 3, *shape), 0.5, np.float32), ("a", "b", "c"), halo=(0, 4, 20)[3 - dims :], steps=[Step("sigmoid")])],
        network="unet",
        arguments={"dims": dims, "in_channels": 2, "out_channels": 3, "features": (np.int64(8), 16)},
        safetensors=weights / "best.safetensors",
        onnx=weights / "best.onnx",
        opset=18,
        citations=[{"text": "Paper", "doi": "10.1007/978-3-319-24574-4_28"}],
        tags=["nuclei"],
        modality=["SM"],
        version="1.0.0",
        training_data="BBBC038",
        scores=[{"split": "val", "metric": "AP50", "value": np.float32(0.5)}, {"split": "val", "metric": "AP", "n": 3}],
        config={"decode": {"method": "seeds", "level": np.array([0.5, 0.25])}, "classes": {1: {"name": "nucleus"}}, "grey": "repeat"},
        files={"curve.png": weights / "curve.png"},
    )  # fmt: skip


def test_what_is_written_is_read_back(content, tmp_path):
    card = write_package(tmp_path / "my-nuclei", content)
    assert (card.name, card.title, card.version, card.license) == (
        "my-nuclei",
        "Nuclei (test)",
        "1.0.0",
        "CC-BY-4.0",
    )
    assert (card.task, card.modality, card.training_data) == ("segment", ("SM",), "BBBC038")
    assert card.authors == ("Ada (Home)",)
    assert card.scores[0] == {"split": "val", "metric": "AP50", "value": 0.5}
    assert card.classes == {1: "nucleus"}
    assert card.deepbio["decode"] == {"method": "seeds", "level": [0.5, 0.25]}
    assert card.deepbio["grey"] == "repeat"
    assert [w.format for w in card.weights] == ["safetensors", "onnx"]
    assert card.weights[0].arguments["features"] == [8, 16]
    assert load_file(card.weights[0].path)["bias"].tolist() == [0, 1, 2]
    assert card.input.channels == ("red", "green")
    assert [step.id for step in card.input.steps] == ["ensure_dtype", "scale_range", "clip", "ensure_dtype"]
    assert [step.id for step in card.output.steps] == ["sigmoid", "ensure_dtype"]
    assert card.input.dtype == "uint16"
    np.testing.assert_array_equal(np.load(card.input.test_tensor), content.inputs[0].test)
    np.testing.assert_array_equal(np.load(card.output.test_tensor), content.outputs[0].test)
    assert "| val | AP50 | 0.5 |  |" in card.documentation.read_text()
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_the_smallest_size_leaves_room_for_the_halo(content, tmp_path):
    card = write_package(tmp_path / "m", content)
    # x: above 2 * 20 in steps of 8; y: 16 is above 2 * 4
    assert card.input.spatial[-2:] == (Axis("y", None, 16, 16), Axis("x", None, 48, 8))
    assert [axis.halo for axis in card.output.spatial][-2:] == [4, 20]
    first = dataclasses.replace(content.inputs[0], test=content.inputs[0].test[..., :24])
    out = dataclasses.replace(content.outputs[0], test=content.outputs[0].test[..., :24])
    card = write_package(tmp_path / "n", dataclasses.replace(content, inputs=[first], outputs=[out]))
    assert card.input.axis("x").minimum == 24  # no larger than the test
    assert card.output.axis("x").halo == 11


def test_without_a_twin_the_state_dict_is_ours(content, tmp_path):
    card = write_package(tmp_path / "m", dataclasses.replace(content, onnx=None))
    entry = yaml.safe_load((card.root / "bioimageio.yaml").read_text())["weights"]["pytorch_state_dict"]
    assert entry["architecture"]["import_from"] == "deepbio.networks"
    assert [w.format for w in card.weights] == ["safetensors"]


def test_weights_as_onnx_alone(content, tmp_path):
    card = write_package(tmp_path / "m", dataclasses.replace(content, safetensors=None, network=""))
    assert [w.format for w in card.weights] == ["onnx"]


def test_scores_per_image_and_fixed_sizes(content, tmp_path):
    fixed = dataclasses.replace(content.inputs[0], minimum=(), step=())
    scores = TensorContent(np.array([[0.25, 0.75]]), ("no", "yes"), id="classes")
    card = write_package(tmp_path / "m", dataclasses.replace(content, inputs=[fixed], outputs=[scores]))
    assert card.input.axis("x").size == 48
    assert card.output.axis_ids == ("batch", "channel")
    assert (card.output.id, card.output.dtype) == ("classes", "float64")


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the validator leaves files open
@pytest.mark.parametrize("twin", [True, False], ids=["twin", "alone"])
def test_the_format_is_kept(content, tmp_path, twin):
    pytest.importorskip("bioimageio.spec")
    changes = {} if twin else {"onnx": None}
    card = write_package(tmp_path / "m", dataclasses.replace(content, **changes))
    assert validate_package(card.root) == ()
    text = (card.root / "bioimageio.yaml").read_text()
    (card.root / "bioimageio.yaml").write_text(text.replace("type: batch", "type: bunch"))
    assert any("axes" in problem for problem in validate_package(card.root))


def test_validating_needs_the_package(content, tmp_path, monkeypatch):
    card = write_package(tmp_path / "m", content)
    monkeypatch.setitem(__import__("sys").modules, "bioimageio.spec", None)
    with pytest.raises(MissingPackage, match=r"bioimageio\.spec"):
        validate_package(card.root)
    with pytest.raises(CardError, match=r"no bioimageio\.yaml"):
        validate_package(tmp_path)


WRONG = {
    "title": ({"title": "a/b"}, "title 'a/b' is not allowed"),
    "no authors": ({"authors": []}, "needs inputs, outputs and authors"),
    "no weights": ({"safetensors": None, "onnx": None}, "needs weights"),
    "no network": ({"network": ""}, "name of their network"),
    "citation": ({"citations": [{"text": "Paper"}]}, "needs a DOI"),
    "file name": ({"files": {"../x": None}}, "cannot be called '../x'"),
    "file in the way": ({"files": {"weights.onnx": None}}, "cannot be called 'weights.onnx'"),
    "object": ({"config": {"decode": {"f": object}}}, "cannot hold a type"),
    "unknown network": ({"network": "os", "onnx": None}, "needs? the network 'os'"),
}


@pytest.mark.parametrize(("changes", "message"), WRONG.values(), ids=WRONG)
def test_contradictions(content, tmp_path, changes, message):
    with pytest.raises(CardError, match=message):
        write_package(tmp_path / "out" / "m", dataclasses.replace(content, **changes))
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_tensors_that_contradict_themselves(content, tmp_path):
    for changes, message in (
        ({"channels": ("one",)}, "expected .1, 1"),
        ({"step": (1,)}, "but 1 sizes are given"),
    ):
        tensor = dataclasses.replace(content.inputs[0], **changes)
        with pytest.raises(CardError, match=message):
            write_package(tmp_path / "m", dataclasses.replace(content, inputs=[tensor]))


def test_an_existing_folder_needs_replace(content, tmp_path):
    write_package(tmp_path / "m", content)
    with pytest.raises(CardError, match="exists already"):
        write_package(tmp_path / "m", content)
    card = write_package(tmp_path / "m", dataclasses.replace(content, version="2.0.0"), replace=True)
    assert card.version == "2.0.0"


@pytest.mark.parametrize(
    "failure", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "Ctrl-C"]
)
def test_a_failure_keeps_what_was_there(content, tmp_path, monkeypatch, failure):
    write_package(tmp_path / "out" / "m", content)

    def fail(*_):
        raise failure

    monkeypatch.setattr(package_module.shutil, "copyfile", fail)
    expected = OutputError if isinstance(failure, OSError) else KeyboardInterrupt
    for name in ("m", "new"):
        with pytest.raises(expected):
            write_package(tmp_path / "out" / name, content, replace=True)
    monkeypatch.setattr(package_module.shutil, "copyfile", shutil.copy)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["m"]
    assert (tmp_path / "out" / "m" / "weights.onnx").exists()


def test_a_text_of_ones_own(content, tmp_path):
    own = "# Mine\n\n## How it was validated\n\nNo Validation heading is added twice."
    card = write_package(
        tmp_path / "m", dataclasses.replace(content, documentation="# Mine\n\n## Validation\n\nSee paper.")
    )
    assert card.documentation.read_text() == "# Mine\n\n## Validation\n\nSee paper.\n"
    card = write_package(tmp_path / "n", dataclasses.replace(content, documentation=own, scores=()))
    assert "No held-out scores" in card.documentation.read_text()


def test_what_is_no_model_is_never_replaced(content, tmp_path):
    """A folder of images as the place of a model would be gone, and a file as well."""
    (tmp_path / "data").mkdir()
    for name in ("data/image.tif", "notes.txt"):
        (tmp_path / name).write_text("mine")
    for place, kind in (("data", "folder"), ("notes.txt", "file"), ("notes.txt/model", "")):
        with pytest.raises(OutputError, match=f"is a {kind} that is no model" if kind else "cannot be made"):
            write_package(tmp_path / place, content, replace=True)
    assert (tmp_path / "data" / "image.tif").read_text() == (tmp_path / "notes.txt").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    write_package(tmp_path / "empty", content, replace=True)
    assert write_package(tmp_path / "empty", content, replace=True).root == tmp_path / "empty"
