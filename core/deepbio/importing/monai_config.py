"""The configuration of a MONAI bundle, read as data: literals, references to them, and names that are looked up.

MONAI's own parser imports what a configuration names and evaluates what begins with a dollar sign. Here neither
happens. An expression is understood as far as it is a literal, a reference, a choice between two of these by a
reference, or the name of a type of numbers; all else in a place that matters is refused.

Format: https://docs.monai.io/en/stable/config_syntax.html
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Mapping
from typing import Any

from deepbio.errors import CardError

__all__ = ["Component", "Config"]

_LONGEST = 2000  # characters of an expression
_DEEPEST = 50  # references behind each other
_REFERENCE = re.compile(r"@(\w+(?:(?:#|::)\w+)*)")
_TYPES = {
    f"{module}.{name}": name
    for module in ("torch", "np", "numpy")
    for name in ("float16", "float32", "float64", "uint8", "int16", "int32", "int64")
}
_TYPES |= {"torch.float": "float32", "torch.double": "float64"}
_QUIET = ("_desc_", "_disabled_", "_target_")


class Component:
    """What a configuration would make: the name of a class, and arguments that are literals.

    Attributes
    ----------
    name : str
        Without ``monai.`` and its modules; whole where it is of another package.
    where : str
        Place in the configuration, for messages.
    """

    def __init__(self, config: Config, entry: Mapping[str, Any], where: str) -> None:
        self._config, self._entry = config, entry
        target = entry["_target_"]
        if not isinstance(target, str) or not re.fullmatch(r"\w+(\.\w+)*", target):
            raise CardError(f"The bundle's {where} has _target_ {target!r}; expected the name of a class.")
        self.name = target.rpartition(".")[2] if target.startswith("monai.") else target
        self.where = where
        unknown = [name for name in entry if re.fullmatch(r"_\w+_", name) and name not in _QUIET]
        if unknown:
            raise CardError(
                f"The bundle's {where} ({self.name}) has {unknown[0]}, which is not understood here."
            )

    @property
    def place(self) -> str:
        """Where it stands and what it is, as messages begin."""
        return f"The bundle's {self.where} ({self.name})"

    @property
    def disabled(self) -> bool:
        """Whether the configuration says that it is left out."""
        return self._config.literal(self._entry.get("_disabled_", False), self.where) in (
            True,
            "true",
            "True",
        )

    @property
    def names(self) -> list[str]:
        """Names of the arguments that are given."""
        return [name for name in self._entry if name not in _QUIET]

    def argument(self, name: str, default: Any = None) -> Any:
        """The literal that an argument is."""
        if name not in self._entry:
            return default
        return self._config.literal(self._entry[name], f"{self.where}#{name}")

    def arguments(self) -> dict[str, Any]:
        """All arguments, which must be literals."""
        return {name: self.argument(name) for name in self.names}

    def children(self, name: str) -> list[Component]:
        """The components in a list that is an argument."""
        return self._config.components(self._entry.get(name), f"{self.where}#{name}")


class Config:
    """A bundle's configuration.

    Parameters
    ----------
    content : mapping
        What stands in the file.

    Examples
    --------
    >>> config = Config({"fine": True, "pixdim": "$[1.0, 2.0] if @fine else [3.0]", "spacing": "@pixdim"})
    >>> config.literal("@spacing", "spacing")
    [1.0, 2.0]
    >>> config.literal("$__import__('os').getcwd()", "spacing")
    Traceback (most recent call last):
        ...
    deepbio.errors.CardError: The bundle's spacing is "$__import__('os').getcwd()"; expressions are not evaluated here,
    but for literals, references and a choice between them. Write the value itself in its configuration.
    """

    def __init__(self, content: Mapping[str, Any]) -> None:
        self._content = content

    def __contains__(self, name: str) -> bool:
        return name in self._content

    def named(self, role: str, argument: str, default: str) -> str:
        """Reference to what a component (such as the evaluator) is given as an argument, else the usual name.

        Only a plain reference is followed.
        """
        entry = self._content.get(role)
        value = entry.get(argument) if isinstance(entry, Mapping) else None
        return value if isinstance(value, str) and _REFERENCE.fullmatch(value) else f"@{default}"

    def literal(self, value: Any, where: str, depth: int = 0) -> Any:
        """The plain value that an entry stands for.

        Raises
        ------
        CardError
            If it is made by code, or refers to nothing.
        """
        if isinstance(value, str):
            return self._text(value, where, depth)
        if isinstance(value, Mapping):
            if "_target_" in value:
                raise CardError(
                    f"The bundle's {where} is made by {value['_target_']!r}; expected a plain value.",
                    "Write the value itself in its configuration.",
                )
            return {key: self.literal(item, f"{where}#{key}", depth) for key, item in value.items()}
        if isinstance(value, list):
            return [self.literal(item, f"{where}#{k}", depth) for k, item in enumerate(value)]
        return value

    def component(self, value: Any, where: str) -> Component:
        """The component that an entry stands for.

        Raises
        ------
        CardError
            If it is none, or refers to nothing.
        """
        found = self._followed(value, where)
        if not isinstance(found, Mapping) or "_target_" not in found:
            raise CardError(f"The bundle's {where} is {_short(found)}; expected an entry with _target_.")
        return Component(self, found, where)

    def components(self, value: Any, where: str) -> list[Component]:
        """The components of a list.

        Raises
        ------
        CardError
            If it is no list of components.
        """
        found = self._followed(value, where)
        if not isinstance(found, list):
            raise CardError(f"The bundle's {where} is {_short(found)}; expected a list.")
        return [self.component(item, f"{where}#{k}") for k, item in enumerate(found)]

    def _followed(self, value: Any, where: str) -> Any:
        """What a reference leads to, as it stands there."""
        for _ in range(_DEEPEST):
            if not isinstance(value, str):
                return value
            match = _REFERENCE.fullmatch(value.removeprefix("$").strip())
            if match is None:
                raise _refused(value, where)
            value = self._at(match[1], where)
        raise CardError(f"The bundle's {where} refers to itself.")

    def _at(self, path: str, where: str) -> Any:
        found: Any = self._content
        for part in re.split("#|::", path):
            if isinstance(found, Mapping) and part in found:
                found = found[part]
            elif isinstance(found, list) and part.isdecimal() and int(part) < len(found):
                found = found[int(part)]
            else:
                raise CardError(f"The bundle's {where} refers to '@{path}', which is not there.")
        return found

    def _text(self, value: str, where: str, depth: int) -> Any:
        if depth > _DEEPEST:
            raise CardError(f"The bundle's {where} refers to itself.")
        if value.startswith("$"):
            return self._expression(value, where, depth)
        if value.startswith("@"):
            match = _REFERENCE.fullmatch(value)
            if match is None:
                raise _refused(value, where)
            return self.literal(self._at(match[1], where), where, depth + 1)
        if value.startswith("%"):
            raise CardError(
                f"The bundle's {where} is the macro {_short(value)}, which is not understood here."
            )
        return value

    def _expression(self, value: str, where: str, depth: int) -> Any:
        """The value of an expression that is hardly one; its tree is read, nothing is run."""
        found: dict[str, str] = {}

        def placed(match: re.Match[str]) -> str:
            name = f"reference_{len(found)}"
            found[name] = match[1]
            return name

        text = _REFERENCE.sub(placed, value[1:].strip())
        try:
            if len(text) > _LONGEST:
                raise ValueError("too long")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of odd escapes
                tree = ast.parse(text, mode="eval").body
            return self._read(tree, found, where, depth)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            if isinstance(error, CardError):
                raise
            raise _refused(value, where) from error

    def _read(self, node: ast.expr, found: Mapping[str, str], where: str, depth: int) -> Any:
        match node:
            case ast.Constant(value=bool() | int() | float() | str() | None as value):
                return value
            case ast.Name(id=name) if name in found:
                return self.literal(self._at(found[name], where), where, depth + 1)
            case ast.Attribute() if ast.unparse(node) in _TYPES:
                return _TYPES[ast.unparse(node)]
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return [self._read(item, found, where, depth) for item in items]
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return -value
            case ast.IfExp(test=ast.Name(id=name), body=body, orelse=other) if name in found:
                chosen = self.literal(self._at(found[name], where), where, depth + 1)
                if isinstance(chosen, bool):
                    return self._read(body if chosen else other, found, where, depth)
        raise ValueError(f"no literal: {type(node).__name__}")


def _refused(value: str, where: str) -> CardError:
    return CardError(
        f"The bundle's {where} is {_short(value)}; expressions are not evaluated here, but for literals, references "
        "and a choice between them.",
        "Write the value itself in its configuration.",
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else text[:97] + "..."
