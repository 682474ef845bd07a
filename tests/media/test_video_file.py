import errno
import os
import struct
from fractions import Fraction

import av
import numpy as np
import pytest

from glus_hf.errors import VideoError
from glus_hf.media import decode_limits, video_file
from glus_hf.media.decode_limits import DecodeLimits
from glus_hf.media.video import load_video, write_video
from tests.hostile.small_media import clip_frames, video_bytes
from tests.media.limited_child import run_limited


BLOCK = 16  # H.264 keeps blocks of flat colour
LETTER = np.array([[30, 90, 150], [190, 220, 250]])  # no turn of it is like another
ONE = 1 << 16
TURNS = {  # the matrix (a, b, c, d), and what becomes of `LETTER`
    "none": ((1, 0, 0, 1), LETTER),
    "clockwise": ((0, 1, -1, 0), np.rot90(LETTER, -1)),
    "counter-clockwise": ((0, -1, 1, 0), np.rot90(LETTER)),
    "half": ((-1, 0, 0, -1), np.rot90(LETTER, 2)),
    "left and right": ((-1, 0, 0, 1), LETTER[:, ::-1]),
    "upside down": ((1, 0, 0, -1), LETTER[::-1]),
    "transposed": ((0, 1, 1, 0), LETTER.T),
    "transposed the other way": ((0, -1, -1, 0), np.rot90(LETTER.T, 2)),
    "scaled": ((0, 2, -0.5, 0), np.rot90(LETTER, -1)),
    "nearly clockwise": ((0.01, 1, -1, 0.01), np.rot90(LETTER, -1)),
    "zero": ((0, 0, 0, 0), LETTER),
    "to a line": ((1, 0, 0, 0), LETTER),
}
NOT_RIGHT = {"45 degrees": (0.7, 0.7, -0.7, 0.7), "2 degrees": (1, 0.035, -0.035, 1), "sheared": (1, 0, 0.5, 1)}


def write_clip(path, values=LETTER, num_frames=3, block=BLOCK, **options):
    frame = np.repeat(np.kron(values, np.ones((block, block))).astype(np.uint8)[..., None], 3, axis=-1)
    frames = (np.concatenate([frame[:, :-1], frame[:, -1:] - 3 * (t % 2)], axis=1) for t in range(num_frames))
    write_video(path, frames, **options)
    return path


def patch(path, tag: bytes, offset: int, content: bytes):
    """Overwrite bytes after the first box of an mp4 that is called `tag`."""
    data = bytearray(path.read_bytes())
    at = data.index(tag) + 4 + offset
    data[at : at + len(content)] = content
    path.write_bytes(data)


def set_matrix(path, a, b, c, d):
    numbers = [round(number * ONE) for number in (a, b, 0, c, d, 0, 0, 0)]
    patch(path, b"tkhd", 40, struct.pack(">9i", *numbers, 1 << 30))


