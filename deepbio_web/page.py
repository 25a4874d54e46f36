"""The page: one scene with an image or several, the module's own logic, and what the user sees of them."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trame.app import get_server
from trame_slicer.core import SlicerApp

from deepbio_web import downloads, made, results
from deepbio_web.cards import as_choices, as_options, changed, run_options, show_for
from deepbio_web.contrast import Contrast
from deepbio_web.form import build
from deepbio_web.labels import labels_of
from deepbio_web.layers import INPUT, Layer, first_layer, layers
from deepbio_web.messages import Messages
from deepbio_web.opened import Opened
from deepbio_web.reading import Loaded, load
from deepbio_web.state import OF_A_RESULT, initial_state
from deepbio_web.style import ICON
from deepbio_web.views import Views, install_logics
from SlicerDeepBioLib.client import WorkerClient
from SlicerDeepBioLib.inputs import is_imageless
from SlicerDeepBioLib.logic import SCENE_OPTIONS, DeepBioLogic
from SlicerDeepBioLib.process import ThreadProcess

__all__ = ["Page"]

_LOG = logging.getLogger(__name__)
_STEP = 0.02  # seconds between two steps of the logic
_HINT = "Surfaces appear here after {verb}"


class Page:
    """The page of one image, or of several.

    Must be made while an event loop runs; nothing is sent before :attr:`server` starts.

    Parameters
    ----------
    images : sequence of str or Path
        Files, or folders of DICOM series, at least one.
    model : str
        Name of the model that is chosen at first; by default the first that fits.
    series : str
        Which series of DICOM folders.
    python : str
        The Python of the worker, which has deepbio.

    Raises
    ------
    ImageError
        If an image cannot be read, or there are planes beside volumes.
    """

    def __init__(
        self, images: Sequence[str | Path], model: str = "", series: str = "", python: str = sys.executable
    ) -> None:
        self.server = get_server(f"deepbio-{id(self)}", client_type="vue3")
        self.app = SlicerApp()
        install_logics(self.app)
        self.opened = Opened([load(image, self.app, series) for image in images])
        self.client = WorkerClient(python, process=ThreadProcess)
        self.logic = DeepBioLogic(self.client, self.app.scene)
        self.wanted = model
        self.cards: dict[str, dict[str, Any]] = {}
        self.run: Any = None  # the one that goes on
        self.shown: Any = None  # the one whose result is seen
        self.messages = Messages(self.state)
        self.dismiss = self.messages.dismiss
        self._layers: list[Layer] = []
        self._contrast = Contrast(self.state, self.loaded.shown)
        self.state.update(initial_state())
        self.state.images = self.opened.choices
        self.state.trame__favicon = ICON
        self.views = Views(self.server, self.app, flat=self.loaded.is_flat)
        build(self.server, self.views, self)
        self._show_image()
        self._listen()

    @property
    def state(self) -> Any:
        """What the browser shows."""
        return self.server.state

    @property
    def loaded(self) -> Loaded:
        """The image that is shown and given to models."""
        return self.opened.loaded

    @property
    def unit(self) -> str:
        """Unit of lengths in the image: the scene knows millimeters only."""
        return self.loaded.image.grid.unit

    async def work(self) -> None:
        """Ask the worker who it is, then go on for as long as the page lives."""
        self.logic.hello(self._on_hello)
        self.logic.models(self._on_models)
        while True:
            try:
                more = self.logic.step()
            except Exception:  # noqa: BLE001 - the run has failed and has told so; the page goes on
                _LOG.exception("A step of the logic failed.")
                more = False
            await asyncio.sleep(0 if more else _STEP)

    def close(self) -> None:
        """End the worker and what it runs."""
        self.logic.close()
        self.client.stop()

    # The image and how it is shown.

    def _show_image(self) -> None:
        state, loaded = self.state, self.loaded
        state.trame__title = f"{loaded.name} \N{MIDDLE DOT} DeepBio"
        state.image_name, state.image_facts = loaded.name, loaded.facts
        self._play(loaded.node if loaded.frames > 1 else None, loaded.frames)
        self.views.show(loaded.shown)
        state.slices_in_space = True
        self.views.show_slices_in_space(True)
        self._contrast.show(loaded.shown)

    def _listen(self) -> None:
        changes = {
            "model": self._on_model,
            "image": self._on_image,
            "opacity": self._on_opacity,
            "window": lambda window, **_: self._contrast.change(window),
            "frame": self._on_frame,
            "slices_in_space": lambda slices_in_space, **_: self.views.show_slices_in_space(slices_in_space),
        }
        for name, function in changes.items():
            self.state.change(name)(function)

    def _on_image(self, image: int, **_: Any) -> None:
        """Look at another of the images; a result lies on the one that it was made of."""
        if image == self.opened.at:
            return
        if self.run is not None:
            self.state.image = self.opened.at
            return
        before = self.loaded.name
        if self.shown is not None:
            self.remove()
            self.messages.say("info", f"The result of '{before}' was removed.")
        self.opened.at = image
        self._show_image()
        self.state.can_run, self.state.why_not = False, "Looking which models take this image"
        self._ask_fits()

    def _on_opacity(self, opacity: float, **_: Any) -> None:
        if self.shown is not None:
            results.set_opacity(self.shown, opacity / 100)
            self._look(self.state.layer)

    def _on_frame(self, frame: int, **_: Any) -> None:
        if self._player is not None:
            self._player.SetSelectedItemNumber(int(frame))
            self.views.render()

    def _play(self, player: Any, frames: int, names: Sequence[str] = ()) -> None:
        """Let the slider go through the frames of a browser; they may have names."""
        self._player = player
        state = self.state
        state.frames, state.frame_names = frames, list(names)
        state.frame = player.GetSelectedItemNumber() if player is not None else 0

    # What the worker tells.

    def _on_hello(self, outputs: dict[str, Any] | None, error: Any) -> None:
        with self.state as state:
            if outputs is None:
                self.messages.fail(error)
                return
            state.options = as_options([*outputs["options"], *SCENE_OPTIONS])
            self._show_options()
            chosen = outputs["chosen"]
            state.device_text = f"Device: {chosen['label']}, because {chosen['why']}"

    def _on_models(self, outputs: dict[str, Any] | None, error: Any) -> None:
        with self.state:
            if outputs is None:
                self.messages.fail(error)
                return
            self.cards = {card["name"]: card for card in outputs["models"]}
            for broken in outputs.get("broken", ()):
                self.messages.say("warning", broken["message"], f"Package: {broken['folder']}")
        self._ask_fits()

    def _ask_fits(self) -> None:
        at = self.opened.at
        self.logic.fits(
            self.loaded.node,
            lambda outputs, error: self._on_fits(at, outputs, error),
            options=changed(self.state.options),
            more=True,
        )

    def _on_fits(self, at: int, outputs: dict[str, Any] | None, error: Any) -> None:
        if at != self.opened.at:  # the user looks at another image by now, about which the next answer is
            return
        with self.state as state:
            if outputs is None:
                self.messages.fail(error)
                return
            reasons = self.opened.reasons(outputs["fits"], self.cards)
            choices = as_choices(self.cards, reasons, outputs.get("doubts", {}), flat=self.loaded.is_flat)
            first, state.models = not state.models, choices
            takers = (one["name"] for one in state.models if not one["reason"])
            fitting = [name for name in takers if not is_imageless(self.cards[name])]
            if first:  # what to look for is the user's to say, unless there is no choice
                state.model = self.wanted or (fitting[0] if len(fitting) == 1 else None)
            if first and not fitting:
                self.messages.say(
                    "warning",
                    "None of the installed models takes this image.",
                    "'deepbio models' lists them.",
                )
        self._on_model(self.state.model)

    def _on_model(self, model: str | None, **_: Any) -> None:
        with self.state as state:
            reason = next((one["reason"] for one in state.models if one["name"] == model), None)
            card = self.cards.get(model or "", {})
            state.verb = card.get("verb") or "Segment"
            gives = card.get("usual") or ["labels"]
            if self.shown is None:
                state.space_hint = _HINT.format(verb=state.verb) if "labels" in gives else ""
            self._show_options()
            state.image_label, state.channels = self.opened.show_for(card if reason == "" else None)
            self._show_ready(reason)

    def _show_ready(self, reason: str | None) -> None:
        """Say why the model cannot be run; `reason` is that of the model alone, None where it is not known."""
        state = self.state
        if reason == "":
            reason = self.opened.why_not(self.cards[state.model])
        state.can_run = reason == ""
        state.why_not = reason or ("" if state.model or not state.models else "Choose a model.")

    def _show_options(self) -> None:
        card = self.cards.get(self.state.model or "")
        given = {} if card is not None and is_imageless(card) else self.loaded.sizes
        self.state.options = show_for(self.state.options, card, given)

    # What the user does.

    def press(self) -> None:
        """Run the chosen model, or cancel what goes on."""
        if self.run is not None:
            self.state.stopping = True
            self.run.cancel()
            return
        state = self.state
        self.messages.clear()
        card = self.cards[state.model]
        options = run_options(state.options, card, flat=self.loaded.is_flat)
        state.busy, state.stopping, state.progress, state.progress_text = True, False, 0, "Starting"
        self.run = self.logic.segment(
            None if is_imageless(card) else self.loaded.node,
            card,
            options=options,
            on_progress=self._on_progress,
            on_done=self._on_done,
            further=[] if is_imageless(card) else self.opened.further(card),
        )

    def remove(self) -> None:
        """Take the result back."""
        if self.shown is not None:
            self._take_back(self.shown)
            self._forget()

    def choose(self, channel: int, image: int | None) -> None:
        """Take an image for a further channel of the model, or none."""
        self.opened.choose(channel, image)
        self._on_model(self.state.model)

    def set_option(self, name: str, value: Any) -> None:
        """Keep what the user chose for an option, as text."""
        text = str(value).lower() if isinstance(value, bool) else str(value if value is not None else "")
        self.state.options = [
            {**one, "value": text} if one["name"] == name else one for one in self.state.options
        ]

    def look(self, layer: str) -> None:
        """Look at the input, at an image that was made of it, or at a map over it."""
        with self.state as state:
            state.layer = layer
            self._look(layer)
            self._contrast.show()
            if made.is_made(self.shown):
                self._go_to(images=layer != INPUT)

    def _go_to(self, *, images: bool) -> None:
        """Show made images, which lie somewhere else, or the image of the page again, whole."""
        if images:
            self._play(*made.player(self.shown), made.names(self.shown))
        else:
            self._play(self.loaded.node if self.loaded.frames > 1 else None, self.loaded.frames)
        self.views.fit()

    def _look(self, layer: str) -> None:
        """Bring the views to a layer: a map takes the place of the labels."""
        opacity = self.state.opacity / 100
        chosen = next((one for one in self._layers if one.id == layer), None)
        over = chosen.node if chosen is not None and chosen.over else None
        bottom = chosen.node if chosen is not None and over is None else self.loaded.shown
        self._contrast.volume = bottom
        self.views.look_at(bottom, over, opacity)
        labels = results.has_labels(self.shown) and over is None
        results.show_segments(self.shown, labels)
        self.views.show_labels(self.shown.label_map if labels else None, opacity)
        self.state.has_overlay = labels or over is not None
        self.views.render()

    def toggle(self, segment: str) -> None:
        """Hide or show a segment."""
        self.state.segments = results.toggle(self.shown, self.state.segments, segment)
        self.views.render()

    # What a run tells.

    def _on_progress(self, run: Any) -> None:
        with self.state as state:
            state.progress = round(100 * run.progress.fraction, 1)
            state.progress_text = "Stopping" if state.stopping else run.progress.text

    def _on_done(self, run: Any) -> None:
        self.run = None
        with self.state as state:
            state.busy = state.stopping = False
            for level, text in run.notices:
                if level != "info":
                    self.messages.say(level, text)
            if run.state == "failed":
                self.messages.fail(run.error)
            elif run.state == "cancelled":
                self.messages.say("info", "Cancelled; nothing was changed.")
            else:
                before, self.shown = self.shown, run
                if before is not None:
                    self._take_back(before)
                self._show_result(run, first=before is None)

    def _show_result(self, run: Any, *, first: bool) -> None:
        state = self.state
        results.set_opacity(run, state.opacity / 100)
        state.segments = results.segments(run, self.unit)
        state.answers = results.answers(run)
        state.notes = [text for level, text in run.notices if level == "info"]
        state.summary = results.summary(run, self.unit)
        state.tables, state.table_at = results.tables(run, self.unit), 0
        state.curve = results.curve(run)
        state.downloads = downloads.available(self)
        state.space_hint = ""
        self._layers = layers(run, self.loaded)
        state.layers = [{"id": one.id, "title": one.title} for one in self._layers]
        self.look(first_layer(run, self._layers))
        if results.has_labels(run):
            self._show_place(run, first=first)
        self.views.fit_space()
        self.views.render()

    def _show_place(self, run: Any, *, first: bool) -> None:
        """Go where the labels are."""
        middle = results.middle(labels_of(run, self.loaded), self.loaded.shown)
        if middle is not None:
            self.views.center(middle)
        else:
            self.messages.say("info", "The model found nothing in this image.")
        if first:
            self.state.slices_in_space = False  # they would hide the surfaces
            self.views.show_slices_in_space(False)

    def _take_back(self, run: Any) -> None:
        run.undo()
        if made.is_made(run):
            self.views.look_at(self.loaded.shown)
            self._go_to(images=False)

    def _forget(self) -> None:
        self.shown, self._layers = None, []
        before = initial_state()
        for name in OF_A_RESULT:
            self.state[name] = before[name]
        self.views.look_at(self.loaded.shown)
        self.views.show_labels(None)
        self._contrast.show(self.loaded.shown)
        self._on_model(self.state.model)
        self.views.render()
