"""The queue of jobs without a service around it."""

import shutil

import pytest

from glus_hf.webapp.jobs import CANCELLED, JobStore
from glus_hf.webapp.limits import ServiceLimits


@pytest.fixture
def store(tmp_path):
    root = tmp_path / "jobs"
    root.mkdir()
    store = JobStore(lambda job: {}, root, ServiceLimits())
    yield store
    store.close()


def test_a_job_cancelled_while_its_video_is_copied_leaves_nothing(store, tmp_path, monkeypatch):
    (tmp_path / "clip.mp4").write_bytes(b"video")
    copy = shutil.copyfile

    def cancel_first(source, target):
        store.cancel_of("me")
        target.parent.mkdir()  # the copy won the race against the removal of its folder
        return copy(source, target)

    monkeypatch.setattr(shutil, "copyfile", cancel_first)
    job = store.submit("me", tmp_path / "clip.mp4", ["the dog"])
    assert job.state == CANCELLED and store.get(job.id) is None
    assert list(store.root.iterdir()) == []
