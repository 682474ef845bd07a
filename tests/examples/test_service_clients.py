"""The Label Studio backend and the ComfyUI node, on a service with the bundled model."""

import importlib.util
import sys
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

import glus_hf
from glus_hf.data.motion_shapes import generate_clip
from glus_hf.errors import UserError
from glus_hf.media.video import write_video
from glus_hf.webapp.client import RemoteService
from glus_hf.webapp.engine import Engine
from glus_hf.webapp.guard import Access, Guard
from glus_hf.webapp.jobs import JobStore
from glus_hf.webapp.limits import ServiceLimits
from glus_hf.webapp.service import make_service
from tests.local_files import LocalFiles
from tests.paths import EXAMPLES


CLIP = generate_clip(0, split="test", size=64, num_frames=6)
TEXTS = [expression.text for expression in CLIP.expressions[:2]]
CONFIG = """<View><Video name="clip" value="$video"/><VideoRectangle name="where" toName="clip"/>
<Labels name="what" toName="clip"><Label value="{}"/><Label value="{}"/></Labels></View>""".format(*TEXTS)


def example(name: str):
    """An example's file as a module."""
    spec = importlib.util.spec_from_file_location(f"example_{name.replace('/', '_')}", EXAMPLES / f"{name}.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class InProcess(httpx.BaseTransport):
    """Requests of a client go to an application of this process."""

    def __init__(self, app):
        self.client = TestClient(app, base_url="http://127.0.0.1")

    def handle_request(self, request):
        answer = self.client.request(
            request.method, str(request.url), content=request.read(), headers=dict(request.headers)
        )
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


@contextmanager
def running(folder, access=None):
    limits = ServiceLimits()
    pipe = glus_hf.pipeline(model="glus-tiny")
    store = JobStore(engine := Engine(pipe, None, limits, "glus-tiny"), folder, limits)
    try:
        yield InProcess(Guard(make_service(engine, store), access or Access())), pipe
    finally:
        store.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with running(tmp_path_factory.mktemp("service")) as found:
        yield found


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("video") / "clip.mp4"
    write_video(file, CLIP.frames, 12)
    return file


@pytest.fixture
def remote(service, monkeypatch):
    """Every client of a service talks to the one of this process."""
    make = RemoteService.__init__
    monkeypatch.setattr(
        RemoteService, "__init__", lambda self, address, token=None: make(self, address, token, service[0])
    )
    return service[1]


def test_the_client_gives_the_masks_of_the_pipeline(service, video):
    steps = []
    client = RemoteService("http://127.0.0.1", transport=service[0])
    found = client.segment(video, TEXTS, key_frame=2, on_progress=lambda done, total: steps.append((done, total)))
    wanted = service[1](str(video), TEXTS, key_frame=2)
    masks = np.array([[found.mask(index, frame) for frame in range(6)] for index in range(2)])
    assert np.array_equal(masks, [result["masks"] for result in wanted]) and steps[-1] == (12, 12)
    assert client.client.get("/api/service").json()["queued"] == 0


def test_the_client_says_what_the_service_refuses(service, video, tmp_path):
    client = RemoteService("http://127.0.0.1", transport=service[0])
    with pytest.raises(UserError, match="the service answers 422: there is no expression"):
        client.segment(video, [" "])
    (tmp_path / "evil.mp4").write_bytes(b"nothing")
    with pytest.raises(UserError, match="evil.mp4: source.mp4: .*cannot be"):
        client.segment(tmp_path / "evil.mp4", TEXTS)


def test_the_client_says_that_nobody_answers_or_another_program(video):
    with pytest.raises(UserError, match="^http://127.0.0.1:9: does not answer .*; check the address[^\n]*$"):
        RemoteService("http://127.0.0.1:9").segment(video, TEXTS)
    for content in (b"<html>", b"[]", b'{"state": 1}'):
        other = httpx.MockTransport(lambda request, content=content: httpx.Response(200, content=content))
        with pytest.raises(UserError, match="is no glus-hf serve"):
            RemoteService("http://x", transport=other).segment(video, TEXTS)


def test_label_studio_gets_boxes_of_every_frame(remote, video, monkeypatch):
    backend = example("label_studio/backend")
    with LocalFiles({"/data/upload/clip.mp4": video.read_bytes()}) as studio:
        monkeypatch.setattr(backend, "STUDIO", studio.url)
        client = TestClient(backend.app)
        assert client.get("/health").json()["status"] == "UP"
        assert client.post("/setup", json={"project": "1", "schema": CONFIG}).json() == {"model_version": "glus_hf"}
        body = {
            "tasks": [{"id": 7, "data": {"video": "/data/upload/clip.mp4"}}],
            "label_config": CONFIG,
            "project": "1.2",
        }
        answer = client.post("/predict", json=body).json()
    (prediction,) = answer["results"]
    assert 0 <= prediction["score"] <= 1 and [r["value"]["labels"][0] for r in prediction["result"]] == TEXTS
    truth = remote(str(video), TEXTS[0])["masks"]
    for box in prediction["result"][0]["value"]["sequence"]:
        rows, columns = np.nonzero(truth[box["frame"] - 1])
        assert np.isclose(box["x"], 100 * columns.min() / 64) and np.isclose(box["y"], 100 * rows.min() / 64)
        assert np.isclose(box["width"], 100 * (np.ptp(columns) + 1) / 64)
    sdk = pytest.importorskip("label_studio_sdk.label_interface")
    assert sdk.LabelInterface(CONFIG).validate_prediction(prediction, return_errors=True) == []


def test_label_studio_cannot_make_the_backend_ask_others(monkeypatch):
    backend = example("label_studio/backend")
    monkeypatch.setattr(backend, "STUDIO", "http://studio.example")
    for place in ("http://169.254.169.254/latest", "//other.example/clip.mp4", "file:///etc/passwd"):
        body = {"tasks": [{"data": {"video": place}}], "label_config": CONFIG}
        answer = TestClient(backend.app).post("/predict", json=body)
        assert answer.status_code == 400 and "from Label Studio only" in answer.json()["detail"], place
    bomb = '<!DOCTYPE v [<!ENTITY a "aaaa">]>' + CONFIG
    assert TestClient(backend.app).post("/predict", json={"tasks": [], "label_config": bomb}).status_code == 400


def test_the_comfyui_node_keeps_its_contract(remote):
    nodes = example("comfyui/nodes")
    (name,) = nodes.NODE_CLASS_MAPPINGS
    node, inputs = nodes.NODE_CLASS_MAPPINGS[name], nodes.NODE_CLASS_MAPPINGS[name].INPUT_TYPES()
    assert nodes.NODE_DISPLAY_NAME_MAPPINGS.keys() == nodes.NODE_CLASS_MAPPINGS.keys()
    assert set(inputs) <= {"required", "optional", "hidden"} and isinstance(node.CATEGORY, str)
    known = {"IMAGE", "MASK", "STRING", "INT", "FLOAT", "BOOLEAN"}
    assert {kind[0] for group in inputs.values() for kind in group.values()} | set(node.RETURN_TYPES) <= known
    defaults = {key: kind[1]["default"] for key, kind in inputs["optional"].items()}
    images = torch.from_numpy(np.stack(CLIP.frames)).float() / 255
    mask, score = getattr(node(), node.FUNCTION)(images=images, expressions="\n".join(TEXTS), **defaults)
    assert mask.shape == (6, 64, 64) and mask.dtype == torch.float32 and set(mask.unique().tolist()) == {0.0, 1.0}
    assert 0 < score <= 1 and len(node.RETURN_NAMES) == len(node.RETURN_TYPES) == 2
    truth = np.any([CLIP.target_masks(expression) for expression in CLIP.expressions[:2]], axis=0)
    overlap = np.logical_and(mask.numpy() > 0, truth).sum() / np.logical_or(mask.numpy() > 0, truth).sum()
    assert overlap > 0.7
