"""Views made by torch from uint8 frames: equal to those of PIL within one grey level, whatever the frame's size."""

import numpy as np
import pytest
import torch

from glus_hf import pipeline
from glus_hf.data.motion_shapes import generate_clip
from glus_hf.errors import UserError
from glus_hf.models import device_views
from glus_hf.models.device_views import DeviceViews, FrameUploads, makes_on_device, resize_weights
from glus_hf.models.glus.image_processing_glus import GLUSImageProcessor


CPU = torch.device("cpu")
SIZES = [(360, 640), (640, 360), (97, 131), (23, 41), (30, 20), (224, 224), (64, 500), (5, 400), (300, 2), (1, 1)]
ODD = {
    "size": {"shortest_edge": 60},
    "crop_size": {"height": 71, "width": 50},
    "mask_size": {"height": 96, "width": 80},
}
SETTINGS = [
    {"mask_size": {"height": 256, "width": 256}},
    ODD,
    {**ODD, "size": {"shortest_edge": 90}, "image_mean": [0.0] * 3, "image_std": [1.0] * 3},
]


def noise(height, width):
    """Black and white pixels, on which bicubic resizing goes beyond both, and a gradient."""
    rng = np.random.default_rng(height * 1000 + width)
    frame = 255 * rng.integers(0, 2, (height, width, 3), np.uint8)
    frame[: height // 2] = np.linspace(0, 255, width)[None, :, None]
    return frame


def grey_levels(one, other, std):
    return ((one - other).abs() * 255 * torch.tensor(std).view(3, 1, 1)).max().item()


@pytest.mark.parametrize("settings", SETTINGS, ids=["usual", "padded", "cropped"])
@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
def test_they_equal_those_of_pil(size, settings):
    frame, images = noise(*size), GLUSImageProcessor(**settings)
    views = DeviceViews(images, CPU)
    clip, mask = images.clip_view([frame]), images.mask_view([frame])
    assert grey_levels(views.clip_view([frame], [0]), clip, images.image_std) <= 1.001  # most pixels are equal
    assert grey_levels(views.mask_view([frame], 0), mask, images.mask_image_std) < 0.01


def test_nearly_all_pixels_of_clip_are_equal():
    images, frame = GLUSImageProcessor(), np.random.default_rng(0).integers(0, 256, (360, 640, 3), np.uint8)
    differ = (DeviceViews(images, CPU).clip_view([frame], [0]) - images.clip_view([frame])).abs() > 1e-4
    assert differ.float().mean() < 0.001


def test_weights_are_those_of_torch():
    for mode, size, new_size in [("bilinear", 17, 40), ("bilinear", 40, 17), ("bicubic", 33, 10), ("bicubic", 9, 31)]:
        rows = torch.eye(size)[None, None]
        expected = torch.nn.functional.interpolate(rows, (size, new_size), mode=mode, antialias=True)[0, 0]
        torch.testing.assert_close(resize_weights(size, new_size, mode, CPU), expected, atol=2e-6, rtol=0)


def test_a_frame_travels_once(monkeypatch):
    sent, upload = [], device_views.upload
    monkeypatch.setattr(device_views, "upload", lambda *a: sent.append(a[0].dtype) or upload(*a))
    frames, views = [noise(20, 30), noise(20, 30)], DeviceViews(GLUSImageProcessor(**ODD), CPU)
    views.clip_view(frames, [0, 1])
    views.mask_view(frames, 0)
    assert sent == [np.uint8, np.uint8] and list(views.uploads._held) == [1]


def test_few_frames_are_held(monkeypatch):
    monkeypatch.setattr(device_views, "HELD_BYTES", 3 * 20 * 30 * 3)
    uploads, frames = FrameUploads(CPU), [noise(20, 30)] * 9
    for index in range(9):
        uploads.take(frames, index)
    assert list(uploads._held) == [6, 7, 8]


def test_where_they_are_made():
    devices = [torch.device(name) for name in ("cpu", "cuda", "mps", "meta")]
    made = {views: [makes_on_device(views, device) for device in devices] for views in device_views.VIEWS}
    assert made == {"auto": [False, True, True, False], "pil": [False] * 4, "device": [True, True, True, False]}


def test_settings_that_only_pil_knows():
    images = GLUSImageProcessor(**{**ODD, "size": {"height": 64, "width": 64}})
    assert images.device_views(torch.device("cuda")) is None
    images.views = "device"
    with pytest.raises(UserError, match='use views="pil"'):
        images.device_views(CPU)
    images.views = "gpu"
    with pytest.raises(UserError, match="views must be one of auto, pil, device, got 'gpu'"):
        images.device_views(CPU)


def test_a_model_segments_with_them(tmp_path):
    clip, text = generate_clip(1, split="test", size=64, num_frames=6), "the circle"
    pipe = pipeline(model="glus-tiny", device="cpu")
    logits = pipe(clip.frames, text, output="logits")["logits"]
    pipe.processor.image_processor.views = "device"
    pixels = []
    views = DeviceViews.mask_view
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DeviceViews, "mask_view", lambda *a: pixels.append(a[2]) or views(*a))
        found = pipe(clip.frames, text, output="logits")["logits"]
        live = pipe.open_live(text)
        live.push(clip.frames[0])
    assert pixels == [*range(6), 0]
    assert ((found > 0) == (logits > 0)).mean() > 0.99 and np.abs(found - logits).max() < 0.05 * np.ptp(logits)
    pipe.processor.save_pretrained(tmp_path)
    assert "views" not in (tmp_path / "processor_config.json").read_text()
    assert type(pipe.processor).from_pretrained(tmp_path, views="pil").image_processor.views == "pil"
