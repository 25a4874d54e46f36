"""What people should know of a bundle of MONAI, as far as its metadata tell."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from deepbio.importing.monai import Bundle

__all__ = ["words_of"]

_SPDX = (
    "CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0", "CC-BY-NC-SA-4.0", "Apache-2.0", "MIT", "BSD-3-Clause",
)  # fmt: skip
_TEXTS = {"Apache-2.0": r"Apache License\s+Version 2\.0", "MIT": r"\bMIT License\b"}  # how their texts begin
_ADDRESS = re.compile(r"https?://[^\s,;<>\"']+[^\s,;<>\"'.)]")
_DOI = re.compile(r"10\.\d{4,9}/[^\s,;<>\"']+[^\s,;<>\"'.)]")
_ARXIV = re.compile(r"arXiv:(\d{4}\.\d{4,5})", re.IGNORECASE)
_CITATION = {
    "text": "Cardoso et al., MONAI: an open-source framework for deep learning in healthcare (2022)",
    "doi": "10.48550/arXiv.2211.02701",
}


def words_of(bundle: Bundle, classes: Mapping[int, str], *, dims: int) -> dict[str, Any]:
    """Fields of a `PackageContent` that are for people.

    Parameters
    ----------
    bundle : Bundle
        With its metadata.
    classes : mapping of int to str
        Names by label.
    dims : int
        Spatial axes.
    """
    told = bundle.metadata
    title = _title(bundle)
    description = " ".join(str(told.get("description") or "").split())
    named = list(classes.values())
    found = ", ".join(named[:10]) + (f" and {len(named) - 10} more" if len(named) > 10 else "")
    return {
        "title": title,
        "description": (description or f"Segments {found}.")[:1024],
        "version": _version(told),
        "license": _licence(bundle),
        "authors": _authors(told),
        "citations": [_CITATION, *_references(told)],
        "tags": ["monai", "segmentation", f"{dims}d"],
        "modality": _modality(told),
        "training_data": " ".join(str(told.get("data_source") or "").split())[:500],
        "scores": list(_scores(told)),
        "documentation": _documentation(bundle, title, description, classes),
    }


def _title(bundle: Bundle) -> str:
    named = str(bundle.metadata.get("name") or bundle.metadata.get("task") or bundle.name)
    plain = re.sub(r"\s+", " ", re.sub(r"[^A-Za-z0-9_+\- ()]+", " ", named)).strip()[:110]
    return f"{plain} (MONAI)"


def _version(told: Mapping[str, Any]) -> str:
    version = str(told.get("version") or "")
    return version if re.fullmatch(r"\d+\.\d+\.\d+", version) else "0.1.0"


def _licence(bundle: Bundle) -> str:
    """SPDX name that the metadata say, or that the text of the licence begins with."""
    said = str(bundle.metadata.get("license", bundle.metadata.get("licence", "")) or "")
    plain = said.strip().replace(" ", "-").lower()
    for name in _SPDX:
        if name.lower() == plain:
            return name
    return next((name for name, text in _TEXTS.items() if re.search(text, bundle.licence[:500])), "")


def _authors(told: Mapping[str, Any]) -> list[dict[str, str]]:
    said = told.get("authors")
    names = said if isinstance(said, list) else str(said or "").split(",")
    found = [" ".join(str(name).replace("/", " ").split())[:100] for name in names]
    return [{"name": name} for name in found if name] or [{"name": "The authors of the bundle"}]


def _references(told: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """References that have a DOI, an arXiv number or an address, which the format wants."""
    said = told.get("references")
    for entry in said if isinstance(said, list) else []:
        text = " ".join(str(entry).split())
        doi, number, address = _DOI.search(text), _ARXIV.search(text), _ADDRESS.search(text)
        if doi:
            yield {"text": text[:500], "doi": doi[0]}
        elif number:
            yield {"text": text[:500], "doi": f"10.48550/arXiv.{number[1]}"}
        elif address:
            yield {"text": text[:500], "url": address[0]}


def _modality(told: Mapping[str, Any]) -> list[str]:
    inputs = next(iter(told["network_data_format"]["inputs"].values()))
    said = str(inputs.get("modality") or "").upper()
    if said == "CT":
        return ["CT"]
    return ["MR"] if said.startswith("MR") else []


def _scores(told: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What the authors measured."""
    said = told.get("eval_metrics")
    for name, value in said.items() if isinstance(said, Mapping) else ():
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            yield {
                "split": "as its authors say",
                "metric": str(name).replace("_", " ")[:60],
                "value": float(value),
                "command": "eval_metrics in metadata.json",
            }


def _documentation(bundle: Bundle, title: str, description: str, classes: Mapping[int, str]) -> str:
    told = bundle.metadata
    lines = [f"# {title}", "", description, ""] if description else [f"# {title}", ""]
    lines.append(f"Imported from the MONAI bundle {bundle.name}, version {told.get('version', 'unknown')}.")
    lines.append("Labels: " + ", ".join(f"{label} {name}" for label, name in classes.items()) + ".")
    lines += [
        f"{name.replace('_', ' ').capitalize()}: {' '.join(str(told[name]).split())}"
        for name in ("intended_use", "copyright", "data_source")
        if told.get(name)
    ]
    said = told.get("license") or ("the file LICENSE of the bundle" if bundle.licence else "none")
    lines.append(f"Licence as the bundle has it: {said}.")
    return "\n".join(lines)