def centres(frame, block=BLOCK) -> np.ndarray:
    return frame[block // 2 :: block, block // 2 :: block, 0]


# --- turned and mirrored ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turn", TURNS)
def test_display_matrix(tmp_path, turn):
    matrix, expected = TURNS[turn]
    path = write_clip(tmp_path / "clip.mp4")
    set_matrix(path, *matrix)
    for frame in load_video(path).frames:
        np.testing.assert_allclose(centres(frame), expected, atol=4)


@pytest.mark.parametrize("turn", NOT_RIGHT)
def test_other_angles_are_refused(tmp_path, turn):
    path = write_clip(tmp_path / "clip.mp4")
    set_matrix(path, *NOT_RIGHT[turn])
    with pytest.raises(VideoError, match=r"clip.mp4: asks to be shown turned by \d+ degrees or distorted[^\n]*$"):
        load_video(path)


# --- which stream ----------------------------------------------------------------------------------------------------


def write_streams(path, *streams, sound=False):
    """Streams of `(grey level, side, disposition)`."""
    with av.open(str(path), "w", format="mp4" if sound else None) as container:
        if sound:
            audio = container.add_stream("aac", rate=8000)
        added = []
        for _, side, disposition in streams:
            codec = "png" if disposition & av.stream.Disposition.attached_pic else "mpeg4"
            stream = container.add_stream(codec, rate=10)
            stream.width = stream.height = side
            stream.pix_fmt = "rgb24" if codec == "png" else "yuv420p"
            stream.disposition = disposition
            added.append(stream)
        for (level, side, _), stream in zip(streams, added, strict=True):
            picture = av.VideoFrame.from_ndarray(np.full((side, side, 3), level, np.uint8), format="rgb24")
            for index in range(1 if stream.name == "png" else 3):
                picture.pts = index
                container.mux(stream.encode(picture.reformat(format=stream.pix_fmt)))
            container.mux(stream.encode(None))
        if sound:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            silence.sample_rate = 8000
            container.mux(audio.encode(silence))
            container.mux(audio.encode(None))


NO, DEFAULT = av.stream.Disposition(0), av.stream.Disposition.default


@pytest.mark.parametrize(
    ("streams", "level"),
    [
        ([(50, 32, NO), (200, 64, NO)], 200),
        ([(50, 64, NO), (200, 32, DEFAULT)], 200),
        ([(50, 32, NO), (200, 32, NO)], 50),
    ],
)
def test_which_of_several_streams(tmp_path, streams, level):
    write_streams(tmp_path / "clip.mkv", *streams)
    assert abs(int(load_video(tmp_path / "clip.mkv").frames[0].mean()) - level) < 4


def test_sound_alone_and_with_a_cover(tmp_path):
    write_streams(tmp_path / "sound.m4a", sound=True)
    with pytest.raises(VideoError, match="sound.m4a: has no video stream: pass a file with moving pictures"):
        load_video(tmp_path / "sound.m4a")
    write_streams(tmp_path / "cover.m4a", (50, 32, av.stream.Disposition.attached_pic), sound=True)
    with pytest.raises(VideoError, match="cover.m4a: has a cover picture but no video"):
        load_video(tmp_path / "cover.m4a")


# --- limits ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_decoding(monkeypatch):
    def fail(*_):
        raise AssertionError("decoded")

    monkeypatch.setattr(video_file, "_decode", fail)


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif", ".mov"])
def test_memory_is_known_before_decoding(tmp_path, suffix, no_decoding):
    path = write_clip(tmp_path / f"clip{suffix}", num_frames=10)
    with pytest.raises(VideoError, match=r"clip.*: (more than )?10 frames of 48 x 32 pixels take .*max_frames"):
        load_video(path, limits=DecodeLimits(memory=9 * 48 * 32 * 3))
    with pytest.raises(VideoError, match=r"5 frames of 48 x 32"):
        load_video(path, 5, DecodeLimits(memory=4 * 48 * 32 * 3))


def test_limits_can_be_raised_and_met(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", num_frames=10)
    size = 48 * 32 * 3 + decode_limits.FRAME_OVERHEAD
    assert len(load_video(path, limits=DecodeLimits(memory=10 * size, frame_pixels=48 * 32, seconds=1))) == 10
    assert len(load_video(path, 9, DecodeLimits(memory=9 * size, seconds=0.1))) == 9


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"frame_pixels": 48 * 32 - 1}, "frames of 48 x 32 pixels, more than the 1535"),
        ({"seconds": 0.5}, "lasts .* hours, more than the"),
        ({"file_bytes": 100}, "more than the 100 bytes of a video"),
    ],
)
def test_limits_of_the_header(tmp_path, limits, words, no_decoding):
    with pytest.raises(VideoError, match=words):
        load_video(write_clip(tmp_path / "clip.mp4", num_frames=10), limits=DecodeLimits(**limits))


def test_limits_hold_where_the_header_lies(tmp_path, monkeypatch):
    monkeypatch.setattr(video_file, "_check_length", lambda *_: None)
    path = write_clip(tmp_path / "clip.mp4", num_frames=10)
    for limits in ({"memory": 9 * 48 * 32 * 3}, {"seconds": 0.5}, {"frame_pixels": 1535}):
        with pytest.raises(VideoError, match="its frames take more|lasts|has frames of"):
            load_video(path, limits=DecodeLimits(**limits))


