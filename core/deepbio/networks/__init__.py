"""The networks that a card can name: ``NETWORKS`` maps a name to its builder.

A card gives a name from this table and plain arguments; it can never name a module to import.
torch is imported only when a network is built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from deepbio.errors import CardError, MissingPackage

if TYPE_CHECKING:
    from torch import nn

__all__ = ["NETWORKS", "build"]


def _unet(**arguments: Any) -> nn.Module:
    from deepbio.networks.unet import UNet

    return UNet(**arguments)


def _guided_unet(**arguments: Any) -> nn.Module:
    from deepbio.networks.guided import GuidedUNet

    return GuidedUNet(**arguments)


def _style_unet(**arguments: Any) -> nn.Module:
    from deepbio.networks.style import StyleUNet

    return StyleUNet(**arguments)


def _star_unet(**arguments: Any) -> nn.Module:
    from deepbio.networks.star import StarUNet

    return StarUNet(**arguments)


def _star_resnet(**arguments: Any) -> nn.Module:
    from deepbio.networks.star_resnet import StarResNet

    return StarResNet(**arguments)


def _ensemble(**arguments: Any) -> nn.Module:
    from deepbio.networks.ensemble import Ensemble

    return Ensemble(**arguments)


def _sequence_unet(**arguments: Any) -> nn.Module:
    from deepbio.networks.sequence import SequenceUNet

    return SequenceUNet(**arguments)


def _sequence_classifier(**arguments: Any) -> nn.Module:
    from deepbio.networks.sequence import SequenceClassifier

    return SequenceClassifier(**arguments)


def _classifier(**arguments: Any) -> nn.Module:
    from deepbio.networks.classifier import Classifier

    return Classifier(**arguments)


def _restorer(**arguments: Any) -> nn.Module:
    from deepbio.networks.restorer import Restorer

    return Restorer(**arguments)


def _autoencoder(**arguments: Any) -> nn.Module:
    from deepbio.networks.autoencoder import Autoencoder

    return Autoencoder(**arguments)


def _variational_autoencoder(**arguments: Any) -> nn.Module:
    from deepbio.networks.autoencoder import VariationalAutoencoder

    return VariationalAutoencoder(**arguments)


def _code_encoder(**arguments: Any) -> nn.Module:
    from deepbio.networks.flow import CodeEncoder

    return CodeEncoder(**arguments)


def _flow_generator(**arguments: Any) -> nn.Module:
    from deepbio.networks.flow import FlowGenerator

    return FlowGenerator(**arguments)


def _style_generator(**arguments: Any) -> nn.Module:
    from deepbio.networks.gan import StyleGenerator

    return StyleGenerator(**arguments)


def _projected_discriminator(**arguments: Any) -> nn.Module:
    from deepbio.networks.projected import ProjectedDiscriminator

    return ProjectedDiscriminator(**arguments)


def _style_discriminator(**arguments: Any) -> nn.Module:
    from deepbio.networks.gan import StyleDiscriminator

    return StyleDiscriminator(**arguments)


def _patch_discriminator(**arguments: Any) -> nn.Module:
    from deepbio.networks.gan import PatchDiscriminator

    return PatchDiscriminator(**arguments)


NETWORKS: dict[str, Callable[..., Any]] = {
    "unet": _unet,
    "guided_unet": _guided_unet,
    "style_unet": _style_unet,
    "star_unet": _star_unet,
    "star_resnet": _star_resnet,
    "ensemble": _ensemble,
    "sequence_unet": _sequence_unet,
    "sequence_classifier": _sequence_classifier,
    "classifier": _classifier,
    "restorer": _restorer,
    "autoencoder": _autoencoder,
    "variational_autoencoder": _variational_autoencoder,
    "code_encoder": _code_encoder,
    "flow_generator": _flow_generator,
    "style_generator": _style_generator,
    "projected_discriminator": _projected_discriminator,
    "style_discriminator": _style_discriminator,
    "patch_discriminator": _patch_discriminator,
}


def build(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Build the network that a card names.

    Parameters
    ----------
    name : str
        A key of `NETWORKS`.
    arguments : mapping
        Keyword arguments of its builder, as they stand on the card (lists for tuples are fine).

    Returns
    -------
    torch.nn.Module
        The network with random weights.

    Raises
    ------
    CardError
        If the name is unknown or the arguments do not fit.
    MissingPackage
        If torch is not installed.
    """
    if name not in NETWORKS:
        raise CardError(f"The card names the network {name!r}; known are {', '.join(sorted(NETWORKS))}.")
    if find_spec("torch") is None:
        raise MissingPackage("torch", f"The network {name!r}", extra="torch")
    try:
        return NETWORKS[name](**arguments)
    except (TypeError, ValueError) as error:
        raise CardError(
            f"The network {name!r} cannot be built from the card's arguments: {error}."
        ) from error
