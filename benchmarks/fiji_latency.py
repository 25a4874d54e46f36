"""What `run("DeepBio Segment", ...)` costs beyond `deepbio.run`, in a bare ImageJ.

    xvfb-run python benchmarks/fiji_latency.py --ij-jar /usr/share/java/ij.jar -o benchmarks/fiji_latency.json

The same image (512 x 512 of a real one) and the same loaded model; the median of ten calls each, in turns, after two that
are not counted. The bridge's own time is the difference: it reads the image out of ImageJ, makes the window with the labels,
appends the rows to the Results and sets the outlines. Windows are closed and the Results cleared between calls.
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

from common import machine

IMAGE = Path(__file__).parents[1] / "examples" / "fluorescence.tif"
OUTPUTS = ("labels", "labels,table", "labels,rois,table", "labels,rois,table,overlay")


def measure(session: Any, output: str, repeats: int) -> dict[str, Any]:
    """Median milliseconds of the command and of `deepbio.run` on the same image."""
    import deepbio
    from deepbio.image import Image
    from imagej_bridge.java import java

    pixels = deepbio.read(IMAGE).numpy()[:512, :512]
    image = session.show(session.from_image(Image(pixels), "cells"))
    model = session.bridge.desk.models.get(deepbio.library.find_model("nuclei"))
    wanted = ("labels", "table") if "table" in output else ("labels",)
    options = deepbio.RunOptions(output=wanted, per_slice=True)
    macro = f'run("DeepBio Segment", "model=nuclei output={output}");'
    of_command, of_core, objects = [], [], 0
    for _ in range(repeats + 2):
        start = time.perf_counter()
        session.run_macro(macro)
        of_command.append(time.perf_counter() - start)
        java("ij.WindowManager").getCurrentImage().close()
        session.run_macro(
            'run("Clear Results"); if (roiManager("count") > 0) { roiManager("reset"); } run("Remove Overlay");'
        )
        start = time.perf_counter()
        result = model.run(Image(pixels), options)
        of_core.append(time.perf_counter() - start)
        objects = result.labels.count
    image.close()
    both = [1000 * statistics.median(seconds[2:]) for seconds in (of_command, of_core)]
    beyond = [1000 * (a - b) for a, b in zip(of_command[2:], of_core[2:], strict=True)]
    return {
        "output": output,
        "objects": objects,
        "command_ms": round(both[0], 1),
        "core_ms": round(both[1], 1),
        "beyond_ms": round(statistics.median(beyond), 1),
    }


def main() -> None:
    """Measure all outputs and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ij-jar")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(given.threads)
    import imagej_bridge

    session = imagej_bridge.start(ij_jar=given.ij_jar)
    rows = [measure(session, output, given.repeats) for output in OUTPUTS]
    print(f"{'outputs':28} objects  command ms  deepbio.run ms  beyond ms")
    for row in rows:
        print(
            f"{row['output']:28} {row['objects']:7} {row['command_ms']:11} {row['core_ms']:15} {row['beyond_ms']:10}"
        )
    if given.output:
        facts = machine(["numpy", "jpype1", "onnxruntime", "openvino"])
        content = {
            "machine": facts,
            "threads": given.threads,
            "imagej": session.version,
            "shape": [512, 512],
            "repeats": given.repeats,
            "rows": rows,
        }
        given.output.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    session.close_images()
    session.close()


if __name__ == "__main__":
    main()
