"""What the user sees beside the views: image, model, the one button, progress, messages, results."""

from __future__ import annotations

from typing import Any, Protocol

from trame.ui.vuetify3 import VAppLayout
from trame.widgets import client, html
from trame.widgets import vuetify3 as v

from deepbio_web.form_images import channel_boxes, image_box
from deepbio_web.style import ALIVE, CSS
from deepbio_web.views import SLICES, SPACE, Views

__all__ = ["Actions", "build"]


_CURVE = """<svg viewBox="0 0 100 40" preserveAspectRatio="none" role="img" aria-label="Size over the frames">
  <polyline v-for="line in curve.lines" :key="line.name" :points="line.points" :stroke="line.color" fill="none"
    stroke-width="2" vector-effect="non-scaling-stroke"></polyline>
  <line :x1="100 * frame / (frames - 1)" :x2="100 * frame / (frames - 1)" y1="0" y2="40" stroke="#9aa4b1"
    stroke-dasharray="2 2" vector-effect="non-scaling-stroke"></line>
</svg>"""


class Actions(Protocol):
    """What the user can do."""

    def press(self) -> None: ...
    def remove(self) -> None: ...
    def dismiss(self, number: int) -> None: ...
    def set_option(self, name: str, value: Any) -> None: ...
    def toggle(self, segment: str) -> None: ...
    def look(self, layer: str) -> None: ...
    def choose(self, channel: int, image: int | None) -> None: ...


def build(server: Any, views: Views, actions: Actions) -> None:
    """Lay out the page."""
    with VAppLayout(server, full_height=True) as layout:
        layout.root.theme = "page"
        client.Style(CSS)
        client.Script(ALIVE)
        with html.Div(classes="page"):
            with html.Div(classes="panel"):
                with html.Div(classes="panel-head"):
                    html.Div("DeepBio", classes="brand")
                    html.Div("{{ image_name }}", classes="image-name", id="image-name")
                    html.Div("{{ image_facts }}", classes="quiet", id="image-facts")
                with html.Div(classes="panel-body"):
                    image_box()
                    _model_box()
                    channel_boxes(actions)
                    _run_box(actions)
                    _messages(actions)
                    _results(actions)
                    _display(flat=views.flat)
                    _options(actions)
            with html.Div(classes="stage"):
                _view_cells(views)
                _frame_bar()
                _table_sheet()


def _model_box() -> None:
    html.Div("Model", classes="section")
    v.VSelect(
        id="model",
        v_model=("model",),
        items=("models",),
        item_title="title",
        item_value="name",
        item_props="props",
        disabled=("busy || !models.length",),
        placeholder=("models.length ? 'Choose a model' : 'Looking for models'",),
        variant="outlined",
        density="compact",
        hide_details=True,
    )
    with v.Template(v_for="card in models.filter(one => one.name === model)", key="card.name"):
        html.Div("{{ card.text }}", classes="model-text")
        html.Div("{{ card.doubt }}", v_if=("card.doubt",), classes="doubt")
        with html.Dl(classes="facts"), v.Template(v_for="fact in card.facts", key="fact[0]"):
            html.Dt("{{ fact[0] }}")
            html.Dd("{{ fact[1] }}")


def _run_box(actions: Actions) -> None:
    v.VBtn(
        "{{ busy ? (stopping ? 'Stopping' : 'Cancel') : verb }}",
        id="segment",
        click=actions.press,
        disabled=("busy ? stopping : !can_run",),
        color=("busy ? 'error' : 'primary'",),
        variant=("busy ? 'outlined' : 'flat'",),
        prepend_icon=("busy ? 'mdi-stop' : 'mdi-play'",),
        size="large",
        block=True,
        classes="mt-4",
    )
    html.Div("{{ why_not }}", v_if=("!busy && !can_run && why_not",), classes="quiet mt-2", id="why-not")
    with html.Div(v_if=("busy",), classes="mt-3"):
        v.VProgressLinear(
            model_value=("progress",),
            indeterminate=("progress <= 0",),
            color="primary",
            height=6,
            rounded=True,
            id="progress",
        )
        html.Div("{{ progress_text }}", classes="quiet mt-1", id="progress-text")


