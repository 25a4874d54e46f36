"""The views of the page: three slices and space for a volume, one slice for a flat image.

They are 3D Slicer's own views, drawn on this machine; the browser gets pictures and sends the mouse.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import slicer
import vtk
from trame.widgets import html
from trame.widgets import vuetify3 as v
from trame_slicer.app.logic.slice_view_logic import connect_slice_view_slider_to_state
from trame_slicer.core import SlicerApp
from trame_slicer.rca_view import register_rca_factories
from trame_slicer.views import ViewLayoutDefinition, ViewType
from trame_slicer.views.abstract_view import ViewProps

__all__ = ["SLICES", "SPACE", "Views"]

SLICES = ("Axial", "Coronal", "Sagittal")
SPACE = "Space"
_BACKGROUND = "#0b0d10"
_AZIMUTH, _ELEVATION = 35.0, 25.0  # degrees
_SOON = 0.5  # seconds
_BEFORE, _AFTER = 10.0, -10.0  # priorities of observers, around that of the view itself
_SLIGHT = 0.3  # of a unit vector: 17 degrees off an axis need no second letter
_LAYER = "(layers.find(one => one.id === layer) || { title: 'Image' }).title"  # what a plane shows
_WAYS = (("R", "L"), ("A", "P"), ("S", "I"))  # along +x and -x of RAS, and so on


class Views:
    """Creates the views in the scene and keeps them at what is to be seen.

    Parameters
    ----------
    server : trame Server
        Sends them to the browser.
    app : SlicerApp
        Has the scene.
    flat : bool
        Whether the image is a plane.
    """

    def __init__(self, server: Any, app: SlicerApp, *, flat: bool) -> None:
        self.server = server
        self.app = app
        self.flat = flat
        self._seen = False
        self._fitted: dict[str, tuple[float, ...]] = {}
        names = SLICES[:1] if flat else SLICES
        warns = vtk.vtkObject.GetGlobalWarningDisplay()
        vtk.vtkObject.SetGlobalWarningDisplay(0)  # a machine without a display is nothing to warn of
        register_rca_factories(
            app.view_manager,
            server,
            slice_view_ui_f=self._slice_overlay,
            three_d_view_ui_f=self._space_overlay,
            interactive_quality=80,
        )
        for name in names:
            props = ViewProps(orientation=name, label=name, background_color=_BACKGROUND)
            self._create(ViewLayoutDefinition(name, ViewType.SLICE_VIEW, props))
        if not flat:
            props = ViewProps(label=SPACE, background_color=_BACKGROUND, box_visible=False)
            self._create(ViewLayoutDefinition(SPACE, ViewType.THREE_D_VIEW, props))
        vtk.vtkObject.SetGlobalWarningDisplay(warns)
        app.view_manager.set_current_view_ids([*names, *([] if flat else [SPACE])])

    def _create(self, definition: ViewLayoutDefinition) -> None:
        view = self.app.view_manager.create_view(definition)
        interactor = view.interactor()
        interactor.AddObserver("WindowResizeEvent", lambda *_: self._before_resize(view), _BEFORE)
        interactor.AddObserver("WindowResizeEvent", lambda *_: self._after_resize(view), _AFTER)

    @property
    def slices(self) -> list[Any]:
        """The slice views."""
        return self.app.view_manager.get_slice_views()

    @property
    def space(self) -> Any:
        """The 3D view, or None."""
        return next(iter(self.app.view_manager.get_threed_views()), None)

    def template(self, name: str) -> str:
        """Name of the trame template that shows a view."""
        return self.server.translator.translate_key(name)

    def show(self, volume: Any) -> None:
        """Show a volume in all slices, whole."""
        for view in self.slices:
            view.set_background_volume_id(volume.GetID())
        self.fit()

    def look_at(self, volume: Any, over: Any | None = None, opacity: float = 0.5) -> None:
        """Show a volume in all slices, where they are, and a map over it or none."""
        for view in self.slices:
            composite = view._logic.GetSliceCompositeNode()
            composite.SetBackgroundVolumeID(volume.GetID())
            composite.SetForegroundVolumeID(over.GetID() if over is not None else None)
            composite.SetForegroundOpacity(opacity)
            view.schedule_render()

    def show_labels(self, volume: Any | None, opacity: float = 0.5) -> None:
        """Show a label map volume over the image, or none."""
        for view in self.slices:
            composite = view._logic.GetSliceCompositeNode()
            composite.SetLabelVolumeID(volume.GetID() if volume is not None else None)
            composite.SetLabelOpacity(opacity)
            view.schedule_render()

    def fit(self) -> None:
        """Show everything, from the usual side."""
        for view in self.slices:
            view.get_view_node().SetOrientationToDefault()
            view._logic.RotateSliceToLowestVolumeAxes(False)
            self._fit_slice(view)
        self.fit_space()

    def fit_space(self) -> None:
        """Show everything in the 3D view, from the front, a little from the left and from above."""
        if self.space is None:
            return
        self.space.fit_view_to_content()
        node = self.space.get_camera_node()
        camera = node.GetCamera()
        camera.Azimuth(_AZIMUTH)
        camera.Elevation(_ELEVATION)
        camera.OrthogonalizeViewUp()
        self.space.reset_camera()
        node.ResetClippingRange()

    def show_slices_in_space(self, visible: bool) -> None:
        """Show the slices as planes in the 3D view."""
        for view in self.slices:
            view.set_visible_in_3d(visible)

    def center(self, ras: tuple[float, float, float]) -> None:
        """Move all slices through a point."""
        for view in self.slices:
            view.get_view_node().JumpSliceByOffsetting(*ras)
            view._logic.SnapSliceOffsetToIJK()

    def render(self) -> None:
        """Draw all views again."""
        for view in self.app.view_manager.get_views():
            view.schedule_render()

    # A slice that shows everything goes on showing everything when the window changes its size.

    def _fit_slice(self, view: Any) -> None:
        view.fit_view_to_content()
        self._fitted[view.get_singleton_tag()] = _field_of_view(view)

    def _before_resize(self, view: Any) -> None:
        name = view.get_singleton_tag()
        if name in self._fitted and _field_of_view(view) != self._fitted[name]:
            del self._fitted[name]  # the user has zoomed

    def _after_resize(self, view: Any) -> None:
        if view is self.space:
            self._fit_space_at_first()
        if view.get_singleton_tag() in self._fitted:
            offset = view.get_slice_value()
            self._fit_slice(view)
            view.set_slice_value(offset)

    def _fit_space_at_first(self) -> None:
        """Show the slices whole as soon as the 3D view has drawn them, which it does not before it is seen."""
        if not self._seen:
            self._seen = True
            asyncio.get_running_loop().call_later(_SOON, self.fit_space)

    # What lies over the pictures.

    def _slice_overlay(self, server: Any, name: str, view: Any) -> None:
        place = f"{name}_place"
        slider = connect_slice_view_slider_to_state(server, view)
        self._corner(name, view, v_text=_LAYER if self.flat else f"{name}_title")
        server.state[f"{name}_title"] = view.get_singleton_tag()
        server.state[place] = {}
        view.modified.connect(self._tell_place(server, place))
        if self.flat:
            return
        for side in ("left", "right", "top", "bottom"):
            html.Span(f"{{{{ {place}.{side} }}}}", classes=f"letter {side}")
        with html.Div(classes="slice-bar"):
            v.VSlider(
                v_model=(slider.name.value,),
                min=(slider.name.min_value,),
                max=(slider.name.max_value,),
                step=(slider.name.step,),
                hide_details=True,
                density="compact",
                thumb_size=12,
                track_size=2,
                aria_label=f"{view.get_singleton_tag()} slice",
            )
            html.Span(f"{{{{ {place}.offset }}}}", classes="offset")

    def _space_overlay(self, server: Any, name: str, view: Any) -> None:
        server.state[f"{name}_title"] = "3D"
        self._corner(name, view, v_text=f"{name}_title")
        html.Div("{{ space_hint }}", v_if=("space_hint",), classes="space-hint")

    def _corner(self, name: str, view: Any, v_text: str) -> None:
        tag = view.get_singleton_tag()
        with html.Div(classes="view-head"):
            html.Span(f"{{{{ {v_text} }}}}", classes="view-title")
            if not self.flat:
                v.VBtn(
                    icon=(f"big === '{tag}' ? 'mdi-arrow-collapse' : 'mdi-arrow-expand'",),
                    click=f"big = big === '{tag}' ? '' : '{tag}'",
                    title=(f"big === '{tag}' ? 'Show all views' : 'Show this view alone'",),
                    classes="view-button",
                    density="compact",
                    size="small",
                    variant="text",
                )
            v.VBtn(
                icon="mdi-fit-to-screen-outline",
                click=lambda: self._fit_one(view),
                title="Show everything",
                classes="view-button",
                density="compact",
                size="small",
                variant="text",
            )

    def _fit_one(self, view: Any) -> None:
        if view is self.space:
            self.fit_space()
        else:
            self._fit_slice(view)
        view.schedule_render()

    def _tell_place(self, server: Any, key: str) -> Callable[[Any], None]:
        def tell(view: Any) -> None:
            with server.state:
                server.state[key] = {**_letters(view), "offset": f"{view.get_slice_value():.1f} mm"}

        return tell


def _field_of_view(view: Any) -> tuple[float, ...]:
    return tuple(round(size, 6) for size in view.get_view_node().GetFieldOfView())


def _letters(view: Any) -> dict[str, str]:
    """Which way of the patient each side of a slice lies."""
    matrix = view.get_view_node().GetSliceToRAS()
    found = {}
    for column, plus, minus in ((0, "right", "left"), (1, "top", "bottom")):
        way = [matrix.GetElement(row, column) for row in range(3)]
        found[plus], found[minus] = letters_of(way), letters_of([-part for part in way])
    return found


def letters_of(way: Sequence[float]) -> str:
    """Name a direction in RAS as DICOM does: its strongest part first, then others that are not slight.

    Examples
    --------
    >>> letters_of([-1.0, 0.0, 0.0]), letters_of([-0.6, 0.75, 0.2])
    ('L', 'AL')
    """
    strongest = sorted(range(3), key=lambda axis: -abs(way[axis]))
    told = [axis for axis in strongest if abs(way[axis]) > _SLIGHT]
    return "".join(_WAYS[axis][int(way[axis] < 0)] for axis in told)


def install_logics(app: SlicerApp) -> None:
    """Add the logics that trame-slicer leaves out and sequences need, and make the scene Slicer's own."""
    # an attribute, since the application knows its logics only by weak references
    app.sequences_logic = app.register_module_logic(slicer.vtkSlicerSequencesLogic(), logic_name="Sequences")
    slicer.mrmlScene = app.scene
