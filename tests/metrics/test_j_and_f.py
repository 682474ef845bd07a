import json
import subprocess

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from glus_hf.media.rle import decode_rle
from glus_hf.metrics.j_and_f import ScoredMask, contour_accuracy, j_and_f, region_similarity
from tests.paths import ROOT
from tests.warm_python import warm_python


DATASETS = ROOT / "tests" / "fixtures" / "datasets"


def naive_contour(mask):
    """Pixel by pixel: a pixel is on the contour where it differs from a neighbour to the right, below or diagonal."""
    height, width = mask.shape
    contour = set()
    for y in range(height):
        for x in range(width):
            neighbours = [(y, x + 1), (y + 1, x), (y + 1, x + 1)]
            if any(v < height and u < width and mask[v, u] != mask[y, x] for v, u in neighbours):
                contour.add((y, x))
    return contour


def naive_contour_accuracy(prediction, target, bound=0.008):
    radius = bound if bound >= 1 else np.ceil(bound * np.sqrt(prediction.shape[0] ** 2 + prediction.shape[1] ** 2))
    a, b = naive_contour(prediction), naive_contour(target)
    if not a or not b:
        return 1.0 if not a and not b else 0.0

    def matched(points, others):
        return sum(any((y - v) ** 2 + (x - u) ** 2 <= radius**2 for v, u in others) for y, x in points) / len(points)

    precision, recall = matched(a, b), matched(b, a)
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


@st.composite
def mask_pairs(draw, max_side=24):
    """Two masks of one size, each empty, full, one pixel, a rectangle or noise."""
    height, width = draw(st.integers(1, max_side)), draw(st.integers(1, max_side))

    def mask():
        kind = draw(st.sampled_from(["empty", "full", "pixel", "rectangle", "noise"]))
        if kind in ("empty", "full"):
            return np.full((height, width), kind == "full")
        y, x = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        result = np.zeros((height, width), dtype=bool)
        if kind == "pixel":
            result[y, x] = True
        elif kind == "rectangle":
            result[y : y + draw(st.integers(1, height)), x : x + draw(st.integers(1, width))] = True
        else:
            result = np.random.default_rng(draw(st.integers(0, 1000))).random((height, width)) < 0.3
        return result

    return mask(), mask()


@settings(max_examples=150, deadline=None)
@given(mask_pairs(), st.sampled_from([0.008, 0.05, 0.2, 1, 2, 3, 7]))
def test_contour_accuracy_equals_the_naive_definition(masks, bound):
    assert contour_accuracy(*masks, bound) == naive_contour_accuracy(*masks, bound)


@settings(max_examples=80, deadline=None)
@given(mask_pairs())
def test_region_similarity_equals_the_naive_definition(masks):
    a, b = ({tuple(point) for point in np.argwhere(mask)} for mask in masks)
    assert region_similarity(*masks) == (len(a & b) / len(a | b) if a | b else 1.0)


@settings(max_examples=60, deadline=None)
@given(mask_pairs(), mask_pairs(), st.sampled_from([0.008, 0.1, 1, 3, 50]))
def test_a_prepared_mask_scores_as_a_new_one(masks, others, bound):
    target, *predictions = [paste(mask) for mask in (*masks, *others)]
    prepared = ScoredMask(target, bound)
    for prediction in [*predictions, target]:
        expected = region_similarity(prediction, target), contour_accuracy(prediction, target, bound)
        assert ScoredMask(prediction, bound).j_and_f(prepared) == expected
        assert prepared.j_and_f(ScoredMask(prediction, bound))[0] == expected[0]


def paste(mask):
    result = np.zeros((24, 24), dtype=bool)
    result[: mask.shape[0], : mask.shape[1]] = mask
    return result


@pytest.mark.parametrize("size", [(120, 213), (101, 64), (64, 257)])
def test_frames_wider_than_a_word(size):
    """Against the dense way: OpenCV's dilation of whole frames."""
    random = np.random.default_rng(0)
    for density in (0.0005, 0.01, 0.5):
        prediction, target = random.random((2, *size)) < density
        prediction[20:60, 10:50] ^= True
        target[22:61, 14:55] ^= True
        expected = dense_contour_accuracy(prediction, target)
        assert contour_accuracy(prediction, target) == expected
        assert contour_accuracy(np.asfortranarray(prediction), target) == expected


