"""What the page shows of a job: its place in the queue, its progress, its result."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from html import escape

import gradio as gr

from ..errors import UserError
from .engine import thumbnail_file
from .jobs import CANCELLED, ENDED, FAILED, QUEUED, Job, JobStore
from .timeline import result_html


POLL_SECONDS = 0.2


def follow(store: JobStore, submit: Callable[[], Job], known: str | None) -> Iterator[tuple]:
    """Values for status, result, frames and the last finished job, from a job's start to its end. A tab that is closed
    stops the job.

    Args:
        store: of the jobs.
        submit: makes the job.
        known: id of the job that is shown now.
    """
    try:
        job = submit()
    except UserError as error:
        yield error_html(str(error)), gr.skip(), gr.skip(), known
        return
    try:
        while job.state not in ENDED:
            yield _progress(store, job), gr.skip(), gr.skip(), known
            time.sleep(POLL_SECONDS)
    finally:
        if job.state not in ENDED:
            store.cancel(job)
    yield _end(job, known)


def owner_of(request: gr.Request) -> str:
    """A tab of the page as a user."""
    return f"page {request.session_hash}"


def _progress(store: JobStore, job: Job) -> str:
    if job.state == QUEUED:
        before = store.position(job)
        return _note(f"Waiting: {before} {'job' if before == 1 else 'jobs'} before yours")
    text = f"Segmenting: {job.done} of {job.total} masks" if job.total else "Reading the video"
    return f'{_note(text)}<progress max="{max(1, job.total)}" value="{job.done}" style="width:100%"></progress>'


def _end(job: Job, known: str | None) -> tuple:
    if job.state == FAILED:
        return error_html(job.error), gr.skip(), gr.skip(), known
    if job.state == CANCELLED:
        return _note("Cancelled"), gr.skip(), gr.skip(), known
    thumbnails = [(str(thumbnail_file(job.folder, index)), f"{index}") for index in job.result["thumbnails"]]
    return _note("Done"), result_html(job.id, job.result), thumbnails, job.id


def _note(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def error_html(text: str | None) -> str:
    """One line about a problem."""
    return f'<p role="alert"><strong>{escape(text or "failed")}</strong></p>'


__all__ = ["error_html", "follow", "owner_of"]
