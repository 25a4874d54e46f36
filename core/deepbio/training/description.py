"""What people should know of a model: the words on its card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import yaml

from deepbio.errors import OptionError

__all__ = ["Description", "read_description"]


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
    version : str
        Of the model.
    """

    title: str = "Segmentation model"
    summary: str = "Trained with deepbio train."
    license: str = "CC-BY-4.0"
    authors: Sequence[Mapping[str, str]] = ({"name": "unknown"},)
    citations: Sequence[Mapping[str, str]] = ()
    documentation: str = ""
    training_data: str = ""
    modality: Sequence[str] = ()
    tags: Sequence[str] = ()
    class_names: Mapping[int, str] = field(default_factory=dict)
    version: str = "0.1.0"


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
