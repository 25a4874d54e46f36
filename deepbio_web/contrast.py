"""The contrast of what lies at the bottom of the views."""

from __future__ import annotations

from typing import Any

__all__ = ["Contrast"]


class Contrast:
    """The range of grey values between black and white; colours have none.

    Parameters
    ----------
    state : trame State
        Gets ``has_window``, ``window`` and ``window_range``.
    volume : vtkMRMLVolumeNode
        What lies at the bottom at first.

    Attributes
    ----------
    volume : vtkMRMLVolumeNode
        What lies there now.
    """

    def __init__(self, state: Any, volume: Any) -> None:
        self._state = state
        self.volume = volume

    def show(self, volume: Any = None) -> None:
        """Let the sliders be those of the volume, or of another one."""
        self.volume = volume or self.volume
        state, image = self._state, self.volume.GetImageData()
        low, high = image.GetScalarRange()
        state.has_window = image.GetNumberOfScalarComponents() == 1 and high > low
        if state.has_window:
            display = self.volume.GetDisplayNode()
            state.window_range = [low, high]
            state.window = [display.GetWindowLevelMin(), display.GetWindowLevelMax()]

    def change(self, window: list[float]) -> None:
        """What the user chose."""
        if self._state.has_window:
            display = self.volume.GetDisplayNode()
            display.SetAutoWindowLevel(False)
            display.SetWindowLevelMinMax(*window)
