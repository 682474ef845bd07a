"""The HTTP service with the bundled model: a video in, the pipeline's own masks out; limits; nothing else to read."""

import io
import json
import shutil
import threading
import time
import zipfile

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from starlette.websockets import WebSocketDisconnect

from glus_hf.media.video import load_video
from glus_hf.webapp.guard import Access
from tests.webapp.service_jobs import TEXTS, finished, post


def test_the_masks_are_those_of_the_pipeline(serve, pipe, video):
    client = serve()
    answer = post(client, video)
    assert answer.status_code == 202
    with client.stream("GET", f"/api/jobs/{answer.json()['id']}/events") as stream:
        events = [line for line in stream.iter_lines() if line]
    assert events[-2] == "event: end" and events[0] in ("event: progress", "event: end")
    job = json.loads(events[-1].removeprefix("data: "))
    wanted = pipe(str(video), TEXTS)
    assert job["state"] == "done" and job["done"] == job["total"] == 12
    place = f"/api/jobs/{job['id']}/files/"
    with zipfile.ZipFile(io.BytesIO(client.get(place + "masks.zip").content)) as archive:
        assert json.loads(archive.read("expressions.json")) == TEXTS
        for index, result in enumerate(wanted):
            pngs = [archive.read(f"{index}/{frame:05d}.png") for frame in range(6)]
            masks = [np.asarray(Image.open(io.BytesIO(png))) > 0 for png in pngs]
            assert np.array_equal(masks, result["masks"])
            about = job["result"]["expressions"][index]
            assert about["expression"] == TEXTS[index] and np.allclose(about["scores"], result["scores"], atol=1e-4)
            assert about["visible_frames"] == int(result["masks"].any(axis=(1, 2)).sum())
    coco = client.get(place + "coco.json").json()
    areas = sum(int(coco_mask.area(annotation["segmentation"])) for annotation in coco["annotations"])
    assert areas == sum(int(result["masks"].sum()) for result in wanted)
    (client.root / "overlay.mp4").write_bytes(client.get(place + "overlay.mp4").content)
    assert len(load_video(client.root / "overlay.mp4").frames) == 6
    (client.root / "overlay.mp4").unlink()
    thumbnail = client.get(f"/api/jobs/{job['id']}/frames/5")
    assert Image.open(io.BytesIO(thumbnail.content)).size == (64, 64)


def test_the_same_video_again_from_another_frame(serve, video):
    client = serve()
    job = finished(client, post(client, video, TEXTS[:1]))
    again = client.post("/api/jobs", data={"expressions": TEXTS[1], "same_video_as": job["id"], "key_frame": 3})
    assert finished(client, again)["result"]["expressions"][0]["key_frame"] == 3
    late = client.post("/api/jobs", data={"expressions": TEXTS[1], "same_video_as": job["id"], "key_frame": 6})
    assert finished(client, late)["error"] == "the video has 6 frames: there is no frame 6"


@pytest.mark.parametrize("name", ["clip", "clip.", "clip.of.a.dog", ".mp4"])
def test_a_video_is_taken_whatever_its_name(serve, video, name):
    client = serve()
    assert finished(client, post(client, video, TEXTS[:1], name=name))["state"] == "done"


