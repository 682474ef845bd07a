"""Videos from bytes, open files, addresses, rows and decoders give what the file gives."""

import io
import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from glus_hf.errors import VideoError
from glus_hf.media.decode_limits import DecodeLimits
from glus_hf.media.download import DownloadOptions
from glus_hf.media.video import load_video, write_video
from glus_hf.media.video_sources import as_local, is_frame
from tests.local_files import LocalFiles


FRAMES = np.stack([np.full((32, 48, 3), 20 * index, np.uint8) for index in range(5)])
TRUSTED = DownloadOptions(allow_private=True)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "my clip.mp4"
    write_video(path, FRAMES, fps=8)
    return path


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.read_bytes(),
        lambda path: bytearray(path.read_bytes()),
        lambda path: memoryview(path.read_bytes()),
        lambda path: io.BytesIO(path.read_bytes()),
        lambda path: path.open("rb"),
        lambda path: path.as_uri(),
        lambda path: {"bytes": path.read_bytes(), "path": None},
        lambda path: {"bytes": path.read_bytes(), "path": "gone.mp4"},
        lambda path: {"bytes": None, "path": str(path)},
    ],
    ids=["bytes", "bytearray", "memoryview", "BytesIO", "open-file", "file-address", "row", "row-both", "row-path"],
)
def test_every_source_gives_what_the_file_gives(clip, make):
    expected, found = load_video(clip, 4), load_video(make(clip), 4)
    np.testing.assert_array_equal(np.stack(found.frames), np.stack(expected.frames))
    assert found.fps == expected.fps == 8 and len(found) == 4


def test_an_address(clip, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    png = io.BytesIO()
    Image.fromarray(FRAMES[1]).save(png, format="png")
    with LocalFiles({"/clip": clip.read_bytes(), "/photo": png.getvalue()}) as server:
        assert load_video(f"{server.url}/clip?id=1", download=TRUSTED).fps == 8
        (photo,) = load_video(f"{server.url}/photo", download=TRUSTED).frames
        np.testing.assert_array_equal(photo, FRAMES[1])
        with pytest.raises(VideoError, match="private address"):
            load_video(f"{server.url}/clip")
    assert list(tmp_path.iterdir()) == []  # nothing stays behind


def test_as_local_gives_a_file_for_as_long_as_it_is_needed(clip):
    for source, expected in ((clip, clip), (clip.as_uri(), str(clip)), (FRAMES, FRAMES)):
        with as_local(source, TRUSTED) as local:
            assert local is expected or local == expected
    with as_local(clip.read_bytes(), TRUSTED) as local:
        assert local.read_bytes() == clip.read_bytes()
    assert not local.exists()


def test_an_open_file_is_read_from_its_start(clip):
    with clip.open("rb") as file:
        file.read(100)
        assert len(load_video(file)) == 5


def test_an_image_in_bytes_is_one_frame():
    for name in ("png", "bmp", "webp"):
        file = io.BytesIO()
        Image.fromarray(FRAMES[2]).save(file, format=name, lossless=True)
        (frame,) = load_video(file.getvalue()).frames
        np.testing.assert_array_equal(frame, FRAMES[2])


def test_an_iterator_is_read_as_far_as_needed():
    seen = []
    frames = (seen.append(index) or frame for index, frame in enumerate(FRAMES))
    assert len(load_video(frames, 2)) == 2 and seen == [0, 1]


def test_an_endless_iterator_is_refused_by_the_memory_it_takes():
    endless = itertools.repeat(FRAMES[0])
    with pytest.raises(VideoError, match="the frames: .* of memory.*max_frames"):
        load_video(endless, limits=DecodeLimits(memory=100_000))
    with pytest.raises(VideoError, match="frame 00001: is .16, 48."):
        load_video(iter([FRAMES[0], FRAMES[0][:16]]))


class Decoder:
    """The documented interface of torchcodec's VideoDecoder."""

    def __init__(self, frames, fps=8.0):
        self.frames, self.metadata = torch.from_numpy(frames).permute(0, 3, 1, 2), SimpleNamespace(average_fps=fps)

    def __len__(self):
        return len(self.frames)

    def __getitem__(self, index):
        return self.frames[index]

    def get_frame_at(self, index):
        return SimpleNamespace(data=self.frames[index])


def test_a_decoder():
    video = load_video(Decoder(FRAMES), 3)
    np.testing.assert_array_equal(np.stack(video.frames), FRAMES[:3])
    assert video.fps == 8 and load_video(Decoder(FRAMES, None)).fps is None


def test_torchcodec_itself(clip):
    try:
        decoders = pytest.importorskip("torchcodec.decoders", exc_type=ImportError)
    except RuntimeError as error:  # it is there, but FFmpeg is not
        pytest.skip(str(error).splitlines()[0])
    expected = load_video(clip)
    found = load_video(decoders.VideoDecoder(str(clip)))
    assert found.fps == expected.fps and len(found) == len(expected)
    assert np.abs(np.stack(found.frames).astype(int) - np.stack(expected.frames)).mean() < 4


@pytest.mark.parametrize(
    "source, words",
    [
        (b"", "the bytes: holds nothing"),
        (b"no video at all", "the bytes: cannot be opened"),
        (io.BytesIO(b"no video at all"), "the open file: cannot be opened"),
        (io.StringIO("text"), "mode 'rb'"),
        ({"bytes": b"junk", "path": "shelf/clip.mp4"}, "shelf/clip.mp4: cannot be opened"),
        ({"bytes": None, "path": "no-such.mp4"}, "no-such.mp4: no such file"),
        ({"bytes": None, "path": None}, "an empty path"),
        ("file://server/clip.mp4", "server"),
        ("file:///no/such.mp4", "/no/such.mp4: no such file"),
    ],
)
def test_what_cannot_be_read_is_one_line_that_names_it(source, words):
    with pytest.raises(VideoError, match=words) as error:
        load_video(source)
    assert "\n" not in str(error.value) and "/tmp" not in str(error.value)


def test_a_file_open_as_text_is_one_line(clip):
    for read in (load_video, is_frame):
        with open(clip) as file, pytest.raises(VideoError, match="clip.mp4: is open as text: open it with mode 'rb'"):
            read(file)


def test_an_endless_open_file_is_bounded():
    class Endless(io.RawIOBase):
        def read(self, size=-1):
            return bytes(size)

    with pytest.raises(VideoError, match="larger than 200,000 bytes"):
        load_video(Endless(), download=DownloadOptions(max_bytes=200_000))


def test_a_generator_without_end_is_stopped():
    frames = (np.zeros((48, 64, 3), np.uint8) for _ in iter(int, 1))
    with pytest.raises(VideoError, match="the frames: its frames take more than 1 MB"):
        load_video(frames, limits=DecodeLimits(memory=10**6))
    assert len(load_video(frames, 3, DecodeLimits(memory=10**6))) == 3
