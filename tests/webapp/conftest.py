"""Clients of the HTTP service with the bundled model."""

import pytest
from fastapi.testclient import TestClient

import glus_hf
from glus_hf.media.video import write_video
from glus_hf.webapp.engine import Engine
from glus_hf.webapp.guard import Access, Guard
from glus_hf.webapp.jobs import JobStore
from glus_hf.webapp.limits import ServiceLimits
from glus_hf.webapp.service import make_service
from tests.webapp.service_jobs import CLIP


@pytest.fixture(scope="module")
def pipe():
    return glus_hf.pipeline(model="glus-tiny")


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    file = tmp_path_factory.mktemp("video") / "clip.mp4"
    write_video(file, CLIP.frames, 8)
    return file


@pytest.fixture
def serve(pipe, tmp_path):
    """Clients of services that are closed at the end."""
    stores = []

    def make(access=None, **limits):
        root = tmp_path / f"served-{len(stores)}"
        root.mkdir()
        limits = ServiceLimits(**limits)
        engine = Engine(pipe, None, limits, "glus-tiny")
        store = JobStore(engine, root, limits)
        stores.append(store)
        access = access or Access(body_bytes=limits.file_bytes)
        client = TestClient(Guard(make_service(engine, store), access), base_url="http://127.0.0.1")
        client.root, client.store = root, store
        return client

    yield make
    for store in stores:
        store.close()
        assert [path for path in store.root.iterdir()] == []
