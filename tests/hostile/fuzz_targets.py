"""What is fuzzed: a reader gets any bytes and may answer with a value or a `UserError`, with nothing else.

Where a second reader of the same format is at hand, what was read is compared with it.
"""

import io
import json
import os
import tarfile
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from glus_hf.checkpoint_files.safetensors_header import read_header
from glus_hf.conversion.weight_files import read_weights
from glus_hf.data import strict_json
from glus_hf.data.strict_json import JsonObject, read_json
from glus_hf.data.tar_frames import TarFrames
from glus_hf.errors import MAX_MESSAGE, UserError
from glus_hf.media.rle import clean_track, decode_rle, encode_rle
from glus_hf.media.video import load_video
from tests.hostile.fuzz_headers import with_checksums
from tests.hostile.small_media import clip_frames, video_bytes


@contextmanager
def only_user_errors():
    """Anything but a `UserError` with one short line goes through, and ends the fuzzing."""
    try:
        yield
    except UserError as error:
        assert len(str(error).splitlines()) == 1 and len(str(error)) <= 2 * MAX_MESSAGE, repr(error)


class _File:
    """A path whose content is replaced from input to input."""

    def __init__(self, suffix: str):
        folder = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.handle = tempfile.NamedTemporaryFile(suffix=suffix, dir=folder)  # noqa: SIM115 - as long as the process
        self.path = self.handle.name

    def hold(self, data: bytes) -> str:
        with open(self.path, "wb") as file:
            file.write(data)
        return self.path


class VideoTarget:
    """`load_video`: frames are uint8 of one size, never more than asked for."""

    def __init__(self):
        self.file = _File(".mp4")

    def __call__(self, data: bytes) -> None:
        path = self.file.hold(data)
        with only_user_errors():
            video = load_video(path, max_frames=4)
            assert 1 <= len(video) <= 4 and all(frame.dtype == np.uint8 for frame in video.frames)
            assert all(frame.shape == (video.height, video.width, 3) for frame in video.frames)
            assert video.fps is None or np.isfinite(video.fps)

    def seeds(self) -> list[bytes]:
        formats = ["mp4", "mov", "webm", "mkv", "avi", "gif", "mpegts", "flv"]
        return [video_bytes(format, clip_frames(2, 16, 16)) for format in formats]

    dictionary = ("ftyp", "moov", "mvhd", "trak", "tkhd", "stsd", "stco", "stsz", "mdat", "avc1", "elst", "#EXTM3U")


class RleTarget:
    """`clean_track`: what it accepts is decoded without a fault, and encoded again is the same mask."""

    def __call__(self, data: bytes) -> None:
        if len(data) < 3:
            return
        size, kind, counts = (data[0] % 48, data[1] % 48), data[2] % 3, data[3:]
        if kind == 1:
            counts = counts.decode("latin-1")
        elif kind == 2:
            counts = [int(run) - 8 for run in counts]
        with only_user_errors():
            track, _ = clean_track([{"size": list(size), "counts": counts}], 1, None, "mask 7")
            mask = decode_rle(track[0], size)
            assert mask.shape == size and (track[0] is None) == (not mask.any())
            assert np.array_equal(decode_rle(encode_rle(mask), size), mask)

    def seeds(self) -> list[bytes]:
        rng = np.random.default_rng(0)
        masks = [rng.random((height, width)) < 0.4 for height, width in ((1, 1), (4, 7), (20, 30), (47, 47))]
        texts = [bytes(mask.shape) + b"\0" + encode_rle(mask)["counts"].encode() for mask in masks]
        return [*texts, bytes([4, 5, 2]) + bytes(run + 8 for run in (3, 5, 12)), bytes([9, 9, 1]) + b"oo0"]

    dictionary = ("0", "1", "o", "_", "PPYo0")


