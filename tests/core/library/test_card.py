"""Cards are read as they are written, and refused with the place of the mistake."""

import json

import pytest
import yaml

from deepbio.errors import CardError, WeightsError
from deepbio.library.card import Axis, Step, read_card
from deepbio.library.reader import MAX_BYTES


def test_what_a_card_says(package):
    card = read_card(package)
    assert (card.name, card.title, card.version, card.license) == (
        "tiny-model",
        "Tiny model",
        "1.2.3",
        "CC0-1.0",
    )
    assert card.authors == ("Ada (Home)", "Bob")
    assert card.citations == ("Paper. doi:10.1000/1", "Site. https://example.org")
    assert (card.task, card.modality, card.training_data) == ("segment", ("SM",), "BBBC038")
    assert card.classes == {1: "nucleus", 2: "cell"}
    assert card.scores[0]["value"] == 0.5
    assert card.ndim == 3
    assert card.input.channels == ("red", "green")
    assert card.input.dtype == "uint16"
    assert card.input.steps == (Step("scale_range", {"axes": ["z", "y", "x"], "max_percentile": 99.8}),)
    assert card.output.steps == (Step("sigmoid"),)
    assert card.input.test_tensor == package / "test_input.npy"
    assert card.notes == ()
    card.weights[0].verify()
    assert card.weights_hash == card.weights_of("onnx").sha256
    assert card.weights_of("torchscript") is None


def test_sizes_of_the_axes(package):
    card = read_card(package)
    assert card.input.axes == (
        Axis("batch"),
        Axis("channel", 2, 2, 0),
        Axis("z", 5, 5, 0),
        Axis("y", None, 32, 16),
        Axis("x", None, 64, 8),
    )
    assert card.output.axes == (
        Axis("batch", 1, 1, 0),
        Axis("channel", 1, 1, 0),
        Axis("z", 3, 3, 0, 0, "raw.z", 1.0, -2),
        Axis("y", None, 32, 16, 4, "raw.y"),
        Axis("x", None, 128, 16, 4, "raw.x", 2.0),  # twice as fine as the input
    )
    assert [axis.id for axis in card.output.spatial] == ["z", "y", "x"]
    with pytest.raises(CardError, match="there is no 'time'"):
        card.input.axis("time")


def test_the_real_foreign_package(real_folder):
    card = read_card(real_folder)
    assert card.title == "UNet 2D Nuclei Broad"
    assert card.input.axes == (
        Axis("batch", 1, 1, 0),
        Axis("channel", 1, 1, 0),
        Axis("y", 512, 512, 0),
        Axis("x", 512, 512, 0),
    )
    assert card.output.axis("x") == Axis("x", 512, 512, 0, 32, "raw.x")
    assert card.output.axis("batch").size is None
    assert [weights.format for weights in card.weights] == ["onnx"]
    assert len(card.notes) == 2
    assert "download them by hand" in card.notes[0]
    assert "'weights.pt' is missing" in card.notes[1]
    card.weights[0].verify()


def test_summary_and_description_are_plain(package):
    card = read_card(package)
    assert card.summary() == {
        "name": "tiny-model",
        "title": "Tiny model",
        "version": "1.2.3",
        "task": "segment",
        "modality": ["SM"],
        "input": "3D, 2 channels",
        "formats": ["onnx"],
        "license": "CC0-1.0",
        "score": {"split": "val", "metric": "AP50", "value": 0.5},
    }
    told = json.loads(json.dumps(card.describe()))
    assert told["inputs"][0]["sizes"] == {
        "batch": "1 + n * 1",
        "channel": 2,
        "z": 5,
        "y": "32 + n * 16",
        "x": "64 + n * 8",
    }
    assert told["weights"][0]["bytes"] == (package / "weights.onnx").stat().st_size
    assert told["training_data"] == "BBBC038"


def test_our_own_weights_come_first(tmp_path, tiny):
    def change(card):
        card["config"]["deepbio"]["network"] = {
            "name": "unet",
            "arguments": {"dims": 2},
            "source": "weights.safetensors",
            "sha256": "0" * 64,
        }

    card = read_card(tiny(tmp_path / "m", change))
    assert [w.format for w in card.weights] == ["safetensors", "onnx"]
    assert (card.weights[0].network, card.weights[0].arguments) == ("unet", {"dims": 2})


def state_dict(**changes):
    kwargs = {"name": "unet", "arguments": {"dims": 2}}
    entry = {
        "source": "weights.safetensors",
        "sha256": "0" * 64,
        "architecture": {"import_from": "deepbio.networks", "callable": "build", "kwargs": kwargs},
    }
    return {**entry, **changes}


