"""What a call of the pipeline means: one video or many, and which expressions go to which of them.

The rules are in the docstring of the pipeline's `__call__`. A sample, here, is a dict with one `video` and its `text`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, repeat

from ..errors import UserError
from ..media.decode_limits import DecodeLimits
from ..media.download import DownloadOptions
from ..media.video import Video, load_video, open_video
from ..media.video_sources import is_decoder, is_file_row, is_frame, is_to_copy
from .dataset_videos import say_what_decodes, undecoded


SAMPLE_KEYS = ("video", "text", "key_frame", "context_frames", "corrections")
NEEDS_TEXT = "pass a text with the video, or dicts {'video': ..., 'text': ...}"


@dataclass(frozen=True)
class FrameAddresses:
    """The frames of a row of `load_referring_dataset`: addresses that [`read_frame`] opens, and their names."""

    paths: Sequence[str]
    names: Sequence[str]


# --- samples ---------------------------------------------------------------------------------------------------------


def as_samples(inputs, text=None) -> Mapping | list[Mapping] | Iterator[Mapping]:
    """One sample, a list of samples, or, for datasets and generators, an iterator that is consumed lazily.

    Args:
        inputs, text: what the user passed, see the pipeline's `__call__`.

    Raises:
        UserError: no text, or one that goes with no video; one line.

    Example:
        >>> as_samples(["a.mp4", "b.mp4"], "the dog")
        [{'video': 'a.mp4', 'text': 'the dog'}, {'video': 'b.mp4', 'text': 'the dog'}]
    """
    if text is None:
        return _samples_with_own_text(inputs)
    text = _checked_text(text)
    if _is_dataset(inputs):
        return _with_text(inputs, _text_of_each(text, len(inputs) if hasattr(inputs, "__len__") else None))
    videos = _videos_of_list(inputs) if isinstance(inputs, (list, tuple)) else None
    if videos is None:
        _refuse_nested(text)
        return _with_common_text(inputs, text)
    return list(_with_text(videos, _text_of_each(text, len(videos))))


def _samples_with_own_text(inputs) -> Mapping | list[Mapping] | Iterator[Mapping]:
    if _is_sample(inputs):
        return checked_sample(inputs)
    if isinstance(inputs, (list, tuple)) and all(_is_sample(sample) for sample in inputs):
        return [checked_sample(sample) for sample in inputs]
    if _is_dataset(inputs) or (isinstance(inputs, Iterator) and not is_to_copy(inputs)):
        return _checked_samples(_elements(inputs))
    if inputs is None or isinstance(inputs, (int, float)):
        raise UserError(f"cannot segment a {type(inputs).__name__}: {NEEDS_TEXT}")
    raise UserError(f"no text given: {NEEDS_TEXT}")


def _is_sample(inputs) -> bool:
    return isinstance(inputs, Mapping) and not is_file_row(inputs)


def _checked_samples(samples: Iterable) -> Iterator[Mapping]:
    for sample in samples:
        if not _is_sample(sample):
            raise UserError(f"an input is a {type(sample).__name__}: {NEEDS_TEXT}")
        yield checked_sample(sample)


def checked_sample(sample: Mapping) -> Mapping:
    """A sample with known keys only; of a row of `load_referring_dataset`, its frames and its expression.

    Raises:
        UserError: a key is missing or unknown; one line.

    Example:
        >>> checked_sample({"frames": ["0"], "frame_paths": ["v/0.jpg"], "expression": "the dog"})["text"]
        'the dog'
    """
    if "frame_paths" in sample and "expression" in sample:
        return _sample_of_row(sample)
    unknown = [repr(key) for key in sample if key not in SAMPLE_KEYS]
    missing = [repr(key) for key in ("video", "text") if sample.get(key) is None]
    if unknown or missing:
        problem = f"has no {' and no '.join(missing)}" if missing else f"has the unknown key {', '.join(unknown)}"
        optional = ", ".join(repr(key) for key in SAMPLE_KEYS[2:])
        raise UserError(f"an input {problem}: pass a dict with 'video' and 'text', and perhaps {optional}")
    _refuse_nested(_checked_text(sample["text"]))
    return sample


def _sample_of_row(row: Mapping) -> Mapping:
    paths = row["frame_paths"]
    if not isinstance(row["expression"], str) or not all(isinstance(path, str) for path in paths):
        raise UserError("an input holds columns of several rows: pass rows one by one, as list(rows) or rows[0]")
    names = row.get("frames") or [f"{index:05d}" for index in range(len(paths))]
    return {"video": FrameAddresses(paths, names), "text": row["expression"]}


# --- expressions -----------------------------------------------------------------------------------------------------


def _checked_text(text):
    """A `str`, a list of these, or a list of one of both per video."""
    if isinstance(text, str):
        return text
    if hasattr(text, "tolist"):
        text = text.tolist()
    if isinstance(text, Mapping) or not isinstance(text, Sequence) or isinstance(text, (bytes, bytearray)):
        raise UserError(
            f"text must be an expression (str) or a list of them, got a {type(text).__name__}: {text!r:.80}"
        )
    for each in chain.from_iterable(part if _is_list(part) else [part] for part in text):
        if not isinstance(each, str):
            raise UserError(f"an expression must be a str, got a {type(each).__name__}: {each!r:.80}")
    return list(text)


def _is_list(text) -> bool:
    return isinstance(text, Sequence) and not isinstance(text, (str, bytes, bytearray))


def _is_nested(text) -> bool:
    return _is_list(text) and any(_is_list(part) for part in text)


def _refuse_nested(text) -> None:
    if _is_nested(text):
        raise UserError("text is a list of lists, which are one list per video, but there is one video: pass one list")


def _text_of_each(text, num_videos: int | None) -> Iterable:
    """The expressions of each video: the same for all, or of a list of lists each its own."""
    if not _is_nested(text):
        return repeat(text)
    if num_videos is None:
        raise UserError("a dataset of unknown length takes no list of lists as text: give each input its own 'text'")
    if len(text) != num_videos:
        raise UserError(f"there are {num_videos} videos but {len(text)} lists of expressions: pass one list per video")
    return text


def _with_text(videos: Iterable, texts: Iterable) -> Iterator[Mapping]:
    return (_with_common_text(video, text) for video, text in zip(_elements(videos), texts, strict=False))


def _with_common_text(video, text) -> Mapping:
    if not _is_sample(video):
        return {"video": video, "text": text}
    if "text" in video or "expression" in video:
        raise UserError("an input holds its own text, and text= is given too: leave one of them out")
    return checked_sample({**video, "text": text})


# --- videos ----------------------------------------------------------------------------------------------------------


def _is_dataset(inputs) -> bool:
    """Whether each element is an input of its own: datasets, columns, `KeyDataset`, data loaders."""
    is_single = isinstance(
        inputs, (str, bytes, bytearray, memoryview, os.PathLike, Mapping, list, tuple, Video, Iterator)
    )
    if is_single or hasattr(inputs, "ndim") or is_decoder(inputs) or is_to_copy(inputs):
        return False
    return isinstance(inputs, Iterable) or (hasattr(inputs, "__getitem__") and hasattr(inputs, "__len__"))


def _elements(dataset) -> Iterator:
    return say_what_decodes(_iterate(undecoded(dataset)))


def _iterate(dataset) -> Iterator:
    if not isinstance(dataset, Iterator) and hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__"):
        return (dataset[index] for index in range(len(dataset)))
    return iter(dataset)


def _videos_of_list(inputs: Sequence) -> list | None:
    """The videos of a list; None if the list is the frames of one.

    Raises:
        UserError: it holds frames and videos.
    """
    kinds = [_is_video(element) for element in inputs]
    if not any(kinds):
        return None
    if not all(kinds):
        frame, video = kinds.index(False), kinds.index(True)
        raise UserError(
            f"the list holds an image (element {frame}) and a video (element {video}): pass the frames of one video, "
            "or several videos"
        )
    return list(inputs)


def _is_video(element) -> bool:
    """Whether an element of a list is a video of its own; what is neither that nor a frame is refused as a frame."""
    is_known = isinstance(element, (str, os.PathLike, bytes, bytearray, memoryview, Mapping, list, tuple, Video))
    is_known = is_known or hasattr(element, "ndim") or is_decoder(element) or is_to_copy(element)
    return (is_known or isinstance(element, Iterator)) and not is_frame(element)


def load_input(source, max_frames: int | None, download: DownloadOptions, limits: DecodeLimits | None = None) -> Video:
    """The video of a sample; frames of long files and folders are read when they are asked for.

    Raises:
        VideoError: it cannot be read; one line.
        UserError: it is several videos.

    Example:
        >>> load_input(FrameAddresses(["motion_shapes://test/0/64/8/0/3"], ["3"]), None, DownloadOptions()).frame_names
        ['3']
    """
    if isinstance(source, FrameAddresses):
        from ..data.frames import open_frames

        frames = open_frames(source.paths[:max_frames], limits)
        return load_video(Video(frames, None, list(source.names[:max_frames])))
    if isinstance(source, (list, tuple)):
        if _videos_of_list(source) is not None:
            raise UserError("an input holds several videos: pass a dict for each of them")
        read = lambda frame: load_video(frame, 1, limits, download).frames[0] if _is_to_read(frame) else frame
        source = [read(frame) for frame in source[:max_frames]]
    if isinstance(source, Iterator) and not is_to_copy(source):
        source = _frames_of_generator(source)
    return open_video(source, max_frames, limits, download)


def _is_to_read(frame) -> bool:
    return is_to_copy(frame) or is_file_row(frame) or (isinstance(frame, str) and frame.startswith("file://"))


def _frames_of_generator(frames: Iterator) -> Iterator:
    for frame in say_what_decodes(frames):
        if _is_video(frame):
            raise UserError(
                "a generator with text= gives the frames of one clip, but this one gives videos: pass a list of "
                "videos, or a generator of dicts {'video': ..., 'text': ...} without text="
            )
        yield frame


__all__ = ["SAMPLE_KEYS", "FrameAddresses", "as_samples", "checked_sample", "load_input"]
