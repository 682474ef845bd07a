"""Masks of a user over HTTP: what they change, what is refused, and that the first job stays as it was."""

import io
import json
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

import glus_hf
from glus_hf.data.motion_shapes import generate_clip
from glus_hf.media.video import load_video, write_video
from glus_hf.metrics.j_and_f import j_and_f
from tests.webapp.service_jobs import TEXTS, finished, post


MASK = np.zeros((64, 64), bool)
MASK[10:30, 20:50] = True


def png(mask, mode="L"):
    file = io.BytesIO()
    Image.fromarray(np.uint8(mask) * 255).convert(mode).save(file, "PNG")
    return file.getvalue()


def correct(client, job, *given):
    """`given`: frames, numbers of expressions and contents of files."""
    data = {"frame": [frame for frame, *_ in given], "expression": [expression for _, expression, _ in given]}
    files = [("mask", ("mask.png", content)) for *_, content in given]
    return client.post(f"/api/jobs/{job['id']}/corrections", data=data, files=files)


def masks_of(client, job, expression):
    with zipfile.ZipFile(io.BytesIO(client.get(f"/api/jobs/{job['id']}/files/masks.zip").content)) as archive:
        pngs = [archive.read(f"{expression}/{frame:05d}.png") for frame in range(job["result"]["num_frames"])]
    return np.stack([np.asarray(Image.open(io.BytesIO(content))) > 0 for content in pngs])


@pytest.fixture
def job(serve, video):
    client = serve()
    return client, finished(client, post(client, video))


def test_a_true_mask_is_given_back_and_the_frames_after_it_come_nearer_to_the_truth(serve, pipe, tmp_path):
    clip = generate_clip(0, split="occlusion", seed=0)
    cross = next(expression for expression in clip.expressions if expression.text == "the yellow cross")
    write_video(tmp_path / "clip.mp4", clip.frames, 8)
    client, truth, lost = serve(), clip.target_masks(cross), 8
    first = finished(client, post(client, tmp_path / "clip.mp4", [cross.text]))
    assert first["result"]["takes_corrections"] and first["result"]["expressions"][0]["corrected_frames"] == []
    second = finished(client, correct(client, first, (lost, 0, png(truth[lost]))))
    before, after = masks_of(client, first, 0), masks_of(client, second, 0)
    (about,) = second["result"]["expressions"]
    assert about["corrected_frames"] == [lost] and about["scores"][lost] == 1
    assert np.array_equal(after[lost], truth[lost]) and np.array_equal(after[:lost], before[:lost])
    left, right = (j_and_f(masks[lost + 1 :], truth[lost + 1 :])["j_and_f"] for masks in (before, after))
    assert right > left + 0.05
    frames = load_video(tmp_path / "clip.mp4").frames
    alone = pipe(frames, cross.text, corrections=[(lost, 0, truth[lost])])["masks"]
    assert np.array_equal(alone, after)


def test_corrections_add_up_and_the_first_job_stays(job):
    client, first = job
    kept = masks_of(client, first, 0)
    second = finished(client, correct(client, first, (1, 0, png(MASK)), (4, 1, png(~MASK, "RGBA"))))
    third = finished(client, correct(client, second, (1, 0, png(MASK & False, "1")), (5, 0, png(MASK, "P"))))
    assert [each["corrected_frames"] for each in second["result"]["expressions"]] == [[1], [4]]
    assert [each["corrected_frames"] for each in third["result"]["expressions"]] == [[1, 5], [4]]
    assert np.array_equal(masks_of(client, second, 0)[1], MASK)
    masks = masks_of(client, third, 0)
    assert (
        not masks[1].any() and np.array_equal(masks[5], MASK) and third["result"]["expressions"][0]["scores"][1] == 0
    )
    assert np.array_equal(masks_of(client, third, 1)[4], ~MASK)
    assert np.array_equal(masks_of(client, first, 0), kept)


def test_every_expression_starts_again_from_its_frame(job):
    client, first = job
    again = client.post("/api/jobs", data={"expressions": TEXTS, "same_video_as": first["id"], "key_frame": 3})
    started = finished(client, again)
    corrected = finished(client, correct(client, started, (1, 0, png(MASK))))
    assert [each["key_frame"] for each in corrected["result"]["expressions"]] == [3, 3]
    before, after = masks_of(client, started, 0), masks_of(client, corrected, 0)
    assert np.array_equal(after[1], MASK) and np.array_equal(after[2:], before[2:])  # frame 0 comes after frame 1


