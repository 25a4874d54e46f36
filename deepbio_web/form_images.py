"""The choice of images: which one is shown and given to a model, and which are its further channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trame.widgets import html
from trame.widgets import vuetify3 as v

if TYPE_CHECKING:
    from deepbio_web.form import Actions

__all__ = ["channel_boxes", "image_box"]


def image_box() -> None:
    """Which of several images is shown."""
    with html.Div(v_if=("images.length > 1",), id="images"):
        html.Div("{{ image_label }}", classes="section")
        v.VSelect(
            id="image",
            v_model=("image",),
            items=("images",),
            disabled=("busy",),
            variant="outlined",
            density="compact",
            hide_details=True,
        )


def channel_boxes(actions: Actions) -> None:
    """An image for each channel of the model after the first."""
    with html.Div(v_if=("channels.length",), id="channels"):
        html.Div("Channels", classes="section", style="margin-bottom: 12px")
        v.VSelect(
            v_for="one in channels",
            key="one.number",
            label=("one.name",),
            model_value=("one.value",),
            items=("one.choices",),
            update_modelValue=(actions.choose, "[one.number, $event]"),
            placeholder=("one.optional ? 'None' : 'Choose an image'",),
            persistent_placeholder=True,
            clearable=("one.optional",),
            disabled=("busy",),
            variant="outlined",
            density="compact",
            hide_details=True,
            classes="channel",
        )
