"""The HTTP service: a video and expressions become a job, its progress a stream of events, its results files."""

from __future__ import annotations

import asyncio
import re
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, File, Form, HTTPException, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, StreamingResponse
from pydantic import BaseModel, Field

from .. import __version__
from ..errors import UserError
from .api_page import api_page
from .corrections import CannotCorrect, check_correctable, correct
from .engine import FILES, Engine, thumbnail_file
from .jobs import DONE, ENDED, Job, JobStore, QueueFull, progress_of
from .limits import ServiceLimits


BLOCK = 1 << 20
POLL_SECONDS = 0.2
SILENT_SECONDS = 10
MAX_FRAME = 10**9
TYPES = {".mp4": "video/mp4", ".zip": "application/zip", ".json": "application/json", ".jpg": "image/jpeg"}


STATUS = {QueueFull: 503, CannotCorrect: 409}
"""Of errors that are not of what was sent."""


class ExpressionOfJob(BaseModel):
    """One expression of a finished job."""

    expression: str
    colour: str = Field(description="on the overlay, as #rrggbb")
    scores: list[float] = Field(description="of each frame, 0 to 1")
    visible_frames: int = Field(description="frames with a mask")
    key_frame: int = Field(description="frame that the segmentation started from")
    corrected_frames: list[int] = Field(description="frames whose mask a user gave")
    no_target: bool = Field(description="nothing fits: all masks are empty")
    missing_frames: list[int] = Field(description="frames on which the model gave no answer")
    unknown_words: list[str]
    same_as: list[str] = Field(description="other expressions that got the same masks")


class Result(BaseModel):
    """What a finished job found."""

    num_frames: int
    fps: float | None
    height: int
    width: int
    expressions: list[ExpressionOfJob]
    thumbnails: list[int] = Field(description="frames that GET /api/jobs/ID/frames/N shows")
    files: list[str] = Field(description="names for GET /api/jobs/ID/files/NAME")
    notice: str | None = Field(description="what users of this model must know of its masks")
    takes_corrections: bool = Field(description="POST /api/jobs/ID/corrections works")
    damage: str | None = Field(description="why the video gave fewer frames than it should have")
    model: str


class JobStatus(BaseModel):
    """A job."""

    id: str
    state: str = Field(description="queued, running, done, failed or cancelled")
    done: int = Field(description="masks made")
    total: int = Field(description="masks to make; 0 before the video was read")
    before: int = Field(description="jobs before this one")
    error: str | None = None
    result: Result | None = None


class Service(BaseModel):
    """What this service runs, and what it takes."""

    version: str
    model: str
    notice: str | None
    queued: int
    limits: dict[str, float]


