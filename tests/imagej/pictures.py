"""Makes the pictures of docs/fiji.md, in a real ImageJ; not a test.

    xvfb-run -s "-screen 0 1400x1000x24" python tests/imagej/pictures.py docs/images

Needs a screen. A window manager is not needed: without one, windows have no frames.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Any

import imagej_bridge
from imagej_bridge.commands import COMMANDS
from imagej_bridge.java import java

EXAMPLE = Path(__file__).parents[2] / "examples" / "fluorescence.tif"
MACRO = """
run("DeepBio Segment", "model=nuclei output=labels,rois,table,overlay");
labels = getTitle();
selectWindow("fluorescence.tif");
setLocation({left}, {top});
run("Out [-]");
selectWindow(labels);
setLocation({middle}, {top});
run("Out [-]");
"""
LEFT, TOP, WIDTH, HEIGHT = 20, 20, 1305, 810


def capture(path: Path, box: tuple[int, int, int, int]) -> None:
    """Save a part of the screen as PNG."""
    robot, rectangle = java("java.awt.Robot")(), java("java.awt.Rectangle")(*box)
    java("javax.imageio.ImageIO").write(
        robot.createScreenCapture(rectangle), "png", java("java.io.File")(str(path))
    )


def window(title: str) -> Any:
    """The window of a title."""
    for one in java("java.awt.Window").getWindows():
        if one.isVisible() and getattr(one, "getTitle", lambda: "")() == title:
            return one
    raise LookupError(title)


def backdrop() -> None:
    """A grey desktop behind all windows."""
    frame = java("java.awt.Frame")()
    frame.setUndecorated(True)
    frame.setBackground(java("java.awt.Color")(112, 128, 144))
    frame.setBounds(0, 0, 1400, 1000)
    frame.setFocusableWindowState(False)
    frame.setVisible(True)


def desk(session: Any, path: Path) -> None:
    """Main window, image with overlay, labels, ROI Manager, Results."""
    backdrop()
    session.show_window()
    session.open(EXAMPLE)
    session.run_macro(MACRO.format(left=LEFT, middle=LEFT + 545, top=TOP + 120))
    java("ij.IJ").getInstance().setLocation(LEFT, TOP)
    window("Results").setBounds(LEFT, TOP + 555, 1285, 235)
    manager = window("ROI Manager")
    manager.setBounds(LEFT + 1090, TOP + 120, 195, 415)
    time.sleep(2)
    capture(path, (LEFT - 10, TOP - 10, WIDTH, HEIGHT))


def dialog(path: Path) -> None:
    """The dialog of DeepBio Segment; it is cancelled after."""
    from imagej_bridge.dialog import ask

    command = COMMANDS["DeepBio Segment"]
    thread = threading.Thread(target=ask, args=[command], daemon=True)
    thread.start()
    for _ in range(50):
        time.sleep(0.2)
        try:
            shown = window(command.name)
            break
        except LookupError:
            continue
    time.sleep(1)
    box = shown.getBounds()
    capture(path, (int(box.x), int(box.y), int(box.width), int(box.height)))
    shown.dispose()


def main() -> None:
    """Make both pictures in a folder."""
    folder = Path(sys.argv[1])
    session = imagej_bridge.start(headless=False, quiet=False)
    desk(session, folder / "fiji.png")
    dialog(folder / "fiji-dialog.png")
    session.close()


if __name__ == "__main__":
    main()
