"""The families of models: what each kind of task is called, gives, and where its parts are.

One plain table; the parts are named as text and imported when they are first used, so asking what
there is costs nothing. A model's card says its family with ``task:``.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from deepbio.errors import OptionError

__all__ = ["FAMILIES", "Family", "family_of"]


@dataclass(frozen=True)
class Family:
    """A kind of task, and where its parts are (``module`` or ``module:attribute`` of deepbio).

    Attributes
    ----------
    name : str
        The task, as it stands on cards.
    verb : str
        For buttons and menus, such as ``"Segment"``.
    summary : str
        One line for people.
    outputs : tuple of str
        Parts of a result that a run gives unless it is asked for others.
    gives : tuple of str
        All parts that it can give.
    run : str
        ``run(image, card, open_runtime, first, options, listener=...) -> Result``.
    check : str
        ``check(image, card, options)`` raises what a run would raise at once, without looking at pixels.
    train : str
        Module with ``Wishes``, ``Plan``, ``matches``, ``make_plan``, ``check_plan`` and ``train_plan``; see
        `deepbio.training.families.Trainer`.
    evaluate : str
        Module with ``evaluate_cases(model, data, split, options, on_progress=...) -> Report``.
    picture : str
        ``picture(image, result, card, title) -> PIL.Image``.
    """

    name: str
    verb: str
    summary: str
    outputs: tuple[str, ...]
    gives: tuple[str, ...]
    run: str
    check: str
    train: str
    evaluate: str
    picture: str

    def load(self, part: str) -> Any:
        """Import a part: ``"run"``, ``"check"``, ``"train"``, ``"evaluate"`` or ``"picture"``.

        Examples
        --------
        >>> FAMILIES["segment"].load("run").__name__
        'segment'
        """
        module, _, attribute = getattr(self, part).partition(":")
        found = import_module(f"deepbio.{module}")
        return getattr(found, attribute) if attribute else found


def _family(name: str, verb: str, summary: str, outputs: tuple[str, ...], *more: str) -> Family:
    return Family(
        name,
        verb,
        summary,
        outputs,
        (*outputs, *more),
        run=f"tasks.{name}:{name}",
        check=f"tasks.{name}:check_input",
        train="training.run" if name == "segment" else f"training.{name}",
        evaluate="evaluation.running" if name == "segment" else f"evaluation.{name}",
        picture=f"render.{name}:picture",
    )


FAMILIES: dict[str, Family] = {
    one.name: one
    for one in (
        _family(
            "segment",
            "Segment",
            "outlines objects, or labels each pixel's class",
            ("labels", "table"),
            "scores",
        ),
        _family(
            "classify",
            "Classify",
            "says what an image, or each object in it, is",
            ("table",),
            "image",
            "labels",
        ),
        _family("restore", "Restore", "takes noise away, or adds resolution", ("image",)),
        _family("sequence", "Sequence", "follows frames through time", ("labels", "table"), "scores"),
        _family(
            "generate", "Generate", "makes images of a class, or from a mask", ("image",), "labels", "table"
        ),
    )
}
"""Every family by its task, in the order in which people are told of them."""


def family_of(task: str) -> Family:
    """The family of a task; a foreign card that names none is taken to segment.

    Raises
    ------
    OptionError
        If there is no such task.

    Examples
    --------
    >>> family_of("").name
    'segment'
    """
    name = task or "segment"
    if name not in FAMILIES:
        raise OptionError(f"There is no task {task!r}; expected one of {', '.join(FAMILIES)}.")
    return FAMILIES[name]
