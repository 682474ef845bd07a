import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glus_hf.metrics.packed_masks import contour_pixels, count_pixels, dilate, pack_mask


@st.composite
def masks(draw):
    # widths around the words of 64 pixels, where shifts carry
    width = draw(st.one_of(st.integers(1, 20), st.sampled_from([63, 64, 65, 127, 128, 129, 200])))
    density = draw(st.sampled_from([0, 0.003, 0.05, 0.3, 1]))
    random = np.random.default_rng(draw(st.integers(0, 10_000)))
    return random.random((draw(st.integers(1, 12)), width)) < density


def unpack(bits, width):
    return np.unpackbits(bits.view(np.uint8), axis=1, bitorder="little")[:, :width].astype(bool)


@settings(max_examples=100, deadline=None)
@given(masks(), st.integers(1, 150))
def test_packing_keeps_pixels_and_zeroes_the_padding(mask, padding):
    bits = pack_mask(mask, padding)
    assert 64 * bits.shape[1] >= mask.shape[1] + padding
    np.testing.assert_array_equal(unpack(bits, mask.shape[1]), mask)
    assert count_pixels(bits) == mask.sum()


@settings(max_examples=100, deadline=None)
@given(masks(), st.sampled_from([0, 1, 2, 3, 5, 8, 12, 40, 64, 70]))
def test_dilation_equals_distances(mask, radius):
    height, width = mask.shape
    dilated = dilate(pack_mask(mask, max(radius, 1)), radius)
    y, x = np.mgrid[:height, :width]
    expected = np.zeros_like(mask)
    for v, u in np.argwhere(mask):
        expected |= (y - v) ** 2 + (x - u) ** 2 <= radius**2
    np.testing.assert_array_equal(unpack(dilated, width), expected)


@settings(max_examples=100, deadline=None)
@given(masks())
def test_contour_is_where_neighbours_differ(mask):
    height, width = mask.shape
    # a pixel outside equals the one it is compared with
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    right, below, diagonal = padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:].copy()
    diagonal[-1], diagonal[:, -1] = mask[-1], mask[:, -1]
    expected = (mask != right) | (mask != below) | (mask != diagonal)
    bits = contour_pixels(pack_mask(mask, 1), width)
    np.testing.assert_array_equal(unpack(bits, width), expected)
    assert count_pixels(bits) == expected.sum()  # nothing in the padding


@pytest.mark.parametrize("radius", [8, 12, 18])
def test_a_pixel_becomes_a_disk(radius):
    mask = np.zeros((60, 100), dtype=bool)
    mask[30, 50] = True
    offsets = np.arange(-radius, radius + 1)
    disk = offsets[:, None] ** 2 + offsets**2 <= radius**2
    result = unpack(dilate(pack_mask(mask, radius), radius), 100)
    np.testing.assert_array_equal(result[30 - radius : 31 + radius, 50 - radius : 51 + radius], disk)
    assert result.sum() == disk.sum()