@pytest.mark.parametrize("value", [0, -1, float("nan"), "1 GB", True])
def test_impossible_limits(value):
    with pytest.raises(ValueError, match="the limit memory must be a positive number"):
        DecodeLimits(memory=value)


def test_folders_and_lists_have_the_limit_too(tmp_path):
    from PIL import Image

    for index in range(5):
        Image.new("RGB", (64, 48)).save(tmp_path / f"{index}.png")
    limits = DecodeLimits(memory=4 * 64 * 48 * 3)
    for source in (tmp_path, sorted(tmp_path.glob("*.png"))):
        with pytest.raises(VideoError, match="its frames take more"):
            load_video(source, limits=limits)
        assert len(load_video(source, 3, limits)) == 3
    assert len(load_video([np.zeros((48, 64, 3), np.uint8)] * 5, limits=limits)) == 5  # they are there already


def test_default_memory_is_a_third_of_what_is_free(monkeypatch):
    monkeypatch.setattr(decode_limits, "free_memory", lambda: 2_400_000_000)
    assert DecodeLimits().usable_memory == 800_000_000
    monkeypatch.setattr(decode_limits, "free_memory", lambda: 64 * 10**9)
    assert DecodeLimits().usable_memory == 1_000_000_000
    assert DecodeLimits(memory=20 * 10**9).usable_memory == 20 * 10**9


def test_what_a_decoder_keeps_counts(tmp_path):
    """18 pictures and one for each thread: 16 that others refer to are what H.264 and HEVC allow."""
    budget = decode_limits.FrameBudget("clip.mp4")
    budget.count_decoder(1080, 1920, bits=12)
    kept = (decode_limits.DECODER_PICTURES + budget.threads) * 1080 * 1920 * 12 // 8
    assert budget.memory == DecodeLimits().usable_memory - kept
    budget.count_decoder(4320, 7680, bits=12)  # 8K
    assert budget.threads == 1
    budget.count_decoder(6000, 8000, bits=24, is_intra=True)
    for size in ({"height": 6000, "width": 8000, "bits": 12}, {"height": 4320, "width": 7680, "bits": 48}):
        with pytest.raises(
            VideoError, match=r"^clip.mp4: its decoder may take [^\n]* raise the limit memory \(limits="
        ):
            decode_limits.FrameBudget("clip.mp4").count_decoder(**size)
    decode_limits.FrameBudget("clip.mp4", DecodeLimits(memory=10**10)).count_decoder(6000, 8000, 12)


def test_a_limit_of_address_space_counts(tmp_path):
    """More frames than there is room for: one line, before the memory is taken."""
    path = write_clip(tmp_path / "clip.mp4", num_frames=120, block=320)  # 221 MB decoded
    outcome = run_limited(lambda: len(load_video(path).frames), address_space_gb=0.5)
    assert outcome.kind == "VideoError"
    assert "120 frames of 960 x 640 pixels take 221.2 MB of memory" in outcome.error
    assert outcome.added_mb < 150


