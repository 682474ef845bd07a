import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from glus_hf.errors import VideoError
from glus_hf.media import video as video_module
from glus_hf.media.video import Video, load_video, write_video


def make_frames(count=6, height=48, width=64):
    """A gradient with a square that moves right: order, orientation and colour are all visible."""
    ys, xs = np.mgrid[:height, :width]
    frames = []
    for t in range(count):
        frame = np.stack([40 + xs * 100 // width, 90 + ys * 100 // height, np.full_like(xs, 60)], axis=-1)
        frame[height // 4 : height // 2, 4 * t : 4 * t + 8] = (220, 40, 40)
        frames.append(frame.astype(np.uint8))
    return frames


def assert_close(actual, expected, mean=4.0):
    assert actual.dtype == np.uint8
    assert actual.shape == expected.shape
    assert np.abs(actual.astype(int) - expected.astype(int)).mean() < mean


def assert_one_line(error, *words):
    message = str(error.value)
    assert "\n" not in message
    assert error.value.__cause__ is None
    for word in words:
        assert word in message


# --- files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".webm", ".gif"])
def test_round_trip_keeps_order_size_rate_and_colours(tmp_path, suffix):
    frames, path = make_frames(), tmp_path / f"clip{suffix}"
    write_video(path, frames, fps=10)
    video = load_video(path)
    assert (len(video), video.height, video.width) == (6, 48, 64)
    assert video.fps == pytest.approx(10)
    assert video.frame_names == ["00000", "00001", "00002", "00003", "00004", "00005"]
    for actual, expected in zip(video.frames, frames, strict=True):
        assert_close(actual, expected)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
@pytest.mark.parametrize("colour", [(220, 40, 40), (40, 220, 60), (30, 30, 220), (255, 255, 255), (0, 0, 0)])
def test_flat_colours_survive_the_codec(tmp_path, suffix, colour):
    path = tmp_path / f"clip{suffix}"
    write_video(path, np.full((2, 32, 32, 3), colour, dtype=np.uint8))
    assert np.abs(load_video(path).frames[1].astype(int) - colour).max() <= 4


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_odd_sides_are_padded_with_the_edge(tmp_path, suffix):
    path = tmp_path / f"clip{suffix}"
    frame = make_frames(1, 47, 63)[0]
    write_video(path, [frame])
    video = load_video(path)
    assert (len(video), video.height, video.width) == (1, 48, 64)
    assert_close(video.frames[0][:47, :63], frame)
    assert_close(video.frames[0][47, :63], frame[46], mean=8)


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif"])
def test_one_frame_of_one_pixel(tmp_path, suffix):
    path = tmp_path / f"clip{suffix}"
    write_video(path, np.full((1, 1, 1, 3), 128, dtype=np.uint8))
    assert len(load_video(path)) == 1


def test_max_frames_reads_the_start(tmp_path):
    frames, path = make_frames(), tmp_path / "clip.mp4"
    write_video(path, frames)
    video = load_video(str(path), max_frames=2)
    assert len(video) == len(video.frame_names) == 2
    assert_close(video.frames[1], frames[1])
    assert len(load_video(video, max_frames=1)) == 1
    assert len(load_video(np.stack(frames), max_frames=3)) == 3
    assert len(load_video(frames, max_frames=100)) == 6


def test_the_rotation_of_phones_is_applied(tmp_path):
    path = tmp_path / "clip.mp4"
    write_video(path, make_frames())
    upright = load_video(path).frames[0]
    data = path.read_bytes()
    matrix = data.index(b"tkhd") + 4 + 4 + 20 + 16  # version and flags, times and ids, layer and volume
    quarter_turn_clockwise = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data[:matrix] + quarter_turn_clockwise + data[matrix + 36 :])
    np.testing.assert_array_equal(load_video(path).frames[0], np.rot90(upright, -1))


def test_truncated_file_gives_its_frames_and_a_warning(tmp_path, monkeypatch):
    warnings = []
    monkeypatch.setattr(video_module.logger, "warning", warnings.append)
    path = tmp_path / "cut.mp4"
    frames = make_frames(40, 96, 256)
    write_video(path, frames)
    assert len(load_video(path)) == 40 and not warnings
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * 0.9)])
    video = load_video(path)
    assert 0 < len(video) < 40
    assert_close(video.frames[0], frames[0])
    assert len(warnings) == 1 and "cut.mp4" in warnings[0] and "\n" not in warnings[0]


