"""Outputs: what is taken, what is replaced, what is refused, and that nothing of others is ever lost."""

import errno
import os
import subprocess
import sys

import pytest

from glus_hf.errors import UserError
from glus_hf.output_claim import OutputFile, OutputFolder, check_outputs, claim_outputs, record_file


def write_file(path, content="ours", **options):
    with claim_outputs(OutputFile(path), **options) as (staged,):
        staged.write_text(content)


def write_folder(path, content="ours", names=("0/a.png", "1/b.png"), **options):
    with claim_outputs(OutputFolder(path), **options) as (staged,):
        for name in names:
            (staged / name).parent.mkdir(parents=True, exist_ok=True)
            (staged / name).write_text(content)


def contents(folder):
    """Texts of all files below, without the records."""
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(".glus_hf.jsonl")
    }


def refused(words, *outputs, **options):
    with pytest.raises(UserError, match=words) as error, claim_outputs(*outputs, **options):
        raise AssertionError("the work began")
    assert "\n" not in str(error.value)


def test_a_new_or_empty_place_is_taken(tmp_path):
    write_file(tmp_path / "new" / "a.mp4")
    (tmp_path / "masks").mkdir()
    write_folder(tmp_path / "masks")
    assert contents(tmp_path) == {"new/a.mp4": "ours", "masks/0/a.png": "ours", "masks/1/b.png": "ours"}


def test_our_own_is_replaced_on_request_and_as_a_whole(tmp_path):
    file, folder = tmp_path / "a.mp4", tmp_path / "masks"
    write_file(file), write_folder(folder)
    refused("a.mp4: exists already, from an earlier run; use --overwrite", OutputFile(file))
    refused("masks: exists already, from an earlier run; use --overwrite", OutputFolder(folder))
    write_file(file, "new", overwrite=True), write_folder(folder, "new", names=["2/c.png"], overwrite=True)
    assert contents(tmp_path) == {"a.mp4": "new", "masks/2/c.png": "new"}
    write_file(file, "newer", overwrite=True), write_folder(folder, "newer", overwrite=True)
    assert contents(tmp_path) == {"a.mp4": "newer", "masks/0/a.png": "newer", "masks/1/b.png": "newer"}


@pytest.mark.parametrize("change", ["foreign", "changed", "longer", "link", "unrecorded"])
def test_what_is_not_ours_is_refused_even_with_overwrite(tmp_path, change):
    folder = tmp_path / "masks"
    write_folder(folder)
    if change == "foreign":
        (folder / "0" / "notes.txt").write_text("mine")
    elif change == "unrecorded":
        record_file(folder).unlink()
    elif change == "link":
        (folder / "0" / "a.png").unlink()
        (folder / "0" / "a.png").symlink_to(tmp_path / "elsewhere")
    else:
        (folder / "0" / "a.png").write_text("mine" if change == "changed" else "longer")
    before = contents(tmp_path)
    name = "notes.txt" if change == "foreign" else "a.png"
    refused(f"masks: exists already and holds 0/{name}", OutputFolder(folder), overwrite=True)
    assert contents(tmp_path) == before


def test_a_file_that_is_not_ours_is_refused_even_with_overwrite(tmp_path):
    file = tmp_path / "a.json"
    file.write_text("mine")
    refused("a.json: exists already and is not a run's", OutputFile(file), overwrite=True)
    file.unlink()
    write_file(file)
    file.write_text("mine")  # of equal size
    refused("a.json: exists already and is not a run's, or was changed since", OutputFile(file), overwrite=True)
    assert file.read_text() == "mine"


def test_what_came_during_the_work_stays(tmp_path):
    with pytest.raises(UserError, match="exists already"), claim_outputs(OutputFile(tmp_path / "a.txt")) as (staged,):
        staged.write_text("ours")
        (tmp_path / "a.txt").write_text("mine")
    assert contents(tmp_path) == {"a.txt": "mine"}


@pytest.mark.parametrize("reason", [KeyboardInterrupt(), RuntimeError(), OSError(errno.ENOSPC, "full")])
def test_the_old_output_stays_until_the_new_one_is_complete(tmp_path, reason):
    write_folder(tmp_path / "masks")
    with pytest.raises(type(reason)), claim_outputs(OutputFolder(tmp_path / "masks"), overwrite=True) as (staged,):
        staged.mkdir()
        (staged / "half.png").write_text("")
        raise reason
    assert contents(tmp_path) == {"masks/0/a.png": "ours", "masks/1/b.png": "ours"}
    assert len(os.listdir(tmp_path)) == 2  # the folder and its record
    write_folder(tmp_path / "masks", overwrite=True)


def test_an_error_names_the_output(tmp_path):
    with pytest.raises(UserError) as error, claim_outputs(OutputFile(tmp_path / "a.mp4")) as (staged,):
        raise UserError(f"{staged}: cannot be written")
    assert str(error.value) == f"{tmp_path / 'a.mp4'}: cannot be written"


def test_links_are_not_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "folder").symlink_to(tmp_path / "real")
    (tmp_path / "file.mp4").symlink_to(tmp_path / "nothing")
    refused("folder: is a link", OutputFolder(tmp_path / "folder"), overwrite=True)
    refused("file.mp4: is a link", OutputFile(tmp_path / "file.mp4"), overwrite=True)
    write_folder(tmp_path / "folder" / "masks")  # a parent that the user named may be one
    assert (tmp_path / "real" / "masks" / "0" / "a.png").is_file()


