"""How fast a hyperstack goes from ImageJ to NumPy and back, beside plain copies of the same bytes.

    xvfb-run python benchmarks/fiji_convert.py --ij-jar /usr/share/java/ij.jar -o benchmarks/fiji_convert.json

16 bit, axes TCZYX, 256 MB by default. `to NumPy` is `to_image(image).numpy()`, `to ImageJ` is `to_imageplus(image)`; the
pixels are compared. `NumPy copy` is NumPy's copy of the array; `ImageJ createImage` is ImageJ making an empty stack of that size:
what no conversion can beat. The best of some repetitions.

The peer, pyimagej's own converters (`ij.py.from_java`, `ij.py.to_imageplus`), needs Fiji's jars; with `--fiji DIR` both are
measured in that Fiji.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import machine

SHAPE = (4, 2, 16, 1024, 1024)


def rate(size: int, act: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """GB/s of the fastest call, and what it gave."""
    best, result = 0.0, None
    for _ in range(repeats):
        result = None  # lets the one before go
        start = time.perf_counter()
        result = act()
        best = max(best, size / (time.perf_counter() - start) / 1e9)
    return round(best, 3), result


def measure(session: Any, pixels: np.ndarray, repeats: int) -> list[dict[str, Any]]:
    """Rates of ours and, in a Fiji, of pyimagej's."""
    from deepbio.image import Image
    from imagej_bridge.convert import to_image, to_imageplus
    from imagej_bridge.java import java

    image = Image(pixels, "TCZYX")
    copy, _ = rate(pixels.nbytes, pixels.copy, repeats)
    frames, channels, slices, height, width = pixels.shape
    create = java("ij.IJ").createImage
    empty, _ = rate(
        pixels.nbytes,
        lambda: create("empty", "16-bit black", width, height, frames * channels * slices),
        repeats,
    )
    there, plus = rate(pixels.nbytes, lambda: to_imageplus(image, "stack"), repeats)
    back, array = rate(pixels.nbytes, lambda: to_image(plus).numpy(), repeats)
    np.testing.assert_array_equal(array, pixels)
    rows = [
        {"converter": "NumPy copy", "to_numpy": copy, "to_imagej": None},
        {"converter": "ImageJ createImage", "to_numpy": None, "to_imagej": empty},
        {"converter": "DeepBio", "to_numpy": back, "to_imagej": there},
    ]
    if session.gateway is not None:
        convert = session.gateway.py
        back, _ = rate(pixels.nbytes, lambda: np.asarray(convert.from_java(plus)), 1)
        there, _ = rate(pixels.nbytes, lambda: convert.to_imageplus(pixels), 1)
        rows.append({"converter": "pyimagej", "to_numpy": back, "to_imagej": there})
    return rows


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fiji")
    parser.add_argument("--ij-jar")
    parser.add_argument("--frames", type=int, default=SHAPE[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    import imagej_bridge

    session = imagej_bridge.start(given.fiji, ij_jar=given.ij_jar, java_options=["-Xmx4g"])
    shape = (given.frames, *SHAPE[1:])
    pixels = np.random.default_rng(1).integers(0, 2**16, shape, dtype=np.uint16)
    rows = measure(session, pixels, given.repeats)
    print(f"{'converter':20} to NumPy GB/s  to ImageJ GB/s")
    for row in rows:
        print(f"{row['converter']:20} {row['to_numpy'] or '-':>13} {row['to_imagej'] or '-':>15}")
    if given.output:
        content = {
            "machine": machine(["numpy", "jpype1", "pyimagej"]),
            "imagej": session.version,
            "shape": list(shape),
            "megabytes": round(pixels.nbytes / 1e6),
            "rows": rows,
        }
        given.output.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    session.close()


if __name__ == "__main__":
    main()
