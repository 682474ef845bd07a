"""Objects of palette PNGs, grey masks and colour drawings, and what is refused."""

import numpy as np
import pytest
from PIL import Image

from glus_hf import UserError
from glus_hf.media.drawn_objects import read_drawn_objects


IDS = np.zeros((6, 8), np.uint8)
IDS[1:3, 1:4], IDS[4, 5:] = 3, 7


def save(path, values, palette=False):
    image = Image.fromarray(values)
    if palette:
        image.putpalette([index % 256 for index in range(768)])
    image.save(path)
    return path


def check(found, ids, values):
    assert list(found) == ids
    for mask, value in zip(found.values(), values, strict=True):
        np.testing.assert_array_equal(mask, value == IDS)


def test_values_of_a_palette_are_ids_and_255_is_void(tmp_path):
    ids = IDS.copy()
    ids[5, 0] = 255
    check(read_drawn_objects(save(tmp_path / "a.png", ids, palette=True), (6, 8)), [3, 7], [3, 7])


def test_a_grey_mask_of_0_and_255_is_one_object(tmp_path):
    path = save(tmp_path / "a.png", np.where(IDS == 3, 255, 0).astype(np.uint8))
    check(read_drawn_objects(path, (6, 8)), [255], [3])


@pytest.mark.parametrize("channels", [3, 4])
def test_colours_are_objects_on_black_or_nothing(tmp_path, channels):
    pixels = np.zeros((6, 8, channels), np.uint8)
    pixels[IDS == 3, :3], pixels[IDS == 7, :3] = (0, 10, 200), (255, 255, 255)
    if channels == 4:
        pixels[..., 3] = np.where(IDS > 0, 255, 0)
        pixels[0, 0, :3] = 99  # transparent
    check(read_drawn_objects(save(tmp_path / "a.png", pixels), (6, 8)), [1, 2], [3, 7])


def test_values_of_16_bits_are_told_apart(tmp_path):
    path = save(tmp_path / "a.png", IDS.astype(np.uint16) * 1000)
    check(read_drawn_objects(path, (6, 8)), [1, 2], [3, 7])


@pytest.mark.parametrize(("name", "kind"), [("a.jpg", np.uint8), ("a.tif", np.float32)])
def test_files_without_exact_values_are_refused(tmp_path, name, kind):
    with pytest.raises(UserError, match="save it as PNG"):
        read_drawn_objects(save(tmp_path / name, IDS.astype(kind)), (6, 8))


def test_what_is_refused(tmp_path):
    with pytest.raises(UserError, match="marks no object"):
        read_drawn_objects(save(tmp_path / "a.png", np.zeros((6, 8), np.uint8)), (6, 8))
    with pytest.raises(UserError, match=r"is \[6, 8\] .* the frame is \[5, 8\]"):
        read_drawn_objects(save(tmp_path / "a.png", IDS), (5, 8))
    smooth = np.arange(20 * 20 * 3, dtype=np.uint16).reshape(20, 20, 3).astype(np.uint8)
    with pytest.raises(UserError, match="without smoothing"):
        read_drawn_objects(save(tmp_path / "a.png", smooth), (20, 20))
    with pytest.raises(UserError, match="b.png"):
        read_drawn_objects(tmp_path / "b.png", (6, 8))
