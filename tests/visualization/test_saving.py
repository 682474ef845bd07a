import numpy as np
import pytest

from glus_hf.media.video import load_video
from glus_hf.visualization import OverlayFrames, save_overlay


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_save_overlay(tmp_path, suffix):
    frames = [np.full((32, 48, 3), 60 * index, dtype=np.uint8) for index in range(4)]
    save_overlay(tmp_path / f"result{suffix}", frames, fps=5)
    assert len(load_video(tmp_path / f"result{suffix}")) == 4


def scene(num_frames, height, width):
    """Frames of a camera: a smooth picture that moves, with noise."""
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[:height, :width]
    for index in range(num_frames):
        noise = generator.integers(-3, 4, (height, width, 1))
        red, green, blue = rows * 200 // height, (columns + 4 * index) * 200 // width % 250, (rows + columns) % 200
        yield (np.stack([red, green, blue], axis=-1) + noise).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("seconds", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_a_gif_is_bounded_in_size_and_rate(tmp_path, caplog, seconds):
    save_overlay(tmp_path / "long.gif", scene(24 * seconds, 480, 854), fps=24)
    video = load_video(tmp_path / "long.gif")
    assert (video.height, video.width) == (270, 480)
    assert len(video) == 10 * seconds and len(video) / video.fps == pytest.approx(seconds, rel=0.05)
    assert (tmp_path / "long.gif").stat().st_size < 10e6  # bytes
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("long.gif: 480x270 at 10 frames per second, reduced from 854x480 at 24;")


def test_a_long_gif_lasts_as_long_with_fewer_frames(tmp_path):
    drawn = []

    class Frames(OverlayFrames):
        def __getitem__(self, index):
            if index < len(self):
                drawn.append(index)
            return super().__getitem__(index)

    frame, count = np.zeros((360, 640, 3), dtype=np.uint8), 600
    frame[::7] = 90
    save_overlay(tmp_path / "long.gif", Frames([frame] * count, [np.zeros((count, 1, 1), bool)] * 0), fps=24)
    assert len(drawn) == 250  # the others are not drawn
    video = load_video(tmp_path / "long.gif")
    assert len(video) * video.height * video.width <= 16e6 and video.height >= 90


def test_small_gifs_stay_as_they_are(tmp_path, caplog):
    save_overlay(tmp_path / "small.gif", scene(6, 90, 160), fps=8)
    video = load_video(tmp_path / "small.gif")
    assert (len(video), video.height, video.width) == (6, 90, 160) and not caplog.messages
    for found, expected in zip(video.frames, scene(6, 90, 160), strict=True):
        assert np.abs(found.astype(int) - expected).mean() < 8


def test_a_gif_of_one_frame_loses_none(tmp_path, caplog):
    save_overlay(tmp_path / "photo.gif", scene(1, 90, 160), fps=12)
    assert len(load_video(tmp_path / "photo.gif")) == 1 and not caplog.messages


def test_no_frames(tmp_path):
    with pytest.raises(ValueError, match="no frames"):
        save_overlay(tmp_path / "none.gif", iter([]))
