"""Networks with memory: shapes, equality of windows, parts and single frames, and what they begin with."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from deepbio.errors import CardError
from deepbio.networks import build
from deepbio.networks.recurrent import Recurrent
from deepbio.networks.sequence import fold_sequence

SEGMENTER = {"in_channels": 2, "out_channels": 3, "features": [4, 6, 8], "levels": [1, 2], "hidden": [3, 5]}
CLASSIFIER = {"in_channels": 2, "out_channels": 4, "features": [4, 6], "hidden": 5}


def _awake(network):
    """A network whose memory counts: trained weights are not zero any more."""
    torch.manual_seed(3)
    for addition in getattr(network, "additions", ()):
        nn.init.normal_(addition.weight, std=0.5)
    return network.eval()


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_scores_have_the_size_of_the_frames(cell, bidirectional):
    net = _awake(build("sequence_unet", {**SEGMENTER, "cell": cell, "bidirectional": bidirectional}))
    assert net(torch.rand(2, 2, 5, 12, 20)).shape == (2, 3, 5, 12, 20)
    assert net.divisor == (4, 4)


@pytest.mark.parametrize(("per", "shape"), [("frame", (2, 4, 5)), ("sequence", (2, 4))])
def test_a_classifier_tells_of_frames_or_of_the_sequence(per, shape):
    net = build("sequence_classifier", {**CLASSIFIER, "per": per, "bidirectional": True}).eval()
    assert net(torch.rand(2, 2, 5, 9, 13)).shape == shape


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize(
    ("name", "arguments"),
    [("sequence_unet", SEGMENTER), ("sequence_classifier", {**CLASSIFIER, "per": "frame"})],
)
@pytest.mark.parametrize("parts", [(1,) * 7, (3, 4), (5, 1, 1)])
def test_the_state_carried_over_gives_the_scores_of_the_whole(cell, name, arguments, parts):
    net = _awake(build(name, {**arguments, "cell": cell}))
    movie = torch.rand(1, 2, 7, 8, 12)
    states, found = None, []
    with torch.no_grad():
        for part in movie.split(parts, dim=2):
            scores, states = net.run(part, states)
            found.append(scores)
        whole = net(movie)
        alone = net(movie[:, :, 3:4])
    torch.testing.assert_close(torch.cat(found, dim=2), whole, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(alone[:, :, 0], whole[:, :, 3], atol=1e-3)  # so it does remember


def test_one_direction_does_not_see_later_frames_and_two_do():
    movie = torch.rand(1, 2, 6, 8, 12)
    changed = movie.clone()
    changed[:, :, 4:] = 0
    for bidirectional in (False, True):
        net = _awake(build("sequence_unet", {**SEGMENTER, "bidirectional": bidirectional}))
        with torch.no_grad():
            same = torch.equal(net(movie)[:, :, :4], net(changed)[:, :, :4])
        assert same is not bidirectional


def test_it_begins_with_the_scores_of_its_unet():
    net = build("sequence_unet", SEGMENTER).eval()
    movie = torch.rand(2, 2, 3, 8, 12)
    frames = torch.stack([net.unet(movie[:, :, t]) for t in range(3)], dim=2)
    torch.testing.assert_close(net(movie), frames)


def test_a_share_of_the_memory_lies_between_the_unet_and_all_of_it():
    torch.manual_seed(0)
    net = build(
        "sequence_unet",
        {"in_channels": 1, "out_channels": 2, "features": [4, 8], "levels": [0], "hidden": [3]},
    )
    net.eval()
    x = torch.randn(1, 1, 5, 12, 20)
    with torch.no_grad():
        alone = net(x)
        torch.nn.init.normal_(net.additions[0].weight)
        torch.nn.init.normal_(net.additions[0].bias)
        whole = net(x)
        net.keep_share(0.25)
        quarter = net(x)
        net.keep_share(0)
        nothing = net(x)
    assert not torch.allclose(whole, alone, atol=1e-2)
    # at full resolution the scores are linear in what is added
    torch.testing.assert_close(quarter, alone + 0.25 * (whole - alone), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(nothing, alone)


def test_folded_for_prediction_it_gives_the_same_scores():
    net = _awake(build("sequence_unet", SEGMENTER))
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    movie = torch.rand(1, 2, 3, 8, 12)
    folded = fold_sequence(net)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    torch.testing.assert_close(folded(movie), net(movie), rtol=1e-4, atol=1e-4)
    packed = build("sequence_unet", {**SEGMENTER, "norm": "none"})
    packed.load_state_dict(folded.state_dict())


def test_a_gru_does_what_that_of_torch_does():
    """Same equations; torch orders the gates as reset, update, new and has two biases."""
    ours, theirs = Recurrent("gru", 3, 4, kernel=0), nn.GRU(3, 4, batch_first=True)
    cell = ours.forwards
    order = [*range(4, 8), *range(4), *range(8, 12)]
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(cell.from_frame.weight[order])
        theirs.bias_ih_l0.copy_(cell.from_frame.bias[order])
        theirs.weight_hh_l0.copy_(cell.from_state.weight[order])
        theirs.bias_hh_l0.zero_()
        frames = torch.rand(2, 5, 3)
        torch.testing.assert_close(ours(frames)[0], theirs(frames)[0])


def test_an_lstm_does_what_that_of_torch_does():
    ours, theirs = Recurrent("lstm", 3, 4, kernel=0), nn.LSTM(3, 4, batch_first=True)
    cell = ours.forwards
    order = [*range(8), *range(12, 16), *range(8, 12)]
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(cell.from_frame.weight[order])
        theirs.bias_ih_l0.copy_(cell.from_frame.bias[order])
        theirs.weight_hh_l0.copy_(cell.from_state.weight[order])
        theirs.bias_hh_l0.zero_()
        frames = torch.rand(2, 5, 3)
        torch.testing.assert_close(ours(frames)[0], theirs(frames)[0])


@pytest.mark.parametrize(
    ("name", "arguments", "found"),
    [
        ("sequence_unet", {**SEGMENTER, "cell": "rnn"}, "no cell 'rnn'"),
        ("sequence_unet", {**SEGMENTER, "levels": [1]}, "one entry each"),
        ("sequence_unet", {**SEGMENTER, "levels": [1, 3]}, "0 to 2"),
        ("sequence_classifier", {**CLASSIFIER, "per": "movie"}, "'movie'"),
    ],
)
def test_what_cannot_be_built_is_told(name, arguments, found):
    with pytest.raises(CardError, match=found):
        build(name, arguments)
