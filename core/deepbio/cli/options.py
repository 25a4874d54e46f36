"""Command-line options made from the fields of dataclasses: those of RunOptions, and groups of a command's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, Field, fields
from functools import wraps
from typing import Annotated, Any, get_type_hints

import typer

from deepbio.cli.common import set_signature
from deepbio.options import RunOptions

__all__ = ["SAVED_AS", "with_options", "with_run_options"]

# --save stands for it here: what is computed follows from the files that are wanted.
SAVED_AS = {"output": "--save"}


def with_run_options(function: Callable[..., None]) -> Callable[..., None]:
    """Replace the parameter ``options`` of a command by one option per field of RunOptions.

    All values are texts that :meth:`RunOptions.parse` reads and checks, as it does for macros
    and forms, so the same words are allowed everywhere and the same errors are told.
    """
    own = [option for option in fields(RunOptions) if option.name not in SAVED_AS]

    @wraps(function)
    def parsed(*args: Any, **kwargs: Any) -> None:
        given = {option.name: kwargs.pop(option.name, None) for option in own}
        texts = {name: _text(value) for name, value in given.items() if value not in (None, False)}
        function(*args, options=RunOptions.parse(texts), **kwargs)

    signature = inspect.signature(function, eval_str=True)
    parameters = [p for name, p in signature.parameters.items() if name != "options"]
    set_signature(parsed, [*parameters, *map(_parameter, own)])
    return parsed


def with_options(
    name: str, group: type[Any], *, without: Collection[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace a parameter of a command by one option per field of a dataclass, in its place.

    Parameters
    ----------
    name : str
        The parameter, which the command gets as an instance of `group`.
    group : type
        A dataclass whose fields are annotated as typer wants its parameters, each with a default.
    without : collection of str
        Fields that are no options of this command; they keep their defaults.
    """
    hints = get_type_hints(group, include_extras=True)
    assert all(one.default is not MISSING for one in fields(group)), group  # noqa: S101 - written by us
    own = [
        inspect.Parameter(
            one.name, inspect.Parameter.KEYWORD_ONLY, default=one.default, annotation=hints[one.name]
        )
        for one in fields(group)
        if one.name not in without
    ]

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @wraps(function)
        def grouped(*args: Any, **kwargs: Any) -> None:
            given = {one.name: kwargs.pop(one.name, one.default) for one in own}
            function(*args, **{name: group(**given)}, **kwargs)

        parameters = inspect.signature(function, eval_str=True).parameters.values()
        set_signature(grouped, [new for one in parameters for new in (own if one.name == name else [one])])
        return grouped

    return decorate


def _text(value: str | bool) -> str:
    return "true" if value is True else str(value)


def _parameter(option: Field[Any]) -> inspect.Parameter:
    flag = "--" + option.name.replace("_", "-")
    panel = "How the model is run"
    annotation: Any
    if str(option.type) == "bool":
        annotation = Annotated[bool, typer.Option(flag, help=_help(option), rich_help_panel=panel)]
    else:
        shown = typer.Option(flag, help=_help(option), metavar=_metavar(option), rich_help_panel=panel)
        annotation = Annotated[str | None, shown]
    default = False if str(option.type) == "bool" else None
    return inspect.Parameter(
        option.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def _metavar(option: Field[Any]) -> str:
    kind = str(option.type)
    if "choices" in option.metadata:
        return "|".join(filter(None, option.metadata["choices"]))
    return "INTEGER" if kind.startswith("int") else "NUMBER" if kind.startswith("float") else "TEXT"


def _help(option: Field[Any]) -> str:
    """Help text with the range and what holds when the option is not given."""
    rules: Mapping[str, Any] = option.metadata
    text = str(rules["help"])
    if "low" in rules:
        text += f" ({rules['low']} to {rules['high']})"
    if str(option.type) != "bool" and option.default != "":
        text += f"; default: {'auto' if option.default is None else option.default}"
    return text
