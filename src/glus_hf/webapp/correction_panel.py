"""The part of the page that corrects masks: choose a frame, draw, run again."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import gradio as gr

from ..errors import UserError
from .corrections import check_correctable, check_place, correct
from .editor import drawn_png, editor_html
from .engine import Engine
from .jobs import Job, JobStore
from .page_jobs import error_html, follow, owner_of


DRAWN = "(place, drawn, last) => [place, maskEditor.png(), last]"
NOT_OPEN = "open a frame first: Edit the mask"


def add_correction_panel(engine: Engine, store: JobStore, last, outputs: list) -> tuple:
    """Put the panel into the column that is open, hidden until there is a result that the engine can correct.

    Args:
        engine, store: of the jobs.
        last: state with the id of the last finished job.
        outputs: status, result, frames and `last`, as [`follow`] fills them.

    Returns:
        What runs a correction, and the number of the frame to correct.
    """
    with gr.Column(visible=False, elem_id="correct") as panel:
        gr.Markdown("### Correct a mask")
        with gr.Row():
            number = gr.Slider(0, 1, value=0, step=1, label="Frame", elem_id="correct-frame")
            which = gr.Dropdown([], label="Expression", elem_id="correct-expression")
        edit = gr.Button("Edit the mask", elem_id="edit")
        editor = gr.HTML(elem_id="editor")
        again = gr.Button("Apply and run again", variant="primary", visible=False, elem_id="apply")
    editing = gr.State(None)  # id of a job, frame and number of the expression that are in the editor
    drawn = gr.Textbox(visible="hidden")  # the editor's mask, on its way to us

    def apply(place, address, known, request: gr.Request) -> Iterator[tuple]:
        yield from follow(store, lambda: _corrected(engine, store, owner_of(request), place, address), known)

    def open_editor(known, frame, expression):
        return _opened(engine, store, known, frame, expression)

    def show(known, frame, expression):
        return _panel(engine, store.get(known or ""), frame, expression)

    hidden = {"api_visibility": "private"}
    chosen = [last, number, which]
    limit = store.limits.queued + store.limits.per_user
    running = again.click(apply, [editing, drawn, last], outputs, js=DRAWN, concurrency_limit=limit, **hidden)
    opened = edit.click(open_editor, chosen, [editor, editing, again, outputs[0]], **hidden)
    opened.then(None, None, None, js="() => maskEditor.open()", **hidden)
    last.change(show, chosen, [panel, number, which, editor, editing, again], **hidden)
    return running, number


def _panel(engine: Engine, job: Job | None, frame: int, expression: int | None) -> tuple:
    """The part of the page that corrects the last job: hidden where there is none, or the engine cannot."""
    if job is None or not engine.takes_corrections:
        return gr.update(visible=False), gr.skip(), gr.skip(), "", None, gr.update(visible=False)
    last, texts = job.result["num_frames"] - 1, [(text, index) for index, text in enumerate(job.texts)]
    chosen = expression if expression in range(len(texts)) else 0
    slider = gr.update(maximum=max(1, last), value=min(int(frame), last))
    return gr.update(visible=True), slider, gr.update(choices=texts, value=chosen), "", None, gr.update(visible=False)


def _opened(engine: Engine, store: JobStore, known: str | None, frame: int, expression: int | None) -> tuple:
    """The editor over a frame of the last job."""
    try:
        job = _job(store, known)
        check_correctable(job, engine.takes_corrections)
        place = int(frame), int(expression or 0)
        check_place(job, *place)
        pixels, mask = engine.picture(job, *place)
    except UserError as error:
        return "", None, gr.update(visible=False), error_html(str(error))
    about = job.result["expressions"][place[1]]
    label = f"{about['expression']}, frame {place[0]}"
    html = editor_html(pixels, mask, about["colour"], label, secrets.token_hex(8))
    return html, (job.id, *place), gr.update(visible=True), gr.skip()


def _corrected(engine: Engine, store: JobStore, owner: str, place: tuple | None, address: str | None) -> Job:
    if place is None:
        raise UserError(NOT_OPEN)
    job = _job(store, place[0])
    check_correctable(job, engine.takes_corrections)
    return correct(store, owner, job, [(*place[1:], drawn_png(address, store.limits.mask_bytes))])


def _job(store: JobStore, known: str | None) -> Job:
    job = store.get(known or "")
    if job is None:
        raise UserError("the files of this result are gone; segment the video again")
    return job


__all__ = ["add_correction_panel"]
