"""Both views of a frame: golden pixels of the public program, input kinds, settings, round trip."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from glus_hf.models.glus.image_processing_glus import GLUSImageProcessor
from tests.paths import FIXTURES


FIXTURE = FIXTURES / "upstream_tiny"
TINY = {
    "size": {"shortest_edge": 64},
    "crop_size": {"height": 64, "width": 64},
    "mask_size": {"height": 64, "width": 64},
}


@pytest.fixture(scope="module")
def golden():
    return load_file(FIXTURE / "golden.safetensors")


@pytest.fixture(scope="module")
def frame():
    return np.array(Image.open(FIXTURE / "frames" / "00000.png").convert("RGB"))


def test_clip_view_equals_upstream(golden, frame):
    # PIL resizes uint8 to uint8, here and upstream, so even the rounding agrees
    view = GLUSImageProcessor().clip_view([frame])[0]
    assert view.shape == (3, 224, 224) and view.dtype == torch.float32
    torch.testing.assert_close(view[:, ::8, ::8], golden["clip_pixel_values.0"], atol=1e-6, rtol=0)


def test_mask_view_equals_upstream(golden, frame):
    view = GLUSImageProcessor().mask_view([frame])[0]
    assert view.shape == (3, 1024, 1024) and view.dtype == torch.float32
    torch.testing.assert_close(view[:, ::16, ::16], golden["sam_pixel_values.0"], atol=1e-6, rtol=0)


def test_input_kinds_agree(frame):
    processor = GLUSImageProcessor(**TINY)
    expected = processor(frame)
    kinds = [
        Image.fromarray(frame),
        frame.transpose(2, 0, 1),
        torch.from_numpy(frame),
        torch.from_numpy(frame).permute(2, 0, 1),
        frame[None],
        [frame],
        frame[::-1][::-1],
    ]
    for images in kinds:
        views = processor(images)
        assert torch.equal(views.pixel_values, expected.pixel_values)
        assert torch.equal(views.mask_pixel_values, expected.mask_pixel_values)


def test_mixed_sizes_and_wide_frames():
    frames = [np.full((20, 300, 3), 255, np.uint8), np.zeros((200, 30, 3), np.uint8), np.zeros((3, 3, 3), np.uint8)]
    views = GLUSImageProcessor(**TINY).preprocess(frames)
    assert views.pixel_values.shape == views.mask_pixel_values.shape == (3, 3, 64, 64)
    white = (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(views.mask_pixel_values[0, :, 5, 5], white)


def test_settings_for_one_call(frame):
    processor = GLUSImageProcessor(**TINY)
    views = processor(frame, mask_size={"height": 32, "width": 48}, do_normalize=False, return_tensors="np")
    assert views.mask_pixel_values.shape == (1, 3, 32, 48)
    assert (
        isinstance(views.pixel_values, np.ndarray) and 0 <= views.pixel_values.min() <= views.pixel_values.max() <= 1
    )


@pytest.mark.parametrize(
    "images", [[], np.zeros((4, 5), np.uint8), np.zeros((4, 5, 3)), np.zeros((0, 5, 3), np.uint8)]
)
def test_refuses_what_is_no_image(images):
    with pytest.raises(ValueError, match="image"):
        GLUSImageProcessor().preprocess(images)


def test_round_trip(tmp_path, frame):
    processor = GLUSImageProcessor(**TINY, mask_image_mean=[0.1, 0.2, 0.3])
    processor.save_pretrained(tmp_path)
    again = GLUSImageProcessor.from_pretrained(tmp_path)
    assert again.to_dict() == processor.to_dict()
    assert again.mask_size == TINY["mask_size"] and again.mask_image_mean == [0.1, 0.2, 0.3]
    assert torch.equal(again(frame).mask_pixel_values, processor(frame).mask_pixel_values)
    assert torch.equal(again(frame).pixel_values, processor(frame).pixel_values)
