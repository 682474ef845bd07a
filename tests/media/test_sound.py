"""The sound of a video under the pictures drawn from it."""

from fractions import Fraction

import av
import numpy as np
import pytest

from glus_hf.errors import VideoError
from glus_hf.media.video import load_video, write_video


RATE, FPS = 16000, 10


def tone(seconds):
    """A tone that rises: every moment sounds different."""
    time = np.arange(int(seconds * RATE)) / RATE
    return (0.4 * np.sin(2 * np.pi * (200 + 150 * time) * time)).astype(np.float32)


def write_source(path, codec, seconds=3, first=0):
    """A video with sound that starts at the time `first`."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libvpx-vp9" if path.suffix == ".webm" else "libx264", rate=FPS)
        video.width = video.height = 32
        audio = container.add_stream(codec, rate=48000 if codec == "libopus" else RATE)
        audio.layout = "mono"
        for index in range(int(seconds * FPS)):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 8 * index % 250, dtype=np.uint8), format="rgb24")
            frame.pts, frame.time_base = index + first * FPS, Fraction(1, FPS)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        resampler = av.AudioResampler(audio.format, "mono", audio.rate, audio.frame_size or 1024)
        frame = av.AudioFrame.from_ndarray(tone(seconds + first)[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(audio.encode(part))
        container.mux(audio.encode(None))
    return path


def read_sound(path):
    """Codec and samples of a file at `RATE`."""
    with av.open(str(path)) as container:
        stream = container.streams.best("audio")
        if stream is None:
            return None, np.zeros(0)
        resampler, parts = av.AudioResampler("flt", "mono", RATE), []
        for frame in container.decode(stream):
            parts += [part.to_ndarray().ravel() for part in resampler.resample(frame)]
        return stream.codec_context.name, np.concatenate(parts)


def likeness(found, expected):
    """Correlation at the best of small shifts (a coder's delay), in at most 1/40 s."""
    length = min(len(found), len(expected)) - 1000
    return max(
        np.corrcoef(found[500 : length + 500], expected[500 + shift : length + 500 + shift])[0, 1]
        for shift in range(-400, 401, 5)
    )


@pytest.mark.parametrize(
    "source, codec, suffix, expected",
    [
        (".mp4", "aac", ".mp4", "aac"),  # copied
        (".mp4", "aac", ".mov", "aac"),
        (".webm", "libopus", ".webm", "opus"),
        (".webm", "libopus", ".mp4", "opus"),
        (".mp4", "aac", ".webm", "opus"),  # encoded anew
        (".mkv", "flac", ".mp4", "aac"),
        (".avi", "pcm_s16le", ".webm", "opus"),
    ],
)
def test_the_sound_is_kept_and_cut_to_the_frames(tmp_path, source, codec, suffix, expected):
    path = write_source(tmp_path / f"in{source}", codec)
    frames = load_video(path, max_frames=20).frames
    write_video(tmp_path / f"out{suffix}", frames, FPS, sound=path)
    name, samples = read_sound(tmp_path / f"out{suffix}")
    assert name == expected
    assert 1.9 < len(samples) / RATE < 2.15  # 20 frames are 2 s
    assert likeness(samples, tone(3)) > 0.95
    assert len(load_video(tmp_path / f"out{suffix}")) == 20


def test_sound_stays_with_its_pictures_where_these_start_late(tmp_path):
    path = write_source(tmp_path / "in.mkv", "aac", seconds=2, first=1)
    write_video(tmp_path / "out.mp4", load_video(path).frames, FPS, sound=path)
    _, samples = read_sound(tmp_path / "out.mp4")
    assert likeness(samples, tone(3)[RATE:]) > 0.9


def test_a_silent_video_and_a_gif_have_no_sound(tmp_path):
    frames = np.zeros((4, 32, 32, 3), dtype=np.uint8)
    write_video(tmp_path / "silent.mp4", frames)
    for name in ("out.mp4", "out.gif"):
        write_video(tmp_path / name, frames, sound=tmp_path / "silent.mp4")
        assert read_sound(tmp_path / name)[0] is None and len(load_video(tmp_path / name)) > 0


def test_damaged_sound_ends_early_with_a_warning_and_the_pictures_stay(tmp_path):
    path = write_source(tmp_path / "in.mp4", "aac")
    frames = load_video(path).frames
    content = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        stream = container.streams.best("audio")
        places = [(packet.pos, packet.size) for packet in container.demux(stream) if packet.size]
    for pos, size in places[20:]:
        content[pos : pos + size] = b"\xff" * size
    path.write_bytes(content)
    write_video(tmp_path / "out.webm", frames, FPS, sound=path)
    assert len(load_video(tmp_path / "out.webm")) == 30


def test_a_source_that_is_none(tmp_path):
    frames = np.zeros((4, 32, 32, 3), dtype=np.uint8)
    (tmp_path / "notes.txt").write_text("no sound")
    for name, words in (("notes.txt", "cannot be opened"), ("none.mp4", "no such file")):
        with pytest.raises(VideoError, match=words):
            write_video(tmp_path / "out.mp4", frames, sound=tmp_path / name)
        assert not (tmp_path / "out.mp4").exists()
