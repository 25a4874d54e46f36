"""Weights under our names: every kind of key, turned kernels, biases that a normalisation takes away."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from deepbio.errors import WeightsError  # noqa: E402
from deepbio.importing.nnunet_state import our_state  # noqa: E402
from deepbio.networks.unet import UNet  # noqa: E402

PATH = Path("fold_0/checkpoint_final.pth")


def _theirs(bias: bool, norm: str = "instance") -> dict[str, torch.Tensor]:
    """State of a PlainConvUNet of two stages, one convolution each, kernels of 3 x 1 x 5."""
    state: dict[str, torch.Tensor] = {}
    drawn = torch.Generator().manual_seed(0)

    def block(place: str, inputs: int, outputs: int) -> None:
        conv = nn.Conv3d(inputs, outputs, (3, 1, 5))
        norms = nn.BatchNorm3d(outputs) if norm == "batch" else nn.InstanceNorm3d(outputs, affine=True)
        for kind, module in (("conv", conv), ("norm", norms)):
            for key, value in module.state_dict().items():
                if key == "bias" and kind == "conv" and not bias:
                    continue
                filled = torch.rand(value.shape, generator=drawn) if value.is_floating_point() else value
                state[f"{place}.{kind}.{key}"] = filled
                state[f"{place}.all_modules.{'01'[kind == 'norm']}.{key}"] = filled

    block("encoder.stages.0.0.convs.0", 2, 3)
    block("encoder.stages.1.0.convs.0", 3, 4)
    block("decoder.stages.0.convs.0", 6, 3)
    state |= {f"decoder.{key}": value for key, value in list(state.items()) if key.startswith("encoder.")}
    state["decoder.transpconvs.0.weight"] = torch.rand((4, 3, 1, 2, 3), generator=drawn)
    if bias:
        state["decoder.transpconvs.0.bias"] = torch.rand(3, generator=drawn)
    state["decoder.seg_layers.0.weight"] = torch.rand((5, 3, 1, 1, 1), generator=drawn)
    state["decoder.seg_layers.0.bias"] = torch.rand(5, generator=drawn)
    return state


def _ours(kernel: tuple[int, ...], stride: tuple[int, ...], norm: str = "instance") -> UNet:
    return UNet(
        3, 2, 5, features=(3, 4), kernels=(kernel,) * 2, strides=((1, 1, 1), stride), convs=(1, 1), decoder_convs=1,
        norm=norm,
    ).eval()  # fmt: skip


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
def test_every_weight_has_its_place(bias: bool, prefix: str) -> None:
    net = _ours((3, 1, 5), (1, 2, 3))
    theirs = _theirs(bias)
    given = {prefix + key: value for key, value in theirs.items()}
    found = our_state(given, net.state_dict(), stages=2, order=(0, 1, 2), path=PATH)
    net.load_state_dict(found)
    assert torch.equal(found["encoder.1.0.0.weight"], theirs["encoder.stages.1.0.convs.0.conv.weight"])
    assert torch.equal(found["decoder.0.0.1.bias"], theirs["decoder.stages.0.convs.0.norm.bias"])
    assert torch.equal(found["heads.0.bias"], theirs["decoder.seg_layers.0.bias"])
    expected = theirs["decoder.transpconvs.0.bias"] if bias else torch.zeros(3)
    assert torch.equal(found["up.0.bias"], expected)


def test_a_turned_network_gives_the_turned_scores() -> None:
    plain, turned = _ours((3, 1, 5), (1, 2, 3)), _ours((5, 3, 1), (3, 1, 2))
    theirs, order = _theirs(bias=True), (2, 0, 1)
    for net, axes in ((plain, (0, 1, 2)), (turned, order)):
        net.load_state_dict(our_state(theirs, net.state_dict(), stages=2, order=axes, path=PATH))
    image = torch.rand(1, 2, 5, 8, 9, generator=torch.Generator().manual_seed(1))
    expected = plain(image).permute(0, 1, *(2 + axis for axis in order))
    found = turned(image.permute(0, 1, *(2 + axis for axis in order)))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_batch_normalisation_takes_the_bias_of_the_convolution() -> None:
    theirs = _theirs(bias=True, norm="batch")
    net = _ours((3, 1, 5), (1, 2, 3), norm="batch")
    found = our_state(theirs, net.state_dict(), stages=2, order=(0, 1, 2), path=PATH)
    place = "encoder.stages.0.0.convs.0"
    mean = theirs[f"{place}.norm.running_mean"] - theirs[f"{place}.conv.bias"]
    assert torch.equal(found["encoder.0.0.1.running_mean"], mean)
    net.load_state_dict(found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("decoder.seg_layers.0.bias"), "1 are missing, such as heads.0.bias"),
        (
            lambda s: s.update({"encoder.extra.weight": torch.zeros(1)}),
            "no place, such as encoder.extra.weight",
        ),
        (
            lambda s: s.update({"encoder.stages.0.0.convs.0.conv.weight": torch.zeros(3, 2, 3, 3, 3)}),
            r"encoder.0.0.0.weight has shape \(3, 2, 3, 3, 3\) instead of \(3, 2, 3, 1, 5\)",
        ),
    ],
)
def test_weights_that_do_not_fit_are_told(change, message: str) -> None:
    theirs = _theirs(bias=True)
    change(theirs)
    expected = _ours((3, 1, 5), (1, 2, 3)).state_dict()
    with pytest.raises(WeightsError, match=message):
        our_state(theirs, expected, stages=2, order=(0, 1, 2), path=PATH)
