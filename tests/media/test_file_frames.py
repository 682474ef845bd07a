"""Frames of files on demand: equal to those of a sequential decode, whatever the file is like and however they are
asked for."""

from fractions import Fraction

import av
import numpy as np
import pytest

from glus_hf.media import file_frames, frame_store, frames_on_demand
from glus_hf.media.decode_limits import DecodeLimits
from glus_hf.media.file_frames import FileFrames, open_file
from glus_hf.media.video import load_video, open_video, write_video


NUM_FRAMES, HEIGHT, WIDTH = 60, 48, 64


@pytest.fixture(autouse=True)
def hold_little(monkeypatch):
    """As if 60 small frames were a long film."""
    monkeypatch.setattr(frames_on_demand, "HELD_BYTES", 0)
    monkeypatch.setattr(frames_on_demand, "HELD_FRAMES", 4)


def pictures():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (HEIGHT, 2 * WIDTH, 3), np.uint8)
    return [np.roll(noise, 3 * index, axis=1)[:, :WIDTH] for index in range(NUM_FRAMES)]


def encode(path, codec="libx264", options=None, times=None, container_format=None):
    with av.open(str(path), "w", format=container_format) as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for index, pixels in enumerate(pictures()):
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
            picture.pts = 40 * index if times is None else times[index]
            picture.time_base = Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


IRREGULAR = np.cumsum(np.random.default_rng(1).integers(5, 400, NUM_FRAMES)).tolist()
FILES = {
    "closed groups": ("a.mp4", {"options": {"g": "12", "bf": "0"}}),
    "B-frames": ("a.mp4", {"options": {"g": "12", "bf": "3", "b-pyramid": "normal"}}),
    "open groups": ("a.mp4", {"options": {"g": "12", "x264-params": "open-gop=1:bframes=3:scenecut=0"}}),
    "open groups, Matroska": ("a.mkv", {"options": {"g": "12", "x264-params": "open-gop=1:bframes=3:scenecut=0"}}),
    "open groups, transport": ("a.ts", {"options": {"g": "12", "x264-params": "open-gop=1:bframes=3:scenecut=0"}}),
    "intra refresh": ("a.mkv", {"options": {"g": "12", "x264-params": "intra-refresh=1:bframes=0"}}),
    "one key picture": ("a.mp4", {"options": {"g": "1000", "x264-params": "scenecut=0"}}),
    "variable rate": ("a.mkv", {"options": {"g": "12", "bf": "2"}, "times": IRREGULAR}),
    "variable rate, mp4": ("a.mp4", {"options": {"g": "12", "bf": "2"}, "times": IRREGULAR}),
    "no times": ("a.h264", {"options": {"g": "12", "bf": "2"}, "container_format": "h264"}),
    "only key pictures": ("a.avi", {"codec": "mpeg4", "options": {"g": "1"}}),
    "MPEG-4": ("a.avi", {"codec": "mpeg4", "options": {"g": "12", "bf": "2"}}),
}


@pytest.fixture(params=[*FILES, "gif", "rotated"])
def path(request, tmp_path):
    if request.param == "gif":
        write_video(tmp_path / "a.gif", pictures(), 25)
        return tmp_path / "a.gif"
    name, settings = FILES["B-frames" if request.param == "rotated" else request.param]
    path = encode(tmp_path / name, **({"codec": "libx264"} | settings))
    if request.param == "rotated":
        matrix = np.array([0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30], ">i4").tobytes()
        content = path.read_bytes()
        at = content.index(b"tkhd") + 4 + 40
        path.write_bytes(content[:at] + matrix + content[at + 36 :])
    return path


def orders():
    """Ways to ask for all frames: forward, back, as a sweep from the middle asks, and at random."""
    half = NUM_FRAMES // 2
    back = [index for end in range(half, 0, -10) for index in [*range(end - 10, end), *range(end - 1, end - 11, -1)]]
    return {
        "forward": list(range(NUM_FRAMES)),
        "back": list(range(NUM_FRAMES - 1, -1, -1)),
        "sweeps": [7, 22, 37, 52, *range(half, NUM_FRAMES), *back],
        "random": np.random.default_rng(2).permutation(NUM_FRAMES)[:20].tolist(),
    }


def test_frames_equal_those_of_a_sequential_decode(path, request):
    expected = load_video(path)
    video = open_video(path)
    assert isinstance(video.frames, FileFrames)
    assert (len(video), video.fps, video.damage) == (len(expected), expected.fps, expected.damage)
    assert (video.height, video.width) == (expected.height, expected.width)
    assert expected.height == (WIDTH if "rotated" in request.node.name else HEIGHT)
    for name, order in orders().items():
        for index in order:
            if index < len(expected):
                assert np.array_equal(video.frames[index], expected.frames[index]), (name, index)
    assert len(video.frames._held) == 4