def make_service(engine: Engine, store: JobStore, examples: dict[str, Path] | None = None) -> FastAPI:
    """The application, without the page and without the guard.

    Args:
        engine: what runs; told in `GET /api/service`.
        store: of the jobs.
        examples: videos that a job may name instead of sending one.
    """
    examples = examples or {}
    app = FastAPI(title="glus_hf", version=__version__, docs_url=None, redoc_url=None)

    @app.exception_handler(UserError)
    async def refuse(request: Request, error: UserError):
        status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 422)
        return JSONResponse({"detail": str(error)}, status)

    @app.exception_handler(RequestValidationError)
    async def refuse_fields(request: Request, error: RequestValidationError):
        told = [{name: each[name] for name in ("type", "loc", "msg")} for each in error.errors()]  # not what was sent
        return JSONResponse({"detail": told}, 422)

    @app.get("/api/service")
    def service() -> Service:
        """What runs here, and its limits."""
        waiting = sum(job.state not in ENDED for job in list(store.jobs.values()))
        limits = {name: float(value) for name, value in vars(store.limits).items()}
        return Service(version=__version__, model=engine.name, notice=engine.notice, queued=waiting, limits=limits)

    @app.post("/api/jobs", status_code=202)
    async def submit(
        request: Request,
        expressions: Annotated[list[str], Form(description="what to segment; repeat the field for several")],
        video: Annotated[UploadFile | None, File(description="mp4, mov, webm, gif, ... or an image")] = None,
        example: Annotated[str | None, Form(description="an example's name instead of a video")] = None,
        same_video_as: Annotated[str | None, Form(description="id of a job with the video")] = None,
        key_frame: Annotated[
            int | None, Form(ge=0, le=MAX_FRAME, description="frame to start from, counted from 0")
        ] = None,
    ) -> JobStatus:
        """Segment a video. The job waits for those before it; follow it at `/api/jobs/ID/events`."""
        owner = _owner(request)
        known = store.get(same_video_as) if same_video_as else None
        place = known.source if known is not None and known.state == DONE else examples.get(example or "")
        if place is not None:
            return _status(store, await _in_thread(store.submit, owner, place, expressions, key_frame))
        if video is None:
            raise HTTPException(422, "send a video, or name an example or a finished job of this service")
        with tempfile.TemporaryDirectory(dir=store.root) as folder:
            place = Path(folder) / f"upload{_suffix(video.filename)}"
            await _receive(video, place, store.limits)
            return _status(store, await _in_thread(store.submit, owner, place, expressions, key_frame))

    @app.get("/api/jobs/{job_id}")
    def job(job_id: str) -> JobStatus:
        """State, progress and result of a job."""
        return _status(store, _find(store, job_id))

    @app.post("/api/jobs/{job_id}/corrections", status_code=202)
    async def correct_masks(
        request: Request,
        job_id: str,
        frame: Annotated[list[int], Form(description="its number, counted from 0; repeat the three for several")],
        expression: Annotated[list[int], Form(description="its number in the job, counted from 0")],
        mask: Annotated[list[UploadFile], File(description="PNG of the video's size: white inside, black outside")],
    ) -> JobStatus:
        """Segment the video of a finished job again, with masks of yours: they take the place of the model's own, and
        the frames after them follow. A new job; the old one stays. Earlier corrections are kept. 409 where the job is
        not finished, or the model takes no corrections."""
        found, limits = _find(store, job_id), store.limits
        check_correctable(found, engine.takes_corrections)
        if not len(frame) == len(expression) == len(mask) <= limits.corrections:
            raise UserError(f"send as many frames as expressions and masks, at most {limits.corrections}")
        pngs = [await _read(file, limits.mask_bytes) for file in mask]
        given = list(zip(frame, expression, pngs, strict=True))
        return _status(store, await _in_thread(correct, store, _owner(request), found, given))

    @app.get("/api/jobs/{job_id}/events", response_class=StreamingResponse)
    def events(job_id: str):
        """Progress as server-sent events: `data:` is the job as JSON. The stream ends with the job."""
        return StreamingResponse(_events(store, _find(store, job_id)), media_type="text/event-stream")

    @app.get("/api/jobs/{job_id}/files/{name}", response_class=FileResponse)
    def file(job_id: str, name: str):
        """`overlay.mp4`, `masks.zip` (PNG) or `coco.json` of a finished job."""
        found = _find(store, job_id)
        if name not in FILES or found.state != DONE:
            raise HTTPException(404, f"there is no {name[:40]}; a finished job has {', '.join(FILES)}")
        return _send(found.folder / name)

    @app.get("/api/jobs/{job_id}/frames/{index}", response_class=FileResponse)
    def frame(job_id: str, index: int):
        """A thumbnail of a frame, one of the result's `thumbnails`."""
        found = _find(store, job_id)
        if found.state != DONE or index not in found.result["thumbnails"]:
            raise HTTPException(404, "there is no such thumbnail")
        return _send(thumbnail_file(found.folder, index))

    @app.delete("/api/jobs/{job_id}", status_code=204)
    def cancel(job_id: str) -> None:
        """Stop a job and remove its files."""
        store.cancel(_find(store, job_id))

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(api_page(app.openapi()))

    return app


def _owner(request: Request) -> str:
    return request.client.host if request.client else "unknown"


def _find(store: JobStore, job_id: str) -> Job:
    job = store.get(job_id)
    if job is None:
        raise HTTPException(404, "there is no such job; finished ones are kept for a while only")
    return job


def _status(store: JobStore, job: Job) -> JobStatus:
    facts = {"id": job.id, "state": job.state, "done": job.done, "total": job.total, "error": job.error}
    return JobStatus(**facts, before=store.position(job), result=job.result)


def _suffix(name: str | None) -> str:
    """Of an upload's name, if it is a plain one."""
    suffix = Path(name or "").suffix
    return suffix if re.fullmatch(r"\.[A-Za-z0-9]{1,7}", suffix) else ""


async def _in_thread(call, *arguments):
    return await asyncio.to_thread(call, *arguments)


async def _receive(video: UploadFile, place: Path, limits: ServiceLimits) -> None:
    """Write an upload to a file, no more of it than is allowed."""
    size = 0
    with open(place, "wb") as file:
        while block := await video.read(BLOCK):
            size += len(block)
            if size > limits.file_bytes:
                raise UserError(f"the video has more than {limits.file_bytes} bytes")
            await asyncio.to_thread(file.write, block)


async def _read(file: UploadFile, limit: int) -> bytes:
    content = await file.read(limit + 1)
    if len(content) > limit:
        raise UserError(f"a mask has more than {limit} bytes")
    return content


async def _events(store: JobStore, job: Job) -> AsyncIterator[str]:
    """The job whenever its progress has changed, and a word now and then that keeps the connection open."""
    seen, last = None, time.monotonic()
    while seen is None or seen[0] not in ENDED:
        now = progress_of(job)
        if now != seen:
            kind = "end" if now[0] in ENDED else "progress"
            yield f"event: {kind}\ndata: {_status(store, job).model_dump_json()}\n\n"
        elif time.monotonic() - last > SILENT_SECONDS:
            yield ": waiting\n\n"
        else:
            await asyncio.sleep(POLL_SECONDS)
            continue
        seen, last = now, time.monotonic()


def _send(path: Path) -> FileResponse:
    if not path.is_file():
        raise HTTPException(404, "the files of that job are gone; segment the video again")
    return FileResponse(path, media_type=TYPES[path.suffix], filename=path.name, content_disposition_type="inline")


__all__ = ["JobStatus", "Result", "Service", "make_service"]
