"""Page and service as one application, with its folder, its examples and its guard."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..atomic_write import acquire_lock, release_lock
from ..data.motion_shapes import generate_clip
from ..media.video import write_video
from .engine import Engine
from .guard import Access, Guard
from .jobs import JobStore
from .limits import ServiceLimits


EXAMPLES = {"shapes": 0, "more shapes": 3}
"""Name of an example -> number of a drawn clip."""
EXAMPLE_FPS = 8
PREFIX, LOCK = "glus-hf-serve-", "service.lock"


@contextmanager
def web_application(
    pipe, name: str, selector=None, limits: ServiceLimits | None = None, access: Access | None = None
) -> Iterator[Guard]:
    """The ASGI application of page and service. Its folder is removed when the block ends.

    Args:
        pipe: pipeline of any engine.
        name: of the model, as users read it.
        selector: of key frames, as the pipeline takes it.
        limits: what one user may ask for.
        access: who may ask.

    Example:
        >>> with web_application(pipeline(model="glus-tiny"), "glus-tiny") as app:  # doctest: +SKIP
        ...     uvicorn.run(app, host="127.0.0.1", port=7860)
    """
    limits = limits or ServiceLimits()
    access = access or Access(body_bytes=limits.file_bytes)
    _remove_abandoned()
    root = Path(tempfile.mkdtemp(prefix=PREFIX))
    lock = acquire_lock(root / LOCK)
    cache, kept = root / "page", os.environ.get("GRADIO_TEMP_DIR")
    os.environ["GRADIO_TEMP_DIR"] = str(cache)  # where the page keeps uploads
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    try:
        examples = _write_examples(root)
        engine = Engine(pipe, selector, limits, name)
        store = JobStore(engine, root, limits)
        try:
            yield Guard(_mounted(engine, store, examples, limits), access)
        finally:
            store.close()
    finally:
        release_lock(lock)
        shutil.rmtree(root, ignore_errors=True)
        os.environ.pop("GRADIO_TEMP_DIR", None)
        if kept is not None:
            os.environ["GRADIO_TEMP_DIR"] = kept


def _remove_abandoned() -> None:
    """Remove the folders of services that were killed: nobody holds their lock."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if folder.is_symlink() or folder.stat().st_uid != os.geteuid() or not (folder / LOCK).is_file():
            continue
        try:
            release_lock(acquire_lock(folder / LOCK))
        except OSError:
            continue  # it runs
        shutil.rmtree(folder, ignore_errors=True)


def _mounted(engine: Engine, store: JobStore, examples: dict, limits: ServiceLimits):
    import gradio as gr

    from .editor import SCRIPT, STYLE
    from .page import make_page
    from .service import make_service

    service = make_service(engine, store, {name: video for name, (video, _) in examples.items()})
    page = make_page(engine, store, examples)
    page.queue(max_size=2 * limits.queued)
    return gr.mount_gradio_app(
        service,
        page,
        path="/",
        max_file_size=limits.file_bytes,
        footer_links=[],
        css=STYLE,
        head=f"<script>{SCRIPT()}</script>",
        run_history=False,
        theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
    )


def _write_examples(root: Path) -> dict[str, tuple[Path, list[str]]]:
    folder = root / "examples"
    folder.mkdir()
    examples = {}
    for name, index in EXAMPLES.items():
        clip = generate_clip(index, split="test", size=128, num_frames=16)
        video = folder / f"{name.replace(' ', '_')}.mp4"
        write_video(video, clip.frames, EXAMPLE_FPS)
        examples[name] = video, [expression.text for expression in clip.expressions[:2]]
    return examples


__all__ = ["EXAMPLES", "web_application"]
