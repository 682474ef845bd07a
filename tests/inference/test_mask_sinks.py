"""Masks that leave as they come."""

import json

import numpy as np
from PIL import Image

from glus_hf.inference.frame_masks import FrameMasks
from glus_hf.inference.mask_sinks import PngSink, RleLinesSink
from glus_hf.media.rle import decode_rle


MASKS = np.array([[[True, False, True]], [[False, False, False]]])
FRAME = FrameMasks(7, [0, 2], MASKS, np.array([0.25, 0], np.float32), [2])


def test_png(tmp_path):
    PngSink(tmp_path).write(FRAME)
    PngSink(tmp_path, list("abcdefgh")).write(FRAME)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "0/00007.png")), [[255, 0, 255]])
    assert not np.asarray(Image.open(tmp_path / "2/h.png")).any()


def test_lines_can_be_read_while_they_are_written(tmp_path):
    with RleLinesSink(tmp_path / "masks.jsonl") as sink:
        sink.write(FRAME)
        first, second = map(json.loads, (tmp_path / "masks.jsonl").read_text().splitlines())
    assert (first["frame"], first["text"], first["score"]) == (7, 0, 0.25)
    assert np.array_equal(decode_rle(first["rle"], (1, 3)), MASKS[0])
    assert (second["text"], second["rle"]) == (2, None)