def test_a_state_dict_of_our_network_is_known(tmp_path, tiny):
    card = read_card(
        tiny(tmp_path / "m", lambda card: {**card, "weights": {"pytorch_state_dict": state_dict()}})
    )
    assert (card.weights[0].format, card.weights[0].network) == ("safetensors", "unet")


@pytest.mark.parametrize(
    "entry",
    [
        state_dict(source="weights.pt"),
        state_dict(architecture={"import_from": "os", "callable": "system", "kwargs": {"command": "true"}}),
        state_dict(architecture={"source": "net.py", "callable": "Net"}),
        state_dict(architecture="net.py:Net"),
        state_dict(architecture={"import_from": "deepbio.networks", "kwargs": {"name": "os.system"}}),
    ],
    ids=["pickle", "import", "file", "format 0.4", "unknown network"],
)
def test_a_package_names_no_code(tmp_path, tiny, entry):
    both = {"onnx": {"source": "weights.onnx"}, "pytorch_state_dict": entry}
    card = read_card(tiny(tmp_path / "m", lambda card: {**card, "weights": both}))
    assert [w.format for w in card.weights] == ["onnx"]
    assert len(card.notes) == 1
    with pytest.raises(CardError, match="no weights that can be used"):
        read_card(tiny(tmp_path / "m", lambda card: {**card, "weights": {"pytorch_state_dict": entry}}))


def test_the_hash_of_the_weights(package):
    card = read_card(package)
    (package / "weights.onnx").write_bytes(b"something else")
    with pytest.raises(
        WeightsError, match=r"weights.onnx' is damaged.*SHA-256 is [0-9a-f]{64}.*expects " + card.weights_hash
    ):
        card.weights[0].verify()
    (package / "weights.onnx").unlink()
    with pytest.raises(WeightsError, match="cannot be read"):
        card.weights[0].verify()


def test_external_data_of_onnx_is_verified_too(tmp_path, tiny):
    def change(card):
        card["weights"]["onnx"]["external_data"] = {"source": "weights.onnx.data", "sha256": "0" * 64}

    folder = tiny(tmp_path / "m", change)
    (folder / "weights.onnx.data").write_bytes(b"numbers")
    with pytest.raises(WeightsError, match=r"weights\.onnx\.data"):
        read_card(folder).weights[0].verify()


def put(*path, value):
    """A change of the card: set what lies at a path."""

    def change(card):
        place = card
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return change


def drop(*path):
    def change(card):
        place = card
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]

    return change


