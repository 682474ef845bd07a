"""A local Ray cluster of two workers: the bytes of a single process, also where a worker is killed.

PYTHONPATH=FOLDER_WITH_RAY pytest -m slow tests/evaluation/many/test_ray_engine.py
"""

import json
import os
import re

import pytest

from glus_hf.data.video_list import read_video_list
from glus_hf.errors import UserError
from glus_hf.evaluation.many.ray_engine import RayEngine, RayOptions
from glus_hf.evaluation.many.segment_many import segment_many
from glus_hf.evaluation.options import EvaluationOptions
from tests.evaluation.evaluation_data import tree
from tests.evaluation.many.many_videos import (
    OPTIONS,
    DeadlyReader,
    load_small,
    segment_here,
    write_manifest,
)
from tests.paths import ROOT


pytestmark = pytest.mark.slow
ray = pytest.importorskip("ray")


@pytest.fixture(scope="module", autouse=True)
def cluster():
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {"env_vars": {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}}
    ray.init(num_cpus=2, num_gpus=0, include_dashboard=False, log_to_driver=False, runtime_env=environment)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return write_manifest(tmp_path_factory.mktemp("many"), num_videos=5)


@pytest.fixture(scope="module")
def alone(manifest):
    segment_here(manifest, manifest.parent / "alone")
    return manifest.parent / "alone"


def on_ray(manifest, output, retries=3, **arguments):
    engine = RayEngine(load_small, RayOptions(num_workers=2, retries=retries))
    return segment_many(read_video_list(manifest), output, engine, **{"options": OPTIONS, **arguments})


def done(output):
    lines = [json.loads(line) for line in (output / ".glus_hf" / "rank-00000.jsonl").read_text().splitlines()]
    return sorted((line["video_id"], line["expression_id"]) for line in lines)


def test_two_workers_write_the_bytes_of_a_single_process(manifest, alone, tmp_path):
    on_ray(manifest, tmp_path / "out")
    assert tree(tmp_path / "out") == tree(alone)
    assert done(tmp_path / "out") == done(alone) and len(done(alone)) == 15


def test_a_killed_worker_loses_nothing(manifest, alone, tmp_path):
    reader = DeadlyReader(deadly="2.mp4", memory=tmp_path / "killed")
    report = on_ray(manifest, tmp_path / "out", reader=reader)
    killed = int((tmp_path / "killed").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(killed, 0)
    assert report.counts["failed"] == 0
    assert tree(tmp_path / "out") == tree(alone)
    assert done(tmp_path / "out") == done(alone)  # nothing lost, nothing doubled


def test_a_video_that_kills_every_worker_is_given_up_and_repaired_later(manifest, alone, tmp_path):
    report = on_ray(manifest, tmp_path / "out", retries=1, reader=DeadlyReader(deadly="2.mp4"))
    errors = {record["video_id"]: record["error"] for record in report.records if "error" in record}
    assert list(errors) == ["clips/2"] and re.search("2 workers died segmenting it", errors["clips/2"])
    assert report.counts["failed"] == 3 and len(done(tmp_path / "out")) == 12
    segment_here(manifest, tmp_path / "out")  # another engine finishes it
    assert tree(tmp_path / "out") == tree(alone)
    with pytest.raises(UserError, match="video clips/2: 1 workers died"):
        raising = EvaluationOptions(texts_per_pass=2, on_error="raise")
        on_ray(manifest, tmp_path / "raise", retries=0, reader=DeadlyReader(deadly="2.mp4"), options=raising)


def broken_load():
    raise UserError("weights.safetensors: is cut short; download it again")


def test_errors_of_a_worker_are_those_of_this_process(manifest, tmp_path):
    with pytest.raises(UserError, match="weights.safetensors: is cut short"):
        engine = RayEngine(broken_load, RayOptions(num_workers=2))
        segment_many(read_video_list(manifest), tmp_path / "out", engine, options=OPTIONS)
    with pytest.raises(UserError, match="too little for one worker"):
        engine = RayEngine(load_small, RayOptions(num_gpus=1))
        segment_many(read_video_list(manifest), tmp_path / "gpu", engine, options=OPTIONS)
