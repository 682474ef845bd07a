"""`glus-hf segment -`: raw frames on standard input, masked and written as they come."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..inference.expression_notes import UNKNOWN_WORDS, unknown_words
from .output import echo, print_json, print_table


STDIN = "-"
DEFAULT_FPS = 12.0
WITHOUT_ANSWER = "frames_without_answer"


def check_live_options(video: str, size: str | None, fps: float | None, output: Path | None, others: dict) -> None:
    """Refuse what does not go with standard input, or with anything else.

    Args:
        others: by name, options that need the whole video.

    Raises:
        UserError: one of them is given; one line.
    """
    if video != STDIN:
        if size is not None or fps is not None:
            raise UserError("--size and --fps belong to raw frames on standard input: write - for VIDEO")
        return
    if size is None:
        raise UserError("- reads raw RGB frames: add their --size, as 640x360")
    given = [name for name, value in others.items() if value]
    if given:
        raise UserError(f"{given[0]} needs the whole video; it does not go with -")
    if output is not None and output.suffix.lower() == ".gif":
        raise UserError(f"{output}: a .gif holds all frames until the end: write .mp4, .mov or .webm")
    if sys.stdin.isatty():
        raise UserError("standard input is a terminal: pipe frames into it, as of ffmpeg -f rawvideo -pix_fmt rgb24 -")


class LiveCounts:
    """What a stream came to, expression by expression: numbers only."""

    def __init__(self, num_texts: int):
        self.num_frames, self.scores = 0, np.zeros(num_texts)
        self.with_mask, self.without_answer = np.zeros(num_texts, int), np.zeros(num_texts, int)

    def add(self, frame) -> None:
        self.num_frames += 1
        self.scores += frame.scores
        self.with_mask += frame.masks.any(axis=(1, 2))
        self.without_answer[frame.missing] += 1

    def rows(self, labels: list[str], words: list[list[str]]) -> list[dict]:
        columns = zip(labels, self.with_mask.tolist(), self.scores.tolist(), self.without_answer.tolist(), words)
        return [
            {
                "label": label,
                "frames_with_mask": masks,
                "mean_score": round(score / max(self.num_frames, 1), 4),
                WITHOUT_ANSWER: without,
                UNKNOWN_WORDS: unknown,
            }
            for label, masks, score, without, unknown in columns
        ]


def segment_stream(
    live, frames: Iterator, overlay: Path, masks: Path | None, fps: float, legend: bool, progress: bool
) -> LiveCounts:
    """Write overlay and masks of a stream.

    Args:
        live: a [`~glus_hf.inference.live_session.LiveSession`].
        overlay, masks: file and folder to write.

    Returns:
        [`LiveCounts`].
    """
    from ..inference.mask_sinks import PngSink
    from ..predictions.exports.mask_folders import write_note
    from ..visualization import save_overlay

    counts = LiveCounts(len(live.labels))
    sinks = [counts.add] if masks is None else [counts.add, PngSink(masks).write]
    save_overlay(overlay, _drawn(live, frames, sinks, live.labels if legend else None, progress), fps)
    if masks is not None:
        write_note(masks, "stdin", fps, live.labels)
    return counts


def _drawn(live, frames: Iterator, sinks: list, labels: list[str] | None, progress: bool) -> Iterator[np.ndarray]:
    from transformers.utils import logging

    from ..visualization import draw_overlay

    for frame in logging.tqdm(frames, desc="segmenting", unit="frame", disable=not progress):
        found = live.push(frame)
        for sink in sinks:
            sink(found)
        yield draw_overlay(frame, found.masks, labels, legend_at_top=True)


def limited(frames: Iterator, max_frames: int | None) -> Iterator:
    """The first frames of a stream.

    Raises:
        UserError: none are asked for.
    """
    if max_frames is not None and max_frames < 1:
        raise UserError(f"max_frames must be a positive integer or None, got {max_frames!r}")
    return islice(frames, max_frames)


def report(counts: LiveCounts, live, places: dict, as_json: bool, quiet: bool) -> None:
    """What the command prints at its end."""
    tokenizer = getattr(live.processor, "tokenizer", None)
    words = [unknown_words(tokenizer, text) for text in live.session.texts]
    rows = counts.rows(live.labels, words)
    if as_json:
        print_json({**places, "num_frames": counts.num_frames, "expressions": rows})
    elif not quiet:
        table = [
            [index, row["label"], f"{row['frames_with_mask']}/{counts.num_frames}", f"{row['mean_score']:.2f}"]
            for index, row in enumerate(rows)
        ]
        print_table(["", "expression", "frames with mask", "mean score"], table)
        for name, place in places.items():
            if place is not None:
                echo(f"{'Overlay' if name == 'output' else 'Masks'}: {place}")


__all__ = ["STDIN", "LiveCounts", "check_live_options", "limited", "report", "segment_stream"]
