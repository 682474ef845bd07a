"""The second stage of inference, *read*: [SEG] of frames and expressions, from windows of frames in batches."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..prefix_cache import PromptCache


@dataclass
class SegPredictions:
    """What the language model said on one frame: `embeddings [n, dim]`, `probabilities` and `emitted` `[n]`."""

    embeddings: Tensor
    probabilities: Tensor
    emitted: Tensor


@dataclass(frozen=True)
class WindowJob:
    """One expression in one window: the frames `window`, the last of which is to be segmented, and number `text`."""

    window: tuple[int, ...]
    text: int


class WindowReader:
    """Reads windows of frames; keeps the image tokens of the context frames, of the current windows and of
    `kept_frame` only."""

    def __init__(self, model, session, batch_size: int, kept_frame: int = 0):
        self.model, self.session, self.batch_size, self.kept_frame = model, session, batch_size, kept_frame
        self.tokens: dict[int, Tensor] = {}
        context = session.context_frame_indices
        self._encode(sorted(set(context)))
        self.context = {index: self.tokens[index] for index in context}
        nothing = torch.empty(0, 0, model.config.text_config.hidden_size, device=model.device, dtype=model.dtype)
        tokens = torch.stack([self.context[index] for index in context]) if context else nothing
        self.prefix = model.read_prefix(session.prefix_input_ids, tokens)
        self.lead = shared_lead(session, model.config)

    @torch.no_grad()
    def read(self, frames: Sequence[int], active: list[list]) -> list[SegPredictions]:
        """[SEG] of each of `frames` for the expressions of its `active` passes, in their order."""
        size = self.model.config.num_query_frames
        windows = [
            [tuple(each.window(frame_idx, size)) for each in passes]
            for frame_idx, passes in zip(frames, active, strict=True)
        ]
        needed = sorted({frame_idx for row in windows for window in row for frame_idx in window})
        self._encode([frame_idx for frame_idx in needed if frame_idx not in self.tokens])
        jobs = [
            WindowJob(window, text)
            for row, passes in zip(windows, active, strict=True)
            for window, each in zip(row, passes, strict=True)
            for text in each.texts
        ]
        results = self._read_jobs(jobs)
        counts = [sum(len(each.texts) for each in passes) for passes in active]
        parts = [part.split(counts) for part in results]
        kept = {self.kept_frame}.union(*windows[-1])
        tokens = {frame_idx: self.tokens[frame_idx] for frame_idx in self.tokens if frame_idx in kept}
        self.tokens = tokens | self.context
        return [SegPredictions(*part) for part in zip(*parts, strict=True)]

    def _read_jobs(self, jobs: list[WindowJob]) -> list[Tensor]:
        """Results in the order of the jobs; read from the shortest to the longest, so that batches need no padding."""
        order, results = [], []
        for group in self._groups(jobs):
            before, rows = self._read_lead(jobs[index].window[0] for index in group)
            by_length = sorted(group, key=lambda index: len(self._ids(jobs[index])))
            for at in range(0, len(group), self.batch_size):
                part = by_length[at : at + self.batch_size]
                order += part
                results.append(self._read_batch([jobs[index] for index in part], before, rows))
        back = torch.tensor(order).argsort()
        return [torch.cat(part)[back.to(part[0].device)] for part in zip(*results, strict=True)]

    def _groups(self, jobs: list[WindowJob]) -> list[list[int]]:
        """Indices of jobs that are read behind the same leads: of `batch_size` first frames, or all without a lead."""
        if not self.lead:
            return [list(range(len(jobs)))]
        by_first: dict[int, list[int]] = {}
        for index, job in enumerate(jobs):
            by_first.setdefault(job.window[0], []).append(index)
        groups = list(by_first.values())
        return [sum(groups[at : at + self.batch_size], []) for at in range(0, len(groups), self.batch_size)]

    def _read_lead(self, first_frames: Iterable[int]) -> tuple[PromptCache, dict[int, int]]:
        """The beginnings of windows behind the prefix, by first frame, and the row of each; or the prefix alone."""
        if not self.lead:
            return self.prefix, {}
        frames = list(dict.fromkeys(first_frames))
        ids = self.session.turn_input_ids[0][: self.lead]
        leads = self.model.read_leads(self.prefix, ids, self._stack(frames))
        return leads, {frame: row for row, frame in enumerate(frames)}

    def _read_batch(
        self, jobs: list[WindowJob], before: PromptCache, rows: dict[int, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        if not self.lead:
            windows = [self._stack(job.window) for job in jobs]
            return self.model.read_windows(before, [self._ids(job) for job in jobs], windows)
        before = before.select([rows[job.window[0]] for job in jobs])
        ids = [self._ids(job)[self.lead :] for job in jobs]
        return self.model.read_windows(before, ids, [self._stack(job.window[1:]) for job in jobs])

    def _ids(self, job: WindowJob) -> list[int]:
        turn, last = self.session.turn_input_ids[job.text], self.session.last_turn_input_ids[job.text]
        return turn * (len(job.window) - 1) + last

    def _stack(self, frames: Sequence[int]) -> Tensor:
        tokens = [self.tokens[frame_idx] for frame_idx in frames]
        return torch.stack(tokens) if tokens else next(iter(self.tokens.values()))[None][:0]

    @torch.no_grad()
    def _encode(self, frames: list[int]) -> None:
        length = max(self.session.num_frames - 1, 1)
        for at in range(0, len(frames), self.batch_size):
            part = frames[at : at + self.batch_size]
            pixels = self.session.image_processor.clip_view([self.session.frames[frame_idx] for frame_idx in part])
            times = torch.tensor([frame_idx / length for frame_idx in part])
            self.tokens.update(zip(part, self.model.model.encode_frames(pixels, times), strict=True))


def shared_lead(session, config) -> int:
    """How many ids all windows begin with, whatever the expression: the first image and the words up to it. 0 where
    one expression has nothing to share."""
    if len(session.texts) < 2:
        return 0
    lasts = session.last_turn_input_ids
    shared = os.path.commonprefix([*session.turn_input_ids, *lasts])[: min(map(len, lasts)) - 1]
    return len(shared) if shared.count(config.image_token_id) == config.num_image_tokens else 0


__all__ = ["SegPredictions", "WindowReader", "shared_lead"]
