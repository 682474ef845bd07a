"""How much memory `glus-hf segment` takes for a long video, and whether its frames get slower.

Writes a clip of coloured shapes that move over a still background, runs the command on it as a user does, and reads
its peak memory (VmHWM of /proc) and CPU time at frame 500, at half of the frames, at the last frame, and at the end,
when the overlay is written. Linux only. `--stop-after 4000` opens the whole file and ends the run at that frame.

    OMP_NUM_THREADS=1 python benchmarks/memory.py --minutes 10 --texts 1 4
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np


TEXTS = ["the red circle", "the blue square", "the green triangle", "the yellow shape moving left"]
COLOURS = [(220, 40, 40), (40, 60, 220), (40, 190, 70), (230, 210, 40)]
EARLY = 500


def write_clip(path: Path, num_frames: int, width: int, height: int, fps: int, options: dict[str, str]) -> None:
    """H.264, as cameras write it: a key picture every 250 frames, B-frames between."""
    noise = np.random.default_rng(0).integers(90, 130, (height // 8, width // 8, 3), np.uint8)
    background = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps), options={"preset": "superfast", **options})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(num_frames):
            picture = av.VideoFrame.from_ndarray(draw(background, index), format="rgb24")
            container.mux(stream.encode(picture.reformat(format="yuv420p")))
        container.mux(stream.encode(None))


def draw(background: np.ndarray, index: int) -> np.ndarray:
    frame = background.copy()
    height, width = frame.shape[:2]
    radius = height // 9
    for number, colour in enumerate(COLOURS):
        x = int((number + 0.5) * width / 4 + width / 5 * np.sin(index / (60 + 9 * number)))
        y = int(height / 2 + height / 3 * np.cos(index / (45 + 7 * number)))
        if number % 2 == 0:
            cv2.circle(frame, (x, y), radius, colour, -1)
        else:
            cv2.rectangle(frame, (x - radius, y - radius), (x + radius, y + radius), colour, -1)
    return frame


class Watch:
    """Peak memory, CPU seconds and seconds of a process, read from /proc."""

    def __init__(self, pid: int):
        self.folder, self.start = Path(f"/proc/{pid}"), time.perf_counter()

    def read(self) -> dict:
        status = (self.folder / "status").read_text()
        fields = (self.folder / "stat").read_text().rpartition(")")[2].split()
        cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        peak = int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024 / 1e6
        held = int(re.search(r"VmRSS:\s+(\d+)", status)[1]) * 1024 / 1e6
        return {"peak_mb": peak, "held_mb": held, "cpu_s": cpu, "wall_s": time.perf_counter() - self.start}


def run_segment(clip: Path, num_texts: int, num_frames: int, options: list[str], stops: bool) -> dict:
    """One run of the command; what [`Watch`] read at each mark. With `stops`, it is ended at frame `num_frames`."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "glus_hf.cli", "segment", str(clip), *TEXTS[:num_texts], "--json"]
        command += ["-o", f"{folder}/overlay.mp4", *options]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        watch, marks, last = Watch(process.pid), {}, None
        limits = {"first": 1, "early": min(EARLY, num_frames // 4), "half": num_frames // 2, "last": num_frames}
        for line in progress_lines(process.stderr):
            try:
                last = watch.read()
            except (OSError, TypeError):  # it has just ended
                continue
            for name, count in limits.items():
                if name not in marks and count_of(line) >= count * num_texts:
                    marks[name] = last
            if stops and "last" in marks:
                process.kill()
                return marks | {"end": last, "answers": None}
        marks["end"] = last
        out = process.stdout.read()
        if process.wait() != 0:
            raise SystemExit(f"segment failed:\n{out}")
        marks["answers"] = [row["frames_with_mask"] for row in json.loads(out.splitlines()[-1])["expressions"]]
        return marks


def progress_lines(stream):
    """What the command shows, each step of a progress bar a line."""
    text = ""
    while chunk := stream.read(1):
        if chunk in "\r\n":
            yield text
            text = ""
        else:
            text += chunk
    yield text


def count_of(line: str) -> int:
    found = re.search(r"segmenting.*?(\d+)/(\d+)", line)
    return int(found[1]) if found else -1


def summary(marks: dict, num_frames: int) -> dict:
    """The numbers of the table."""
    early = min(EARLY, num_frames // 4)
    half = num_frames // 2
    first = (marks["half"]["cpu_s"] - marks["first"]["cpu_s"]) / half
    second = (marks["last"]["cpu_s"] - marks["half"]["cpu_s"]) / (num_frames - half)
    return {
        "early_frame": early,
        "peak_mb_early": round(marks["early"]["peak_mb"]),
        "peak_mb_end": round(marks["end"]["peak_mb"]),
        "held_mb_early": round(marks["early"]["held_mb"]),
        "held_mb_last": round(marks["last"]["held_mb"]),
        "frames_measured": num_frames,
        "cpu_ms_per_frame_first_half": round(1000 * first, 2),
        "cpu_ms_per_frame_second_half": round(1000 * second, 2),
        "second_to_first": round(second / first, 3),
        "cpu_s_to_first_mask": round(marks["first"]["cpu_s"], 1),
        "cpu_s": round(marks["end"]["cpu_s"], 1),
        "wall_s": round(marks["end"]["wall_s"], 1),
        "frames_with_mask": marks["answers"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--fps", type=int, default=30)
    parser.add_argument("--texts", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--key-frame", default="0", help="a number, or middle")
    parser.add_argument("--gop", type=int, default=250, help="frames from one key picture to the next")
    parser.add_argument("--clip", type=Path, help="keep the clip here, or use the one that is here")
    parser.add_argument("--stop-after", type=int, help="end the run at this frame, without an overlay")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    num_frames = round(arguments.minutes * 60 * arguments.fps)
    key_frame = str(num_frames // 2) if arguments.key_frame == "middle" else arguments.key_frame
    with tempfile.TemporaryDirectory() as folder:
        clip = arguments.clip or Path(folder) / "clip.mp4"
        if not clip.exists():
            write_clip(clip, num_frames, width, height, arguments.fps, {"g": str(arguments.gop)})
        rows = []
        for num_texts in arguments.texts:
            measured, stops = arguments.stop_after or num_frames, arguments.stop_after is not None
            marks = run_segment(clip, num_texts, measured, ["--key-frame", key_frame], stops)
            rows.append({"texts": num_texts, "key_frame": int(key_frame), **summary(marks, measured)})
            print(json.dumps(rows[-1]), flush=True)
    if arguments.json:
        settings = {"frames": num_frames, "size": arguments.size, "fps": arguments.fps, "gop": arguments.gop}
        arguments.json.write_text(json.dumps({**settings, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
