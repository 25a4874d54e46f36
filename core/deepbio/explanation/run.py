"""What a run adds to its result when it is asked to explain itself."""

from __future__ import annotations

from dataclasses import replace

from deepbio.events import Listener
from deepbio.explanation.attribution import explain_frames
from deepbio.explanation.unsure import unsure_parts
from deepbio.image import Image, LabelMap
from deepbio.options import RunOptions
from deepbio.predict import Model
from deepbio.tasks import Result

__all__ = ["with_maps"]


def with_maps(
    image: Image | None,
    model: Model,
    options: RunOptions,
    result: Result,
    listener: Listener,
    *,
    objects: LabelMap | None = None,
) -> Result:
    """A result with its explanation and its uncertainty, as far as the options ask for them.

    Parameters
    ----------
    image, model, options, listener
        Of the run; no image for a generator that needs none, of which nothing is explained.
    result : Result
        What the run gave so far; with labels where its table is of objects.
    objects : LabelMap, optional
        The objects that a classifier was asked about.
    """
    if options.explain and image is not None:
        found, facts = explain_frames(image, model, options, listener=listener)
        result = replace(result, explanation=found, record={**result.record, **facts})
    if options.uncertainty and image is not None:
        result = unsure_parts(image, model, options, result, objects=objects, listener=listener)
    if options.layer:
        result = _with_features(image, model, options, result, objects)
    return result


def _with_features(
    image: Image | None, model: Model, options: RunOptions, result: Result, objects: LabelMap | None
) -> Result:
    """The features of the objects that were found or given, or of the whole image."""
    from deepbio.extraction import features

    found = result.labels if result.labels is not None and not result.labels.names else objects
    found = None if model.card.task == "generate" else found  # its labels are what it was made of
    plain = options.replace(explain="", uncertainty="", layer="", objects="", output=())
    told = features(image, model, layer=options.layer, objects=found, options=plain)
    return replace(result, features=told.features, record={**result.record, "layer": told.record["layer"]})
