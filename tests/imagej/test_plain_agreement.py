"""A plain ImageJ gets what ImageJ with Python inside gets: units, calibration, titles, in every character set."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deepbio.io import write
from tests.imagej.hosts import JAR
from tests.imagej.test_handover import spots

if TYPE_CHECKING:
    from tests.imagej.plain import Macro


@pytest.mark.parametrize("charset", ["UTF-8", "windows-1252"])
def test_titles_units_and_paths_in_any_character_set(
    run_plain: Macro, tmp_path: Path, threshold_model: Path, charset: str
) -> None:
    write(tmp_path / "cells.tif", spots())
    told = run_plain(
        f"""
        open("{tmp_path}/cells.tif");
        u = fromCharCode(252);  // ImageJ reads macros as Latin-1
        rename("Zellen f" + u + "r " + getTitle());
        run("DeepBio Segment", "model=[{threshold_model}] output=labels,table output_dir=[{tmp_path}/f" + u + "r]");
        getPixelSize(unit, width, height);
        say(getTitle() + "|" + unit);
        say(getResultString("image", 0));
        say("" + Property.get("DeepBio.source"));
        """,
        charset=charset,
    )
    assert told[0].startswith("Zellen für cells-labels|")
    assert told[1:] == ["Zellen für cells.tif", "Zellen für cells.tif", "end"]
    assert (tmp_path / "für" / "Zellen für cells-labels.tif").exists()


def test_results_and_labels_in_the_unit_of_the_image(
    run_plain: Macro, tmp_path: Path, threshold_model: Path
) -> None:
    write(tmp_path / "cells.tif", spots("TZYX"))
    told = run_plain(f"""
        open("{tmp_path}/cells.tif");
        Stack.setXUnit("nm");
        run("Properties...", "unit=nm pixel_width=500 pixel_height=800 voxel_depth=1500 frame=[2.5 min]");
        run("DeepBio Segment", "model=[{threshold_model}] output=labels,table slices=2-3");
        getVoxelSize(w, h, d, unit);
        Stack.getUnits(x, y, z, t, v);
        say("" + unit + " " + w + " " + h + " " + d + " " + Stack.getFrameInterval() + " " + t);
        say(getResultString("unit", 0) + " " + getResult("area", 0));
    """)
    assert told == ["nm 500 800 1500 2.5 min", "nm 4800000", "end"]


@pytest.mark.parametrize("charset", ["UTF-8", "windows-1252"])
def test_an_error_aborts_with_its_line(run_plain: Macro, tmp_path: Path, charset: str) -> None:
    write(tmp_path / "cells.tif", spots())
    told = run_plain(
        f"""
        open("{tmp_path}/cells.tif");
        run("DeepBio Segment", "model=f" + fromCharCode(252) + "r");
        say("after");
        """,
        charset=charset,
        aborts=True,
    )
    assert told == []  # no "after", no "end"
    assert "There is no model 'für'" in (tmp_path / "java.txt").read_text(encoding=charset)


DUMP = r"""
id = getImageID();
run("DeepBio Segment", "model=[MODEL] runtime=onnx device=cpu OPTIONS");
getDimensions(w, h, c, z, t);
getMinAndMax(low, high);
getVoxelSize(vw, vh, vd, unit);
Stack.getUnits(xu, yu, zu, tu, vu);
x = 1; y = 1;
toUnscaled(x, y);
say(getTitle() + "|" + bitDepth() + "|" + w + " " + h + " " + c + " " + z + " " + t + "|" + low + " " + high);
say("" + vw + " " + vh + " " + vd + " " + Stack.getFrameInterval() + " " + tu + "|" + x + " " + y);
say("" + Stack.isHyperstack + "|" + Overlay.size + "|" + Property.get("DeepBio.model"));
say("" + String.getResultsHeadings);
names = split(String.getResultsHeadings, "\t");
for (row = 0; row < nResults; row++) {
    text = "";
    for (k = 0; k < names.length; k++) if (names[k] != " ") text = text + getResultString(names[k], row) + " ";
    say(text);
}
for (i = 0; i < roiManager("count"); i++) {
    roiManager("select", i);
    Roi.getPosition(c, z, t);
    say("" + call("ij.plugin.frame.RoiManager.getName", i) + " " + c + " " + z + " " + t);
}
selectImage(id);
say(getTitle() + "|" + is("changes") + "|" + Overlay.size);
"""


@pytest.mark.parametrize(
    ("axes", "options"),
    [
        ("YX", "output=labels,rois,table,overlay"),
        ("TZYX", "output=labels,rois,table slices=2-3"),
        ("ZYX", "output=scores"),
    ],
)
def test_all_is_as_with_python_inside(
    run_plain: Macro, tmp_path: Path, plain_screen: str, threshold_model: Path, axes: str, options: str
) -> None:
    write(tmp_path / "cells.tif", spots(axes))
    dump = DUMP.replace("MODEL", str(threshold_model)).replace("OPTIONS", options)
    text = f'open("{tmp_path}/cells.tif");\n{dump}'
    plain = run_plain(text)
    said, macro = tmp_path / "inside.txt", tmp_path / "inside.ijm"
    macro.write_text(f'function say(text) {{ File.append("" + text, "{said}"); }}\n{text}say("end");\n')
    subprocess.run(
        [sys.executable, "-m", "deepbio", "fiji", "run", str(macro), "--ij-jar", str(JAR)],
        env={**os.environ, "DISPLAY": plain_screen},
        check=True,
        timeout=90,
        capture_output=True,
    )
    assert plain == said.read_text(encoding="utf-8").splitlines()
    assert plain[-1] == "end"