@pytest.mark.parametrize(
    ("path", "kind", "words"),
    [
        ("/proc/x.mp4", OutputFile, "/proc/x.mp4: cannot be written"),
        ("/proc/masks", OutputFolder, "/proc/masks: cannot be written"),
        ("file/masks", OutputFolder, "file/masks: cannot be written .*file is no folder"),
        ("file", OutputFolder, "file: is a file; name a folder"),
        ("folder", OutputFile, "folder: is a folder; name a file in it"),
        ("pipe", OutputFile, "pipe: is neither a file nor a folder"),
        (".", OutputFolder, "is replaced as a whole"),
        ("a" * 250, OutputFile, "has 250 bytes"),
        ("a\0b", OutputFile, "is no name of an output"),
        (os.fsdecode(b"caf\xe9.mp4"), OutputFile, "is no UTF-8 name"),
    ],
)
def test_impossible_places_are_refused_by_name(tmp_path, monkeypatch, path, kind, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    refused(words, kind(path))


def test_outputs_keep_away_from_what_is_read(tmp_path):
    data = tmp_path / "data"
    (data / "video").mkdir(parents=True)
    (data / "clip.mp4").write_text("")
    refused("out: lies in .*data, which is read", OutputFolder(data / "out"), inputs=[data])
    refused("out.mp4: lies in .*video, which is read", OutputFile(data / "video" / "out.mp4"), inputs=[data / "video"])
    refused("data: holds .*video, which is read", OutputFolder(data), inputs=[data / "video"])
    refused("video: is the input itself", OutputFolder(data / "video"), inputs=[data / "video"])
    refused("clip.mp4: is the input itself", OutputFile(data / "clip.mp4"), inputs=[data / "clip.mp4"])
    os.link(data / "clip.mp4", tmp_path / "other.mp4")
    refused("other.mp4: is the input itself", OutputFile(tmp_path / "other.mp4"), inputs=[data / "clip.mp4"])
    (tmp_path / "link").symlink_to(data)
    refused("out: lies in .*data", OutputFolder(tmp_path / "link" / "out"), inputs=[data])
    check_outputs(OutputFile(data / "out.mp4"), inputs=[data / "clip.mp4", None, "glus-tiny", "https://x.org/a.mp4"])


def test_two_outputs_have_two_places(tmp_path):
    refused("a.mp4: is the place of two outputs", OutputFile(tmp_path / "a.mp4"), OutputFile(tmp_path / "a.mp4"))
    inside = OutputFile(tmp_path / "masks" / "a.mp4")
    refused("lie in each other", OutputFolder(tmp_path / "masks"), inside)
    with claim_outputs(OutputFile(tmp_path / "a.mp4"), None) as (staged, nothing):
        assert nothing is None
        staged.write_text("")


HOLD = """
import sys
from glus_hf.output_claim import OutputFolder, claim_outputs
with claim_outputs(OutputFolder(sys.argv[1]), overwrite=True) as (staged,):
    staged.mkdir()
    (staged / "new").write_text("new")
    print("ready", flush=True)
    sys.stdin.read()
"""


def hold(path):
    """A process in the middle of its work."""
    command = [sys.executable, "-c", HOLD, str(path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    return process


def test_a_killed_run_leaves_the_old_output_and_the_next_one_cleans_up(tmp_path):
    write_folder(tmp_path / "masks")
    process = hold(tmp_path / "masks")
    refused("masks: another process is writing there", OutputFolder(tmp_path / "masks"), overwrite=True)
    process.kill()
    process.wait(60)
    assert contents(tmp_path / "masks") == {"0/a.png": "ours", "1/b.png": "ours"}
    assert any(name.endswith(".partial") for name in os.listdir(tmp_path))
    write_folder(tmp_path / "masks", "new", overwrite=True)
    assert len(os.listdir(tmp_path)) == 2


KILLED = """
import os, sys
from glus_hf import output_claim
from glus_hf.output_claim import OutputFolder, claim_outputs
at, calls = int(sys.argv[2]), 0
def deadly(function):
    def wrapped(*arguments):
        global calls
        calls += 1
        if calls == at:
            os._exit(9)
        return function(*arguments)
    return wrapped
with claim_outputs(OutputFolder(sys.argv[1]), overwrite=True) as (staged,):
    staged.mkdir()
    (staged / "new").write_text("new")
    os.rename, os.replace = deadly(os.rename), deadly(os.replace)
"""


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_a_kill_while_an_output_is_replaced_loses_nothing(tmp_path, at):
    """At the record, the old folder, the new folder, the record again."""
    old, new = {"0/a.png": "ours", "1/b.png": "ours"}, {"new": "new"}
    write_folder(tmp_path / "masks")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "masks"), str(at)])
    assert killed.returncode == 9
    with pytest.raises(UserError, match="from an earlier run"):
        write_folder(tmp_path / "masks")  # puts back what the kill took away
    assert contents(tmp_path / "masks") == (new if at == 4 else old)
    write_folder(tmp_path / "masks", "next", names=["x"], overwrite=True)
    assert contents(tmp_path) == {"masks/x": "next"}


def test_a_full_disk_names_the_output(tmp_path):
    code = "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    code += "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
    code += "from glus_hf.atomic_write import atomic_path\n"
    code += "with atomic_path(sys.argv[1]) as path: path.write_bytes(bytes(5000))"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.bin")], capture_output=True, text=True)
    assert f"UserError: {tmp_path / 'a.bin'}: cannot be written (File too large); make room" in done.stderr
    assert not list(tmp_path.iterdir())