HOSTILE = {
    "clip.mp4": b"no video at all",
    "list.m3u8": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
    "list.mp4": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "../../../../etc/evil.mp4": b"\x00" * 64,
    "page.svg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_one_line_that_tells_nothing_of_this_machine(serve, name):
    client = serve()
    job = finished(client, post(client, HOSTILE[name], name=name))
    assert job["state"] == "failed" and job["error"] and "\n" not in job["error"]
    assert str(client.root) not in job["error"] and "root:" not in job["error"]
    assert not any(client.root.rglob("*.*"))


def test_only_what_a_job_offers_is_read(serve, video):
    client = serve()
    job = finished(client, post(client, video, TEXTS[:1]))
    for name in ("source.mp4", "..%2F..%2Fetc%2Fpasswd", "%2Fetc%2Fpasswd", "frame-000000.jpg", "overlay.mp4%00"):
        assert client.get(f"/api/jobs/{job['id']}/files/{name}").status_code == 404, name
    for index in ("6", "-1", "x", "99999999999999999999"):
        assert client.get(f"/api/jobs/{job['id']}/frames/{index}").status_code in (404, 422), index
    assert client.get("/api/jobs/..%2f").status_code == 404


def test_what_is_too_much_is_not_begun(serve, video):
    client = serve(file_bytes=50_000, expressions=2, letters=40, frame_pixels=64 * 63, frames=5)
    assert post(client, b"0" * 2_000_000).status_code == 413
    assert "more than 50000 bytes" in post(client, b"0" * 60_000).json()["detail"]
    chunks = (b"0" * 100_000 for _ in range(20))
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert client.post("/api/jobs", content=chunks, headers=headers).status_code in (400, 413)
    for texts, message in (
        (TEXTS + ["a"], "3 expressions"),
        (["a" * 41], "more than 40 letters"),
        ([" "], "no expres"),
    ):
        assert message in post(client, video, texts).json()["detail"]
    assert "more than the 4032 that a frame may have" in finished(client, post(client, video))["error"]
    long = serve(frames=5)
    assert "6 frames, this service takes 5" in finished(long, post(long, video))["error"]
    slow = serve(seconds=0.1)
    assert "seconds" in finished(slow, post(slow, video))["error"]
    brief = serve(job_seconds=0)
    assert "takes too long" in finished(brief, post(brief, video))["error"]


def test_users_wait_their_turn_and_too_many_are_sent_away(serve, video):
    client = serve(per_user=3, queued=2)
    hold = client.store.run
    gate = threading.Event()
    client.store.run = lambda job: gate.wait(60) and hold(job)
    first, second, third = (post(client, video, TEXTS[:1]) for _ in range(3))
    refused = post(client, video, TEXTS[:1])
    assert refused.status_code == 503 and "3 jobs here already" in refused.json()["detail"]
    assert client.get(f"/api/jobs/{third.json()['id']}").json()["before"] == 2
    assert client.delete(f"/api/jobs/{second.json()['id']}").status_code == 204
    assert client.get(f"/api/jobs/{second.json()['id']}").status_code == 404
    gate.set()
    assert [finished(client, answer)["state"] for answer in (first, third)] == ["done", "done"]


def test_a_cancelled_job_stops_and_leaves_nothing(serve, video):
    client, began = serve(), threading.Event()
    step = client.store.run.step
    client.store.run.step = lambda job, frame: (began.set(), job.stopped.wait(60), step(job, frame))
    job = post(client, video).json()
    assert began.wait(60)
    assert client.delete(f"/api/jobs/{job['id']}").status_code == 204
    until = time.monotonic() + 30
    while any(client.root.iterdir()) and time.monotonic() < until:
        time.sleep(0.02)
    assert client.get(f"/api/jobs/{job['id']}").status_code == 404 and not any(client.root.iterdir())


def test_finished_jobs_are_removed_in_time(serve, video):
    client = serve(keep_seconds=0.2, kept=1)
    old = finished(client, post(client, video, TEXTS[:1]))
    time.sleep(0.3)
    new = finished(client, post(client, video, TEXTS[1:]))
    assert client.get(f"/api/jobs/{old['id']}").status_code == 404
    assert client.get(f"/api/jobs/{new['id']}/files/coco.json").status_code == 200


def test_a_token_is_asked_for_by_header_or_cookie(serve):
    client = serve(Access("secret", any_host=True))
    assert client.get("/api/service").status_code == 401
    assert client.get("/api/service?token=wrong").status_code == 401
    assert client.get("/api/service", headers={"Authorization": "Bearer secret"}).status_code == 200
    answer = client.get("/api/service?token=secret", follow_redirects=False)
    assert answer.status_code == 303 and answer.headers["location"] == "/api/service"
    assert "HttpOnly; SameSite=Strict" in answer.headers["set-cookie"]
    assert client.get("/api/service").json()["model"] == "glus-tiny"  # the cookie is kept


def test_other_names_and_other_sites_are_refused(serve, video):
    client = serve()
    assert client.get("/api/service", headers={"Host": "evil.example"}).status_code == 421
    assert client.get("/api/service", headers={"Host": "localhost:7860"}).status_code == 200
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
        answer = client.post("/api/jobs", data={"expressions": "a", "example": "shapes"}, headers=headers)
        assert answer.status_code == 403, headers
    own = client.post("/api/jobs", data={"expressions": "a"}, headers={"Origin": "http://127.0.0.1"})
    assert own.status_code == 422
    assert "default-src 'self'" in client.get("/docs").headers["content-security-policy"]


def test_headers_that_are_no_headers_are_refused(serve):
    client = serve(Access("secret"))
    assert client.post("/api/jobs", headers={"Origin": "http://["}).status_code == 403
    assert client.post("/api/jobs", content=b"x", headers={"Content-Length": "9" * 5000}).status_code == 413
    answer = client.get("/%0d%0aEvil:1/%5cevil.example?token=secret", follow_redirects=False)
    assert answer.headers["location"] == "/%0D%0AEvil%3A1/%5Cevil.example"
    with pytest.raises(WebSocketDisconnect), serve().websocket_connect("/", headers={"Host": "evil.example"}):
        pass


def test_a_zero_in_a_name_is_no_defect(serve):
    part = b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    body = part % (b"expressions", b"a") + part % (b'video"; filename="clip.m\0p4', b"no video") + b"--x--\r\n"
    client = serve()
    answer = client.post("/api/jobs", content=body, headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert "cannot be opened as a video" in finished(client, answer)["error"]


def test_what_was_sent_is_not_sent_back(serve, video):
    answer = post(serve(), video, key_frame="9" * 100_000)
    assert answer.status_code == 422 and "integer" in answer.text and len(answer.text) < 300
    answer = serve().post("/api/jobs", files=[("expressions", ("a", b"x"))])
    assert answer.status_code == 422 and "valid string" in answer.text and "_file" not in answer.text


def test_files_that_go_while_they_are_asked_for_are_gone(serve, video, monkeypatch):
    client = serve()
    job = finished(client, post(client, video, TEXTS[:1]))
    kept = client.store.get(job["id"])
    copy = shutil.copyfile
    monkeypatch.setattr(shutil, "copyfile", lambda *places: (client.store.cancel(kept), copy(*places)))
    again = client.post("/api/jobs", data={"expressions": "a", "same_video_as": job["id"]})
    assert again.status_code == 422 and again.json()["detail"] == "the video of that job is gone; send it again"
    client.store.jobs[job["id"]] = kept
    for place in ("files/masks.zip", "frames/0"):
        answer = client.get(f"/api/jobs/{job['id']}/{place}")
        assert answer.status_code == 404 and "are gone" in answer.json()["detail"], place


def test_the_api_page_has_every_call_and_nothing_from_elsewhere(serve):
    client = serve()
    page, schema = client.get("/docs").text, client.get("/openapi.json").json()
    assert len(schema["paths"]) == 7
    assert all(f"{path}</code>" in page for path in schema["paths"]) and "same_video_as" in page
    assert "http://" not in page and "https://" not in page and "<script" not in page
