"""The extension as a package: what CMake lists, what the index asks for, icons, samples, terms.

Plain CMake configures the real CMakeLists.txt with stand-ins for Slicer's macros (``cmake/``), and installs.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import types
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

import deepbio

samples = pytest.importorskip("SlicerDeepBioLib.samples")
slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "SlicerDeepBio"
LIBRARY = "lib/Slicer-5.10"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The extension, configured and installed by plain CMake."""
    if not shutil.which("cmake"):
        pytest.skip("CMake is not installed")
    if not (shutil.which("cc") and shutil.which("c++") and shutil.which("make")):
        pytest.skip("CMake has no compiler or no make here")
    folder = tmp_path_factory.mktemp("extension")
    stub = Path(__file__).parent / "cmake"
    for command in (
        ["cmake", "-S", ROOT, "-B", folder / "build", f"-DSlicer_DIR={stub}"],
        ["cmake", "--install", folder / "build", "--prefix", folder / "installed"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "Warning" not in done.stderr, done.stderr
    return folder


@pytest.fixture(scope="module")
def listed(built: Path) -> list[tuple[str, str, str]]:
    lines = (built / "build" / "listed.txt").read_text().splitlines()
    return [tuple(line.split("|", 2)) for line in lines]  # type: ignore[misc]


def on_disk(folder: Path) -> set[str]:
    """Its files, but for what CMake reads itself and what other programs leave behind."""
    files = (path.relative_to(ROOT) for path in folder.rglob("*") if path.is_file())
    kept = (path for path in files if not any(part.startswith((".", "__pycache__")) for part in path.parts))
    return {path.as_posix() for path in kept if path.name != "CMakeLists.txt"}


def test_every_file_is_listed_and_every_listed_file_exists(listed: list[tuple[str, str, str]]) -> None:
    files = [file for kind, _, file in listed if kind in ("SCRIPTS", "RESOURCES", "CLI", "TESTS")]
    assert set(files) == on_disk(MODULE) | on_disk(ROOT / "DeepBioSegment")
    assert len(files) == len(set(files))
    assert {Path(file).suffix for kind, _, file in listed if kind == "SCRIPTS"} == {".py"}


def test_the_installed_files_work_where_slicer_puts_them(built: Path) -> None:
    """The command-line module finds the library beside it, and the samples are there."""
    library = built / "installed" / LIBRARY
    scripted = library / "qt-scripted-modules"
    code = "import sys; sys.path.insert(0, sys.argv[1]); from SlicerDeepBioLib import samples; print(all(s.path.is_file() and s.thumbnail.is_file() for s in samples.SAMPLES), samples.TERMINOLOGY.is_file())"
    told = subprocess.run(
        [sys.executable, "-I", "-c", code, scripted], capture_output=True, text=True, check=False
    )
    assert told.stdout.split() == ["True", "True"], told.stderr
    command = library / "cli-modules" / "DeepBioSegment.py"
    told = subprocess.run(
        [sys.executable, "-I", command, "no.nrrd", built / "out.nrrd"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 3
    assert "'no.nrrd' cannot be read" in told.stderr


def test_a_listed_file_that_is_missing_is_an_error(tmp_path: Path, built: Path) -> None:
    """So that the other tests can fail."""
    for name in ("CMakeLists.txt", "SlicerDeepBio/CMakeLists.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    stub = Path(__file__).parent / "cmake"
    done = subprocess.run(
        ["cmake", "-S", tmp_path, "-B", tmp_path / "b", f"-DSlicer_DIR={stub}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "SlicerDeepBio lists 'SlicerDeepBio.py', which does not" in done.stderr


def test_the_entry_of_the_index_agrees_with_cmake(listed: list[tuple[str, str, str]]) -> None:
    """As Slicer's schema of catalog entries (v1.0.1) and the checks of its index ask."""
    entry = json.loads((ROOT / "DeepBio.json").read_text())
    told = {name: value for kind, name, value in listed if kind == "EXTENSION"}
    assert set(entry) <= {
        "$schema",
        "build_dependencies",
        "build_subdirectory",
        "category",
        "scm_revision",
        "scm_type",
        "scm_url",
        "tier",
        "enabled",
    }
    assert {"$schema", "category", "scm_url"} <= set(entry)
    assert re.fullmatch(
        r"https://raw\.githubusercontent\.com/Slicer/Slicer/main/Schemas/slicer-extension-catalog-entry-schema-v\d\.\d\.\d\.json#",
        entry["$schema"],
    )
    assert entry["category"] == told["CATEGORY"] == "Segmentation"
    assert entry["build_dependencies"] == ([] if told["DEPENDS"] == "NA" else told["DEPENDS"].split())
    assert entry["scm_url"] == told["HOMEPAGE"]
    assert entry["scm_url"].endswith("/SlicerDeepBio")
    assert entry["scm_type"] == "git"
    assert entry["tier"] in (1, 3, 5)
    assert "project(DeepBio)" in (ROOT / "CMakeLists.txt").read_text(), "the name of the entry"
    assert (ROOT / "LICENSE.txt").is_file()


def test_icon_and_screenshots_are_files_of_this_repository(listed: list[tuple[str, str, str]]) -> None:
    told = {name: value for kind, name, value in listed if kind == "EXTENSION"}
    urls = [told["ICONURL"], *told["SCREENSHOTURLS"].split()]
    owner = re.fullmatch(r"https://github\.com/(.+)", told["HOMEPAGE"])
    for url in urls:
        found = re.fullmatch(rf"https://raw\.githubusercontent\.com/{owner.group(1)}/main/(.+\.png)", url)
        assert found, url
        assert (ROOT / found.group(1)).is_file(), url


def test_icons_have_slicers_sizes() -> None:
    with Image.open(MODULE / "Resources" / "Icons" / "SlicerDeepBio.png") as icon:
        assert icon.size == (128, 128)
        assert icon.mode == "RGBA"
        assert icon.getpixel((0, 0))[3] == 0, "rounded corners are transparent"
    assert (
        ET.parse(MODULE / "Resources" / "Icons" / "SlicerDeepBio.svg").getroot().get("viewBox")
        == "0 0 128 128"
    )


@pytest.mark.parametrize("sample", samples.SAMPLES, ids=lambda sample: sample.node)
def test_a_sample_is_small_sound_and_has_a_picture(sample: Any) -> None:
    content = sample.path.read_bytes()
    assert hashlib.sha256(content).hexdigest() == sample.sha256
    assert len(content) < 500_000
    with Image.open(sample.thumbnail) as picture:
        assert picture.size == (260, 260)
    assert sample.model in {card.name for card in deepbio.list_models()}
    assert sample.path.name in (MODULE / "CMakeLists.txt").read_text()


def _loaded(path: Path, kind: str, scene: Any) -> Any:
    storage = getattr(
        slicer,
        "vtkMRMLVolumeSequenceStorageNode" if kind == "sequence" else "vtkMRMLVolumeArchetypeStorageNode",
    )()
    node = {
        "sequence": "vtkMRMLSequenceNode",
        "vector": "vtkMRMLVectorVolumeNode",
        "scalar": "vtkMRMLScalarVolumeNode",
    }[kind]
    node = scene.AddNewNodeByClass(node)
    scene.AddNode(storage)
    storage.SetFileName(str(path))
    assert storage.ReadData(node) == 1
    return node


@pytest.mark.parametrize(
    ("number", "kind", "example"),
    [
        (0, "scalar", "hippocampus/hippocampus_311.nii.gz"),
        (2, "scalar", "fluorescence.tif"),
        (3, "vector", "histology.png"),
    ],
)
def test_slicer_reads_a_sample_as_the_example_it_was_made_from(
    scene: Any, number: int, kind: str, example: str
) -> None:
    from SlicerDeepBioLib.scene import read_volume

    expected = deepbio.read(ROOT / "examples" / example)
    source = read_volume(_loaded(samples.SAMPLES[number].path, kind, scene))
    np.testing.assert_array_equal(source.parts[0], expected.array)
    assert source.axes == expected.axes
    assert source.spacing == pytest.approx(expected.grid.spacing)
    assert source.origin == pytest.approx(expected.grid.origin)
    np.testing.assert_allclose(source.direction, expected.grid.direction, atol=1e-6)


def test_slicer_reads_the_heart_as_a_sequence_with_its_times(scene: Any) -> None:
    from SlicerDeepBioLib.scene import read_volume

    expected = deepbio.read(ROOT / "examples" / "heart_cine.nii.gz")
    ours = deepbio.read(samples.SAMPLES[1].path)
    assert (ours.axes, ours.frame_interval) == ("TZYX", pytest.approx(expected.frame_interval, abs=1e-3))
    np.testing.assert_array_equal(ours.array, expected.array)
    sequence = _loaded(samples.SAMPLES[1].path, "sequence", scene)
    assert sequence.GetNumberOfDataNodes() == len(expected.array) == 5
    assert (sequence.GetIndexName(), sequence.GetIndexUnit()) == ("time", "s")
    times = [float(sequence.GetNthIndexValue(frame)) for frame in range(5)]
    np.testing.assert_allclose(times, np.arange(5) * expected.frame_interval, atol=1e-6)
    for frame in range(5):
        source = read_volume(sequence.GetNthDataNode(frame))
        np.testing.assert_array_equal(source.parts[0], expected.array[frame])
        assert source.spacing == pytest.approx(expected.grid.spacing)
        assert source.origin == pytest.approx(expected.grid.origin)
        np.testing.assert_allclose(source.direction, expected.grid.direction, atol=1e-6)


def _cards() -> dict[str, dict[str, Any]]:
    folder = ROOT / "core" / "deepbio" / "library" / "bundled"
    cards = {path.parent.name: yaml.safe_load(path.read_text()) for path in folder.glob("*/bioimageio.yaml")}
    return {name: card["config"]["deepbio"].get("classes") or {} for name, card in cards.items()}


@pytest.fixture
def terminologies() -> Any:
    logic = slicer.vtkSlicerTerminologiesModuleLogic()
    assert (
        logic.LoadTerminologyFromFile(str(samples.TERMINOLOGY))
        == "Segmentation category and type - DeepBio models"
    )
    return logic


def test_the_terminology_has_the_classes_of_the_bundled_models(terminologies: Any) -> None:
    """By Slicer's own logic: every code on a card, and its colour, is found by name."""
    known = {}
    for category in _children(terminologies, "CategoryInTerminology"):
        for kind in _children(terminologies, "TypeInTerminologyCategory", category):
            for leaf in [kind, *_children(terminologies, "TypeModifierInTerminologyType", category, kind)]:
                codes = tuple(one.GetCodeValue() for one in dict.fromkeys((category, kind, leaf)))
                known[codes] = (leaf.GetSlicerLabel(), tuple(leaf.GetRecommendedDisplayRGBValue()))
    expected = {}
    for classes in _cards().values():
        for entry in (
            one for one in classes.values() if "category" in one
        ):  # those of classifiers have no codes
            parts = (entry[part] for part in ("category", "type", "modifier") if part in entry)
            color = tuple(int(entry["color"][at : at + 2], 16) for at in (1, 3, 5))
            expected[tuple(part["value"] for part in parts)] = (entry["name"], color)
    assert len(expected) == 3
    assert expected.items() <= known.items()


def _children(logic: Any, what: str, *above: Any) -> list[Any]:
    """What lies below a category or type, or the categories."""
    context = "Segmentation category and type - DeepBio models"
    found = []
    plural = {
        "CategoryInTerminology": "CategoriesInTerminology",
        "TypeInTerminologyCategory": "TypesInTerminologyCategory",
        "TypeModifierInTerminologyType": "TypeModifiersInTerminologyType",
    }[what]
    kind = (
        slicer.vtkSlicerTerminologyCategory
        if what.startswith("Category")
        else slicer.vtkSlicerTerminologyType
    )
    for number in range(getattr(logic, f"GetNumberOf{plural}")(context, *above)):
        one = kind()
        assert getattr(logic, f"GetNth{what}")(context, *above, number, one)
        found.append(one)
    return found


def test_register_tells_the_application(monkeypatch: pytest.MonkeyPatch, terminologies: Any) -> None:
    """`SampleData` is a module of the application: here a stand-in with its signature in Slicer 5.8 to 5.12."""
    told: list[dict[str, Any]] = []

    class SampleDataLogic:
        @staticmethod
        def registerCustomSampleDataSource(
            category: str = "Custom", sampleName: Any = None, uris: Any = None, fileNames: Any = None, nodeNames: Any = None,
            customDownloader: Any = None, thumbnailFileName: Any = None, loadFileType: str = "VolumeFile", loadFiles: Any = None,
            loadFileProperties: Any = None, checksums: Any = None,
        ) -> None:  # fmt: skip
            told.append(
                {
                    "category": category,
                    "name": sampleName,
                    "uri": uris,
                    "type": loadFileType,
                    "sum": checksums,
                }
            )

    module = types.ModuleType("SampleData")
    module.SampleDataLogic = SampleDataLogic  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "SampleData", module)
    modules = types.SimpleNamespace(terminologies=types.SimpleNamespace(logic=lambda: terminologies))
    monkeypatch.setattr(slicer, "modules", modules, raising=False)
    samples.register()
    assert [one["name"] for one in told] == [sample.name for sample in samples.SAMPLES]
    assert {one["category"] for one in told} == {"DeepBio"}
    assert [one["type"] for one in told] == ["VolumeFile", "SequenceFile", "VolumeFile", "VolumeFile"]
    assert all(one["uri"].startswith("file:///") and one["sum"].startswith("SHA256:") for one in told)
