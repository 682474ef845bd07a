"""The page: a gradio front of the same jobs that the HTTP service runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gradio as gr

from ..errors import UserError
from .correction_panel import add_correction_panel
from .engine import Engine
from .jobs import JobStore
from .page_jobs import follow, owner_of


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
                    label=f"Click a frame to start there{' or to correct it' if engine.takes_corrections else ''}",
                    columns=5,
                    height="auto",
                    allow_preview=False,
                    elem_id="frames",
                )
                outputs = [status, result, frames, last]
                correction, frame_to_correct = add_correction_panel(engine, store, last, outputs)

        def segment(path, name, lines, frame, known, request: gr.Request) -> Iterator[tuple]:
            def submit():
                return store.submit(
                    owner_of(request), _source(path, name, examples), lines.splitlines(), _frame(frame)
                )

            yield from follow(store, submit, known)

        inputs = [video, example, texts, start, last]
        limit = store.limits.queued + store.limits.per_user
        going = run.click(segment, inputs, outputs, concurrency_limit=limit, api_visibility="private")

        def leave(request: gr.Request) -> None:
            store.cancel_of(owner_of(request))

        stop.click(leave, None, None, cancels=[going, correction], api_visibility="private")

        @frames.select(inputs=[last], outputs=[start, frame_to_correct], api_visibility="private")
        def choose(known, event: gr.SelectData):
            job = store.get(known or "")
            if job is None:
                return gr.skip(), gr.skip()
            index = job.result["thumbnails"][event.index]
            return str(index), index

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


__all__ = ["make_page"]
