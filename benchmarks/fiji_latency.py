"""What `run("DeepBio Segment", ...)` costs beyond `deepbio.run`, in a bare ImageJ.

    xvfb-run python benchmarks/fiji_latency.py --ij-jar /usr/share/java/ij.jar -o benchmarks/fiji_latency.json

A real image of 512 x 512, the model loaded; the median of ten calls after two that are not counted. In each call the time
inside the model's `run` is measured too: the bridge's own is the rest. It reads the image out of ImageJ, makes the labels,
appends the rows to the Results and sets the outlines. In batch mode images have no windows; else ImageJ opens one for
the labels, whose own time is measured with ImageJ's `newImage` of the same size. `work` is the rest in CPU time of the
calling thread, which a busy machine changes less.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import machine

IMAGE = Path(__file__).parents[1] / "examples" / "fluorescence.tif"
OUTPUTS = ("labels", "labels,table", "labels,rois,table")


CLEAN = 'run("Clear Results"); if (roiManager("count") > 0) { roiManager("reset"); } run("Remove Overlay");'


def window(session: Any, repeats: int) -> float:
    """Median milliseconds in which ImageJ itself shows a new image."""
    seconds = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        session.run_macro('newImage("new", "16-bit black", 512, 512, 1);')
        seconds.append(time.perf_counter() - start)
        session.run_macro('close("new");')
    return round(1000 * statistics.median(seconds[2:]), 1)


def measure(session: Any, output: str, repeats: int, *, batch: bool) -> dict[str, Any]:
    """Median milliseconds of the command, of the model in it, and of the rest."""
    import deepbio
    from deepbio.image import Image
    from imagej_bridge.java import java

    pixels = deepbio.read(IMAGE).numpy()[:512, :512]
    image = session.show(session.from_image(Image(pixels), "cells"))
    model = session.bridge.desk.models.get(deepbio.library.find_model("nuclei"))
    run, inside = type(model).run.__get__(model), []

    def timed_run(*arguments: Any, **options: Any) -> Any:
        result: list[Any] = []
        inside.append(timed(lambda: result.append(run(*arguments, **options))))
        return result[0]

    model.run = timed_run
    macro = f'{"setBatchMode(true); " * batch}run("DeepBio Segment", "model=nuclei output={output}");'
    whole = []
    for _ in range(repeats + 2):
        java("ij.IJ").selectWindow(image.getID())
        whole.append(timed(lambda: session.run_macro(macro)))
        if not batch:
            java("ij.WindowManager").getCurrentImage().close()
        session.run_macro(CLEAN)
    image.close()
    beyond = [[1000 * (a[n] - b[n]) for a, b in zip(whole[2:], inside[2:], strict=True)] for n in (0, 1)]
    return {
        "output": output,
        "batch_mode": batch,
        "command_ms": round(1000 * statistics.median(one[0] for one in whole[2:]), 1),
        "core_ms": round(1000 * statistics.median(one[0] for one in inside[2:]), 1),
        "beyond_ms": round(statistics.median(beyond[0]), 1),
        "work_ms": round(statistics.median(beyond[1]), 1),
    }


def timed(act: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the wall, and of this thread's CPU."""
    start, used = time.perf_counter(), time.thread_time()
    act()
    return time.perf_counter() - start, time.thread_time() - used


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
    rows = [
        measure(session, output, given.repeats, batch=batch) for batch in (True, False) for output in OUTPUTS
    ]
    print(f"{'outputs':28} batch  command ms  deepbio.run ms  beyond ms  work ms")
    for row in rows:
        print(
            f"{row['output']:28} {row['batch_mode']!s:5} {row['command_ms']:11} {row['core_ms']:15}"
            f" {row['beyond_ms']:10} {row['work_ms']:8}"
        )
    opening = window(session, given.repeats)
    print(f"ImageJ itself shows a new image in {opening} ms")
    if given.output:
        facts = machine(["numpy", "jpype1", "onnxruntime", "openvino"])
        content = {
            "machine": facts,
            "threads": given.threads,
            "imagej": session.version,
            "shape": [512, 512],
            "repeats": given.repeats,
            "new_window_ms": opening,
            "rows": rows,
        }
        given.output.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    session.close_images()
    session.close()


if __name__ == "__main__":
    main()
