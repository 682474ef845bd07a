"""The second stage of inference, *read*: [SEG] of frames and expressions, from windows of frames in batches."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .frame_reader import FrameReader
from .window_schedule import WindowSchedule


@dataclass
class SegPredictions:
    """What the language model said on one frame: `embeddings [n, dim]`, `probabilities [n]`, and, on the host, whether
    each of n answers was [SEG]."""

    embeddings: Tensor
    probabilities: Tensor
    emitted: list[bool]


@dataclass(frozen=True)
class WindowJob:
    """One expression in one window: its frames, and the number of the expression."""

    window: tuple[int, ...]
    text: int


class WindowReader:
    """Reads windows of frames; keeps the image tokens of the context frames, of the current windows and of
    `kept_frame` only."""

    def __init__(self, reader: FrameReader, session, batch_size: int, kept_frame: int, schedule: WindowSchedule):
        self.reader, self.session, self.batch_size, self.kept_frame = reader, session, batch_size, kept_frame
        self.schedule, self.tokens = schedule, {}
        self.found: dict[WindowJob, tuple[Tensor, Tensor, Tensor]] = {}
        context = session.context_frame_indices
        self._encode(sorted(set(context)))
        self.context = {index: self.tokens[index] for index in context}
        self.prefix = reader.read_prefix(session.prefix_input_ids, [self.context[index] for index in context])
        self.lead = reader.shared_lead(session)

    @torch.no_grad()
    def read(self, frames: Sequence[int], active: list[list]) -> list[SegPredictions]:
        """[SEG] of each of `frames` for the expressions of its `active` passes, in their order."""
        wanted = [self._jobs(frame_idx, passes) for frame_idx, passes in zip(frames, active, strict=True)]
        new = [job for row in wanted for job, _ in row if job not in self.found]
        self._read_new(list(dict.fromkeys(new)))
        predictions = self._predictions(wanted)
        self._forget(wanted[-1])
        return predictions

    def _jobs(self, frame_idx: int, passes: list) -> list[tuple[WindowJob, int]]:
        """For each expression of a frame the window that it is read in, and the place of its [SEG] there."""
        sources = [(each, self.schedule.source(each, frame_idx)) for each in passes]
        return [(WindowJob(window, text), place) for each, (window, place) in sources for text in each.texts]

    def _predictions(self, wanted: list[list[tuple[WindowJob, int]]]) -> list[SegPredictions]:
        """Of some frames; the host waits once for all of them."""
        found = [[[part[place] for part in self.found[job]] for job, place in row] for row in wanted]
        stacked = [[torch.stack(part) for part in zip(*row, strict=True)] for row in found]
        emitted = iter(torch.cat([row[2] for row in stacked]).tolist())
        return [SegPredictions(row[0], row[1], [next(emitted) for _ in row[2]]) for row in stacked]

    def _forget(self, last: list[tuple[WindowJob, int]]) -> None:
        """Keep what the next frames may need: windows and tokens of the last frame."""
        jobs = {job for job, _ in last}
        self.found = {job: found for job, found in self.found.items() if job in jobs}
        kept = {self.kept_frame}.union(*(job.window for job in jobs))
        self.tokens = {frame: tokens for frame, tokens in self.tokens.items() if frame in kept} | self.context

    def _read_new(self, jobs: list[WindowJob]) -> None:
        """From the shortest to the longest, so that batches need no padding."""
        needed = sorted({frame_idx for job in jobs for frame_idx in job.window})
        self._encode([frame_idx for frame_idx in needed if frame_idx not in self.tokens])
        for group in self._groups(jobs):
            before, rows = self._read_lead(job.window[0] for job in group)
            by_length = sorted(group, key=lambda job: len(self._ids(job)))
            for at in range(0, len(group), self.batch_size):
                part = by_length[at : at + self.batch_size]
                self.found.update(zip(part, zip(*self._read_batch(part, before, rows), strict=True), strict=True))

    def _groups(self, jobs: list[WindowJob]) -> list[list[WindowJob]]:
        """Jobs that are read behind the same leads: those of `batch_size` first frames, or all without a lead."""
        if not self.lead:
            return [jobs] if jobs else []
        by_first: dict[int, list[WindowJob]] = {}
        for job in jobs:
            by_first.setdefault(job.window[0], []).append(job)
        groups = list(by_first.values())
        return [sum(groups[at : at + self.batch_size], []) for at in range(0, len(groups), self.batch_size)]

    def _read_lead(self, first_frames: Iterable[int]) -> tuple[Any, dict[int, int]]:
        """The beginnings of windows behind the prefix, by first frame, and the row of each; or the prefix alone."""
        if not self.lead:
            return self.prefix, {}
        frames = list(dict.fromkeys(first_frames))
        ids = self.session.turn_ids(0, frames[0])[: self.lead]
        leads = self.reader.read_leads(self.prefix, ids, self._tokens_of(frames))
        return leads, {frame: row for row, frame in enumerate(frames)}

    def _read_batch(self, jobs: list[WindowJob], before: Any, rows: dict[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        if self.lead:
            before = before.select([rows[job.window[0]] for job in jobs])
        ids = [self._ids(job)[self.lead :] for job in jobs]
        tokens = [self._tokens_of(job.window[1 if self.lead else 0 :]) for job in jobs]
        return self.reader.read_windows(before, ids, tokens, self._places(jobs))

    def _places(self, jobs: list[WindowJob]) -> list[list[int]]:
        """Where [SEG] is predicted, of a window that is shorter than others its last place again and again."""
        places = [self.schedule.places(*self._parts(job)) for job in jobs]
        longest = max(map(len, places))
        return [[at - self.lead for at in own + own[-1:] * (longest - len(own))] for own in places]

    def _parts(self, job: WindowJob) -> tuple[list[list[int]], list[int]]:
        """Ids of a turn about each frame, and of the last turn, up to what predicts [SEG]."""
        turns = [self.session.turn_ids(job.text, frame_idx) for frame_idx in job.window]
        return turns, self.session.last_turn_ids(job.text, job.window[-1])

    def _ids(self, job: WindowJob) -> list[int]:
        return self.schedule.ids(*self._parts(job))

    def _tokens_of(self, frames: Sequence[int]) -> list:
        return [self.tokens[frame_idx] for frame_idx in frames]

    @torch.no_grad()
    def _encode(self, frames: list[int]) -> None:
        for at in range(0, len(frames), self.batch_size):
            part = frames[at : at + self.batch_size]
            self.tokens.update(zip(part, self.reader.read_frames(self.session, part), strict=True))


def shared_lead(session, image_token_id: int, positions: int) -> int:
    """How many ids all windows begin with, whatever the expression: the first image and the words after it.
    0 where one expression has nothing to share. What predicts [SEG] is never among them.

    Args:
        session: with `turn_input_ids` and `last_turn_input_ids` per expression.
        image_token_id: stands for an image in them.
        positions: of one image.
    """
    if len(session.texts) < 2:
        return 0
    lasts = session.last_turn_input_ids
    shared = os.path.commonprefix([*session.turn_input_ids, *lasts])[: min(map(len, lasts)) - 2]
    return len(shared) if shared.count(image_token_id) == positions else 0


__all__ = ["SegPredictions", "WindowReader", "shared_lead"]
