"""Models of StarDist as files, for tests."""

import json
import shutil
import zipfile
from pathlib import Path

import yaml

STARDIST = Path(__file__).parents[2] / "data" / "stardist"
FLUO, TISSUE = STARDIST / "fluo_grid2", STARDIST / "tissue_grid1"
FILES = ("config.json", "thresholds.json", "weights_best.h5")


def changed_copy(source: Path, parent: Path, **changes: object) -> Path:
    """A copy of a model whose configuration has been changed; None takes an entry away."""
    folder = parent / "model" / source.name
    folder.mkdir(parents=True)
    for name in FILES:
        shutil.copyfile(source / name, folder / name)
    config = {**json.loads((source / "config.json").read_text()), **changes}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def zipped(archive: Path, files: dict[str, bytes]) -> Path:
    """A zip of files by name."""
    with zipfile.ZipFile(archive, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return archive


def exported(source: Path, **kwargs: object) -> dict[str, bytes]:
    """The files of an export as StarDist's `export_bioimageio` names and fills them, without a SavedModel."""
    config = json.loads((source / "config.json").read_text())
    thresholds = json.loads((source / "thresholds.json").read_text())
    told = {
        "config": config,
        "thresholds": thresholds,
        "weights": "stardist_weights.h5",
        "python_version": "0.9.2",
    }
    step = {"name": "scale_range", "kwargs": {"mode": "per_sample", "axes": "yx", **kwargs}}
    card = {
        "format_version": "0.4.9",
        "type": "model",
        "name": "Nuclei of the export",
        "license": "BSD 3-Clause License",
        "authors": [{"name": "A. Author"}],
        "config": {"stardist": told},
        "inputs": [{"name": "input", "axes": "byxc", "preprocessing": [step]}],
        "weights": {"tensorflow_saved_model_bundle": {"source": "TF_SavedModel.zip"}},
    }
    return {
        "rdf.yaml": yaml.safe_dump(card).encode(),
        "stardist_weights.h5": (source / "weights_best.h5").read_bytes(),
        "TF_SavedModel.zip": b"not looked at",
    }