Y = ("inputs", 0, "axes", 3)
BROKEN = {
    "no name": (drop("name"), "has no name"),
    "a collection": (put("type", value="dataset"), "type is 'dataset'"),
    "too old": (put("format_version", value="0.3.2"), "format_version is '0.3.2'"),
    "too new": (put("format_version", value="0.6.0"), "format_version is '0.6.0'"),
    "no inputs": (put("inputs", value=[]), "no inputs"),
    "inputs no list": (put("inputs", value={"a": 1}), "inputs is .* expected a list"),
    "an input no mapping": (put("inputs", value=["raw"]), r"inputs\[0\] is 'raw'; expected a mapping"),
    "no axes": (put("inputs", 0, "axes", value=[]), r"inputs\[0\].axes"),
    "axis type": (put(*Y, "type", value="depth"), r"axes\[3\].type is 'depth'"),
    "axis name": (put(*Y, "id", value="h"), r"axes\[3\].id is 'h'"),
    "axis twice": (put(*Y, "id", value="z"), "has an axis twice: batch, channel, z, z, x"),
    "size a text": (put(*Y, "size", value="big"), r"axes\[3\].size is 'big'; expected a whole number"),
    "size true": (put(*Y, "size", value=True), "expected a whole number"),
    "size zero": (put(*Y, "size", value=0), "expected at least 1"),
    "size missing": (drop(*Y, "size"), r"has no inputs\[0\].axes\[3\].size"),
    "step zero": (put(*Y, "size", "step", value=0), "step 0"),
    "scale zero": (put(*Y, "scale", value=0), "scale 0"),
    "follows nothing": (put("outputs", 0, "axes", 3, "size", "tensor_id", value="other"), "'other.y', which has none"),
    "tensor twice": (put("outputs", 0, "id", value="raw"), "names a tensor twice"),
    "no channel names": (put("inputs", 0, "axes", 1, "channel_names", value=[]), "channel_names"),
    "step unknown": (put("outputs", 0, "postprocessing", value=[{"id": "custom"}]), "step 'custom'.*never run"),
    "step's axes": (put("outputs", 0, "postprocessing", value=[{"id": "softmax", "kwargs": {"axis": "t"}}]), "along 't'"),
    "classes": (put("config", "deepbio", "classes", value={"a": 1}), "label 'a'"),
    "scores": (put("config", "deepbio", "scores", value=[1]), r"scores\[0\] is 1"),
    "no weights": (put("weights", value={}), "no weights that can be used"),
    "weights elsewhere": (put("weights", "onnx", "source", value="https://example.org/w.onnx"), "download them by hand"),
    "weights missing": (put("weights", "onnx", "source", value="other.onnx"), "'other.onnx' is missing"),
    "weights of another kind": (put("weights", value={"keras_hdf5": {"source": "w.h5"}}), "does not read"),
    "weights climb out": (put("weights", "onnx", "source", value="../w.onnx"), "leaves the model package"),
    "weights absolute": (put("weights", "onnx", "source", value="/etc/passwd"), "leaves the model package"),
    "weights on a drive": (put("weights", "onnx", "source", value="C:w.onnx"), "leaves the model package"),
    "weights backslash": (put("weights", "onnx", "source", value="..\\w.onnx"), "leaves the model package"),
    "weights nowhere": (put("weights", "onnx", "source", value=""), "leaves the model package"),
    "test climbs out": (put("inputs", 0, "test_tensor", "source", value="../x.npy"), "leaves the model package"),
    "text climbs out": (put("documentation", value="../../x.md"), "leaves the model package"),
    "network climbs out": (put("config", "deepbio", "network", value={"name": "unet", "source": "../w", "sha256": "0"}), "leaves"),
    "network without hash": (put("config", "deepbio", "network", value={"name": "unet", "source": "w"}), "has no .*sha256"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_cards_say_what_is_wrong(tmp_path, tiny, change, message):
    folder = tiny(tmp_path / "m", change)
    with pytest.raises(CardError, match=f"(?s)bioimageio.yaml' is not valid.*{message}"):
        read_card(folder)


NOT_YAML = {
    "empty": (b"", "expected a mapping"),
    "a list": (b"- 1\n", "expected a mapping"),
    "cut": (b"name: [1, 2", "not YAML"),
    "binary": (b"\x80abc", "not YAML"),
    "deep": (b"[" * 5000, "not YAML"),
    "a Python object": (b"name: !!python/object/apply:os.system ['true']\n", "not YAML"),
    "large": (b"#" * (MAX_BYTES + 1), "at most"),
    "aliases": (b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
        b"%c: &%c [%s]\n" % (k, k, b",".join([b"*%c" % (k - 1)] * 9)) for k in range(98, 108)), "entries once its aliases"),
    "an endless alias": (b"a: &a [*a]\n", "entries once its aliases"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "message"), NOT_YAML.values(), ids=NOT_YAML)
def test_files_that_are_no_card(package, content, message):
    (package / "bioimageio.yaml").write_bytes(content)
    with pytest.raises(CardError, match=message):
        read_card(package)


def test_a_link_in_the_package_is_refused(package):
    (package / "weights.onnx").rename(package.parent / "elsewhere.onnx")
    (package / "weights.onnx").symlink_to(package.parent / "elsewhere.onnx")
    with pytest.raises(CardError, match="is a link"):
        read_card(package)


@pytest.mark.parametrize(
    ("path", "message"), [("nowhere", "no such folder"), (".", "has no bioimageio.yaml")]
)
def test_folders_that_are_no_package(tmp_path, path, message):
    with pytest.raises(CardError, match=message):
        read_card(tmp_path / path)


def test_a_zip_is_to_be_added_first(real_zip):
    with pytest.raises(CardError, match="deepbio models add"):
        read_card(real_zip)


def test_the_yaml_file_may_be_named(package):
    assert read_card(package / "bioimageio.yaml") == read_card(package)


@pytest.mark.parametrize("name", ["rdf.yaml", "model.yaml"])
def test_older_names_of_the_card(package, name):
    (package / "bioimageio.yaml").rename(package / name)
    assert read_card(package).title == "Tiny model"


def test_missing_test_files_are_noted(package):
    (package / "test_input.npy").unlink()
    card = read_card(package)
    assert card.input.test_tensor is None
    assert card.notes == ("The test file 'test_input.npy' of the tensor 'raw' is missing.",)


def test_a_card_is_plain_yaml_for_others(package):
    assert yaml.safe_load((package / "bioimageio.yaml").read_text(encoding="utf-8"))["name"] == "Tiny model"