def dense_contour_accuracy(prediction, target):
    radius = int(np.ceil(0.008 * np.hypot(*target.shape)))
    offsets = np.arange(-radius, radius + 1)
    disk = (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(np.uint8)
    contours = []
    for mask in (prediction, target):
        contour = np.zeros(mask.shape, dtype=np.uint8)
        contour[:, :-1] |= mask[:, :-1] != mask[:, 1:]
        contour[:-1] |= mask[:-1] != mask[1:]
        contour[:-1, :-1] |= mask[:-1, :-1] != mask[1:, 1:]
        contours.append(contour)
    precision = (contours[0] * cv2.dilate(contours[1], disk)).sum() / contours[0].sum()
    recall = (contours[1] * cv2.dilate(contours[0], disk)).sum() / contours[1].sum()
    return 2 * precision * recall / (precision + recall)


def test_prepared_masks_must_fit():
    mask = ScoredMask(MASK)
    with pytest.raises(ValueError, match="make them equal"):
        mask.j_and_f(ScoredMask(np.zeros((6, 4), dtype=bool)))
    with pytest.raises(ValueError, match="tolerances"):
        mask.j_and_f(ScoredMask(MASK, bound=3))


def test_benchmark_compares_equal_scores():
    command = [*warm_python(), ROOT / "benchmarks" / "j_and_f.py", "--rounds", "1", "--sizes", "48x64"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [line for line in result.stdout.splitlines() if line.startswith("| 48x64")]
    assert len(rows) == 4 and all(row.count("|") == 8 for row in rows)


@settings(max_examples=50, deadline=None)
@given(mask_pairs())
def test_both_are_symmetric_bounded_and_one_for_equal_masks(masks):
    prediction, target = masks
    for metric in (region_similarity, contour_accuracy):
        assert 0 <= metric(prediction, target) <= 1
        assert metric(prediction, target) == pytest.approx(metric(target, prediction))
        assert metric(target, target) == 1


@pytest.mark.parametrize(("size", "radius"), [((360, 640), 6), ((480, 854), 8), ((720, 1280), 12)])
def test_tolerance_grows_with_the_image(size, radius):
    def column(x):
        mask = np.zeros(size, dtype=bool)
        mask[:, :x] = True
        return mask

    assert contour_accuracy(column(100), column(100 + radius)) == 1
    assert contour_accuracy(column(100), column(100 + radius + 1)) == 0


def test_empty_and_full_masks():
    empty, full = np.zeros((20, 30), dtype=bool), np.ones((20, 30), dtype=bool)
    pixel = empty.copy()
    pixel[7, 9] = True
    assert (region_similarity(empty, empty), contour_accuracy(empty, empty)) == (1, 1)
    assert (region_similarity(pixel, empty), contour_accuracy(pixel, empty)) == (0, 0)
    # the official definition: a full mask has no contour
    assert (region_similarity(full, empty), contour_accuracy(full, empty)) == (0, 1)


def test_j_and_f_averages_over_frames():
    targets = np.zeros((2, 20, 30), dtype=bool)
    targets[:, 5:10, 5:10] = True
    predictions = targets.copy()
    predictions[1] = False
    assert j_and_f(predictions, targets) == {"j": 0.5, "f": 0.5, "j_and_f": 0.5}


def test_numbers_of_the_official_evaluation():
    expected = json.loads((DATASETS / "expected_official.json").read_text())["mevis_valid_u"]
    root = DATASETS / "mevis" / "valid_u"
    runs = json.loads((root / "mask_dict.json").read_text())
    ((video, entry),) = json.loads((root / "meta_expressions.json").read_text())["videos"].items()
    results = []
    for number, expression in entry["expressions"].items():
        folder = DATASETS / "pred" / "mevis_valid_u" / video / number
        predictions = np.stack([np.asarray(Image.open(folder / f"{name}.png")) > 0 for name in entry["frames"]])
        size = predictions.shape[1:]
        objects = [[decode_rle(rle, size) for rle in runs[str(key)]] for key in expression["anno_id"]]
        results.append(j_and_f(predictions, np.any(objects, axis=0)))
        j, f = expected["per_expression"][number]
        assert results[-1] == {
            "j": j,
            "f": f,
            "j_and_f": (j + f) / 2,
        }
    assert len(results) == 3
    for key, name in (("j", "J"), ("f", "F"), ("j_and_f", "J&F")):
        assert np.mean([result[key] for result in results]) == pytest.approx(expected[name], abs=1e-12)


MASK = np.zeros((4, 6), dtype=bool)


@pytest.mark.parametrize("metric", [region_similarity, contour_accuracy])
@pytest.mark.parametrize(
    ("prediction", "target", "words"),
    [
        (MASK.astype(np.uint8), MASK, "boolean"),
        (MASK, MASK.astype(float), "threshold"),
        (MASK, np.zeros((4, 7), dtype=bool), "resize"),
        (MASK[None], MASK[None], "height, width"),
        (MASK[:0], MASK[:0], "empty"),
    ],
)
def test_wrong_masks_give_one_line(metric, prediction, target, words):
    with pytest.raises(ValueError, match=words) as error:
        metric(prediction, target)
    assert "\n" not in str(error.value)


def test_j_and_f_needs_frames_and_a_sensible_bound():
    with pytest.raises(ValueError, match="frames"):
        j_and_f(MASK[None][:0], MASK[None][:0])
    with pytest.raises(ValueError, match="frames"):
        j_and_f(MASK, MASK)
    with pytest.raises(ValueError, match="bound"):
        contour_accuracy(MASK, MASK, bound=-1)
