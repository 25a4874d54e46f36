"""What a bundle of MONAI does with the scores of its network: how a card decodes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from deepbio.errors import CardError
from deepbio.importing.monai_config import Component
from deepbio.importing.monai_terms import Terms, flat
from deepbio.library.card import Step

__all__ = ["After", "read_after"]


@dataclass
class After:
    """What happens to the scores.

    Attributes
    ----------
    channels : int
        That the network gives.
    key : str
        Name of the scores in the bundle.
    activation : {"", "softmax", "sigmoid"}
        What makes probabilities of them.
    decision : {"", "classes", "threshold"}
        How they become labels.
    threshold : float
        Of probabilities, for the latter.
    back : {"", "linear", "nearest"}
        How they come back onto the image's own grid; empty where only the file that is written lies there.
    early : bool
        Whether labels are decided on the network's grid.
    largest : tuple of int
        Classes of which only the largest component is kept.
    rounded : bool
        Whether the bundle interpolates its labels as if they were intensities.
    regions : tuple of (int, int)
        Channel and label of each region, where a user has said so; later ones lie over earlier ones.
    """

    channels: int
    key: str = ""
    activation: str = ""
    decision: str = ""
    threshold: float = 0.5
    back: str = ""
    early: bool = False
    largest: tuple[int, ...] = ()
    rounded: bool = False
    regions: tuple[tuple[int, int], ...] = ()

    @property
    def order(self) -> tuple[int, ...]:
        """The network's channels in the order of the card's; empty where nothing changes."""
        return tuple(channel for channel, _ in self.regions)

    @property
    def steps(self) -> tuple[Step, ...]:
        """Post-processing steps of the card."""
        return (Step(self.activation),) if self.activation else ()

    @property
    def decode(self) -> dict[str, Any]:
        """How a card says it."""
        if self.decision == "classes":
            return {"method": "classes", **({"largest": list(self.largest)} if self.largest else {})}
        labels = [label for _, label in self.regions] or [1]
        return {"method": "regions", "regions": labels, "threshold": self.threshold, "logits": False}

    @property
    def nearest(self) -> bool:
        """Whether scores are brought back by the nearest pixel."""
        return self.early or self.back != "linear"


def read_after(component: Component, *, channels: int, regions: tuple[tuple[int, int], ...] = ()) -> After:
    """Read the post-processing.

    Parameters
    ----------
    component : Component
        Compose with dictionary transforms.
    channels : int
        That the network gives.
    regions : tuple of (int, int)
        As of `After`.

    Raises
    ------
    CardError
        If a transform or an argument is not known, or they make no labels.
    """
    found = After(channels, regions=regions)
    for one in flat(component):
        if regions and found.decision and one.name not in ("Invertd", "SaveImaged"):
            continue  # the user has said what becomes of the binary channels
        if one.name not in _KNOWN:
            raise CardError(
                f"The bundle's {one.where} is the transform {one.name!r}, which is not known here; known after the "
                f"network are {', '.join(_KNOWN)}."
            )
        read, ignored = _KNOWN[one.name]
        if read is None:
            continue
        terms = Terms(one, ignored)
        keys = terms.keys()
        if len(keys) > 1 and one.name == "Invertd":  # of a label, too
            keys = [key for key in keys if key == found.key or key.startswith("pred")]
        found.key = found.key or keys[0]
        if keys != [found.key]:
            raise terms.refused("keys", keys, f"the scores alone, {found.key!r}")
        read(terms, found)
        terms.done()
    _check(found, component)
    return found


def _check(found: After, component: Component) -> None:
    if not found.decision:
        raise CardError(
            f"The bundle's {component.where} makes no labels: there is no AsDiscreted with argmax or threshold.",
            "Only segmentation is known here.",
        )
    if found.regions and found.decision != "threshold":
        raise CardError(
            f"The bundle's {component.where} takes the strongest channel (argmax); regions are of binary channels.",
            "Leave them out.",
        )
    if found.decision == "threshold" and found.channels > 1 and not found.regions:
        raise CardError(
            f"The bundle's {component.where} gives {found.channels} binary channels (threshold), which may lie "
            "over each other; a label image cannot hold that.",
            "Say which label each channel gets, the ones on top last: --region 1=2 --region 0=1 --region 2=4",
        )
    if found.decision == "classes" and found.channels < 2:
        raise CardError(
            f"The bundle's {component.where} takes the strongest of {found.channels} channel (argmax)."
        )
    if found.decision == "threshold" and not found.activation and found.threshold != 0:
        raise CardError(
            f"The bundle's {component.where} compares raw scores with {found.threshold:g}; expected sigmoid before it."
        )
    if any(label >= max(found.channels, 2) for label in found.largest):
        raise CardError(
            f"The bundle's {component.where} keeps the largest component of the labels {list(found.largest)}; there "
            f"are {found.channels} channels."
        )


def _activations(terms: Terms, found: After) -> None:
    soft, sigmoid = terms.flag("softmax"), terms.flag("sigmoid")
    terms.only("other", None)
    terms.only("dim", 0)
    if soft and sigmoid:
        raise terms.refused("softmax and sigmoid", [True, True], "one of them")
    if not soft and not sigmoid:
        return
    if found.activation or found.decision or found.back:
        raise CardError(
            f"{terms.component.place} comes again, or after labels were decided or brought back onto the image."
        )
    found.activation = "softmax" if soft else "sigmoid"


def _discrete(terms: Terms, found: After) -> None:
    argmax, threshold = terms.flag("argmax"), terms.take("threshold")
    terms.only("rounding", None)
    terms.only("dim", 0)
    one_hot = terms.take("to_onehot")
    threshold = threshold[0] if isinstance(threshold, list) and len(threshold) == 1 else threshold
    if found.decision or argmax == (threshold is not None):
        raise CardError(f"{terms.component.place} decides again, or not by one of argmax and threshold.")
    if one_hot not in (None, [None], found.channels, [found.channels]):
        raise terms.refused("to_onehot", one_hot, "nothing")
    found.decision = "classes" if argmax else "threshold"
    if not argmax:
        if isinstance(threshold, bool) or not isinstance(threshold, (int, float)):
            raise terms.refused("threshold", threshold, "a number")
        found.threshold = float(threshold)
    found.early = not found.back


def _invert(terms: Terms, found: After) -> None:
    nearest = terms.flag("nearest_interp", True)
    terms.only("post_func", None)
    if found.back:
        raise CardError(f"{terms.component.place} comes twice.")
    found.back = "nearest" if nearest else "linear"
    found.rounded = bool(found.decision) and not nearest


def _largest(terms: Terms, found: After) -> None:
    labels = terms.take("applied_labels")
    terms.only("independent", True)
    terms.only("connectivity", None, 3)
    terms.only("num_components", 1)
    terms.only("is_onehot", None, False)
    listed = [labels] if isinstance(labels, int) else labels
    if listed is None:
        listed = list(range(1, found.channels))
    if not isinstance(listed, list) or not all(type(label) is int and label > 0 for label in listed):
        raise terms.refused("applied_labels", labels, "a list of labels from 1")
    if found.decision != "classes":
        raise CardError(
            f"{terms.component.place} keeps the largest component of what argmax has not decided."
        )
    found.largest = tuple(listed)


def _nothing(terms: Terms, found: After) -> None:
    terms.only("dtype", "float32", "float16", "float64", "uint8", "int16", "int32", "int64", None)


_Read = Callable[[Terms, After], None]

_KNOWN: dict[str, tuple[_Read | None, tuple[str, ...]]] = {
    "Activationsd": (_activations, ()),
    "AsDiscreted": (_discrete, ()),
    "Invertd": (
        _invert,
        ("transform", "orig_keys", "orig_meta_keys", "to_tensor"),
    ),
    "KeepLargestConnectedComponentd": (_largest, ()),
    "EnsureTyped": (_nothing, ("data_type",)),
    "CastToTyped": (_nothing, ()),
    "ToTensord": (_nothing, ()),
    "ToDeviced": (_nothing, ()),
    "SaveImaged": (None, ()),
}
