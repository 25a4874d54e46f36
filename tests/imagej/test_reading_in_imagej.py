"""The real ImageJ opens what we write: axes, values, calibration, frame interval, colours of labels.

Needs Java with windows, Xvfb and ImageJ (Debian: openjdk-17-jre, xvfb, xauth, libij-java), as
`make test` installs them.
"""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from deepbio.image import RGB, Grid, Image, LabelMap
from deepbio.io import write
from deepbio.io.lut import label_colours

IJ = Path("/usr/share/java/ij.jar")

pytestmark = pytest.mark.skipif(
    not (IJ.exists() and shutil.which("java") and shutil.which("xvfb-run")),
    reason="needs ImageJ, Java and Xvfb",
)

MACRO = """
open("{image}");
getDimensions(width, height, channels, slices, frames);
getVoxelSize(dx, dy, dz, unit);
getMinAndMax(low, high);
out = "size=" + width + "," + height + "," + channels + "," + slices + "," + frames + "\\n";
out += "bits=" + bitDepth() + "\\n";
out += "spacing=" + dx + "," + dy + "," + dz + "," + unit + "\\n";
out += "interval=" + Stack.getFrameInterval() + "\\n";
out += "range=" + low + "," + high + "\\n";
if (bitDepth() != 24) {{
    getLut(reds, greens, blues);
    out += "lut=" + reds[1] + "," + greens[1] + "," + blues[1];
    out += "," + reds[200] + "," + greens[200] + "," + blues[200] + "\\n";
}}
Stack.setPosition({channel}, {slice}, {frame});
out += "pixel=" + getValue({x}, {y}) + "\\n";
File.saveString(out, "{out}");
"""


def opened(path: Path, *, x: int, y: int, channel: int = 1, slice: int = 1, frame: int = 1) -> dict[str, str]:
    """Open a file in ImageJ and return what it says."""
    out, macro = path.with_suffix(".txt"), path.with_suffix(".ijm")
    place = {"x": x, "y": y, "channel": channel, "slice": slice, "frame": frame}
    macro.write_text(MACRO.format(image=path, out=out, **place), encoding="utf-8")
    command = ["xvfb-run", "-a", "java", "-Xmx256m", "-cp", str(IJ), "ij.ImageJ", "-batch", str(macro)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert out.exists(), done.stdout + done.stderr
    return dict(line.split("=", 1) for line in out.read_text(encoding="utf-8").splitlines())


def phantom(*shape: int, dtype: type = np.uint16) -> np.ndarray:
    """Values that name their place."""
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def test_hyperstack(tmp_path: Path) -> None:
    array = phantom(2, 3, 4, 7, 11)
    grid = Grid((4, 7, 11), (1.2, 0.8, 0.5), unit="micrometer")
    write(tmp_path / "a.tif", Image(array, "TCZYX", grid, frame_interval=2.5))
    found = opened(tmp_path / "a.tif", x=3, y=5, channel=2, slice=4, frame=2)
    assert found["size"] == "11,7,3,4,2"
    assert found["bits"] == "16"
    dx, dy, dz, unit = found["spacing"].split(",")
    assert (float(dx), float(dy), float(dz)) == pytest.approx((0.5, 0.8, 1.2))
    assert unit in ("micron", "um", "µm", "microns")
    assert float(found["interval"]) == 2.5
    assert float(found["pixel"]) == array[1, 1, 3, 5, 3]


@pytest.mark.parametrize(("dtype", "bits"), [(np.uint8, "8"), (np.uint16, "16"), (np.float32, "32")])
def test_pixel_types(tmp_path: Path, dtype: type, bits: str) -> None:
    array = phantom(7, 11, dtype=dtype)
    write(tmp_path / "a.tif", Image(array))
    found = opened(tmp_path / "a.tif", x=10, y=2)
    assert (found["size"], found["bits"]) == ("11,7,1,1,1", bits)
    assert float(found["pixel"]) == array[2, 10]


def test_colour_image(tmp_path: Path) -> None:
    array = np.zeros((3, 7, 11), np.uint8)
    array[0], array[1], array[2] = 90, 30, 150
    write(tmp_path / "a.tif", Image(array, "CYX", channels=RGB))
    found = opened(tmp_path / "a.tif", x=3, y=5)
    assert (found["size"], found["bits"]) == ("11,7,1,1,1", "24")
    assert float(found["pixel"]) == pytest.approx(90)  # ImageJ's value of a colour: the mean of the three


@pytest.mark.parametrize(
    ("axes", "size"), [("YX", "11,7,1,1,1"), ("ZYX", "11,7,1,5,1"), ("TYX", "11,7,1,1,5")]
)
def test_labels_come_with_their_colours(tmp_path: Path, axes: str, size: str) -> None:
    array = phantom(5, 7, 11) if len(axes) == 3 else phantom(7, 11)
    write(tmp_path / "a.tif", LabelMap(array, axes))
    last = {"ZYX": {"slice": 5}, "TYX": {"frame": 5}}.get(axes, {})
    found = opened(tmp_path / "a.tif", x=10, y=6, **last)
    assert (found["size"], found["bits"]) == (size, "16")
    assert float(found["pixel"]) == array.max()
    colours = label_colours()
    assert found["lut"] == ",".join(str(value) for value in (*colours[:, 1], *colours[:, 200]))
    low, high = map(float, found["range"].split(","))
    assert low == 0
    assert high >= array.max()


def test_many_labels_are_exact(tmp_path: Path) -> None:
    array = phantom(300, 301, dtype=np.int32)
    write(tmp_path / "a.tif", LabelMap(array))
    found = opened(tmp_path / "a.tif", x=300, y=299)
    assert found["bits"] == "32"
    assert float(found["pixel"]) == 300 * 301 - 1
