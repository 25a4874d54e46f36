"""A plain ImageJ gets what ImageJ with Python inside gets: units, calibration, titles, in every character set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deepbio.io import write
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
