import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glus_hf.metrics.robustness import pixel_accuracy, robustness


def naive(prediction, target, foreground):
    """A and R with Python's integers, wrapped by hand where bytes wrap."""
    pixels = list(zip(prediction.ravel().tolist(), target.ravel().tolist(), strict=True))
    wrap = 256 if prediction.dtype == np.uint8 else 2**63
    false = sum(((1 - t) % wrap * p) % wrap if wrap == 256 else (1 - t) * p for p, t in pixels)
    accuracy = sum(p == t for p, t in pixels) / len(pixels)
    return accuracy, max(1 - false / (foreground.sum().item() + 1e-6), 0.0)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.booleans(), st.integers(0, 10_000))
def test_both_equal_the_naive_definition(height, width, raw, seed):
    random = np.random.default_rng(seed)
    foreground = random.random((height, width)) < 0.6
    if raw:
        prediction = random.choice(np.array([0, 1, 2, 255], dtype=np.uint8), (height, width))
        target = random.integers(0, 3, (height, width), dtype=np.uint8)
    else:
        prediction, target = random.random((2, height, width)) < 0.5
    expected = naive(prediction, target, foreground)
    assert (pixel_accuracy(prediction, target), robustness(prediction, target, foreground)) == expected


def test_bytes_of_a_png_punish_false_pixels_255_times():
    target = np.zeros((30, 40), dtype=bool)
    target[:20, :30] = True
    prediction = target.copy()
    prediction[25, :3] = True  # 3 false pixels of 600
    assert robustness(prediction, target, target) == pytest.approx(0.995)
    raw = prediction * np.uint8(255)
    assert robustness(raw, target.astype(np.uint8), target) == 0
    assert pixel_accuracy(raw, target.astype(np.uint8)) == pytest.approx(597 / 1200)


def test_overlapping_targets_wrap_around_in_bytes():
    objects = np.array([[1, 2, 0]], dtype=np.uint8)
    perfect = objects > 0
    assert robustness(perfect.astype(np.uint8), objects, perfect) == 0
    assert robustness(perfect, perfect, perfect) == 1


def test_wrong_inputs():
    mask = np.zeros((2, 3), dtype=bool)
    with pytest.raises(ValueError, match="resize"):
        pixel_accuracy(mask, mask.T)
    with pytest.raises(ValueError, match="both be"):
        robustness(mask.astype(np.uint8), mask, mask)
    with pytest.raises(ValueError, match="foreground"):
        robustness(mask, mask, mask.T)
