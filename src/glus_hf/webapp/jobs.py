"""Jobs of the service: a queue, one worker, and folders that are removed."""

from __future__ import annotations

import logging
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UserError
from .limits import ServiceLimits


logger = logging.getLogger(__name__)

QUEUED, RUNNING, DONE, FAILED, CANCELLED = "queued", "running", "done", "failed", "cancelled"
ENDED = (DONE, FAILED, CANCELLED)
SOURCE = "source"
SWEEP_SECONDS = 5
GONE = "the video of that job is gone; send it again"
DEFECT = "the service has a defect; its log says more"


class QueueFull(UserError):
    """There are too many jobs; come back later."""


class JobStopped(Exception):
    """Raised inside a job that was cancelled."""


@dataclass
class Job:
    """One video and its expressions.

    Attributes:
        id: hard to guess: who knows it may see the job.
        owner: user; bounds how many jobs one may have.
        folder: of its files; the video is `source` in it, with its suffix if it has one.
        texts: expressions.
        key_frame: frame to start from, one for each expression, or None.
        corrections: by frame and number of the expression, the run lengths of a mask that a user gave.
        state: "queued", "running", "done", "failed" or "cancelled".
        done, total: masks made, and to be made; 0 before the video was read.
        error: one line of a failed job.
        result: what the runner returned.
        ended: when, in seconds of `time.monotonic`.
    """

    id: str
    owner: str
    folder: Path
    texts: list[str]
    key_frame: int | list[int] | None = None
    corrections: dict[tuple[int, int], dict] = field(default_factory=dict)
    state: str = QUEUED
    done: int = 0
    total: int = 0
    error: str | None = None
    result: dict | None = None
    ended: float | None = None
    deadline: float = float("inf")
    stopped: threading.Event = field(default_factory=threading.Event)

    @property
    def source(self) -> Path:
        """The video.

        Raises:
            UserError: it was removed meanwhile; one line.
        """
        found = next(self.folder.glob(f"{SOURCE}*"), None)
        if found is None:
            raise UserError(GONE)
        return found

    def check(self) -> None:
        """Called by the runner between two steps.

        Raises:
            JobStopped: the job was cancelled.
            UserError: it takes too long; one line.
        """
        if self.stopped.is_set():
            raise JobStopped
        if time.monotonic() > self.deadline:
            raise UserError("the job takes too long for this service; use a shorter or smaller video")


