"""Training of networks with memory: loss, clips, plans, and a run from a CSV to scores."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from deepbio import io, load_model  # noqa: E402
from deepbio.cases.sequence import load_clips, read_sequences  # noqa: E402
from deepbio.errors import ImageError, OptionError  # noqa: E402
from deepbio.evaluation.sequence import evaluate_cases, score_series  # noqa: E402
from deepbio.image import Image, LabelMap  # noqa: E402
from deepbio.options import RunOptions  # noqa: E402
from deepbio.training import train  # noqa: E402
from deepbio.training.description import Description  # noqa: E402
from deepbio.training.families import guess_task, propose_plan  # noqa: E402
from deepbio.training.sequence import Wishes, make_plan, sequence_loss  # noqa: E402
from deepbio.training.sequence_data import clip_batches, ready_clips  # noqa: E402
from tests.core.tasks.sequences import beating  # noqa: E402


@pytest.fixture(scope="module")
def movies(tmp_path_factory):
    """Three movies of one slice, of which two frames are labelled."""
    folder = tmp_path_factory.mktemp("movies")
    rows = ["image,label,frames,split,patient"]
    for number, split in enumerate(("train", "train", "val")):
        image, labels = beating(6, 1, (33, 39))
        marks = labels.numpy()[:, 0].copy()
        marks[[1, 2, 4, 5]] = 0
        io.write(folder / f"{number}.tif", Image(image.numpy()[:, 0] + number, "TYX", image.plane(0).grid))
        io.write(folder / f"{number}-labels.tif", LabelMap(marks, "TYX", image.plane(0).grid))
        rows.append(f"{number}.tif,{number}-labels.tif,1;4,{split},p{number}")
    (folder / "movies.csv").write_text("\n".join(rows))
    return folder / "movies.csv"


def test_frames_that_are_not_labelled_do_not_count():
    torch.manual_seed(0)
    scores = torch.randn(1, 2, 4, 5, 6)
    labels = torch.randint(0, 2, (1, 4, 5, 6))
    labels[:, 1:3] = -1
    alone = sequence_loss(scores, labels, 0.0)
    changed = scores.clone()
    changed[:, :, 1:3] = 9.0
    assert sequence_loss(changed, labels, 0.0) == alone
    assert sequence_loss(scores, torch.full_like(labels, -1), 0.0) == 0


def test_what_grows_evenly_costs_nothing_and_what_comes_and_goes_does():
    labels = torch.full((1, 5, 8, 10), -1)

    def cost(sizes):
        inside = torch.stack([torch.arange(80).reshape(8, 10) < size for size in sizes])[None, None]
        return float(sequence_loss(torch.cat((~inside, inside), 1) * 40.0, labels, 2.0))

    assert cost((10, 14, 18, 22, 26)) == pytest.approx(0, abs=1e-8)
    # over the largest size and 30 pixels
    assert cost((0, 40, 0, 40, 0)) == pytest.approx(2 * (2 * 40 / 70) ** 2, rel=1e-5)


def test_a_region_that_is_half_there_is_not_steady():
    """Only what is decided counts: probabilities that cross a half everywhere at once are a jump."""
    labels = torch.full((1, 5, 8, 10), -1)
    probability = torch.linspace(0.1, 0.9, 5)[None, None, :, None, None].expand(1, 1, 5, 8, 10)
    crossing = torch.cat((1 - probability, probability), 1).log()
    rows = torch.stack([torch.arange(8)[:, None].expand(8, 10) < n for n in (1, 2, 4, 6, 7)])[None, None]
    growing = torch.cat((~rows, rows), 1) * 40.0
    assert float(sequence_loss(crossing, labels, 1.0)) > 4 * float(sequence_loss(growing, labels, 1.0))


@pytest.mark.parametrize(("shape", "labels"), [((2, 3, 4), (2, 4)), ((2, 3), (2,))])
def test_classes_of_which_none_is_known_cost_nothing(shape, labels):
    scores = torch.randn(*shape, requires_grad=True)
    loss = sequence_loss(scores, torch.full(labels, -1), 1.0)
    loss.backward()
    assert loss == 0


def test_a_batch_follows_from_its_step_and_holds_a_labelled_frame(movies):
    plan, _ = make_plan(movies, Wishes(steps=4, cyclic=True), Description())
    clips = ready_clips([c for case in read_sequences(movies) for c in load_clips(case, "segment")], plan)
    first = list(clip_batches(clips, plan, 0, 4))
    again = list(clip_batches(clips, plan, 2, 4))
    for one, other in zip(first[2:], again, strict=True):
        assert torch.equal(one.frames, other.frames)
        assert torch.equal(one.labels, other.labels)
    for batch in first:
        assert batch.frames.shape == (2, 1, plan.clip, *plan.patch)
        assert (batch.labels >= 0).flatten(2).all(2).any(1).all()
        assert set(batch.labels.unique().tolist()) <= {-1, 0, 1}


def test_a_still_is_made_to_beat_with_its_labels(movies):
    plan, _ = make_plan(movies, Wishes(steps=4), Description())
    clips = ready_clips([c for case in read_sequences(movies) for c in load_clips(case, "segment")], plan)
    from dataclasses import replace

    (batch,) = clip_batches(clips, replace(plan, animate=1.0, beat=0.4, scale=(1.0, 1.0)), 0, 1)
    assert (batch.labels >= 0).all()
    sizes = batch.labels.sum((2, 3))[0]
    assert sizes.max() > 1.05 * sizes.min()
    inside, outside = batch.frames[:, 0][batch.labels == 1], batch.frames[:, 0][batch.labels == 0]
    assert inside.mean() > outside.mean() + 0.5


def test_the_plan_follows_the_data_and_the_wishes(movies):
    assert guess_task(movies) == "sequence"
    plan = propose_plan(movies, Wishes(cell="gru", bidirectional=True, smooth=0.5, steps=7))
    assert (plan.kind, plan.frames, plan.classes, plan.steps) == ("segment", 6, ("class_1",), 7)
    assert plan.network["arguments"]["cell"] == "gru"
    begun = propose_plan(movies, Wishes(start="heart-lv"))
    assert (begun.learn, begun.grid["spacing"]) == ("memory", [1.33, 1.33])
    assert begun.network["arguments"]["features"] == [16, 32, 64, 128, 128, 128]
    assert propose_plan(movies, Wishes(start="heart-lv", memory_share=0.5)).memory_share == 0.5
    with pytest.raises(OptionError, match="not a 2D U-Net"):
        propose_plan(movies, Wishes(start="hippocampus"))
    with pytest.raises(OptionError, match="learned alone"):
        propose_plan(movies, Wishes(memory_share=0.5))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("image,class,split\n0.tif,a,train\n1.tif,a,train\n2.tif,a,val\n", "only the class"),
        ("image,class,split\n0-still.tif,a,train\n1-still.tif,b,val\n", "single frame"),
    ],
)
def test_data_that_teach_nothing_are_refused(movies, text, found):
    for number in range(2):
        io.write(movies.parent / f"{number}-still.tif", Image(np.zeros((9, 9), np.uint8)))
    path = movies.parent / "bad.csv"
    path.write_text(text)
    with pytest.raises(ImageError, match=found):
        propose_plan(path, Wishes())


def test_a_run_ends_in_a_package_with_scores(movies, tmp_path):
    wishes = Wishes(cell="gru", frames=3, patch=16, steps=4, ejection=True)
    plan = propose_plan(movies, wishes, task="sequence")
    plan.network["arguments"].update(features=[4, 6], levels=[1], hidden=[3])
    model = load_model(train(movies, tmp_path / "beats", plan=plan))
    assert model.card.task == "sequence"
    assert model.card.deepbio["scores"][0]["metric"] == "Dice at labelled frames"
    report = evaluate_cases(model, movies, "val", RunOptions())
    assert report.summary[0]["value"] == model.card.deepbio["scores"][0]["value"]
    assert report.table["labelled"].tolist() == [2]
    report.figure(tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 1000


def test_scores_of_a_series():
    truth = np.full((5, 2, 4, 4), -1)
    truth[[0, 2]] = 0
    truth[0, 0, :2], truth[2, 0, :1] = 1, 1  # 8 and 4 pixels; slice 1 is empty
    found = np.zeros((5, 2, 4, 4), int)
    found[:, 0, :2], found[2, 0], found[1, 1, 0, 0] = 1, 0, 1
    found[2, 0, :1, :2] = 1
    series = score_series(found, truth, 1, 0.5, "ml")
    assert series.dice == [1.0, 2 * 2 / 6]
    assert series.curve.tolist() == [4.0, 4.5, 1.0, 4.0, 4.0]
    assert series.inside.tolist() == [4.0, 4.0, 1.0, 4.0, 4.0]
    assert (series.fraction, series.reference) == (0.75, 0.5)
