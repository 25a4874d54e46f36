"""Run in a process of its own by test_macros.py: runs one macro in a real ImageJ, and tells what it left behind.

A JVM starts once in a process and cannot be started again, so every macro has its own process.

    python macro_child.py '{"macro": "a.ijm", "arguments": "", "images": ["a.tif"], "headless": true}'
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np

MARK = "@@told@@ "  # before the line that is ours


def facts_of(image: Any) -> dict[str, Any]:
    from imagej_bridge.convert import to_image

    pixels = to_image(image).numpy()
    return {
        "dimensions": [int(n) for n in image.getDimensions()],
        "bits": int(image.getBitDepth()),
        "objects": len(np.unique(pixels[pixels != 0])) if pixels.dtype.kind == "u" else None,
        "range": [float(pixels.min()), float(pixels.max())],
        "overlay": int(image.getOverlay().size()) if image.getOverlay() is not None else 0,
    }


def results() -> dict[str, list[Any]]:
    from imagej_bridge.java import java

    table = java("ij.measure.ResultsTable").getResultsTable()
    found: dict[str, list[Any]] = {}
    for name in (str(text) for text in table.getHeadings()):
        texts = [str(table.getStringValue(name, row)) for row in range(int(table.getCounter()))]
        numbers = [float(table.getValue(name, row)) for row in range(int(table.getCounter()))]
        found[name] = texts if np.isnan(numbers).all() else numbers
    return found


def rois() -> list[dict[str, Any]]:
    from imagej_bridge.java import java

    manager = java("ij.plugin.frame.RoiManager").getInstance()
    if manager is None:
        return []
    return [
        {"name": str(roi.getName()), "position": [int(roi.getZPosition()), int(roi.getTPosition())]}
        for roi in manager.getRoisAsArray()
    ]


def told(job: dict[str, Any]) -> dict[str, Any]:
    import imagej_bridge
    from deepbio.errors import DeepBioError
    from imagej_bridge.java import java

    session = imagej_bridge.start(ij_jar=job.get("ij_jar"), headless=job["headless"])
    for path in job["images"]:
        session.open(path)
    found: dict[str, Any] = {"error": None, "returned": ""}
    try:
        found["returned"] = session.run_macro(job["macro"], job["arguments"])
    except DeepBioError as error:
        found["error"] = str(error)
    manager = java("ij.WindowManager")
    images = [manager.getImage(int(number)) for number in manager.getIDList() or ()]
    current = manager.getCurrentImage()
    return found | {
        "current": None if current is None else str(current.getTitle()),
        "images": {str(image.getTitle()): facts_of(image) for image in images},
        "results": results(),
        "rois": rois() if not job["headless"] else [],
        "log": str(java("ij.IJ").getLog() or ""),
    }


if __name__ == "__main__":
    sys.stdout.write("\n" + MARK + json.dumps(told(json.loads(sys.argv[1]))) + "\n")