def test_a_store_smaller_than_the_way_from_the_key_picture(tmp_path, monkeypatch):
    """The one key picture is 60 frames back, the store has room for 24."""
    monkeypatch.setattr(frame_store, "STORE_BYTES", 1)
    path = encode(tmp_path / "a.mp4", options={"g": "1000", "x264-params": "scenecut=0"})
    expected, frames = load_video(path).frames, open_video(path).frames
    decoded = count_decoded(monkeypatch)
    for index in range(NUM_FRAMES - 1, -1, -1):
        assert np.array_equal(frames[index], expected[index])
    assert len(decoded) == 60 + 59 + 35 + 11  # to the last; and from the start for each of three stores


def test_key_pictures_are_used(tmp_path, monkeypatch):
    frames = open_video(encode(tmp_path / "a.mp4", options={"g": "12", "x264-params": "scenecut=0:bframes=0"})).frames
    assert frames.keys == [0, 12, 24, 36, 48]
    decoded = count_decoded(monkeypatch)
    frames[50]
    assert decoded == [48, 49, 50]
    frames[51], frames[50], frames[40]
    assert decoded[3:] == [51, 36, 37, 38, 39, 40]
    frames[38]
    assert len(decoded) == 9  # it was stored on the way


def count_decoded(monkeypatch):
    decoded, read = [], FileFrames._next_picture

    def counted(self):
        decoded.append(self._next)
        return read(self)

    monkeypatch.setattr(FileFrames, "_next_picture", counted)
    return decoded


def test_a_key_picture_that_gives_other_frames_is_not_used(tmp_path, monkeypatch):
    path = encode(tmp_path / "a.mp4", options={"g": "12", "x264-params": "scenecut=0:bframes=0"})
    expected, frames = load_video(path).frames, open_video(path).frames
    frames.index.checksums[49] ^= 1  # as if decoding from 48 gave another picture
    assert np.array_equal(frames[50], expected[50])
    assert frames.keys == [0]  # nor did 36, 24 and 12; only the start is sure


def test_a_damaged_file_gives_the_same_frames(tmp_path):
    path = encode(tmp_path / "a.mkv", options={"g": "12"})
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    expected, video = load_video(path), open_video(path)
    assert len(video) == len(expected) < NUM_FRAMES and video.damage == expected.damage is not None
    assert all(np.array_equal(*pair) for pair in zip(video.frames, expected.frames, strict=True))


def test_short_files_are_decoded_once(tmp_path, monkeypatch):
    path = encode(tmp_path / "a.mp4")
    monkeypatch.setattr(frames_on_demand, "HELD_BYTES", 10**6)
    assert isinstance(open_video(path).frames, list)
    assert isinstance(open_video(path, limits=DecodeLimits(memory=1000)).frames, FileFrames)


def test_limits_hold_but_for_memory(tmp_path):
    path = encode(tmp_path / "a.mp4")
    assert len(open_file(path, 7, DecodeLimits(memory=1)).frames) == 7
    with pytest.raises(ValueError, match="lasts"):
        open_file(path, limits=DecodeLimits(seconds=1))
    with pytest.raises(ValueError, match="more than the 100 that a frame may have"):
        open_file(path, limits=DecodeLimits(frame_pixels=100))
    with pytest.raises(ValueError, match="file_bytes"):
        open_file(path, limits=DecodeLimits(file_bytes=100))


def test_a_file_that_is_changed_is_an_error_of_one_line(tmp_path):
    path = encode(tmp_path / "a.mp4")
    frames = open_video(path).frames
    frames[0]
    encode(path, options={"g": "1"})
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ValueError, match=r"a\.mp4"):
        [frames[index] for index in reversed(range(NUM_FRAMES))]


def test_bytes_are_read_on_demand(tmp_path):
    content = encode(tmp_path / "a.mp4").read_bytes()
    frames = open_video(content).frames
    copy = frames.path
    assert copy.exists() and np.array_equal(frames[5], load_video(content).frames[5])
    del frames
    assert not copy.exists()


def test_a_folder_is_read_on_demand(tmp_path):
    from PIL import Image

    for index, pixels in enumerate(pictures()):
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
    video = open_video(tmp_path, max_frames=30)
    assert video.frame_names[2] == "2" and len(video) == 30 and len(video.frames[5:]) == 25
    assert all(np.array_equal(*pair) for pair in zip(video.frames, pictures(), strict=False))
    Image.fromarray(pictures()[0][:10]).save(tmp_path / "9.png")
    with pytest.raises(ValueError, match="frame 9: is"):
        open_video(tmp_path).frames[9]


def test_checksums_tell_pictures_apart(tmp_path):
    index = file_frames.PictureIndex(tmp_path)
    file_frames.read_pictures(encode(tmp_path / "a.mp4"), index.take)
    assert len(set(index.checksums)) == NUM_FRAMES and index.has_times
