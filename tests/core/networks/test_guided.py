"""A U-Net that sees labels beside the image."""

import pytest

torch = pytest.importorskip("torch")

from deepbio.errors import CardError  # noqa: E402
from deepbio.networks import build  # noqa: E402

ARGUMENTS = {"dims": 3, "in_channels": 4, "out_channels": 3, "features": [4, 6], "norm": "instance"}


def test_labels_become_a_channel_each() -> None:
    torch.manual_seed(0)
    guided = build("guided_unet", {**ARGUMENTS, "labels": 2}).eval()
    plain = build("unet", ARGUMENTS).eval()
    plain.load_state_dict(guided.state_dict())  # the same network behind it
    image, labels = torch.randn(2, 2, 4, 6, 10), torch.randint(0, 3, (2, 1, 4, 6, 10))
    classes = torch.cat([(labels == label).float() for label in (1, 2)], dim=1)
    with torch.inference_mode():
        found = guided(torch.cat((image, labels.float()), dim=1))
        torch.testing.assert_close(found, plain(torch.cat((image, classes), dim=1)))
        # what is no class is background
        odd = guided(torch.cat((image, torch.full_like(labels, 7).float()), dim=1))
        torch.testing.assert_close(odd, guided(torch.cat((image, torch.zeros_like(labels).float()), dim=1)))
    assert guided.divisor == (2, 2, 2)


def test_an_ensemble_of_them_is_their_mean() -> None:
    members = {"network": "guided_unet", "arguments": {**ARGUMENTS, "labels": 2}, "members": 2}
    both = build("ensemble", members).eval()
    x = torch.cat((torch.randn(1, 2, 4, 4, 4), torch.ones(1, 1, 4, 4, 4)), dim=1)
    with torch.inference_mode():
        mean = (both.members[0](x) + both.members[1](x)) / 2
        torch.testing.assert_close(both(x), mean)


@pytest.mark.parametrize("labels", [0, 4])
def test_impossible_numbers_of_classes_are_refused(labels: int) -> None:
    with pytest.raises(CardError, match=f"4 channels are none of an image and {labels} classes"):
        build("guided_unet", {**ARGUMENTS, "labels": labels})
