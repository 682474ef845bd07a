"""Messages: one line that names the problem and the remedy, whatever they quote."""

import pytest

from glus_hf.errors import MAX_MESSAGE, DatasetContentError, UserError, one_line
from glus_hf.media.rle import clean_track


def test_over_long_messages_lose_their_middle():
    message = str(UserError(f"frames/{'x' * 10**6}/0.png: cannot be read;\n  replace it"))
    assert message.startswith("frames/xxx") and message.endswith("x/0.png: cannot be read; replace it")
    assert len(message) < 500
    words = one_line(f"file.json: {'word ' * 10**5}; write a shorter one")
    assert len(words) == MAX_MESSAGE and words.startswith("file.json: word") and words.endswith("write a shorter one")


def test_what_is_wrong_in_a_dataset_has_its_remedy_once():
    error = DatasetContentError("a.json: video '1' has no frames")
    assert str(error) == "a.json: video '1' has no frames; correct it or download the file again"
    assert str(DatasetContentError(str(error))) == str(error)  # raised again by another process


@pytest.mark.parametrize(
    ("track", "problem"),
    [
        (3, "is a int, not a list of masks"),
        ([{"size": [2, 3]}], "a mask must be null or have 'size' and 'counts'"),
        ([{"size": [2, True], "counts": "6"}], "is .2, True. .height, width., but the video is .2, 3."),
        ([{"size": [2, 3], "counts": ""}], "its run lengths cannot be decoded"),
    ],
)
def test_masks_of_a_dataset_name_the_remedy(track, problem):
    with pytest.raises(DatasetContentError, match=f"^annotation '7'.*{problem}.*; correct it or download the file"):
        clean_track(track, 1, (2, 3), "annotation '7'")
