"""Bundles that are broken, hostile, or ask for what is not known."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from deepbio.errors import CardError, DeepBioError, OptionError, WeightsError
from deepbio.importing import ImportChoice, add_model
from deepbio.importing.monai import find_bundle, is_bundle, read_bundle
from deepbio.library.store import user_folder
from tests.core.importing import bundles
from tests.core.importing.bundles import AFTER, BEFORE, INFERER, INVERT

LOAD, TURN, SPACE, RANGE = BEFORE[:2], BEFORE[2], BEFORE[3], BEFORE[4]
SOFTMAX, ARGMAX = AFTER[0], AFTER[2]


@pytest.fixture(autouse=True)
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPBIO_HOME", str(tmp_path / "home"))


class _Evil:
    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self._mark,)


def bundle(folder: Path, *, told: dict[str, Any] | None = None, **parts: Any) -> Path:
    return bundles.write(
        folder, bundles.config(**parts), told or bundles.metadata(), {"weight": torch.zeros(1)}
    )


def refused(folder: Path, match: str, kind: type[DeepBioError] = CardError) -> None:
    with pytest.raises(kind, match=match) as caught:
        add_model(folder)
    assert len(str(caught.value)) < 700
    assert not list(user_folder().glob("*"))


@pytest.mark.parametrize(
    "where",
    [
        ("preprocessing", "transforms", 3, "pixdim"),
        ("inferer", "roi_size"),
        ("postprocessing", "transforms", 2, "argmax"),
        ("network_def", "channels"),
        ("preprocessing", "transforms", 2, "axcodes"),
    ],
)
@pytest.mark.parametrize(
    "expression",
    [
        "$__import__('pathlib').Path('{mark}').touch()",
        "$[c for c in ().__class__.__base__.__subclasses__()]",
        "$open('{mark}', 'w')",
        "$(lambda: 1)()",
        "$exec('x = 1')",
        "$f'{{1}}'",
        "${deep}",
    ],
)
def test_expressions_are_refused_and_never_run(
    tmp_path: Path, where: tuple[Any, ...], expression: str
) -> None:
    mark = tmp_path / "mark"
    folder = bundle(tmp_path / "b")
    path = folder / "configs" / "inference.json"
    content = json.loads(path.read_text())
    entry: Any = content
    for key in where[:-1]:
        entry = entry[key]
    entry[where[-1]] = expression.format(mark=mark, deep="(" * 500 + ")" * 500)
    path.write_text(json.dumps(content))
    refused(folder, "expressions are not evaluated here")
    assert not mark.exists()


def test_expressions_and_imports_elsewhere_are_not_looked_at(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    folder = bundle(tmp_path / "b")
    path = folder / "configs" / "inference.json"
    content = json.loads(path.read_text())
    content["imports"] = ["$import os", f"$open('{mark}', 'w')"]
    content["initialize"] = [f"$open('{mark}', 'w')"]
    content["device"] = f"$open('{mark}', 'w')"
    path.write_text(json.dumps(content))
    refused(folder, "do not fit the network", WeightsError)  # which comes last
    assert not mark.exists()


@pytest.mark.parametrize(
    "target", ["os.system", "scripts.network.Net", "monai.networks.nets.DiNTS", "subprocess.Popen"]
)
def test_a_class_that_is_not_in_the_table_is_refused(tmp_path: Path, target: str) -> None:
    refused(
        bundle(tmp_path / "b", network={"_target_": target, "command": "true"}),
        "network_def is '.*known are UNet",
    )


@pytest.mark.parametrize("target", ["os.system", "torch.nn.UNet", "builtins.eval", "monai.os.system"])
def test_a_transform_that_is_not_in_the_table_is_refused(tmp_path: Path, target: str) -> None:
    refused(
        bundle(tmp_path / "a", before=[*LOAD, {"_target_": target, "keys": "image"}]),
        r"transforms#2 is the transform",
    )
    refused(
        bundle(tmp_path / "b", after=[{"_target_": target, "keys": "pred"}]), r"transforms#0 is the transform"
    )


@pytest.mark.parametrize(
    ("before", "match"),
    [
        ([*LOAD, {"_target_": "Resized", "keys": "image", "spatial_size": [96] * 3}], "'Resized', which is not known"),
        ([*LOAD, {**TURN, "axcodes": "RAX"}], "three letters"),
        ([*LOAD, {**TURN, "labels": [["R", "L"], ["P", "A"], ["I", "S"]]}], "has labels"),
        ([*LOAD, {**SPACE, "mode": "nearest"}], "has mode 'nearest'"),
        ([*LOAD, {**SPACE, "lazy": True}], "has lazy"),
        ([*LOAD, {**SPACE, "pixdim": [1, "2", 3]}], "has pixdim"),
        ([*LOAD, {**SPACE, "colour": "red"}], "the argument colour 'red'"),
        ([*LOAD, {**SPACE, "_mode_": "callable"}], "has _mode_"),
        ([*LOAD, {**SPACE, "keys": ["image", "label"]}], "has keys"),
        ([*LOAD, RANGE, SPACE], "after its intensities were changed"),
        ([*LOAD, SPACE, TURN], "which a card cannot say"),
        ([*LOAD, {**RANGE, "a_max": -100}], "above a_min"),
        ([*LOAD, {**RANGE, "a_max": float("nan")}], "has a_max nan"),
        ([*LOAD, {"_target_": "ScaleIntensityd", "keys": "image", "factor": 0.1}], "has factor"),
        ([*LOAD, RANGE, {"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": True}], "first step"),
        ([*LOAD, {"_target_": "NormalizeIntensityd", "keys": "image", "subtrahend": 3}], "has divisor None"),
        ([*LOAD, RANGE, {"_target_": "CropForegroundd", "keys": "image", "source_key": "image"}], "only of raw pixels"),
        ([*LOAD, {"_target_": "CastToTyped", "keys": "image", "dtype": "$np.uint8"}], "has dtype 'uint8'"),
        ([{**LOAD[0], "reader": "scripts.reader.Reader"}], "has reader"),
        ([*LOAD, {"_target_": "Lambdad", "keys": "image", "func": "$lambda x: x"}], "'Lambdad'"),
    ],
)  # fmt: skip
def test_pre_processing_that_is_not_known_is_refused(tmp_path: Path, before: list[Any], match: str) -> None:
    refused(bundle(tmp_path / "b", before=before), match)


@pytest.mark.parametrize(
    ("after", "match"),
    [
        ([SOFTMAX, INVERT], "makes no labels"),
        ([SOFTMAX, {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5}], "2 binary channels"),
        ([ARGMAX, SOFTMAX], "after labels were decided"),
        ([SOFTMAX, {**ARGMAX, "rounding": "torchrounding"}], "has rounding"),
        ([{**SOFTMAX, "sigmoid": True}, ARGMAX], "one of them"),
        ([SOFTMAX, INVERT, INVERT, ARGMAX], "comes twice"),
        ([{"_target_": "KeepLargestConnectedComponentd", "keys": "pred"}, ARGMAX], "what argmax has not decided"),
        ([ARGMAX, {"_target_": "KeepLargestConnectedComponentd", "keys": "pred", "applied_labels": [7]}], "labels \\[7\\]"),
        ([ARGMAX, {"_target_": "Lambdad", "keys": "pred", "func": "$lambda x: x"}], "'Lambdad', which is not known"),
        ([ARGMAX, {"_target_": "FillHolesd", "keys": "pred"}], "'FillHolesd', which is not known"),
    ],
)  # fmt: skip
def test_post_processing_that_is_not_known_is_refused(tmp_path: Path, after: list[Any], match: str) -> None:
    refused(bundle(tmp_path / "b", after=after), match)


@pytest.mark.parametrize(
    ("inferer", "match"),
    [
        ({"_target_": "SliceInferer", "roi_size": [8, 8]}, "'SliceInferer'; known are"),
        ({**INFERER, "roi_size": [96, 96]}, "3 sizes"),
        ({**INFERER, "roi_size": [96, 96, -1]}, "3 sizes"),
        ({**INFERER, "overlap": 0.95}, "has overlap"),
        ({**INFERER, "mode": "median"}, "has mode"),
        ({**INFERER, "padding_mode": "circular"}, "has padding_mode"),
        ({**INFERER, "cval": -1.0}, "has cval"),
        ({**INFERER, "sigma_scale": 0.25}, "has sigma_scale"),
    ],
)
def test_inferers_that_are_not_known_are_refused(tmp_path: Path, inferer: dict[str, Any], match: str) -> None:
    refused(bundle(tmp_path / "b", inferer=inferer), match)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("@nothing", "which is not there"),
        ("@loop", "refers to itself"),
        ("%configs/train.json#x", "macro"),
        ("@a b", "is '@a b'"),
    ],
)
def test_references_that_lead_nowhere_are_refused(tmp_path: Path, text: str, match: str) -> None:
    folder = bundle(tmp_path / "b", before=[*LOAD, {**SPACE, "pixdim": text}])
    path = folder / "configs" / "inference.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "loop": "@loop"}))
    refused(folder, match)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_weights_with_code_are_never_loaded(tmp_path: Path) -> None:
    mark, folder = tmp_path / "mark", bundle(tmp_path / "b")
    with (folder / "models" / "model.pt").open("wb") as file:
        pickle.dump({"weight": _Evil(mark)}, file)
    refused(folder, "never loaded", WeightsError)
    torch.save({"weight": _Evil(mark)}, folder / "models" / "model.pt")
    refused(folder, "never loaded", WeightsError)
    assert not mark.exists()


def test_weights_that_are_none_or_of_another_network_are_refused(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "b")
    refused(folder, "do not fit the network of the bundle .UNet.", WeightsError)
    torch.save({"epoch": 3}, folder / "models" / "model.pt")
    refused(folder, "holds epoch; expected the tensors", WeightsError)
    (folder / "models" / "model.ts").write_bytes(b"no script")
    refused(folder, "cannot be read as TorchScript", WeightsError)


class _Writes(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.save(x, "mark")
        return x


class _Reads(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.from_file("/etc/hostname", False, 4, dtype=torch.uint8) + x


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("network", "called"), [(_Writes(), "save"), (_Reads(), "from_file")])
def test_a_script_that_calls_for_files_is_never_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: torch.nn.Module, called: str
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = bundles.write(tmp_path / "b", bundles.config(), bundles.metadata(), network)
    refused(folder, f"calls '{called}', which writes or reads files", WeightsError)
    assert not (tmp_path / "mark").exists()


def test_a_script_with_other_outputs_than_the_metadata_is_refused(tmp_path: Path) -> None:
    folder = bundles.write(tmp_path / "b", bundles.config(), bundles.metadata(), torch.nn.Conv3d(1, 3, 1))
    refused(folder, r"scores of the shape \(1, 3, 16, 16, 24\)", WeightsError)


@pytest.mark.parametrize("missing", ["configs/inference.json", "models/model.pt"])
def test_a_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    folder = bundle(tmp_path / "b")
    (folder / missing).unlink()
    refused(folder, f"has no {missing}")


@pytest.mark.parametrize("text", ["{", "[]", '{"a": ' * 3000, "\xff\xfe"])
def test_files_that_are_no_json_are_refused(tmp_path: Path, text: str) -> None:
    folder = bundle(tmp_path / "b")
    for name in ("inference.json", "metadata.json"):
        (folder / "configs" / name).write_bytes(text.encode("latin-1"))
        refused(folder, "not JSON|holds list")


@pytest.mark.parametrize(
    ("path", "value", "match"),
    [
        (("network_data_format",), None, "names no inputs"),
        (("network_data_format", "inputs"), {}, "names 0 inputs"),
        (("network_data_format", "outputs", "pred", "num_channels"), "2", "num_channels '2'"),
        (("network_data_format", "inputs", "image", "spatial_shape"), [96], "spatial_shape"),
    ],
)
def test_metadata_that_say_too_little_are_refused(
    tmp_path: Path, path: tuple[str, ...], value: Any, match: str
) -> None:
    told = bundles.metadata()
    entry: Any = told
    for key in path[:-1]:
        entry = entry[key]
    entry[path[-1]] = value
    refused(bundle(tmp_path / "b", told=told), match)


def test_a_zip_that_would_leave_its_folder_is_refused(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "b")
    archive = tmp_path / "b.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in folder.rglob("*.*"):
            file.write(path, f"b/{path.relative_to(folder).as_posix()}")
        file.writestr("../models/model.pt", b"evil")
    refused(archive, "outside|leave|inside")
    assert not (tmp_path / "models").exists()


def test_yaml_is_read_and_endless_aliases_are_not(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "b")
    old = folder / "configs" / "inference.json"
    (folder / "configs" / "inference.yaml").write_text(old.read_text())  # JSON is YAML
    old.unlink()
    refused(folder, "do not fit the network", WeightsError)
    rows = [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" if k else "a0: &a0 [1]" for k in range(9)]
    (folder / "configs" / "inference.yaml").write_text("\n".join(rows))
    refused(folder, "entries once its aliases are followed")


def test_a_bundle_is_found_in_a_folder_and_in_a_zip(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "zoo" / "spleen")
    assert is_bundle(folder)
    assert is_bundle(tmp_path / "zoo")
    assert find_bundle(tmp_path / "zoo", tmp_path / "zoo") == folder
    assert read_bundle(folder).name == "spleen"
    assert not read_bundle(folder).scripted
    assert not is_bundle(tmp_path)
    bundle(tmp_path / "zoo" / "liver")
    with pytest.raises(CardError, match=r"holds 2 bundles of MONAI \(liver, spleen\)"):
        add_model(tmp_path / "zoo")


def test_choices_for_nnunet_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CardError, match=r"bundle of MONAI, of which only regions can be chosen; found folds"):
        add_model(bundle(tmp_path / "b"), choice=ImportChoice(("0",)))


@pytest.mark.parametrize("region", ["1", "=2", "a=0", "a=b", "a=70000"])
def test_regions_are_a_channel_and_a_label(region: str) -> None:
    with pytest.raises(OptionError, match="expected a channel and a label"):
        ImportChoice(regions=(region,))


def test_regions_are_for_bundles_with_binary_channels(tmp_path: Path) -> None:
    with pytest.raises(CardError, match="regions are of binary channels"):
        add_model(bundle(tmp_path / "b"), choice=ImportChoice(regions=("1=2",)))
    with pytest.raises(CardError, match=r"nothing can be chosen; found regions"):
        add_model(tmp_path / "none", choice=ImportChoice(regions=("1=2",)))
