"""What people should know of a model: the words on its card."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from deepbio.cases.decathlon import is_decathlon, told_of
from deepbio.errors import OptionError
from deepbio.library.content import PackageContent, TensorContent, check_content
from deepbio.library.spatial import check_sizes

__all__ = ["Description", "check_description", "read_description", "title_of", "with_told"]


@dataclass(frozen=True)
class Description:
    """What people should know of a model, for its card.

    Attributes
    ----------
    title, summary : str
        Its name for people, and one sentence.
    license : str
        SPDX name.
    authors : sequence of mapping
        Each with ``name`` and, where known, ``affiliation``, ``orcid``, ``github_user``.
    citations : sequence of mapping
        Each with ``text`` and ``doi`` or ``url``.
    documentation : str
        Markdown.
    training_data : str
        Name or address of the data.
    modality, tags : sequence of str
        Kinds of images, and words to find it by.
    class_names : mapping of int to str
        Names of the classes by label; empty for instances.
    classes : mapping of int to (str or mapping)
        Instead of `class_names`: a name, or ``name`` with, where wanted, ``color`` ("#rrggbb") and the
        codes ``category``, ``type`` and ``modifier``, each with ``scheme``, ``value`` and
        ``meaning``. It goes to the card as it is; labels that are not listed are refused.
    channels : sequence of str
        Names of the input's channels; by default those of colours, or numbers.
    channel_files : bool
        Whether each channel comes in a file of its own, ``NAME_0000``, ``NAME_0001``...
    per_slice : bool
        A 2D model that is always run slice by slice on a stack, without asking.
    sizes : mapping
        The objects that the network was made for, as they stand on the card; see docs/models.md.
    version : str
        Of the model.
    """

    title: str = "Model without a title"
    summary: str = "Trained with deepbio train."
    license: str = "CC-BY-4.0"
    authors: Sequence[Mapping[str, str]] = ({"name": "unknown"},)
    citations: Sequence[Mapping[str, str]] = ()
    documentation: str = ""
    training_data: str = ""
    modality: Sequence[str] = ()
    tags: Sequence[str] = ()
    class_names: Mapping[int, str] = field(default_factory=dict)
    classes: Mapping[int, Any] = field(default_factory=dict)
    channels: Sequence[str] = ()
    channel_files: bool = False
    per_slice: bool = False
    sizes: Mapping[str, Any] = field(default_factory=dict)
    version: str = "0.1.0"

    def __post_init__(self) -> None:
        if self.class_names and self.classes:
            raise OptionError(
                "The description has 'class_names' and 'classes'; expected one of them.",
                "Put the names into 'classes'.",
            )
        for label, entry in self.card_classes.items():
            _check_class(label, entry)
        if self.sizes:
            check_sizes(self.sizes)

    @property
    def card_classes(self) -> dict[int, dict[str, Any]]:
        """The classes as they stand on a card.

        Examples
        --------
        >>> Description(classes={1: "left ventricle"}).card_classes
        {1: {'name': 'left ventricle'}}
        """
        entries = self.classes or self.class_names
        return {
            label: dict(entry) if isinstance(entry, Mapping) else {"name": entry}
            for label, entry in entries.items()
        }

    @property
    def words(self) -> dict[str, Any]:
        """What a `PackageContent` says of the model, by the names of its fields."""
        return {
            "title": self.title,
            "description": self.summary,
            "license": self.license,
            "authors": self.authors,
            "documentation": self.documentation,
            "citations": self.citations,
            "tags": self.tags,
            "modality": self.modality,
            "version": self.version,
            "training_data": self.training_data,
        }

    @property
    def names(self) -> dict[int, str]:
        """Names of the classes by label."""
        return {label: str(entry["name"]) for label, entry in self.card_classes.items()}

    @property
    def sides(self) -> bool:
        """Whether a class is the left or the right one of two, so that images must not be mirrored."""
        words = {word for name in self.names.values() for word in re.findall(r"[a-z]+", name.lower())}
        return {"left", "right"} <= words


def _check_class(label: object, entry: Mapping[str, Any]) -> None:
    """Refuse what the card would not take, before anything is trained."""
    expected = (
        "expected a label from 1 with a name, or with a mapping of name and, where wanted, color (#rrggbb), "
        "category, type and modifier, each with scheme, value and meaning"
    )
    codes = [entry[key] for key in ("category", "type", "modifier") if key in entry]
    good = (
        type(label) is int
        and label > 0
        and isinstance(entry.get("name"), str)
        and set(entry) <= {"name", "color", "category", "type", "modifier"}
        and re.fullmatch(r"#[0-9a-fA-F]{6}", str(entry.get("color", "#000000")))
        and all(isinstance(code, Mapping) and set(code) == {"scheme", "value", "meaning"} for code in codes)
    )
    if not good:
        raise OptionError(f"The description has the class {label!r}: {dict(entry)}; {expected}.")


def title_of(output: Path) -> str:
    """A title for who gives none: the name of the model's folder, in the letters that the format allows.

    Examples
    --------
    >>> title_of(Path("models/my.cells v1"))
    'Model my-cells v1'
    """
    return f"Model {re.sub(r'[^A-Za-z0-9_+ ()-]', '-', output.name)}"[:128]


def check_description(about: Description, task: str) -> None:
    """Find at once what would be refused once everything is trained.

    Raises
    ------
    CardError
        If the description is not what a card can hold.
    """
    tensor = TensorContent(np.zeros((1, 1, 1, 1), np.float32), ("any",))
    content = PackageContent(
        **about.words, task=task, inputs=[tensor], outputs=[tensor], network="unet", safetensors=Path()
    )
    check_content(content)


def with_told(about: Description, data: Path, files: int) -> Description:
    """A description with what the data set's own ``dataset.json`` says, where it says nothing itself.

    Parameters
    ----------
    about : Description
        Of the user.
    data : Path
        The data set; nothing is added unless it is a folder as nnU-Net and the Decathlon have them.
    files : int
        How many files an image has.
    """
    if not is_decathlon(data):
        return about
    told = told_of(data)
    return replace(
        about,
        classes=about.classes or ({} if about.class_names else told.classes),
        channels=about.channels or (told.channels if files > 1 else ()),
        channel_files=about.channel_files or files > 1,
        training_data=about.training_data or told.name,
    )


def read_description(path: Path) -> Description:
    """Read a description from a YAML file with the fields of `Description`.

    Raises
    ------
    OptionError
        If the file cannot be read or has an unknown field.
    """
    known = [one.name for one in fields(Description)]
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise OptionError(f"The description {str(path)!r} cannot be read: {error}.") from error
    if not isinstance(content, dict) or set(content) - set(known):
        found = sorted(content) if isinstance(content, dict) else type(content).__name__
        raise OptionError(f"The description {str(path)!r} has {found}; known are {', '.join(known)}.")
    return Description(**content)
