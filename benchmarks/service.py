"""Many clients of `glus-hf serve` at once: is every job answered, with its own masks, and is the memory bounded?

    python benchmarks/service.py --clients 32 --jobs 2

starts the service (its HTTP part) in a process of its own, with the bundled model. Each client posts a video,
follows the events, takes the masks away and compares them with those of a single run. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import io
import multiprocessing
import socket
import statistics
import tempfile
import time
import zipfile
from pathlib import Path

import httpx


NUM_CLIPS = 4
TEXT = "the large shape"


def main() -> None:
    arguments = _parse()
    with tempfile.TemporaryDirectory() as folder:
        clips = _write_clips(Path(folder), arguments.frames)
        address, process = _start(arguments.clients)
        try:
            alone = [asyncio.run(_client(address, [clip]))[0] for clip in clips]
            before = _resident(process.pid)
            begin = time.monotonic()
            answers = asyncio.run(_all(address, clips, arguments.clients, arguments.jobs))
            seconds, after = time.monotonic() - begin, _resident(process.pid)
        finally:
            process.terminate()
            process.join()
    wanted = [masks for _, masks in alone]
    wrong = sum(masks != wanted[number % NUM_CLIPS] for number, (_, masks) in enumerate(answers))
    _print(arguments, answers, wrong, seconds, before, after)
    if wrong or len(answers) != arguments.clients * arguments.jobs:
        raise SystemExit("jobs were lost or answered with the masks of others")


def _parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--jobs", type=int, default=2, help="of each client, one after the other")
    parser.add_argument("--frames", type=int, default=12, help="of a clip of 128 x 128 pixels")
    return parser.parse_args()


def _write_clips(folder: Path, frames: int) -> list[Path]:
    from glus_hf.data.motion_shapes import generate_clip
    from glus_hf.media.video import write_video

    clips = [folder / f"{index}.mp4" for index in range(NUM_CLIPS)]
    for index, clip in enumerate(clips):
        write_video(clip, generate_clip(index, size=128, num_frames=frames).frames, 8)
    return clips


def _start(clients: int):
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(512)
    process = multiprocessing.get_context("fork").Process(target=_serve, args=(listener, clients), daemon=True)
    process.start()
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()
    for _ in range(600):
        try:
            httpx.get(f"{address}/api/service", timeout=60)
            return address, process
        except httpx.HTTPError:
            time.sleep(0.1)
    raise SystemExit("the service did not start")


def _serve(listener: socket.socket, clients: int) -> None:
    import uvicorn

    import glus_hf
    from glus_hf.webapp.engine import Engine
    from glus_hf.webapp.guard import Access, Guard
    from glus_hf.webapp.jobs import JobStore
    from glus_hf.webapp.limits import ServiceLimits
    from glus_hf.webapp.service import make_service

    limits = ServiceLimits(queued=clients, per_user=clients)
    with tempfile.TemporaryDirectory() as root:
        engine = Engine(glus_hf.pipeline(model="glus-tiny"), None, limits, "glus-tiny")
        store = JobStore(engine, Path(root), limits)
        app = Guard(make_service(engine, store), Access(body_bytes=limits.file_bytes))
        uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listener])
        store.close()


async def _all(address: str, clips: list[Path], clients: int, jobs: int) -> list[tuple[float, str]]:
    work = [_client(address, [clips[number % NUM_CLIPS]] * jobs) for number in range(clients)]
    rows = await asyncio.gather(*work)
    return [rows[number][job] for job in range(jobs) for number in range(clients)]


async def _client(address: str, clips: list[Path]) -> list[tuple[float, str]]:
    """Seconds until each job's masks were here, and their hash."""
    answers = []
    async with httpx.AsyncClient(base_url=address, timeout=600) as client:
        for clip in clips:
            begin = time.monotonic()
            job = (await _post(client, clip)).json()["id"]
            async with client.stream("GET", f"/api/jobs/{job}/events") as events:
                lines = [line async for line in events.aiter_lines() if line]
            assert lines[-2] == "event: end" and '"state":"done"' in lines[-1], lines[-1]
            masks = await client.get(f"/api/jobs/{job}/files/masks.zip")
            answers.append((time.monotonic() - begin, _hash(masks.content)))
    return answers


async def _post(client: httpx.AsyncClient, clip: Path) -> httpx.Response:
    """Come back later, as the service asks, where too many wait."""
    while True:
        answer = await client.post("/api/jobs", data={"expressions": TEXT}, files={"video": clip.read_bytes()})
        if answer.status_code != 503:
            answer.raise_for_status()
            return answer
        await asyncio.sleep(1)


def _hash(content: bytes) -> str:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        masks = [archive.read(name) for name in sorted(archive.namelist())]
    return hashlib.sha256(b"".join(masks)).hexdigest()


def _resident(process: int) -> int:
    """Largest resident size so far, in bytes."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def _print(arguments, answers, wrong: int, seconds: float, before: int, after: int) -> None:
    waits = sorted(wait for wait, _ in answers)
    print("| clients | jobs | lost | wrong masks | jobs per second | median wait | longest | memory before | after |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    lost = arguments.clients * arguments.jobs - len(answers)
    rate, median = len(answers) / seconds, statistics.median(waits)
    sizes = " | ".join(f"{size / 1e6:.0f} MB" for size in (before, after))
    counts = f"{arguments.clients} | {len(answers)} | {lost} | {wrong}"
    print(f"| {counts} | {rate:.2f} | {median:.1f} s | {waits[-1]:.1f} s | {sizes} |")


if __name__ == "__main__":
    main()
