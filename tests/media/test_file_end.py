"""Files whose end is missing although their decoder takes it for the end: tables of mp4, parts of MPEG transport."""

import av
import numpy as np
import pytest

from glus_hf.media.file_end import has_gap_at_end
from glus_hf.media.video_file import decode_file
from tests.hostile.small_media import clip_frames, video_bytes


def edited(content: bytes, box: bytes, offset: int, value: int) -> bytes:
    """A file with another 32-bit number in the first box of a name."""
    at = content.index(box) + 4 + offset
    return content[:at] + value.to_bytes(4, "big") + content[at + 4 :]


@pytest.mark.parametrize("format", ["mp4", "mov"])
@pytest.mark.parametrize("options", [{}, {"bf": "0"}], ids=["reordered", "in order"])
def test_tables_of_an_mp4_that_contradict(tmp_path, format, options):
    whole, file = video_bytes(format, clip_frames(20, 48, 48), options=options), tmp_path / f"clip.{format}"
    file.write_bytes(whole)
    assert decode_file(file).damage is None
    for per_chunk in (0, 1, 7, 19, 1 << 31):
        file.write_bytes(edited(whole, b"stsc", 12, per_chunk))
        found = decode_file(file)
        assert found.damage.startswith("its header ") and found.num_frames < 20, per_chunk
    file.write_bytes(edited(whole, b"stsc", 12, 21))  # more room than pictures: the last chunk may be emptier
    assert decode_file(file).damage is None
    file.write_bytes(edited(whole, b"stts", 8, 3))
    assert decode_file(file).damage == "its header has 20 pictures, but times of 3"


def transport_stream(path, codec: str, with_sound: bool, count: int = 40) -> bytes:
    """An MPEG transport file of noise, so that a picture takes several packets."""
    noise = np.random.default_rng(0)
    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width = stream.height = 96
        stream.pix_fmt = "yuv420p"
        sound = container.add_stream("aac", rate=48000) if with_sound else None
        for index in range(count):
            frame = noise.integers(0, 60, (96, 96, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            for part in (0, 1) if with_sound else ():
                samples = (noise.standard_normal((1, 960)) * 3000).astype(np.int16)
                sounds = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
                sounds.sample_rate, sounds.pts = 48000, 1920 * index + 960 * part
                container.mux(sound.encode(sounds))
        for each in (stream, sound) if with_sound else (stream,):
            container.mux(each.encode(None))
    return path.read_bytes()


@pytest.mark.parametrize("codec, with_sound", [("libx264", False), ("libx264", True), ("mpeg2video", True)])
def test_transport_files_that_are_cut_between_packets(tmp_path, codec, with_sound):
    file = tmp_path / "clip.ts"
    whole = transport_stream(file, codec, with_sound)
    assert decode_file(file).damage is None
    packets, damages = len(whole) // 188, []
    for cut in range(packets // 2, packets - 10, packets // 20):
        file.write_bytes(whole[: 188 * cut])
        damages.append(decode_file(file).damage)
    # a cut between two pictures, where no sound is left open either, leaves a whole shorter file
    assert sum(damage is not None for damage in damages) >= 0.7 * len(damages), damages


def test_a_gap_at_the_end_and_none_elsewhere():
    assert has_gap_at_end([*range(0, 4000, 100), 4200])
    assert not has_gap_at_end([*range(0, 4000, 100)])
    assert not has_gap_at_end([*range(0, 900, 100), *range(1200, 9000, 100)])  # a recording that paused
    variable = np.cumsum(np.random.default_rng(0).integers(20, 200, 60)).tolist()
    assert not has_gap_at_end(variable) and not has_gap_at_end([0, 100, 5000])