def _messages(actions: Actions) -> None:
    with v.VAlert(
        v_for="message in messages",
        key="message.number",
        type=("message.level",),
        variant="tonal",
        density="compact",
        closable=True,
        classes="mt-3 message",
        update_modelValue=(actions.dismiss, "[message.number]"),
    ):
        html.Div("{{ message.text }}")
        html.Div("{{ message.hint }}", v_if=("message.hint",), classes="hint")


def _results(actions: Actions) -> None:
    with html.Div(v_if=("summary",), id="results"):
        html.Div("Result", classes="section")
        _legend(actions)
        _answers()
        html.Div("{{ summary }}", classes="quiet mt-2", id="summary")
        _layers(actions)
        with html.Div(v_if=("curve.lines.length",), classes="curve", id="curve"):
            html.Div(_CURVE)
            html.Span("{{ curve.low }} to {{ curve.high }} {{ curve.unit }}, frame 1 to {{ frames }}")
        html.Div("{{ note }}", v_for="note in notes", key="note", classes="quiet mt-1")
        _result_buttons(actions)
        _downloads()


def _legend(actions: Actions) -> None:
    with (
        html.Ul(v_if=("segments.length",), classes="legend"),
        html.Li(v_for="one in segments", key="one.id"),
    ):
        html.Span(classes="swatch", style=("{ background: one.color }",))
        html.Span("{{ one.name }}", classes=("one.visible ? 'name' : 'name hidden'",))
        html.Span("{{ one.size }}", classes="size")
        v.VBtn(
            icon=("one.visible ? 'mdi-eye-outline' : 'mdi-eye-off-outline'",),
            click=(actions.toggle, "[one.id]"),
            title=("one.visible ? 'Hide' : 'Show'",),
            variant="text",
            size="x-small",
            density="comfortable",
        )


def _answers() -> None:
    with (
        html.Ul(v_if=("answers.length",), classes="answers", id="answers"),
        html.Li(v_for="one in answers", key="one.name"),
    ):
        html.Span("{{ one.name }}", classes="name")
        html.Span("{{ one.text }}", classes="size")
        html.Div(classes="bar", style=("{ width: one.share + '%' }",))


def _layers(actions: Actions) -> None:
    with html.Div(v_if=("layers.length",), classes="links", id="layers", role="group", aria_label="Look at"):
        v.VBtn(
            "{{ one.title }}",
            v_for="one in layers",
            key="one.id",
            click=(actions.look, "[one.id]"),
            variant=("one.id === layer ? 'flat' : 'tonal'",),
            color=("one.id === layer ? 'primary' : undefined",),
            size="small",
            raw_attrs=[':aria-pressed="one.id === layer"'],
        )


def _result_buttons(actions: Actions) -> None:
    with html.Div(classes="links"):
        v.VBtn(
            "{{ table_open ? 'Hide table' : 'Show table' }}",
            v_if=("tables.length",),
            click="table_open = !table_open",
            prepend_icon="mdi-table",
            variant="tonal",
            size="small",
            id="show-table",
        )
        v.VBtn(
            "Remove result",
            click=actions.remove,
            disabled=("busy",),
            prepend_icon="mdi-undo-variant",
            variant="tonal",
            size="small",
            id="remove",
        )


def _downloads() -> None:
    html.Div("Download", v_if=("downloads.length",), classes="section")
    with html.Div(classes="links"):
        v.VBtn(
            "{{ one.text }}",
            v_for="one in downloads",
            key="one.href",
            href=("one.href",),
            title=("one.title",),
            prepend_icon="mdi-download",
            variant="tonal",
            size="small",
            classes="download",
            raw_attrs=["download"],  # else the browser takes it for leaving the page
        )


