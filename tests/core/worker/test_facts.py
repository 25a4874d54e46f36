"""What a client asks before it runs anything."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepbio.errors import DeepBioError, ImageError, OptionError
from deepbio.image import RGB, Image
from deepbio.library import add_model, find_model, list_models, remove_model
from deepbio.library.store import user_folder
from deepbio.options import RunOptions
from deepbio.predict import load_model
from deepbio.worker import facts


def test_hello_has_every_option_and_every_device() -> None:
    told = json.loads(json.dumps(facts.hello(), allow_nan=False))
    assert told["protocol"] == facts.PROTOCOL
    options = {option["name"]: option for option in told["options"]}
    assert list(options) == [option.name for option in fields(RunOptions)]
    assert told["devices"][-1]["name"] == "cpu"
    assert 0 < told["devices"][-1]["free"] <= told["devices"][-1]["total"]
    assert options["device"]["choices"] == ["auto", *(device["name"] for device in told["devices"])]
    assert told["chosen"]["name"] in options["device"]["choices"]
    assert told["chosen"]["label"]


def test_options_say_their_kind_range_and_default() -> None:
    options = {option["name"]: option for option in facts.hello()["options"]}
    kinds = {name: option["kind"] for name, option in options.items()}
    assert kinds == {
        "device": "choice",
        "precision": "choice",
        "runtime": "choice",
        "tile": "int",
        "overlap": "float",
        "batch": "int",
        "diameter": "float",
        "channel": "text",
        "do_3d": "bool",
        "flow_threshold": "float",
        "per_slice": "bool",
        "link_slices": "float",
        "track": "bool",
        "divisions": "choice",
        "mirror": "bool",
        "threshold": "float",
        "min_size": "int",
        "classify": "choice",
        "objects": "text",
        "explain": "choice",
        "target": "text",
        "layer": "text",
        "pool_frames": "bool",
        "uncertainty": "choice",
        "count": "int",
        "classes": "list",
        "seed": "int",
        "output": "list",
    }
    assert (options["overlap"]["low"], options["overlap"]["high"]) == (0.0, 0.9)
    assert options["tile"]["default"] is None
    assert options["output"]["default"] == []  # what the task gives
    assert all(option["help"] for option in options.values())


def test_cards_carry_what_a_scene_needs() -> None:
    told = json.loads(json.dumps(facts.models(), allow_nan=False))
    cards = {card["name"]: card for card in told["models"]}
    hippocampus = cards["hippocampus"]
    assert (hippocampus["ndim"], hippocampus["channels"], hippocampus["per_slice"]) == (3, 1, False)
    assert list(hippocampus["classes"]) == ["1", "2"]
    first = hippocampus["classes"]["1"]
    assert (first["name"], first["color"]) == ("anterior hippocampus", "#e6a23c")
    assert first["modifier"] == {"scheme": "SCT", "value": "255549009", "meaning": "Anterior"}
    assert len(hippocampus["documentation"]) > 100
    assert hippocampus["bundled"]
    assert cards["nuclei"]["channels"] == 3
    assert cards["nuclei"]["classes"] == {}


def test_bundled_models_come_first_and_a_broken_one_hides_none(threshold_model: Path) -> None:
    add_model(threshold_model, name="a-first-by-name")
    broken = user_folder() / "broken"
    broken.mkdir()
    (broken / "bioimageio.yaml").write_text("format_version: [0.5\n")
    try:
        told = facts.models()
    finally:
        (broken / "bioimageio.yaml").unlink()
        broken.rmdir()
        remove_model("a-first-by-name")
    names = [card["name"] for card in told["models"]]
    assert names == [*sorted(names[:-1]), "a-first-by-name"]
    assert [entry["folder"] for entry in told["broken"]] == [str(broken)]
    assert told["broken"][0]["message"]


IMAGES: dict[str, tuple[str, tuple[int, ...], tuple[str, ...]]] = {
    "plane": ("YX", (37, 53), ()),
    "volume": ("ZYX", (5, 37, 53), ()),
    "one slice": ("ZYX", (1, 37, 53), ()),
    "RGB": ("CYX", (3, 37, 53), RGB),
    "three stains": ("CYX", (3, 37, 53), ("DAPI", "GFP", "RFP")),
    "time-lapse": ("TZYX", (2, 5, 37, 53), ()),
}


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("texts", [{}, {"per_slice": "true"}, {"channel": "2"}], ids=str)
def test_fits_says_what_the_run_itself_would_say(name: str, texts: dict[str, str]) -> None:
    axes, shape, channels = IMAGES[name]
    options = RunOptions.parse({**texts, "device": "cpu", "runtime": "onnx"})
    told = facts.fits({"axes": axes, "shape": shape, "dtype": "uint8", "channels": channels}, options)
    image = Image(np.zeros(shape, np.uint8), axes, channels=channels)
    for card in list_models():
        said = _refusal(card.name, image, options)
        assert told["fits"][card.name] == said, card.name
    assert set(told["fits"]) == {card.name for card in list_models()}


def _refusal(model: str, image: Image, options: RunOptions) -> str:
    """What the model says to an image; nothing is computed of one that it takes."""

    class Computes(Exception):
        pass

    def stop(event: object) -> None:
        if "predict" in str(event):
            raise Computes

    try:
        load_model(model).run(image, options, on_progress=stop)
    except DeepBioError as error:
        return str(error)
    except Computes:
        return ""
    raise AssertionError("neither refused nor computed")


def test_without_an_image_only_generators_fit() -> None:
    told = facts.fits(None, RunOptions())
    assert {name for name, why in told["fits"].items() if not why} == {"cells-synth", "nuclei-synth"}
    assert told["fits"]["nuclei"].startswith("The model 'nuclei' needs an image; found none.")
    assert not any(told["doubts"].values())


def test_cards_say_what_they_take() -> None:
    told = {card["name"]: card["takes"] for card in facts.models()["models"]}
    assert told["nuclei-synth"] == ["labels", "nothing"]
    assert told["cells-synth"] == ["nothing"]
    assert told["denoise"] == told["blood-cells"] == told["nuclei"] == ["image"]


def test_the_cases_of_a_batch(tmp_path: Path) -> None:
    """Which files are one image is the rule of the batch itself; cases that lack files are refused by name."""
    from tests.slicer.two_channels import write_two_channel_model

    model = str(write_two_channel_model(tmp_path / "models", channel_files=True))
    assert facts.card_values(find_model(model))["channel_files"] == 2
    assert facts.card_values(find_model("hippocampus"))["channel_files"] == 1
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in ("knee_0001.nii.gz", "knee_0000.nii.gz", "both.nii.gz"):
        (folder / name).write_bytes(b"x")
    request = {"model": model, "inputs": [str(folder)], "output": str(tmp_path / "out")}
    knee = [str(folder / name) for name in ("knee_0000.nii.gz", "knee_0001.nii.gz")]
    assert facts.inputs(request)["cases"] == [
        {"file": str(folder / "both.nii.gz"), "name": "both", "channels": []},
        {"file": knee[0], "name": "knee", "channels": knee},
    ]
    assert len(facts.inputs({**request, "model": "hippocampus"})["cases"]) == 3
    for name in ("hip_0000.nii.gz", "wrist_0001.nii.gz"):
        (folder / name).write_bytes(b"x")
    with pytest.raises(ImageError, match=r"missing in '.*scans': hip_0001\.nii\.gz, wrist_0000\.nii\.gz\."):
        facts.inputs(request)
    with pytest.raises(OptionError, match="needs 'inputs', a list of paths; found None"):
        facts.inputs({"model": model})


def test_what_a_generator_of_classes_gives(tmp_path: Path) -> None:
    from tests.core.tasks.makers import write_class_maker

    told = facts.card_values(find_model(write_class_maker(tmp_path)))
    assert told["takes"] == ["nothing"]
    assert told["usual"] == told["gives"] == ["image", "table"]  # which image is of which class


@pytest.mark.parametrize(
    ("modality", "doubts"), [("", False), ("MR", False), ("mr", False), ("CT", True), ("OT", True)]
)
def test_a_foreign_modality_is_doubted_not_refused(modality: str, doubts: bool) -> None:
    told = facts.fits(
        {"axes": "ZYX", "shape": [37, 49, 37], "dtype": "int16", "modality": modality}, RunOptions()
    )
    assert told["fits"]["hippocampus"] == ""
    assert bool(told["doubts"]["hippocampus"]) is doubts


@pytest.mark.parametrize(
    "image",
    [
        {},
        {"axes": "ZYX", "shape": [3, 4], "dtype": "int16"},
        {"axes": "ZYX", "shape": [3, 0, 4], "dtype": "int16"},
        {"axes": "XY", "shape": [3, 4], "dtype": "int16"},
        {"axes": "YX", "shape": "many", "dtype": "int16"},
        {"axes": "YX", "shape": [3, 4], "dtype": "complex64"},
        {"axes": "CYX", "shape": [3, 4, 5], "dtype": "int16", "channels": ["red"]},
    ],
    ids=str,
)
def test_an_image_that_cannot_be_is_told(image: dict[str, Any]) -> None:
    with pytest.raises(ImageError):
        facts.fits(image, RunOptions())


@pytest.mark.parametrize("texts", [["tile"], {"tile": 256}, "tile=256"], ids=str)
def test_options_are_texts_by_name(texts: object) -> None:
    with pytest.raises(OptionError, match="expected texts by name"):
        facts.parse_options(texts)
    assert facts.parse_options(None) == RunOptions()
    assert facts.parse_options({"tile": "256", "per_slice": "true"}) == RunOptions(tile=256, per_slice=True)