@pytest.mark.parametrize("error", [MemoryError(), av.error.MemoryError(errno.ENOMEM, "Cannot allocate memory")])
def test_out_of_memory_is_an_error_not_a_short_file(tmp_path, error, monkeypatch):
    original, calls = video_file.ShownPictures.frame, []

    def run_out(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise error
        return original(*arguments)

    monkeypatch.setattr(video_file.ShownPictures, "frame", run_out)
    with pytest.raises(VideoError, match=r"clip.mp4: memory ran out while it was decoded"):
        load_video(write_clip(tmp_path / "clip.mp4", num_frames=10))


# --- odd files -------------------------------------------------------------------------------------------------------


def test_not_a_regular_file(tmp_path):
    os.mkfifo(tmp_path / "clip.mp4")
    with pytest.raises(VideoError, match="clip.mp4: is a named pipe, not a video"):
        load_video(tmp_path / "clip.mp4")
    with pytest.raises(VideoError, match="/dev/zero: is a device"):
        load_video("/dev/zero")


def raw_stream(codec: str, width: int) -> bytes:
    encoder = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = width, 32, "yuv420p", Fraction(1, 10)
    picture = av.VideoFrame.from_ndarray(np.zeros((32, width, 3), np.uint8), format="rgb24").reformat(format="yuv420p")
    packets = []
    for index in range(3):
        picture.pts = index
        packets += encoder.encode(picture)
    return b"".join(bytes(packet) for packet in [*packets, *encoder.encode(None)])


@pytest.mark.parametrize(("codec", "name"), [("mpeg4", "both.m4v"), ("libx264", "both.h264")])
@pytest.mark.parametrize("widths", [(64, 32), (32, 64), (32, 4096)])
def test_frames_that_change_their_size(tmp_path, codec, name, widths, monkeypatch):
    """Raw streams, one after the other; also to a size that the decoder refuses."""
    (tmp_path / name).write_bytes(b"".join(raw_stream(codec, width) for width in widths))
    for padding in (video_file.PADDING_PIXELS, 1000):
        monkeypatch.setattr(video_file, "PADDING_PIXELS", padding)
        with pytest.raises(VideoError, match=rf"{name}: [^\n]*$"):
            load_video(tmp_path / name, limits=DecodeLimits(frame_pixels=64 * 32))


@pytest.mark.parametrize("scale", [1, 2**31 - 1])
def test_absurd_clocks(tmp_path, scale):
    path = write_clip(tmp_path / "clip.mp4")
    patch(path, b"mdhd", 12, struct.pack(">I", scale))
    try:
        video = load_video(path)
    except VideoError as error:
        assert "\n" not in str(error)
    else:
        assert len(video) == 3
        assert video.fps is None or 0.01 <= video.fps <= 1000


def test_damage_is_told(tmp_path):
    path = tmp_path / "clip.mp4"
    write_video(path, np.random.default_rng(0).integers(0, 255, (20, 48, 64, 3), np.uint8))
    assert load_video(path).damage is None
    assert load_video(path, 10).damage is None
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    video = load_video(path)
    assert 0 < len(video) < 20
    assert video.damage


@pytest.mark.parametrize("suffix", [".mkv", ".webm", ".gif", ".ts", ".avi", ".mov", ".flv"])
def test_a_cut_of_any_container_is_told(tmp_path, suffix):
    path = tmp_path / f"clip{suffix}"
    if suffix in (".mkv", ".ts", ".avi", ".flv"):
        with av.open(str(path), "w", format={".ts": "mpegts"}.get(suffix)) as container:
            stream = container.add_stream("flv1" if suffix == ".flv" else "mpeg4", rate=10)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            for frame in np.random.default_rng(0).integers(0, 255, (20, 48, 64, 3), np.uint8):
                picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="yuv420p")
                container.mux(stream.encode(picture))
            container.mux(stream.encode(None))
    else:
        write_video(path, np.random.default_rng(0).integers(0, 255, (20, 48, 64, 3), np.uint8))
    assert load_video(path).damage is None
    data = path.read_bytes()
    for share in (0.9, 0.6):
        path.write_bytes(data[: int(len(data) * share) + 1])
        assert load_video(path).damage is not None
    assert load_video(path, 2).damage is None


@pytest.mark.parametrize("format", ["webm", "mkv", "gif", "flv"])
def test_a_hole_in_the_middle_is_told(tmp_path, format):
    """The decoder passes over it, and the video seems shorter or whole."""
    content, path = video_bytes(format, clip_frames(12, 48, 64)), tmp_path / f"clip.{format}"
    path.write_bytes(content)
    assert load_video(path).damage is None
    middle = len(content) * 7 // 10
    path.write_bytes(content[:middle] + bytes(len(content) // 5) + content[middle + len(content) // 5 :])
    assert load_video(path).damage is not None


def test_frames_that_are_only_counted_take_no_memory(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", num_frames=10)
    counted = video_file.decode_file(path, limits=DecodeLimits(memory=1), only_first=True)
    assert (counted.num_frames, len(counted.frames), counted.frames[0].shape) == (10, 1, (32, 48, 3))
