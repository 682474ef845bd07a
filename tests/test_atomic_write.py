"""The output folder is there as a whole or not at all."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock

from glus_hf.atomic_write import new_folder
from glus_hf.conversion import output_folder
from glus_hf.conversion import plan as conversion_plan_glus
from glus_hf.conversion.weight_files import ShardWriter
from glus_hf.models.glus.convert_glus_to_hf import convert_state_dict
from tests.models.glus.upstream_folders import (
    CHECKPOINT,
    CLIP,
    SAM2_CONFIG,
    assert_equal_weights,
    assert_refused,
    clip_weights,
    convert,
    load_folder,
    upstream_weights,
)
from tests.warm_python import warm_python


pytest.importorskip("sentencepiece")


@pytest.mark.parametrize("reason", [KeyboardInterrupt, RuntimeError])
def test_nothing_is_left_of_an_interrupted_conversion(tmp_path, monkeypatch, reason):
    add, seen = ShardWriter.add, []

    def stop(self, name, tensor):
        seen.append(sorted(path.name for path in tmp_path.iterdir()))
        if len(seen) == 100:
            raise reason
        add(self, name, tensor)

    monkeypatch.setattr(ShardWriter, "add", stop)
    with pytest.raises(reason):
        convert(tmp_path / "output", max_shard_size="100KB")
    assert len(seen[-1]) == 2 and all(name.startswith(".output-") for name in seen[-1])  # a folder and its lock
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_kept(tmp_path):
    output = tmp_path / "output"
    output.mkdir()
    (output / "precious").write_text("")
    assert_refused(tmp_path, "exists already")
    (output / "precious").unlink()
    expected = convert_state_dict(upstream_weights(), clip_weights())
    assert_equal_weights(load_folder(convert(output)), expected)  # an empty one is used


HOLD = """
import sys
from pathlib import Path
from glus_hf.atomic_write import new_folder
with new_folder(Path(sys.argv[1])) as folder:
    (folder / "half").write_text("")
    print(folder, flush=True)
    sys.stdin.read()
"""


def hold(output):
    """A process in the middle of a conversion, and its hidden folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(output)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    return process, Path(process.stdout.readline().strip())


@pytest.mark.skipif(os.name == "nt", reason="needs locks of folders")
def test_leftovers_of_a_killed_conversion_are_removed(tmp_path, caplog):
    """But not those of a conversion that is still running, of another output, or what only looks like one."""
    (running, its_folder), (killed, leftover) = hold(tmp_path / "output"), hold(tmp_path / "output")
    (other, of_another) = hold(tmp_path / "output-b")
    for process in (killed, other):
        process.kill()
        process.wait(60)
    kept = tmp_path / ".output-mine.partial"
    kept.mkdir()
    (tmp_path / ".output-01234567.partial").symlink_to(kept)
    assert leftover.is_dir() and of_another.is_dir()
    with new_folder(tmp_path / "output") as folder:
        (folder / "whole").write_text("")
        assert its_folder.is_dir() and not leftover.exists()
    assert of_another.is_dir() and kept.is_dir() and (tmp_path / ".output-01234567.partial").is_symlink()
    assert caplog.messages == [f"{leftover}: removed, a process that was killed left it behind"]
    running.communicate()  # goes on, and finds the output there already
    assert running.returncode != 0 and not its_folder.exists()
    assert [file.name for file in (tmp_path / "output").iterdir()] == ["whole"]


@pytest.mark.parametrize("error", [OSError(errno.ENOLCK, "no locks"), NotImplementedError()])
def test_no_locks_on_the_file_system(tmp_path, monkeypatch, error):
    def acquire(self, *args, **kwargs):
        raise error

    monkeypatch.setattr(FileLock, "acquire", acquire)
    leftover = tmp_path / ".output-01234567.partial"
    leftover.mkdir()
    with new_folder(tmp_path / "output"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [leftover.name, "output"]


def test_a_disk_that_gets_full(tmp_path):
    """Or a limit on the size of a file: one line, and nothing left."""
    code = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    code += "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); from glus_hf.cli.main import main; main()"
    command = ["convert", "--source", CHECKPOINT, "--clip", CLIP, "--sam2-config", SAM2_CONFIG, "-o", tmp_path / "out"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}  # it writes
    program = [*warm_python(), "-c", code, *map(str, command), "-q"]
    done = subprocess.run(program, capture_output=True, text=True, env=environment)
    assert done.returncode == 2 and done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1, done.stderr
    assert "File too large" in done.stderr and not list(tmp_path.iterdir())


def test_a_link_is_no_output_folder(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "output").symlink_to(tmp_path / "real")
    assert_refused(tmp_path, "exists already")


def test_a_disk_that_gets_full_at_last(tmp_path, monkeypatch):
    """The weights had room, the small files after them have not."""

    def write_record(folder, record):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(output_folder, "write_record", write_record)
    assert_refused(tmp_path, f"{tmp_path}: is full")


def test_a_full_disk_is_seen_before_writing(tmp_path, monkeypatch):
    usage = lambda path: SimpleNamespace(total=10**9, used=10**9, free=10**6)
    monkeypatch.setattr(conversion_plan_glus.shutil, "disk_usage", usage)
    assert_refused(tmp_path, "are free")
