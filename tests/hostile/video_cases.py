"""Video files that are damaged, dressed up, too large, or odd and good."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np

from tests.hostile.cases import PROBLEMS, WORKS, Case
from tests.hostile.ingredients import (
    SEGMENT,
    anew,
    check,
    clip,
    fifo,
    frame_folder,
    last_json,
    line,
    link,
    own_data,
    put,
    replaced,
    sparse,
    unix_socket,
    write_lines,
)
from tests.hostile.small_media import clip_frames, video_bytes


MASKS = ("segment", "clip.mp4", "the red square", "-o", "out.mp4", "--json", "-q")
QUARTERS = np.array([255, 170, 85, 0], np.uint8)


def file(content: bytes | str, name: str = "clip.mp4"):
    return lambda work: put(work / name, content)


def cut(share: float, **options):
    """An mp4 with its header in front, of which the rest is cut off."""

    def make(work: Path) -> None:
        frames = [np.random.default_rng(index).integers(0, 255, (48, 48, 3), dtype=np.uint8) for index in range(24)]
        content = video_bytes("mp4", frames)
        at = content.index(b"mdat") - 4
        end = content.index(b"moov") - 4
        moov = shifted(content[end:], at, len(content) - end)
        whole = content[:at] + moov + content[at:end]
        put(work / "clip.mp4", whole[: len(content[:at] + moov) + int((end - at) * share)])

    return make


def shifted(moov: bytes, at: int, by: int) -> bytes:
    """A moov box whose chunk offsets point behind itself."""
    start = moov.index(b"stco") + 8
    count = struct.unpack(">I", moov[start : start + 4])[0]
    offsets = struct.unpack_from(f">{count}I", moov, start + 4)
    moved = struct.pack(f">{count}I", *(offset + by for offset in offsets))
    return moov[: start + 4] + moved + moov[start + 4 + 4 * count :]


def matrix(*numbers: float):
    """A clip whose quarters have four grey levels, with this display matrix (its upper left 2x2, row by row)."""

    def make(work: Path) -> None:
        frame = np.zeros((32, 48, 3), np.uint8)
        frame[:16, :24], frame[:16, 24:], frame[16:, :24] = QUARTERS[:3, None, None, None]
        content = bytearray(video_bytes("mp4", [frame, frame]))
        a, b, c, d = (int(number * 65536) for number in numbers)
        at = content.index(b"tkhd") + 4 + 40
        content[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
        put(work / "clip.mp4", bytes(content))

    return make


def quarters(*order: int):
    """A call that asserts where the quarters are: upper left, upper right, lower left, lower right."""

    def call(work: Path) -> None:
        from glus_hf.media.video import load_video

        frame = load_video("clip.mp4").frames[0].astype(int)
        height, width = (side // 2 for side in frame.shape[:2])
        parts = [frame[:height, :width], frame[:height, width:], frame[height:, :width], frame[height:, width:]]
        found = [float(part.mean()) for part in parts]
        assert np.abs(np.array(found) - QUARTERS[list(order)]).max() < 20, found

    return call


def gif(width: int, height: int, count: int) -> bytes:
    """A GIF with a huge canvas, whose frames are one pixel each."""
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    control = b"\x21\xf9\x04\x08\x05\x00\x00\x00"
    picture = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x4c\x01\x00"
    return head + (control + picture) * count + b"\x3b"


def long_clip(count: int, side: int):
    """A video of still frames: a small file, long to hold."""

    def make(work: Path) -> None:
        options = {"preset": "ultrafast", "g": "1000"}
        frame = np.zeros((side, side, 3), np.uint8)
        put(work / "clip.mp4", video_bytes("mp4", [frame] * count, fps=30, options=options))

    return make


def load(**options):
    def call(work: Path) -> None:
        from glus_hf.media.video import load_video

        load_video("clip.mp4", **options)

    return call


def as_video(work: Path) -> None:
    """Make the clip a video of the own data."""
    (work / "clip.mp4").rename(work / "data" / "videos" / "street.mp4")
    write_lines(work / "data", [line(video="street", masks=None)])


def same_masks(work: Path, out: str) -> None:
    assert last_json(out)["num_frames"] == 4, out


PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n../outside/other.mp4\n#EXT-X-ENDLIST\n"


def with_other_clip(content: str, name: str = "clip.mp4"):
    return replaced(lambda work: clip(work.parent / "outside", "other.mp4"), file(content, name))


def odd_name(name: str):
    return Case(
        f"video: the name {name!r}",
        lambda work: clip(work, "clip.mp4").rename(work / name),
        ("segment", name, "the red square", "-o", "out.mp4", "--json", "-q"),
        WORKS,
        writes=("out.mp4",),
        check=same_masks,
    )


def piped(name: str, content, *options: str, size: str = "48x48", words=(), **more) -> Case:
    """Raw frames on standard input: bytes, or the path of a device."""

    def make(work: Path) -> None:
        put(work.parent / "raw", content) if isinstance(content, bytes) else link(work.parent / "raw", content)

    def call(work: Path) -> None:
        os.dup2(os.open(work.parent / "raw", os.O_RDONLY), 0)
        from glus_hf.cli.main import main

        main(["segment", "-", "the red square", "--size", size, "-o", "out.mp4", "--json", "-q", *options])

    return Case(f"video: standard input, {name}", make, call, words=words, **more)


def table(box: bytes, offset: int, value: int, format: str = "mp4"):
    """A clip of 20 frames with another 32-bit number in a table of its header."""

    def make(work: Path) -> None:
        content = video_bytes(format, clip_frames(20, 48, 48))
        at = content.index(box) + 4 + offset
        put(work / "clip.mp4", content[:at] + struct.pack(">I", value) + content[at + 4 :])

    return make


def cut_transport(packets: int):
    """An MPEG transport file of noise that ends in the middle of a picture, after so many packets."""

    def make(work: Path) -> None:
        noise = [np.random.default_rng(index).integers(0, 60, (96, 96, 3), dtype=np.uint8) for index in range(40)]
        put(work / "clip.mp4", video_bytes("mpegts", noise)[: 188 * packets])

    return make


RAW = b"".join(frame.tobytes() for frame in clip_frames(4, 48, 48))

CASES = [
    Case("video: missing", lambda work: None, SEGMENT, words=("clip.mp4",)),
    Case("video: empty", file(b""), SEGMENT, words=("clip.mp4",)),
    Case("video: text", file("not a video\n" * 50), SEGMENT, words=("clip.mp4",)),
    Case("video: zeros", file(bytes(5000)), SEGMENT, words=("clip.mp4",)),
    Case("video: noise", file(np.random.default_rng(0).bytes(5000)), SEGMENT, words=("clip.mp4",)),
    Case("video: an archive", file(b"PK\x03\x04" + bytes(500)), SEGMENT, words=("clip.mp4",)),
    Case(
        "video: no header", lambda work: put(clip(work), clip(work).read_bytes()[:600]), SEGMENT, words=("clip.mp4",)
    ),
    Case("video: only its header", cut(0.0), SEGMENT, words=("clip.mp4",)),
    Case("video: a playlist", with_other_clip(PLAYLIST), SEGMENT, words=("clip.mp4",)),
    Case(
        "video: a list to concatenate", with_other_clip("ffconcat version 1.0\nfile ../outside/other.mp4\n"), SEGMENT
    ),
    Case(
        "video: a playlist by its suffix",
        with_other_clip(PLAYLIST, "clip.m3u8"),
        ("segment", "clip.m3u8", "x", "-o", "out.mp4", "-q"),
        words=("clip.m3u8",),
    ),
    Case("video: a session description", file("v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n"), SEGMENT),
    Case("video: a DASH manifest", with_other_clip("<MPD><BaseURL>../outside/other.mp4</BaseURL></MPD>"), SEGMENT),
    Case(
        "video: an address",
        lambda work: None,
        ("segment", "http://127.0.0.1:9/clip.mp4", "x", "-o", "out.mp4", "-q"),
        words=("127.0.0.1",),
        connects=True,
    ),
    *[
        Case(
            f"video: {name}, checked",
            replaced(own_data, make, as_video),
            check(),
            PROBLEMS,
            words=("street",),
            warns=True,
        )
        for name, make in {
            "a chunk with room for one picture": table(b"stsc", 12, 1),
            "a chunk with 2^31 pictures": table(b"stsc", 12, 1 << 31),
            "times of three pictures": table(b"stts", 8, 3),
            "a transport file that is cut": cut_transport(60),
        }.items()
    ],
    piped("good", RAW, expect=WORKS, writes=("out.mp4",), words=('"num_frames": 4',)),
    piped("empty", b"", words=("--size",)),
    piped("half a frame", RAW[:3000], words=("--size",)),
    piped(
        "half a frame at the end",
        RAW[:-3000],
        expect=WORKS,
        writes=("out.mp4",),
        words=('"num_frames": 3',),
        warns=True,
    ),
    piped("a device, three frames of it", "/dev/zero", "--max-frames", "3", expect=WORKS, writes=("out.mp4",)),
    piped("a size of 0", RAW, size="0x48", words=("0x48",)),
    piped("a size of 10^10 pixels", RAW, size="100000x100000", words=("100000x100000",)),
    piped("a size that is text", RAW, size="large", words=("large",)),
    piped("a rate of 0", RAW, "--fps", "0", words=("fps",)),
    piped("masks over a folder of others", RAW, "--masks-dir", "../outside", words=("outside",), reads_outside=True),
    piped("a model that reads whole videos", RAW, "--model", "glus-selector-tiny", words=("glus-selector-tiny",)),
    Case(
        "video: half an address",
        lambda work: None,
        ("segment", "http://[::1", "x", "-o", "out.mp4", "-q"),
        words=("http://[::1",),
    ),
    Case(
        "video: half an address, without a name for the output",
        lambda work: None,
        ("segment", "http://[::1", "x", "-q"),
        words=("http://[::1",),
    ),
    Case(
        "video: a protocol",
        lambda work: clip(work),
        ("segment", "concat:clip.mp4|clip.mp4", "x", "-o", "out.mp4", "-q"),
        words=("concat:",),
    ),
    Case("video: a FIFO", lambda work: fifo(work / "clip.mp4"), SEGMENT, words=("clip.mp4",)),
    Case("video: a socket", lambda work: unix_socket(work / "clip.mp4"), SEGMENT, words=("clip.mp4",)),
    Case("video: a device", lambda work: link(work / "clip.mp4", "/dev/zero"), SEGMENT, words=("clip.mp4",)),
    Case("video: a link in a circle", lambda work: link(work / "clip.mp4", "clip.mp4"), SEGMENT, words=("clip.mp4",)),
    Case("video: a link to nothing", lambda work: link(work / "clip.mp4", "gone.mp4"), SEGMENT, words=("clip.mp4",)),
    Case(
        "video: a link to a clip",
        replaced(
            lambda work: clip(work.parent / "outside", "other.mp4"), anew("clip.mp4", link, "../outside/other.mp4")
        ),
        MASKS,
        WORKS,
        writes=("out.mp4",),
        check=same_masks,
        reads_outside=True,
    ),
    Case("video: 10 TB", lambda work: sparse(work / "clip.mp4", 10 << 40), SEGMENT, words=("clip.mp4",)),
    Case("video: a name too long", lambda work: None, ("segment", "n" * 300 + ".mp4", "x", "-o", "o.mp4", "-q")),
    Case(
        "video: a canvas of 65535 x 65535",
        file(gif(65535, 65535, 3), "clip.gif"),
        ("segment", "clip.gif", "x", "-o", "out.mp4", "-q"),
        words=("clip.gif",),
    ),
    Case(
        "video: 200 frames of 16000 x 16000",
        file(gif(16000, 16000, 200), "clip.gif"),
        ("segment", "clip.gif", "x", "-o", "out.mp4", "-q"),
        words=("clip.gif",),
    ),
    *[
        Case(
            f"video: a canvas of {width} x {height}",
            file(gif(width, height, 3), "clip.gif"),
            ("segment", "clip.gif", "the red square", "-o", "out.gif", "--json", "-q"),
            WORKS,
            writes=("out.gif",),
            warns=True,
        )
        for width, height in ((65535, 1), (1, 65535))
    ],
    # its frames on the way back to the start of the file take more than a file may have here
    Case("video: 4000 frames of 1280 x 1280", long_clip(4000, 1280), SEGMENT, words=("TMPDIR",), slow=True),
    Case("video: 40000 small frames", long_clip(40000, 16), load(), WORKS, slow=True),
    Case(
        "video: one column",
        lambda work: clip(work, height=1000, width=2),
        MASKS,
        WORKS,
        writes=("out.mp4",),
        check=same_masks,
    ),
    Case(
        "video: one row",
        lambda work: clip(work, height=2, width=1000),
        MASKS,
        WORKS,
        writes=("out.mp4",),
        check=same_masks,
    ),
    Case("video: mirrored", matrix(-1, 0, 0, 1), quarters(1, 0, 3, 2), WORKS),
    Case("video: upside down", matrix(1, 0, 0, -1), quarters(2, 3, 0, 1), WORKS),
    Case("video: turned by 90 degrees", matrix(0, 1, -1, 0), quarters(2, 0, 3, 1), WORKS),
    Case("video: turned by 180 degrees", matrix(-1, 0, 0, -1), quarters(3, 2, 1, 0), WORKS),
    Case("video: turned by 270 degrees", matrix(0, -1, 1, 0), quarters(1, 3, 0, 2), WORKS),
    Case("video: mirrored at the diagonal", matrix(0, 1, 1, 0), quarters(0, 2, 1, 3), WORKS),
    Case("video: a matrix of zeros", matrix(0, 0, 0, 0), quarters(0, 1, 2, 3), WORKS),
    Case("video: no frames asked for", lambda work: clip(work), (*SEGMENT, "--max-frames", "0"), words=("frames",)),
    Case("video: minus one frame", lambda work: clip(work), (*SEGMENT, "--max-frames", "-1"), words=("frames",)),
    Case(
        "video: a key frame that is not there", lambda work: clip(work), (*SEGMENT, "--key-frame", "99"), words=("99",)
    ),
    Case("video: a key frame of a thousand digits", lambda work: clip(work), (*SEGMENT, "--key-frame", "9" * 5000)),
    Case(
        "video: sound only",
        file(
            b"RIFF"
            + struct.pack("<I", 536)
            + b"WAVEfmt "
            + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 8000, 1, 8)
            + b"data"
            + struct.pack("<I", 500)
            + bytes(500)
        ),
        SEGMENT,
        words=("clip.mp4",),
    ),
    Case("video: a folder that is empty", lambda work: (work / "clip.mp4").mkdir(), SEGMENT, words=("clip.mp4",)),
    Case(
        "video: a folder without images",
        lambda work: put(work / "clip.mp4" / "notes.txt", "x"),
        SEGMENT,
        words=("clip.mp4",),
    ),
    odd_name("clip\n.mp4"),
    odd_name("-clip.mp4"[1:] + " %d %s.mp4"),
    odd_name("clip:a.mp4"),
    Case(
        "video: bytes that are no UTF-8 in its name",
        lambda work: os.rename(clip(work), os.fsencode(work) + b"/clip\xff.mp4"),
        lambda work: __import__("glus_hf.cli.main").cli.main.main(
            ["segment", os.fsdecode(b"clip\xff.mp4"), "the red square", "-o", "out.mp4", "--json", "-q"]
        ),
        WORKS,
        writes=("out.mp4",),
        check=same_masks,
    ),
    Case(
        "video: a truncated file in a dataset",
        replaced(
            lambda work: own_data(work),
            cut(0.4),
            as_video,
        ),
        check(),
        PROBLEMS,
        words=("street",),
        warns=True,
    ),
    Case(
        "video: pieces of another format",
        replaced(
            lambda work: frame_folder(work),
            lambda work: put(work / "frames" / "00002.png", clip_frames(1, 4, 4)[0].tobytes()),
        ),
        ("segment", "frames", "the red square", "-o", "out.mp4", "-q"),
        words=("00002.png",),
    ),
]
