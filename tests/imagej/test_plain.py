"""An ImageJ that a user starts, without Python in it: the installed menu, a macro, the resident process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import deepbio
from deepbio.io import read_labels, write
from tests.imagej.test_handover import spots

if TYPE_CHECKING:
    from tests.imagej.plain import Macro


@pytest.mark.parametrize(
    ("batch", "rois"), [("false", "2|0"), ("true", "0|2")]
)  # in the manager, in the overlay
def test_an_image(run_plain: Macro, tmp_path: Path, threshold_model: Path, batch: str, rois: str) -> None:
    write(tmp_path / "cells.tif", spots())
    told = run_plain(f"""
        setBatchMode({batch});
        open("{tmp_path}/cells.tif");
        image = getImageID();
        makeRectangle(3, 4, 5, 6);
        run("DeepBio Segment", "model=[{threshold_model}] output=labels,rois,table,overlay");
        getPixelSize(unit, width, height);
        say(getTitle() + "|" + unit + "|" + width + "|" + height);
        say("" + roiManager("count") + "|" + Overlay.size + "|" + nResults + "|" + getResultString("image", 1) + "|" + getResult("area", 1));
        say("" + Property.get("DeepBio.task"));
        saveAs("Tiff", "{tmp_path}/labels.tif");
        selectImage(image);
        getSelectionBounds(x, y, w, h);
        say(getTitle() + "|" + is("changes") + "|" + Overlay.size + "|" + x + " " + y + " " + w + " " + h);
        run("DeepBio Segment", "model=[{threshold_model}]");
        say(getTitle() + "|" + nResults + "|" + nImages);
        run("DeepBio Release");
        say("" + getInfo("log"));
    """)
    assert told[0] in ("cells-labels|µm|0.5|0.8", "cells-labels|microns|0.5|0.8")
    assert told[1:4] == [f"{rois}|2|cells.tif|1.6", "segment", "cells.tif|0|2|3 4 5 6"]
    assert told[4] == "cells-labels|4|3"  # the first was saved under another name
    assert told[-3] == "DeepBio let go: spots."  # both runs had the one that was loaded first
    expected = deepbio.run(spots(), str(threshold_model)).labels
    np.testing.assert_array_equal(read_labels(tmp_path / "labels.tif").numpy(), expected.numpy())


def test_a_hyperstack(run_plain: Macro, tmp_path: Path, threshold_model: Path) -> None:
    write(tmp_path / "movie.tif", spots("TZYX"))
    told = run_plain(f"""
        open("{tmp_path}/movie.tif");
        Stack.setPosition(1, 2, 3);
        run("DeepBio Segment", "model=[{threshold_model}] frames=current output=labels,rois,table");
        getDimensions(w, h, c, z, t);
        say("" + w + " " + h + " " + c + " " + z + " " + t + "|" + nResults + "|" + getResult("slice", 7));
        roiManager("select", 7);
        Roi.getPosition(c, z, t);
        say("" + c + " " + z + " " + t + "|" + roiManager("count"));
    """)
    assert told == ["31 23 1 4 1|8|4", "0 4 3|8", "end"]
