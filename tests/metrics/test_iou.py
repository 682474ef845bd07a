import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glus_hf.metrics.iou import giou_ciou


@st.composite
def labelled_masks(draw):
    """Predictions (bool) and targets (0, 1, 255), some of them empty."""
    random = np.random.default_rng(draw(st.integers(0, 10_000)))
    pairs = []
    for _ in range(draw(st.integers(1, 5))):
        size = random.integers(1, 9, 2)
        prediction = random.random(size) < draw(st.sampled_from([0, 0.3, 1]))
        target = (random.random(size) < draw(st.sampled_from([0, 0.3, 1]))).astype(np.uint8)
        target[random.random(size) < draw(st.sampled_from([0, 0.2]))] = 255
        pairs.append((prediction, target))
    return pairs


def areas(prediction, target):
    cells = [(p, t) for p, t in zip(prediction.ravel().tolist(), target.ravel().tolist(), strict=True) if t != 255]
    return sum(p and t for p, t in cells), sum(bool(p or t) for p, t in cells)


@settings(max_examples=100, deadline=None)
@given(labelled_masks())
def test_lisa_equals_the_naive_definition(pairs):
    counts = [areas(*pair) for pair in pairs]
    scores = giou_ciou(*zip(*pairs, strict=True))
    per_mask = [intersection / (union + 1e-5) if union else 1 for intersection, union in counts]
    assert scores["gIoU"] == pytest.approx(np.mean(per_mask), abs=1e-12)
    assert scores["cIoU"] == pytest.approx(sum(i for i, _ in counts) / (sum(u for _, u in counts) + 1e-10), abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(labelled_masks())
def test_gres_equals_the_naive_definition(pairs):
    counts = [areas(*pair) for pair in pairs]
    scores = giou_ciou(*zip(*pairs, strict=True), convention="gres")
    assert scores["gIoU"] == pytest.approx(np.mean([i / u if u else 1 for i, u in counts]))
    union = sum(u for _, u in counts)
    assert scores["cIoU"] == (pytest.approx(sum(i for i, _ in counts) / union) if union else None)


def test_conventions_without_target():
    nothing, something = np.zeros((2, 2), dtype=bool), np.ones((2, 2), dtype=bool)
    # answered rightly with nothing, wrongly with something, and a target that was missed
    pairs = [nothing, something, nothing], [nothing, nothing, something]
    gres = giou_ciou(*pairs, convention="gres")
    assert gres == {"gIoU": pytest.approx(1 / 3), "cIoU": 0, "N-acc": 0.5, "T-acc": 0}
    assert giou_ciou(*pairs)["gIoU"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("prediction", "target", "words"),
    [
        (np.zeros((2, 2)), np.zeros((2, 2), dtype=bool), "prediction 0 must be boolean"),
        (np.zeros((2, 2), dtype=bool), np.zeros((2, 3), dtype=bool), "resize"),
        (np.zeros((2, 2), dtype=bool), np.full((2, 2), 7, dtype=np.uint8), "target 0 has values"),
        (np.zeros((2, 2), dtype=bool), np.zeros((2, 2)), "target 0 must be"),
    ],
)
def test_wrong_masks_give_one_line(prediction, target, words):
    with pytest.raises(ValueError, match=words) as error:
        giou_ciou([prediction], [target])
    assert "\n" not in str(error.value)


def test_wrong_calls():
    mask = np.zeros((2, 2), dtype=bool)
    with pytest.raises(ValueError, match="no mask"):
        giou_ciou([], [])
    with pytest.raises(ValueError, match="lisa or gres"):
        giou_ciou([mask], [mask], convention="coco")
    with pytest.raises(ValueError, match="longer"):
        giou_ciou([mask], [mask, mask])
