"""Killed at random points, or with a full disk: the same command again gives what an undisturbed run gives."""

import json
import os
import subprocess

import pytest

from tests.faults.commands import COMMANDS
from tests.hostile.sandbox import server_environment
from tests.paths import ROOT
from tests.warm_python import warm_python


pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs fork, SIGKILL and Linux")
SEEDS = (0, 1)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    command = [*warm_python(), "-m", "tests.faults.server"]
    environment = server_environment(folder)
    environment.pop("COVERAGE_PROCESS_CONFIG", None)  # coverage writes too, where the disk is full
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, **pipes)
    assert process.stdout.readline() == "ready\n"
    yield process
    process.stdin.close()
    process.wait(timeout=60)


def disturbed(server, folder, **request):
    server.stdin.write(json.dumps({"folder": str(folder), **request}) + "\n")
    server.stdin.flush()
    answer = json.loads(server.stdout.readline())
    assert not answer["problems"], answer
    return answer["done"]


def test_a_killed_conversion_leaves_nothing_and_runs_again(server, tmp_path):
    assert disturbed(server, tmp_path, command="convert", fault="kill", seed=3, times=3)["killed"] >= 1


def test_a_killed_segmentation_leaves_nothing_and_runs_again(server, tmp_path):
    assert disturbed(server, tmp_path, command="segment", fault="kill", seed=3, times=3)["killed"] >= 1


def test_a_full_disk_is_one_line_and_no_half_result(server, tmp_path):
    assert disturbed(server, tmp_path, command="segment", fault="disk", seed=0, times=2)["refused"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("command", COMMANDS)
def test_kills(server, tmp_path, command, seed):
    assert disturbed(server, tmp_path, command=command, fault="kill", seed=seed)["killed"] >= 2


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_full_disks(server, tmp_path, command):
    assert disturbed(server, tmp_path, command=command, fault="disk", seed=0)["refused"] >= 1
