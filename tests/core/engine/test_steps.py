"""The processing steps of BioImage.IO against numbers from bioimageio.core.

EXPECTED was made with bioimageio.core 0.11.0 and bioimageio.spec 0.5.12: for every row, the operators from
``bioimageio.core.proc_ops.get_proc`` ran one after the other on PHANTOM (as float32, with a batch axis), the
measures that each needs taken by ``StatsCalculator`` from its own input; written down is the result at PLACES.
"""

import numpy as np
import pytest

from deepbio.engine import statistics
from deepbio.engine.operators import known_steps
from deepbio.engine.steps import (
    apply_output_steps,
    apply_steps,
    needs_whole,
    prepare,
)
from deepbio.errors import CardError, InputMismatch
from deepbio.library.card import Step
from deepbio.library.tensors import STEP_IDS

AXES = ("channel", "z", "y", "x")
SHAPE = (2, 5, 7, 11)
PHANTOM = (np.arange(770) * 7919 % 2003 - 700).astype(np.int16).reshape(SHAPE)
PHANTOM[1] += 300
REFERENCE = (np.arange(770) * 31 % 97).astype(np.float32).reshape(SHAPE)
PLACES = ((0, 0, 0, 1), (0, 4, 6, 10), (1, 2, 3, 5), (1, 0, 6, 4))
ZYX = ["z", "y", "x"]
CZYX = ["channel", *ZYX]

# name, steps, values at PLACES
EXPECTED = [
    ("ensure_uint8", [("clip", {"min": 0.0, "max": 255.0}), ("scale_linear", {"gain": 0.37}), ("ensure_dtype", {"dtype": "uint8"})], [94.0, 0.0, 7.0, 94.0]),
    ("ensure_bool", [("clip", {"min": 0.0}), ("ensure_dtype", {"dtype": "bool"})], [1.0, 0.0, 1.0, 1.0]),
    ("binarize", [("binarize", {"threshold": 20.0})], [1.0, 0.0, 0.0, 1.0]),
    ("clip", [("clip", {"min": -350.0, "max": 1000.0})], [1000.0, -350.0, 20.0, 1000.0]),
    ("clip_percentiles", [("clip", {"min_percentile": 20.0, "max_percentile": 77.0, "axes": ZYX})], [844.0, -293.0, 20.0, 1150.0]),
    ("clip_jointly", [("clip", {"min_percentile": 20.0, "max_percentile": 77.0})], [993.26001, -144.2, 20.0, 993.26001]),
    ("scale_linear", [("scale_linear", {"gain": 0.01, "offset": -2.0})], [10.099999, -5.5799999, -1.8, 11.509999]),
    ("scale_linear_channels", [("scale_linear", {"axis": "channel", "gain": [0.5, 0.1], "offset": [0.0, 1.0]})], [605.0, -179.0, 3.0, 136.10001]),
    ("sigmoid", [("scale_linear", {"gain": 0.002}), ("sigmoid", {})], [0.91833979, 0.3282744, 0.50999868, 0.93714458]),
    ("softmax", [("scale_linear", {"gain": 0.002}), ("softmax", {"axis": "channel"})], [0.94824052, 0.25011483, 0.7498852, 0.7498852]),
    ("zero_mean", [("zero_mean_unit_variance", {})], [1.2638859, -1.3632567, -0.72992766, 1.5001277]),
    ("zero_mean_channels", [("zero_mean_unit_variance", {"axes": ZYX})], [1.5736246, -1.1480672, -1.0169524, 1.2854435]),
    ("fixed", [("fixed_zero_mean_unit_variance", {"mean": 10.0, "std": 3.0})], [399.99988, -122.66663, 3.3333323, 446.99985]),
    ("fixed_channels", [("fixed_zero_mean_unit_variance", {"axis": "channel", "mean": [1.0, 2.0], "std": [4.0, 5.0]})], [302.24994, -89.749977, 3.5999992, 269.79996]),
    ("scale_range", [("scale_range", {})], [0.83007389, 0.14863104, 0.31290743, 0.89135158]),
    ("scale_range_channels", [("scale_range", {"axes": ZYX, "min_percentile": 1.0, "max_percentile": 99.8})], [0.95631194, 0.16550466, 0.20042789, 0.87586218]),
    ("scale_range_jointly", [("scale_range", {"axes": ["batch", *CZYX], "min_percentile": 5.0})], [0.81361872, 0.066186808, 0.24637128, 0.88083035]),
    ("scale_range_reference", [("scale_range", {"axes": ZYX, "min_percentile": 5.0, "reference_tensor": "ref"})], [13.241758, -3.989011, 0.17211328, 14.671023]),
    ("scale_mean_variance", [("scale_mean_variance", {"reference_tensor": "ref", "axes": ZYX})], [92.156883, 15.959724, 19.586729, 84.073586]),
    ("chain", [("clip", {"min_percentile": 2.0, "max_percentile": 97.0, "axes": ZYX}), ("scale_range", {"axes": ZYX}), ("clip", {"min": 0.1, "max": 0.9}), ("zero_mean_unit_variance", {"axes": CZYX})], [1.4023279, -1.2331094, -1.0981222, 1.3972659]),
]  # fmt: skip


def steps_of(rows):
    return [Step(name, kwargs) for name, kwargs in rows]


def at_places(array):
    return [float(array[place]) for place in PLACES]


