import numpy as np
import pytest
from PIL import Image

from glus_hf.visualization import contact_sheet, save_image


def grey_frame(height=64, width=96):
    return np.full((height, width, 3), 100, dtype=np.uint8)


def test_contact_sheet_shows_the_first_and_the_last_frame_in_order():
    frames = [np.full((30, 40, 3), 10 * index, dtype=np.uint8) for index in range(21)]
    sheet = contact_sheet(frames, columns=3, max_frames=5, tile_width=40)
    assert sheet.shape == (2 * 34 + 4, 3 * 44 + 4, 3)
    centres = [sheet[19 + 34 * (tile // 3), 24 + 44 * (tile % 3), 0] for tile in range(5)]
    assert centres == [0, 50, 100, 150, 200]


def test_contact_sheet_captions_add_a_line_per_tile():
    frames = [grey_frame()] * 4
    plain, captioned = contact_sheet(frames), contact_sheet(frames, captions=[f"frame {index}" for index in range(4)])
    assert captioned.shape[0] > plain.shape[0]
    with pytest.raises(ValueError, match="one per frame"):
        contact_sheet(frames, captions=["first"])
    with pytest.raises(ValueError, match="at least one frame"):
        contact_sheet([])


def test_a_contact_sheet_carries_its_expression():
    frames = [grey_frame()] * 4
    plain, titled = contact_sheet(frames), contact_sheet(frames, title="the dog that jumps")
    long = contact_sheet(frames, title="the dog that jumps over the other one " * 6)
    height = len(titled) - len(plain)
    assert height > 20 and titled.shape[1] == plain.shape[1] == long.shape[1]
    np.testing.assert_array_equal(titled[height:], plain)
    assert (titled[:height].min(axis=-1) > 200).sum() > 100  # light letters
    assert len(long) > len(titled) + 20  # wraps


def test_save_image(tmp_path):
    save_image(tmp_path / "new" / "sheet.png", grey_frame())
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "new" / "sheet.png")), grey_frame())
    save_image(tmp_path / "new" / "sheet.jpg", grey_frame())
    with pytest.raises(ValueError, match=".tiff"):
        save_image(tmp_path / "new" / "sheet.tiff", grey_frame())
    with pytest.raises(ValueError, match="uint8"):
        save_image(tmp_path / "new" / "bad.png", grey_frame() / 255)
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == ["sheet.jpg", "sheet.png"]


@pytest.mark.parametrize(("size", "most"), [((1, 1000), 20), ((1000, 1), 1500)])
def test_thin_tiles_are_bounded(size, most):
    sheet = contact_sheet(np.zeros((2, *size, 3), np.uint8), captions=["a", "b"])
    assert sheet.shape[0] <= most + 50
    assert sheet.shape[1] == 2 * 320 + 3 * 4
