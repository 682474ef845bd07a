"""Where masks can go as they come, through `on_frame=` of the pipeline: a tree of PNGs, or lines of run lengths."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from ..media.mask_png import save_mask_png
from ..media.rle import encode_rle
from .frame_masks import FrameMasks


class PngSink:
    """Writes `<folder>/<number of the text>/<frame>.png`, as `glus-hf segment --masks-dir` does.

    Args:
        folder: is made; files of the same names are replaced.
        frame_names: T stems; by default `"00000"`, `"00001"`, ...

    Example:
        >>> pipe("clip.mp4", "the dog", output="file", on_frame=PngSink("masks").write)  # doctest: +SKIP
    """

    def __init__(self, folder: str | os.PathLike, frame_names: Sequence[str] | None = None):
        self.folder, self.frame_names = Path(folder), frame_names

    def write(self, frame: FrameMasks) -> None:
        """Write the masks of a frame."""
        name = f"{frame.frame_idx:05d}" if self.frame_names is None else self.frame_names[frame.frame_idx]
        for text, mask in zip(frame.text_indices, frame.masks, strict=True):
            save_mask_png(self.folder / str(text) / f"{name}.png", mask)


class RleLinesSink:
    """Writes a line of JSON per mask, in the order in which they come: `frame`, `text` (its number), `score` and `rle`
    (COCO's run lengths, null for an empty mask). Each line is on its way to the file before the next frame.

    Args:
        path: of the file, which is replaced.

    Example:
        >>> with RleLinesSink("masks.jsonl") as sink:  # doctest: +SKIP
        ...     pipe("clip.mp4", "the dog", output="file", on_frame=sink.write)
    """

    def __init__(self, path: str | os.PathLike):
        self._file = open(path, "w", encoding="utf-8")  # noqa: SIM115 (close does it)

    def write(self, frame: FrameMasks) -> None:
        """Write the masks of a frame."""
        for text, mask, score in zip(frame.text_indices, frame.masks, frame.scores.tolist(), strict=True):
            rle = encode_rle(mask) if mask.any() else None
            line = {"frame": frame.frame_idx, "text": text, "score": round(score, 6), "rle": rle}
            self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> RleLinesSink:
        return self

    def __exit__(self, *_) -> None:
        self.close()


__all__ = ["PngSink", "RleLinesSink"]