@pytest.fixture(params=EXPECTED, ids=[row[0] for row in EXPECTED])
def case(request):
    _, rows, values = request.param
    return steps_of(rows), pytest.approx(values, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("dtype", ["int16", "int32", "float32", "float64"])
def test_whole_images_agree_with_bioimageio_core(case, dtype):
    steps, expected = case
    image = PHANTOM.astype(dtype)
    normalise = prepare(image, AXES, steps, {"ref": REFERENCE})
    found = normalise(image)
    assert found.dtype == np.float32
    assert at_places(found) == expected
    assert np.array_equal(image, PHANTOM), "the caller's pixels were changed"


def test_arrays_in_memory_agree_with_bioimageio_core(case):
    steps, expected = case
    assert at_places(apply_steps(PHANTOM, AXES, steps, {"ref": REFERENCE})) == expected


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_tiles_are_normalised_as_the_whole(case, dtype, monkeypatch):
    monkeypatch.setattr(statistics, "BLOCK", 60)  # many blocks, along two axes
    steps, _ = case
    image = PHANTOM.astype(dtype)
    whole = apply_steps(image, AXES, steps, {"ref": REFERENCE})
    normalise = prepare(image, AXES, steps, {"ref": REFERENCE})
    part = np.s_[:, 1:4, 2:, 3:9]
    np.testing.assert_allclose(normalise(image[part]), whole[part], rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("order", [(1, 2, 3, 0), (2, 0, 1, 3)])
def test_channels_may_stand_anywhere(case, order):
    steps, expected = case
    axes = tuple(AXES[k] for k in order)
    image, other = np.transpose(PHANTOM, order), np.transpose(REFERENCE, order)
    found = prepare(image, axes, steps, {"ref": other})(image)
    assert at_places(np.transpose(found, np.argsort(order))) == expected


@pytest.mark.parametrize("name", ["zero_mean_unit_variance", "scale_range"])
@pytest.mark.parametrize("value", [0, 7, 65535, 0.1, 1000.1])
def test_constant_images_become_zero(name, value):
    image = np.full((1, 5, 7), value, np.float32 if isinstance(value, float) else np.uint16)
    found = prepare(image, ("channel", "y", "x"), [Step(name, {"axes": ["y", "x"]})])(image)
    np.testing.assert_allclose(found, 0, atol=1e-3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("steps", [[], [Step("zero_mean_unit_variance")], [Step("clip", {"min": 0})]])
def test_pixels_that_are_not_numbers_are_refused(bad, steps):
    image = np.zeros((1, 5, 7), np.float32)
    image[0, 3, 4] = bad
    with pytest.raises(InputMismatch, match="1 NaN or infinite"):
        prepare(image, ("channel", "y", "x"), steps)(image)


def test_integers_saturate_where_bioimageio_core_wraps():
    steps = [Step("ensure_dtype", {"dtype": "uint8"})]
    assert apply_steps(np.array([[-3.0, 1.9, 300.0]]), ("y", "x"), steps).tolist() == [[0.0, 1.0, 255.0]]


def test_eps_of_the_card_is_used():
    image = np.array([[0.0, 10.0]])
    steps = [Step("scale_range", {"eps": 0.1})]
    assert apply_steps(image, ("y", "x"), steps)[0, 1] == pytest.approx(10 / 10.1)


def test_binarize_along_the_channels():
    steps = [Step("binarize", {"threshold": [0.5, 2.0], "axis": "channel"})]
    found = apply_steps(np.ones((2, 1, 3)), ("channel", "y", "x"), steps)
    assert found[:, 0, 0].tolist() == [1.0, 0.0]


def test_scores_are_processed_in_place():
    scores = np.zeros((3, 5, 7), np.float32)
    found = apply_output_steps(scores, [Step("sigmoid")])
    assert np.shares_memory(found, scores)
    assert (found == 0.5).all()


def test_statistics_per_slice_need_the_whole_array():
    steps = [Step("zero_mean_unit_variance", {"axes": ["y", "x"]})]
    found = apply_steps(PHANTOM, AXES, steps)
    np.testing.assert_allclose(found.mean(axis=(2, 3)), 0, atol=1e-6)
    with pytest.raises(CardError, match="statistics per 'z'"):
        prepare(PHANTOM, AXES, steps)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (Step("os.system"), "not known"),
        (Step("clip", {}), "neither a lower nor an upper"),
        (Step("clip", {"min": "low"}), "min 'low'; expected a number"),
        (Step("scale_range", {"min_percentile": 99, "max_percentile": 1}), "percentiles 99.0 and 1.0"),
        (Step("zero_mean_unit_variance", {"axes": "yx"}), "axes 'yx'; expected a list"),
        (Step("binarize", {}), "wrong arguments"),
        (Step("ensure_dtype", {"dtype": "float99"}), "wrong arguments"),
        (Step("softmax", {"axis": "time"}), "value per 'time'"),
        (Step("scale_linear", {"gain": [1.0, 2.0], "axis": "y"}), "value per 'y'"),
        (Step("scale_mean_variance", {"reference_tensor": "raw"}), "refers to the tensor 'raw'"),
    ],
    ids=lambda value: value.id if isinstance(value, Step) else "",
)
def test_wrong_steps_are_card_errors(step, message):
    with pytest.raises(CardError, match=message):
        prepare(PHANTOM, AXES, [step])


def test_axes_must_fit_the_image():
    with pytest.raises(CardError, match="shape"):
        prepare(PHANTOM, ("channel", "y", "x"), [])


def test_only_statistics_need_the_whole_image():
    local = [
        Step(name)
        for name in STEP_IDS
        if name not in ("zero_mean_unit_variance", "scale_range", "scale_mean_variance")
    ]
    assert not needs_whole(local)
    assert needs_whole([Step("clip", {"max_percentile": 99.0})])


def test_the_reader_knows_the_same_steps():
    assert sorted(known_steps()) == sorted(STEP_IDS)
