"""The page: a gradio front of the same jobs that the HTTP service runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from html import escape
from pathlib import Path

import gradio as gr

from ..errors import UserError
from .engine import Engine, thumbnail_file
from .jobs import CANCELLED, ENDED, FAILED, QUEUED, Job, JobStore
from .timeline import result_html


POLL_SECONDS = 0.2
FROM_ANY = "by itself"
VIDEO_TYPES = [".mp4", ".mov", ".webm", ".mkv", ".avi", ".gif", ".png", ".jpg"]


def make_page(engine: Engine, store: JobStore, examples: dict[str, tuple[Path, list[str]]]) -> gr.Blocks:
    """The page's blocks.

    Args:
        engine: told on the page.
        store: of the jobs; those of a closed tab are cancelled.
        examples: name -> video and expressions.
    """
    with gr.Blocks(
        title="glus_hf", analytics_enabled=False, delete_cache=(60, int(store.limits.keep_seconds))
    ) as page:
        gr.Markdown(f"# Segment a video by words\n{_intro(engine, store)}")
        last = gr.State(None)  # id of the last finished job
        with gr.Row():
            with gr.Column(scale=2):
                video = gr.File(label="Video", file_types=VIDEO_TYPES, type="filepath", elem_id="video")
                example = gr.Radio(list(examples), label="or an example", elem_id="example")
                texts = gr.Textbox(label="Expressions, one a line", lines=3, elem_id="texts")
                start = gr.Textbox(label="Start at frame", value="", placeholder=FROM_ANY, elem_id="start")
                with gr.Row():
                    run = gr.Button("Segment", variant="primary", elem_id="run")
                    stop = gr.Button("Cancel", elem_id="cancel")
            with gr.Column(scale=3):
                status = gr.HTML(elem_id="status")
                result = gr.HTML(elem_id="result")
                frames = gr.Gallery(
                    label="Click a frame to start there",
                    columns=5,
                    height="auto",
                    allow_preview=False,
                    elem_id="frames",
                )

        def segment(path, name, lines, frame, known, request: gr.Request) -> Iterator[tuple]:
            try:
                source = _source(path, name, examples)
                job = store.submit(_owner(request), source, lines.splitlines(), _frame(frame))
            except UserError as error:
                yield _error(str(error)), gr.skip(), gr.skip(), known
                return
            try:
                while job.state not in ENDED:
                    yield _progress(store, job), gr.skip(), gr.skip(), known
                    time.sleep(POLL_SECONDS)
            finally:
                if job.state not in ENDED:
                    store.cancel(job)
            yield _end(job, known)

        inputs, outputs = [video, example, texts, start, last], [status, result, frames, last]
        limit = store.limits.queued + store.limits.per_user
        going = run.click(segment, inputs, outputs, concurrency_limit=limit, api_visibility="private")

        def leave(request: gr.Request) -> None:
            store.cancel_of(_owner(request))

        stop.click(leave, None, None, cancels=[going], api_visibility="private")

        @frames.select(inputs=[last], outputs=[start], api_visibility="private")
        def choose(known, event: gr.SelectData):
            job = store.get(known or "")
            return gr.skip() if job is None else str(job.result["thumbnails"][event.index])

        fill = lambda name: "\n".join(examples[name][1]) if name in examples else ""
        example.change(fill, example, texts, api_visibility="private")
        page.unload(leave)
    return page


def _intro(engine: Engine, store: JobStore) -> str:
    limits = store.limits
    bounds = f"{limits.seconds:g} seconds, {limits.file_bytes / 1e6:g} MB, {limits.expressions} expressions"
    kept = f"Files are removed after {limits.keep_seconds / 60:g} minutes."
    lines = [f"Model: **{engine.name}**. At most {bounds}. {kept}"]
    if engine.notice:
        lines.append(engine.notice)
    if engine.name == "glus-tiny":
        lines.append("glus-tiny knows drawn shapes only: its masks mean nothing on real footage.")
    return "\n\n".join([*lines, "The same as an HTTP service: [API](/docs)."])


def _owner(request: gr.Request) -> str:
    return f"page {request.session_hash}"


def _source(path: str | None, name: str | None, examples: dict) -> Path:
    if path:
        return Path(path)
    if name in examples:
        return examples[name][0]
    raise UserError("choose a video or an example")


def _frame(text: str | None) -> int | None:
    text = (text or "").strip()
    if not text:
        return None
    if not text.isdecimal() or len(text) > 9:
        raise UserError("start at frame: write a number, counted from 0, or leave it empty")
    return int(text)


def _progress(store: JobStore, job: Job) -> str:
    if job.state == QUEUED:
        before = store.position(job)
        return _note(f"Waiting: {before} {'job' if before == 1 else 'jobs'} before yours")
    text = f"Segmenting: {job.done} of {job.total} masks" if job.total else "Reading the video"
    return f'{_note(text)}<progress max="{max(1, job.total)}" value="{job.done}" style="width:100%"></progress>'


def _end(job: Job, known: str | None) -> tuple:
    if job.state == FAILED:
        return _error(job.error), gr.skip(), gr.skip(), known
    if job.state == CANCELLED:
        return _note("Cancelled"), gr.skip(), gr.skip(), known
    thumbnails = [(str(thumbnail_file(job.folder, index)), f"{index}") for index in job.result["thumbnails"]]
    return _note("Done"), result_html(job.id, job.result), thumbnails, job.id


def _note(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def _error(text: str | None) -> str:
    return f'<p role="alert"><strong>{escape(text or "failed")}</strong></p>'


__all__ = ["make_page"]