def _display(*, flat: bool) -> None:
    html.Div("Display", classes="section")
    with html.Div(v_if=("has_window",), classes="range"):
        html.Span("Contrast")
        v.VRangeSlider(
            v_model=("window",),
            min=("window_range[0]",),
            max=("window_range[1]",),
            step=("(window_range[1] - window_range[0]) / 200",),
            hide_details=True,
            density="compact",
            thumb_size=14,
            track_size=2,
            strict=True,
        )
    with html.Div(v_if=("has_overlay",), classes="range", id="overlay"):
        html.Span("Overlay")
        v.VSlider(
            v_model=("opacity",),
            min=0,
            max=100,
            step=5,
            hide_details=True,
            density="compact",
            thumb_size=14,
            track_size=2,
        )
    if not flat:
        v.VSwitch(
            v_model=("slices_in_space",),
            label="Slices in the 3D view",
            color="primary",
            density="compact",
            hide_details=True,
        )


def _options(actions: Actions) -> None:
    with (
        v.VExpansionPanels(
            v_if=("options.some(one => one.shown)",), variant="accordion", flat=True, classes="mt-4"
        ),
        v.VExpansionPanel(title="Options", elevation=0, id="options"),
        v.VExpansionPanelText(),
    ):
        html.Div("{{ device_text }}", v_if=("device_text",), classes="quiet mb-3")
        shown = "one in options.filter(one => one.shown)"
        with html.Div(v_for=shown, key="one.name", classes="mb-3", title=("one.help",)):
            change = {"update_modelValue": (actions.set_option, "[one.name, $event]")}
            shared = {
                "label": ("one.label",),
                "density": "compact",
                "hide_details": True,
                "disabled": ("busy",),
            }
            v.VSwitch(
                v_if=("one.kind === 'bool'",),
                model_value=("one.value === 'true'",),
                color="primary",
                **shared,
                **change,
            )
            v.VSelect(
                v_else_if=("one.kind === 'choice'",),
                model_value=("one.value",),
                items=("one.choices",),
                variant="outlined",
                **shared,
                **change,
            )
            v.VTextField(
                v_else=True,
                model_value=("one.value",),
                placeholder=("one.hint",),
                persistent_placeholder=True,
                variant="outlined",
                **shared,
                **change,
            )


def _view_cells(views: Views) -> None:
    names = SLICES[:1] if views.flat else (SLICES[0], SPACE, *SLICES[1:])
    with html.Div(
        classes=("big || " + ("true" if views.flat else "false") + " ? 'views one' : 'views four'",)
    ):
        for name in names:
            with html.Div(classes="cell", v_show=(f"!big || big === '{name}'",), id=f"view-{name.lower()}"):
                client.ServerTemplate(name=views.template(name))


def _frame_bar() -> None:
    with html.Div(v_if=("frames > 1",), classes="frame-bar", id="frames"):
        html.Span("{{ frame_names.length ? 'Image' : 'Frame' }}")
        html.Span("{{ frame + 1 }} of {{ frames }}", style="min-width: 70px")
        v.VSlider(
            v_model=("frame",),
            min=0,
            max=("frames - 1",),
            step=1,
            hide_details=True,
            density="compact",
            thumb_size=14,
            track_size=2,
        )
        html.Span("{{ frame_names[frame] }}", id="frame-name")


def _table_sheet() -> None:
    with html.Div(v_if=("table_open && tables.length",), classes="table-sheet", id="table"):
        with html.Div(classes="table-head"):
            v.VBtn(
                "{{ one.name }}",
                v_for="(one, at) in tables",
                key="at",
                click="table_at = at",
                variant=("at === table_at && tables.length > 1 ? 'tonal' : 'text'",),
                size="small",
            )
            html.Span("{{ tables[table_at].more }}", classes="quiet")
            v.VSpacer()
            v.VBtn(
                icon="mdi-close",
                click="table_open = false",
                title="Hide the table",
                variant="text",
                size="x-small",
            )
        with html.Div(classes="table-scroll"), html.Table():
            with html.Thead(), html.Tr():
                html.Th("{{ title }}", v_for="title in tables[table_at].head", key="title")
            with html.Tbody(), html.Tr(v_for="(row, number) in tables[table_at].rows", key="number"):
                html.Td("{{ cell }}", v_for="(cell, at) in row", key="at")
