"""Jobs of the HTTP service, as its tests send them."""

import time
from pathlib import Path

from glus_hf.data.motion_shapes import generate_clip


CLIP = generate_clip(0, split="test", size=64, num_frames=6)
TEXTS = [expression.text for expression in CLIP.expressions[:2]]


def post(client, video, texts=TEXTS, name="clip.mp4", **more):
    files = {"video": (name, video if isinstance(video, bytes) else Path(video).read_bytes())}
    return client.post("/api/jobs", data={"expressions": texts, **more}, files=files)


def finished(client, answer):
    assert answer.status_code == 202, answer.text
    until = time.monotonic() + 120
    while (job := client.get(f"/api/jobs/{answer.json()['id']}").json())["state"] in ("queued", "running"):
        assert time.monotonic() < until
        time.sleep(0.02)
    return job