def huge_png(side):
    """A PNG of a few bytes whose header asks for `side` x `side` pixels."""
    chunk = lambda kind, data: len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)
    header = side.to_bytes(4) * 2 + bytes([8, 0, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


REFUSED = {
    "another size": ((0, 0, png(MASK[:32])), "has 64 x 32 pixels, the video 64 x 64"),
    "huge": ((0, 0, huge_png(60_000)), "has too many pixels"),
    "large": ((0, 0, huge_png(9_000)), "has 9000 x 9000 pixels, the video 64 x 64"),
    "cut off": ((0, 0, png(MASK)[:-40]), "cannot be read as an image"),
    "no image": ((0, 0, b"\x00" * 100), "not a PNG"),
    "empty": ((0, 0, b""), "not a PNG"),
    "a list of files": ((0, 0, b"ffconcat version 1.0\nfile /etc/passwd\n"), "not a PNG"),
    "of too many bytes": ((0, 0, bytes(9_000_000)), "a mask has more than"),
    "late frame": ((6, 0, png(MASK)), "there is no frame 6: the job has 6 frames"),
    "negative frame": ((-1, 0, png(MASK)), "there is no frame -1"),
    "far frame": ((10**30, 0, png(MASK)), "there is no frame"),
    "no frame": (("x", 0, png(MASK)), "valid integer"),
    "unknown expression": ((0, 2, png(MASK)), "there is no expression 2: the job has 2 expressions"),
    "negative expression": ((0, -1, png(MASK)), "there is no expression -1"),
}


def test_what_is_no_correction_is_one_line_and_no_job(job):
    client, first = job
    for name, (given, message) in REFUSED.items():
        answer = correct(client, first, given)
        assert answer.status_code == 422, name
        detail = answer.json()["detail"]
        told = detail if isinstance(detail, str) else json.dumps(detail)
        assert message in told and "\n" not in told and str(client.root) not in told and "root:" not in told, name
    answer = client.post(f"/api/jobs/{first['id']}/corrections", data={"frame": [0, 1], "expression": 0})
    assert answer.status_code == 422
    several = [(0, 0, png(MASK))] * 33
    assert "at most 32" in correct(client, first, *several).json()["detail"]
    assert len(client.store.jobs) == 1 and len(list(client.root.iterdir())) == 1


def test_a_job_that_is_not_there_or_not_done_is_not_corrected(serve, video):
    client = serve()
    assert correct(client, {"id": "..%2f..%2fetc"}, (0, 0, png(MASK))).status_code == 404
    assert correct(client, {"id": "A" * 22}, (0, 0, png(MASK))).status_code == 404
    failed = finished(client, post(client, b"no video"))
    answer = correct(client, failed, (0, 0, png(MASK)))
    assert (
        answer.status_code == 409
        and answer.json()["detail"] == "the job is failed: only a finished job can be corrected"
    )


def test_corrections_count_as_jobs_and_stop_as_jobs(serve, video):
    client = serve(per_user=1)
    first = finished(client, post(client, video, TEXTS[:1]))
    step = client.store.run.step
    client.store.run.step = lambda job, frame: (job.stopped.wait(60), step(job, frame))
    second = correct(client, first, (0, 0, png(MASK)))
    refused = correct(client, first, (0, 0, png(MASK)))
    assert (
        second.status_code == 202 and refused.status_code == 503 and "1 jobs here already" in refused.json()["detail"]
    )
    assert client.delete(f"/api/jobs/{second.json()['id']}").status_code == 204
    assert client.get(f"/api/jobs/{first['id']}").json()["state"] == "done"


def test_corrections_in_all_have_a_limit(serve, video):
    client = serve(corrections=2)
    first = finished(client, post(client, video, TEXTS[:1]))
    second = finished(client, correct(client, first, (0, 0, png(MASK)), (1, 0, png(MASK))))
    assert (
        "there are 3 corrections, this service takes 2" in correct(client, second, (2, 0, png(MASK))).json()["detail"]
    )


def test_a_model_that_takes_none_says_so(serve, video):
    client = serve()
    client.store.run.pipe = glus_hf.pipeline(model="glee-tiny", device="cpu")
    first = finished(client, post(client, video, TEXTS[:1]))
    assert first["state"] == "done" and not first["result"]["takes_corrections"]
    answer = correct(client, first, (0, 0, png(MASK)))
    assert (
        answer.status_code == 409 and answer.json()["detail"] == "the model of this service takes no corrected masks"
    )
