import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glus_hf.errors import DatasetFileError
from glus_hf.media.rle import clean_track, decode_rle, encode_rle, unite_tracks


SIDES = st.integers(1, 30)
DENSITY = st.sampled_from([0, 0.02, 0.5, 0.98, 1])


def random_tracks(seed, objects, frames, height, width, density):
    rng = np.random.default_rng(seed)
    masks = rng.random((objects, frames, height, width)) < density
    present = rng.random((objects, frames)) < 0.7
    masks &= present[..., None, None]
    return masks, [
        [encode_rle(mask) if here else None for mask, here in zip(track, visible, strict=True)]
        for track, visible in zip(masks, present, strict=True)
    ]


@settings(max_examples=80, deadline=None)
@given(SIDES, SIDES, DENSITY, st.integers(1, 4), st.integers(0, 10**6))
def test_clean_tracks_and_unions(height, width, density, objects, seed):
    masks, tracks = random_tracks(seed, objects, 4, height, width, density)
    cleaned = [clean_track(track, 4, (height, width), "track")[0] for track in tracks]
    for track, expected in zip(cleaned, masks, strict=True):
        assert [rle is None for rle in track] == [not mask.any() for mask in expected]
        np.testing.assert_array_equal([decode_rle(rle, (height, width)) for rle in track], expected)
    united = unite_tracks(cleaned, 4)
    np.testing.assert_array_equal([decode_rle(rle, (height, width)) for rle in united], masks.any(axis=0))
    assert [rle is None for rle in united] == [not mask.any() for mask in masks.any(axis=0)]
    assert united == unite_tracks(cleaned[::-1], 4)


@settings(max_examples=120, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 3), st.integers(0, 400), st.integers(40, 120))
def test_damaged_runs_are_refused_or_harmless(seed, frame, place, symbol):
    # pycocotools would read past the end of such masks
    masks, (track,) = random_tracks(seed, 1, 4, 20, 30, 0.1)
    if track[frame] is None:
        return
    counts = track[frame]["counts"]
    place %= len(counts)
    track[frame]["counts"] = counts[:place] + chr(symbol) + counts[place + 1 :]
    try:
        cleaned, _ = clean_track(track, 4, (20, 30), "file: annotation '1'")
    except DatasetFileError as error:
        assert f"file: annotation '1', mask {frame}" in str(error)
    else:
        for rle in cleaned:
            decode_rle(rle, (20, 30))


def test_the_size_comes_from_the_first_mask():
    rle = encode_rle(np.eye(4, 5, dtype=bool))
    assert clean_track([None, rle], 2, None, "x")[1] == (4, 5)
    assert clean_track([None, None], 2, None, "x") == ([None, None], None)
    assert clean_track([None, None], 2, (7, 8), "x") == ([None, None], (7, 8))
    with pytest.raises(DatasetFileError, match=r"x, mask 1: is \[4, 5\] \(height, width\), but the video is \[4, 4\]"):
        clean_track([encode_rle(np.eye(4, dtype=bool)), rle], 2, None, "x")


def test_large_masks():
    mask = np.zeros((2160, 3840), bool)
    mask[::2] = True
    (rle,), size = clean_track([encode_rle(mask)], 1, None, "x")
    assert size == mask.shape
    np.testing.assert_array_equal(decode_rle(rle, size), mask)


def test_no_track_means_absent_everywhere():
    assert unite_tracks([], 3) == [None, None, None]