class JsonTarget:
    """`read_json` and `JsonObject` agree on every file that the first one takes, and with the standard library."""

    def __init__(self):
        self.file = _File(".json")

    def __call__(self, data: bytes) -> None:
        path = self.file.hold(data)
        strict_json.CHUNK = 1 + data[0] % 64 if data else 1  # the edge of a window falls everywhere
        content = None
        with only_user_errors():
            content = read_json(path)
            assert repr(content) == repr(json.loads(data.decode("utf-8-sig")))
        with only_user_errors():
            index = JsonObject(path)
            found = {key: index[key] for key in index}
            if isinstance(content, dict):
                assert repr(found) == repr(content)
            return
        assert not isinstance(content, dict), "JsonObject refuses what read_json takes"

    def seeds(self) -> list[bytes]:
        values = [{}, {"a": 1}, {"videos": {"v": {"expressions": {"0": {"exp": "the \u00e9"}}, "frames": ["0"]}}}]
        more = [b"[[[[]]]]", b'{"a": "\\ud83d\\ude00", "b": [1e5, -0.5, null, true]}', b'\xef\xbb\xbf{"a": NaN}']
        return [*(json.dumps(value).encode() for value in values), *more]

    dictionary = ("{", "}", "[", "]", '"', ":", ",", "\\\\u", "\\\\ud83d", "null", "true", "NaN", "-Infinity", "1e9")


class TarTarget:
    """`TarFrames`: members have the bytes that the standard library finds."""

    def __init__(self):
        self.file = _File(".tar")

    def __call__(self, data: bytes) -> None:
        path = self.file.hold(with_checksums(data))
        with only_user_errors():
            index = TarFrames(path)
            for name in index:
                content = index.read(name)
                assert len(content) <= len(data)
            del index

    def seeds(self) -> list[bytes]:
        return [_tar(format) for format in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)]

    dictionary = ("ustar", "size=", "GNU.sparse.map=", "GNU.sparse.size=", "\\x80\\x00\\x00", "0000000", "path=")


def _tar(format: int) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=format) as archive:
        for name in ("v/00000.jpg", "n" * 120 + "/00001.jpg"):
            member = tarfile.TarInfo(name)
            member.size = 20
            archive.addfile(member, io.BytesIO(b"0123456789" * 2))
    return content.getvalue()[:6144]


class SafetensorsTarget:
    """`read_header` and `read_weights` agree, on any file, any header with its right length, and any numbers in it."""

    dtypes = ("F32", "BF16", "I64", "F8_E4M3", "BOOL", "F4", "f32", "")
    numbers = (0, 1, 2, 3, 24, 2**31, 2**32, 2**63, 2**64, -1, 1.5, "1", None, [], True)

    def __init__(self):
        self.file = _File(".safetensors")

    def __call__(self, data: bytes) -> None:
        if data[:1] == b"{":
            header = data.partition(b"\0")[0]
            data = len(header).to_bytes(8, "little") + data
        elif data[:1] == b"#":
            data = self._file_of_numbers(list(data[1:]))
        path = Path(self.file.hold(data))
        header = None
        with only_user_errors():
            header = read_header(path)
            assert sum(weight.num_bytes for weight in header.values()) <= len(data)
        with only_user_errors():
            for name, tensor in read_weights(path):
                assert tensor.nbytes <= len(data)
                assert header is None or header[name].shape == tuple(tensor.shape)

    def _file_of_numbers(self, choices: list[int]) -> bytes:
        """A file whose header has up to four tensors; every choice picks a type, a side or an offset."""

        def pick(values):
            return values[choices.pop() % len(values)] if choices else values[0]

        header = {}
        for index in range(1 + pick((0, 1, 2, 3))):
            name = pick((f"t{index}", "t0", "__metadata__", ""))
            shape = [pick(self.numbers) for _ in range(pick((0, 1, 2, 3, 9)))]
            header[name] = {
                "dtype": pick(self.dtypes),
                "shape": shape,
                "data_offsets": [pick(self.numbers) for _ in "ab"],
            }
        text = json.dumps(header).encode()
        length = len(text) + pick((0, 0, 0, 1, -1, 2**40, 2**63))
        return (length % 2**64).to_bytes(8, "little") + text + bytes(pick((24, 0, 1, 12, 255)))

    def seeds(self) -> list[bytes]:
        tensors = {"a": torch.arange(6.0).reshape(2, 3), "b.weight": torch.zeros(3, dtype=torch.bfloat16)}
        whole = save(tensors, metadata={"format": "pt"})
        scalar = save({"scalar": torch.tensor(3)})
        return [
            whole,
            whole[8:],
            save({"empty": torch.zeros(0, 5)}),
            scalar[8:],
            b"#" + bytes(40),
            b"#" + bytes(range(40)),
        ]

    dictionary = ("dtype", "F32", "BF16", "I64", "F8_E4M3", "shape", "data_offsets", "__metadata__", "[0,24]", "[2,3]")


TARGETS = {
    "video": VideoTarget,
    "rle": RleTarget,
    "json": JsonTarget,
    "tar": TarTarget,
    "safetensors": SafetensorsTarget,
}