@pytest.mark.parametrize("fraction", [0.02, 0.3])
def test_file_without_one_whole_frame_is_an_error(tmp_path, fraction):
    path = tmp_path / "cut.mp4"
    write_video(path, make_frames(2))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * fraction)])
    with pytest.raises(VideoError) as error:
        load_video(path)
    assert_one_line(error, "cut.mp4")


@pytest.mark.parametrize(
    "content",
    [b"", b"this is plain text\n" * 20, b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nclip.mp4\n", bytes(5000)],
    ids=["empty", "text", "playlist", "zeros"],
)
def test_what_is_not_a_video_is_refused(tmp_path, content):
    write_video(tmp_path / "clip.mp4", make_frames(2))
    (tmp_path / "fake.mp4").write_bytes(content)
    with pytest.raises(VideoError) as error:
        load_video(tmp_path / "fake.mp4")
    assert_one_line(error, "fake.mp4")


def test_a_single_image_is_a_video_of_one_frame(tmp_path):
    (frame,) = make_frames(1)
    Image.fromarray(frame).save(tmp_path / "photo.png")
    for source in (tmp_path / "photo.png", str(tmp_path / "photo.png"), Image.fromarray(frame), frame):
        video = load_video(source)
        assert len(video) == 1 and video.frame_names == ["00000"]
        np.testing.assert_array_equal(video.frames[0], frame)


@pytest.mark.parametrize(
    "source", ["missing.mp4", "two\nlines.mp4", "", "x" * 5000, "~nobody/clip.mp4", "concat:a.mp4|b.mp4"]
)
def test_missing_file(source):
    with pytest.raises(VideoError, match="no such file") as error:
        load_video(source)
    assert_one_line(error, "check the path", source[:3])


@pytest.mark.parametrize(
    "source", ["rtsp://example.com/1", "s3://bucket/dog.mp4", Path("https://example.com/dog.mp4")]
)
def test_other_addresses_are_refused_as_they_were_written(source):
    with pytest.raises(VideoError, match="download it") as error:
        load_video(source)
    assert_one_line(error, str(source).replace("https:/", "https://"))


def test_addresses_in_a_list_are_not_downloaded():
    with pytest.raises(VideoError, match="https://example.com/0.jpg: is not opened"):
        load_video(["https://example.com/0.jpg"])


# --- folders -------------------------------------------------------------------------------------------------------


def test_folder_in_natural_order(tmp_path):
    frames = make_frames(3)
    for name, frame in zip(("img2.png", "img10.PNG", "img100.bmp"), frames, strict=True):
        Image.fromarray(frame).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a frame")
    (tmp_path / "._img2.png").write_bytes(b"resource fork")
    video = load_video(tmp_path)
    assert video.frame_names == ["img2", "img10", "img100"]
    assert video.fps is None
    np.testing.assert_array_equal(np.stack(video.frames), np.stack(frames))


def test_folder_of_every_image_mode(tmp_path):
    grey = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
    rgb = np.stack([grey, 255 - grey, grey // 2], axis=-1)
    Image.fromarray(grey).save(tmp_path / "0.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "1.png")
    Image.fromarray(np.concatenate([rgb, np.full((6, 8, 1), 7, np.uint8)], axis=-1)).save(tmp_path / "2.png")
    Image.fromarray(rgb).quantize(48).save(tmp_path / "3.png")
    Image.fromarray(rgb).save(tmp_path / "4.webp", lossless=True)
    frames = load_video(tmp_path).frames
    expected = [np.repeat(grey[..., None], 3, axis=-1)] * 2 + [
        rgb,
        np.asarray(Image.open(tmp_path / "3.png").convert("RGB")),
        rgb,
    ]
    for actual, wanted in zip(frames, expected, strict=True):
        np.testing.assert_array_equal(actual, wanted)


def test_exif_orientation_is_applied(tmp_path):
    frame = make_frames(1)[0]
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to view
    Image.fromarray(frame).save(tmp_path / "0.png", exif=exif)
    np.testing.assert_array_equal(load_video(tmp_path).frames[0], np.rot90(frame, -1))


def test_bad_folders(tmp_path):
    with pytest.raises(VideoError, match="empty folder") as error:
        load_video(tmp_path)
    assert_one_line(error, str(tmp_path))
    (tmp_path / "notes.txt").write_text("no frame")
    with pytest.raises(VideoError, match="no frames"):
        load_video(tmp_path)
    Image.new("RGB", (8, 6)).save(tmp_path / "00000.jpg")
    Image.new("RGB", (6, 8)).save(tmp_path / "00001.jpg")
    with pytest.raises(VideoError, match=r"00001: is \[8, 6\]") as error:
        load_video(tmp_path)
    assert_one_line(error, str(tmp_path))
    (tmp_path / "00001.jpg").write_bytes(b"not a jpeg")
    with pytest.raises(VideoError, match="remove or replace") as error:
        load_video(tmp_path)
    assert_one_line(error, "00001.jpg")
    (tmp_path / "00001.jpg").unlink()
    Image.new("RGB", (8, 6)).save(tmp_path / "00000.png")
    with pytest.raises(VideoError, match="one name"):
        load_video(tmp_path)


# --- images and arrays ---------------------------------------------------------------------------------------------


def test_every_kind_of_array_gives_the_same_frames():
    frames = np.stack(make_frames(5))
    alpha = np.full((5, 48, 64, 1), 9, dtype=np.uint8)
    sources = [
        frames,
        list(frames),
        tuple(Image.fromarray(frame) for frame in frames),
        frames.transpose(0, 3, 1, 2),
        frames / 255,
        (frames / 255).astype(np.float32),
        np.concatenate([frames, alpha], axis=-1),
        torch.from_numpy(frames),
        torch.from_numpy(frames).permute(0, 3, 1, 2) / 255,
        [torch.from_numpy(frame).permute(2, 0, 1) for frame in frames],
        Video(list(frames)),
    ]
    for source in sources:
        video = load_video(source)
        assert all(frame.flags.c_contiguous for frame in video.frames)
        np.testing.assert_array_equal(np.stack(video.frames), frames)
    bfloat16 = load_video(torch.from_numpy(frames / 255).bfloat16())
    assert np.abs(np.stack(bfloat16.frames).astype(int) - frames).max() <= 1


def test_grey_becomes_rgb():
    grey = np.stack(make_frames(5))[..., 0]
    for source in (grey, grey[..., None], grey[:, None], list(grey), [Image.fromarray(frame) for frame in grey]):
        video = load_video(source)
        assert (len(video), video.height, video.width) == (5, 48, 64)
        for channel in range(3):
            np.testing.assert_array_equal(np.stack(video.frames)[..., channel], grey)


def test_image_paths_make_a_video(tmp_path):
    frames = make_frames(2)
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"{index}.png")
    video = load_video([tmp_path / "1.png", str(tmp_path / "0.png")])
    np.testing.assert_array_equal(np.stack(video.frames), np.stack(frames[::-1]))


FLOATS = np.zeros((2, 4, 5, 3), dtype=np.float32)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (None, "NoneType"),
        (7, "int"),
        ({"video": 1}, "dict"),
        ([], "no frames"),
        (np.zeros((0, 4, 5, 3), dtype=np.uint8), "no frames"),
        (np.zeros((2, 0, 5, 3), dtype=np.uint8), "at least one pixel"),
        (np.zeros((4, 5), dtype=np.uint8), "shape"),
        (np.zeros(()), "shape"),
        (np.zeros((2, 6, 5, 2), dtype=np.uint8), "shape"),
        (np.zeros((1, 2, 4, 5, 3), dtype=np.uint8), "shape"),
        (np.zeros((2, 4, 5, 3), dtype=np.int64), "int64"),
        (np.zeros((2, 4, 5, 3), dtype=bool), "bool"),
        (np.zeros((2, 4, 5, 3), dtype=complex), "complex"),
        (torch.zeros(2, 4, 5, 3, dtype=torch.int32), "int32"),
        (FLOATS * np.nan, "NaN"),
        (FLOATS + np.inf, "NaN or infinite"),
        (FLOATS + 200, "scale"),
        (FLOATS - 1, "scale"),
        ([np.zeros((4, 5, 3), dtype=np.uint8), np.zeros((4, 6, 3), dtype=np.uint8)], r"frame 00001: is \[4, 6\]"),
        ([np.zeros((4, 5, 3), dtype=np.uint8), None], "frame 1 is a NoneType"),
        ([np.zeros((6, 5, 7), dtype=np.uint8)], "frame 0 has shape"),
    ],
)
def test_wrong_sources_give_one_line(source, words):
    with pytest.raises(VideoError, match=words) as error:
        load_video(source)
    assert_one_line(error)


@pytest.mark.parametrize("max_frames", [0, -1, 2.5])
def test_max_frames_must_be_positive(max_frames):
    with pytest.raises(VideoError, match="max_frames"):
        load_video(FLOATS, max_frames=max_frames)


# --- writing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif"])
@pytest.mark.parametrize("exception", [RuntimeError, KeyboardInterrupt])
def test_interrupted_write_leaves_no_file(tmp_path, suffix, exception):
    def frames():
        yield from make_frames(3)
        raise exception

    with pytest.raises(exception):
        write_video(tmp_path / f"clip{suffix}", frames())
    assert not list(tmp_path.iterdir())


def test_interrupted_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "clip.mp4"
    write_video(path, make_frames(2))
    before = path.read_bytes()
    with pytest.raises(VideoError, match="resize the frames to one size") as error:
        write_video(path, [*make_frames(3), np.zeros((8, 8, 3), dtype=np.uint8)])
    assert_one_line(error, "clip.mp4", "frame 3")
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["clip.mp4"]


@pytest.mark.parametrize(
    ("name", "frames", "fps", "words"),
    [
        ("clip.mp4", [], 12, "no frames"),
        ("clip.gif", iter([]), 12, "no frames"),
        ("clip.xyz", make_frames(1), 12, ".xyz"),
        ("clip", make_frames(1), 12, "use .mp4"),
        ("clip.mp4", make_frames(1), 0, "fps"),
        ("clip.mp4", make_frames(1), float("nan"), "fps"),
        ("clip.mp4", make_frames(1), None, "fps"),
        ("clip.mp4", "other.mp4", 12, "load_video"),
        ("clip.mp4", 3, 12, "int"),
        ("clip.mp4", [np.zeros((4, 4, 3))[0, 0]], 12, "frame 0"),
    ],
)
def test_wrong_writes_give_one_line_and_no_file(tmp_path, name, frames, fps, words):
    with pytest.raises(VideoError, match=words) as error:
        write_video(tmp_path / name, frames, fps=fps)
    assert_one_line(error, name)
    assert not list(tmp_path.iterdir())


def test_writer_takes_videos_arrays_and_generators_into_new_folders(tmp_path):
    frames = make_frames(3)
    for index, source in enumerate((Video(frames), np.stack(frames), (frame / 255 for frame in frames))):
        path = tmp_path / "new" / f"{index}.mp4"
        write_video(path, source, fps=29.97)
        video = load_video(path)
        assert len(video) == 3
        assert video.fps == pytest.approx(29.97)
        assert_close(video.frames[2], frames[2])


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mov"])
def test_frames_too_large_for_a_format(tmp_path, suffix):
    with pytest.raises(VideoError) as error:
        write_video(tmp_path / f"clip{suffix}", np.zeros((1, 2, 70_000, 3), dtype=np.uint8))
    assert_one_line(error, f"clip{suffix}: cannot be written", "smaller frames")
    assert not any(tmp_path.iterdir())