class JobStore:
    """All jobs of a service. One at a time runs, in a thread, in the order in which they came.

    Args:
        run: makes a job's files in its folder, calls `job.check()` often, sets `done` and `total`, returns the result.
        root: folder for the jobs' folders; only what is in it is read or removed.
        limits: bounds.

    Example:
        >>> store = JobStore(lambda job: {"frames": 1}, folder, ServiceLimits())  # doctest: +SKIP
        >>> store.submit("me", "clip.mp4", ["the dog"]).state  # doctest: +SKIP
        'queued'
    """

    def __init__(self, run: Callable[[Job], dict], root: Path, limits: ServiceLimits):
        self.run, self.root, self.limits = run, Path(root), limits
        self.jobs: dict[str, Job] = {}
        self._changed = threading.Condition()
        self._closed, self._queue = False, []
        self._worker = threading.Thread(target=self._work, name="glus-hf-worker", daemon=True)
        self._worker.start()

    # ---- what a user does

    def submit(self, owner: str, source: Path, texts: Sequence[str], key_frame=None, corrections=None) -> Job:
        """Put a job at the end of the queue. The video is copied into its folder; the rest is as in [`Job`].

        Raises:
            QueueFull: too many wait, or too many of this owner; one line.
            UserError: the expressions are none, too many or too long; one line.
        """
        texts = checked_texts(texts, self.limits)
        with self._changed:
            self._check_room(owner)
            folder = self.root / secrets.token_hex(16)
            job = Job(secrets.token_urlsafe(16), owner, folder, texts, key_frame, corrections or {})
            self.jobs[job.id] = job  # counts at once; it is queued, but without a video not ready
        try:
            job.folder.mkdir(mode=0o700)
            shutil.copyfile(source, job.folder / f"{SOURCE}{Path(source).suffix.lower()[:8]}")
        except BaseException as problem:
            with self._changed:
                self._remove(job)
            if isinstance(problem, FileNotFoundError):  # removed with its job meanwhile
                raise UserError(GONE) from None
            raise
        with self._changed:
            if job.stopped.is_set():  # cancelled while its video was copied
                self._remove(job)
            else:
                self._queue.append(job)
                self._changed.notify_all()
        return job

    def get(self, job_id: str) -> Job | None:
        """A job by its id; None for one that is unknown or gone."""
        return self.jobs.get(job_id)

    def position(self, job: Job) -> int:
        """How many jobs are before this one."""
        with self._changed:
            waiting = [other for other in self.jobs.values() if other.state in (QUEUED, RUNNING)]
            return waiting.index(job) if job in waiting else 0

    def cancel(self, job: Job) -> None:
        """Stop a job, and remove its files: those of a running one as soon as its worker lets go of it."""
        with self._changed:
            job.stopped.set()
            if job.state == QUEUED:
                self._end(job, CANCELLED)
            if job.state != RUNNING:
                self._remove(job)

    def cancel_of(self, owner: str) -> None:
        """Stop all jobs of a user, who has left."""
        for job in [job for job in list(self.jobs.values()) if job.owner == owner]:
            self.cancel(job)

    def close(self, seconds: float = 10) -> None:
        """Stop the worker and remove all files."""
        with self._changed:
            self._closed = True
            for job in self.jobs.values():
                job.stopped.set()
            self._changed.notify_all()
        self._worker.join(seconds)
        for job in list(self.jobs.values()):
            self._remove(job)

    # ---- inside

    def _check_room(self, owner: str) -> None:
        waiting = [job for job in self.jobs.values() if job.state not in ENDED]
        if self._closed:
            raise QueueFull("the service is ending")
        if sum(job.owner == owner for job in waiting) >= self.limits.per_user:
            raise QueueFull(f"you have {self.limits.per_user} jobs here already; wait for one, or cancel it")
        if sum(job.state == QUEUED for job in waiting) >= self.limits.queued:
            raise QueueFull(f"{self.limits.queued} jobs are waiting; come back later")

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._queue, SWEEP_SECONDS)
                if self._closed:
                    return
                self._sweep()
                job = self._queue.pop(0) if self._queue else None
                if job is None or job.state != QUEUED:
                    continue
                job.state, job.deadline = RUNNING, time.monotonic() + self.limits.job_seconds
                self._changed.notify_all()
            self._run(job)

    def _run(self, job: Job) -> None:
        try:
            job.check()
            result, state, error = self.run(job), DONE, None
        except JobStopped:
            result, state, error = None, CANCELLED, None
        except (UserError, OSError) as problem:
            result, state, error = None, FAILED, self._without_paths(problem, job)
        except BaseException:
            logger.exception("a job failed")
            result, state, error = None, FAILED, DEFECT
        with self._changed:
            job.result, job.error = result, error
            self._end(job, CANCELLED if job.stopped.is_set() else state)
            if job.state != DONE:
                shutil.rmtree(job.folder, ignore_errors=True)
            if job.state == CANCELLED:
                self._remove(job)
            self._sweep()

    def _without_paths(self, problem: Exception, job: Job) -> str:
        """The one line of an error, without what it tells of this machine."""
        text = " ".join(str(problem).split())
        for path, shown in ((f"{job.folder}/", ""), (str(job.folder), ""), (str(self.root), "")):
            text = text.replace(path, shown)
        return text[:500]

    def _end(self, job: Job, state: str) -> None:
        job.state, job.ended = state, time.monotonic()
        self._changed.notify_all()

    def _sweep(self) -> None:
        """Remove finished jobs that are too old or too many."""
        ended = sorted((job for job in self.jobs.values() if job.state in ENDED), key=lambda job: job.ended)
        too_many = max(0, len(ended) - self.limits.kept)
        old = time.monotonic() - self.limits.keep_seconds
        for job in [job for number, job in enumerate(ended) if number < too_many or job.ended < old]:
            self._remove(job)

    def _remove(self, job: Job) -> None:
        self.jobs.pop(job.id, None)
        shutil.rmtree(job.folder, ignore_errors=True)


def progress_of(job: Job) -> tuple:
    """What a user sees move."""
    return job.state, job.done, job.total


def checked_texts(texts: Sequence[str], limits: ServiceLimits) -> list[str]:
    """Expressions without the empty ones.

    Raises:
        UserError: none, too many, or one is too long; one line.

    Example:
        >>> checked_texts([" the dog ", ""], ServiceLimits())
        ['the dog']
    """
    texts = [text.strip() for text in texts if text.strip()]
    if not texts:
        raise UserError("there is no expression: say what to segment")
    if len(texts) > limits.expressions:
        raise UserError(f"there are {len(texts)} expressions, this service takes {limits.expressions} at once")
    if max(map(len, texts)) > limits.letters:
        raise UserError(f"an expression has more than {limits.letters} letters; make it shorter")
    return texts


__all__ = [
    "CANCELLED",
    "DONE",
    "ENDED",
    "FAILED",
    "QUEUED",
    "RUNNING",
    "Job",
    "JobStopped",
    "JobStore",
    "QueueFull",
    "checked_texts",
    "progress_of",
]
