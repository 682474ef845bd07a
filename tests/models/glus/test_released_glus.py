"""The aliases of the released checkpoints, end to end: a Hub on loopback serves the miniature checkpoint under their
names; it is downloaded, converted once and loaded."""

import json
import os
import shutil
import subprocess
import sys
import threading

import pytest

from glus_hf import CheckpointError, GLUSConfig, GLUSForVideoSegmentation, GLUSProcessor, pipeline, resolve_checkpoint
from glus_hf.conversion.converted_cache import cache_folder
from glus_hf.conversion.download import PINNED_REVISIONS, download_folder
from glus_hf.models.auto import AutoModelForReferringVideoSegmentation
from glus_hf.models.glus.convert_glus_to_hf import convert_checkpoint
from glus_hf.models.glus.released_glus import ALIASES, RELEASED
from tests.local_hub import COMMIT, LocalHub
from tests.paths import FIXTURES
from tests.warm_python import warm_python


pytest.importorskip("sentencepiece")
FIXTURE = FIXTURES / "upstream_tiny"
CLIP = "openai/clip-vit-large-patch14"
LOAD = """
import glus_hf
from glus_hf.models.glus import convert_glus_to_hf
original = convert_glus_to_hf.convert_checkpoint
convert_glus_to_hf.convert_checkpoint = lambda *args, **kwargs: (print("converting"), original(*args, **kwargs))[1]
"""
LOAD_MODEL = (
    LOAD
    + """
model = glus_hf.GLUSForVideoSegmentation.from_pretrained("glus-7b")
processor = glus_hf.GLUSProcessor.from_pretrained("glus-s")
print("loaded", model.config.seg_token_id, processor.seg_token_id)
"""
)


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """The tiny checkpoint as Swindl/GLUS-S and as Swindl/GLUS-A, with files nobody needs; its CLIP as OpenAI's."""
    extra = tmp_path_factory.mktemp("extra") / "anything"
    extra.write_text("not needed")
    glus = {file.name: file for file in (FIXTURE / "checkpoint").iterdir()}
    glus |= {"sam2_config.yaml": FIXTURE / "sam2_config.yaml", "README.md": extra, "code.py": extra}
    clip = {file.name: file for file in (FIXTURE / "clip").iterdir()}
    clip |= {"pytorch_model.bin": extra, "flax_model.msgpack": extra, "merges.txt": extra}
    with LocalHub({"Swindl/GLUS-S": glus, "Swindl/GLUS-A": glus, CLIP: clip}) as hub:
        yield hub


def start(code, folder, endpoint="http://127.0.0.1:9", **variables):
    """A fresh process with its caches in `folder`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_HOME": str(folder / "hf"), "HF_ENDPOINT": endpoint, "NO_PROXY": "127.0.0.1"}
    environment |= {"GLUS_HF_CACHE": str(folder / "cache"), "HF_HUB_DISABLE_TELEMETRY": "1", **variables}
    arguments = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*warm_python(), "-c", code], env=environment, cwd=folder, **arguments)


def finish(process, messages=None):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    if messages is not None:
        messages.append(err)
    return out.splitlines()


@pytest.fixture(scope="module")
def used(hub, tmp_path_factory):
    """A folder in which two processes asked for glus-7b at the same time, what they printed and what they said."""
    folder, messages = tmp_path_factory.mktemp("used"), []
    processes = [start(LOAD_MODEL, folder, hub.url) for _ in range(2)]
    return folder, [finish(process, messages) for process in processes], "".join(messages)


def test_two_processes_convert_once(used, hub):
    folder, outputs, _ = used
    assert all(lines[-1] == "loaded 480 480" for lines in outputs)
    assert sum(lines.count("converting") for lines in outputs) == 1
    assert [path.name for path in (folder / "cache").iterdir() if not path.name.startswith(".")] == ["glus-s"]
    assert not list((folder / "cache").glob("*.partial")) + list((folder / "cache").glob(".*.partial"))


def test_only_needed_files_are_downloaded_once(used, hub):
    needed = {f"Swindl/GLUS-S/{file.name}" for file in (FIXTURE / "checkpoint").iterdir()}
    needed |= {"Swindl/GLUS-S/sam2_config.yaml"} | {f"{CLIP}/{file.name}" for file in (FIXTURE / "clip").iterdir()}
    assert hub.downloads() == dict.fromkeys(needed, 1)
    assert hub.revisions(CLIP) == {PINNED_REVISIONS[CLIP]}
    assert "main" in hub.revisions("Swindl/GLUS-S")


def test_the_cache_is_used_without_the_hub(used, tmp_path):
    """By the alias, and by a conversion that names CLIP as on the Hub."""
    folder, *_ = used
    files = {
        "source": FIXTURE / "checkpoint",
        "output": tmp_path / "output",
        "sam2_config": FIXTURE / "sam2_config.yaml",
    }
    code = LOAD + "print(glus_hf.pipeline(model='glus-7b').model.config.seg_token_id)\n"
    code += f"print(convert_glus_to_hf.convert_checkpoint(**{ {name: str(path) for name, path in files.items()} }))"
    lines = finish(start(code, folder, HF_HUB_OFFLINE="1"))
    assert lines == ["480", "converting", str(tmp_path / "output")]


def test_converted_as_by_hand(used, tmp_path):
    folder, *_ = used
    fixture = [FIXTURE / name for name in ("checkpoint", "clip", "sam2_config.yaml")]
    by_hand = convert_checkpoint(*fixture[:2], tmp_path / "by-hand", fixture[2], progress=False)
    for name in ("config.json", "model.safetensors", "tokenizer.json", "processor_config.json"):
        assert (folder / "cache" / "glus-s" / name).read_bytes() == (by_hand / name).read_bytes(), name
    records = [json.loads((path / "conversion.json").read_text()) for path in (folder / "cache" / "glus-s", by_hand)]
    assert [record["sources"]["clip"].pop("name") for record in records] == [CLIP, "clip"]
    assert [record["sources"]["checkpoint"].pop("name") for record in records] == ["Swindl/GLUS-S", "checkpoint"]
    for name, commit in (("checkpoint", COMMIT), ("clip", PINNED_REVISIONS[CLIP])):
        assert [record["sources"][name].pop("revision", None) for record in records] == [commit, None]
    assert records[0] == records[1]


def test_errors_of_the_hub_are_one_line(hub, tmp_path):
    """Errors 500, no connection, and told to be offline. None is waited for."""
    messages = []
    code = """
import glus_hf
for alias in ("glus-s-partial", "glus-a"):
    try:
        glus_hf.resolve_checkpoint(alias)
    except glus_hf.CheckpointError as error:
        print(error)
"""
    hub.broken = True
    try:
        processes = [start(code, tmp_path, hub.url), start(code, tmp_path), start(code, tmp_path, HF_HUB_OFFLINE="1")]
        outputs = [finish(process, messages) for process in processes]
    finally:
        hub.broken = False
    assert not any("Retrying" in message for message in messages)
    for lines in outputs:
        assert len(lines) == 2
        for line, alias in zip(lines, ("glus-s-partial", "glus-a"), strict=True):
            assert line.startswith(f"{alias}: {RELEASED[alias].repo}: ")
            assert CLIP in line and "glus-hf convert --source" in line
    assert not list((tmp_path / "cache").glob(".*.partial"))


def test_a_gated_repository_is_called_so(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("403 Client Error.\n\nCannot access gated repo for url x.\nAccess is restricted.")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(CheckpointError, match="Cannot access gated repo .* restricted.*; log in"):
        download_folder("owner/name", [], "log in")


@pytest.mark.parametrize("alias", ALIASES)
def test_a_converted_folder_in_the_cache_is_found(alias, tmp_path, monkeypatch):
    monkeypatch.setenv("GLUS_HF_CACHE", str(tmp_path))
    name = "glus-s" if alias == "glus-7b" else alias
    shutil.copytree(resolve_checkpoint("glus-tiny"), tmp_path / name)
    assert resolve_checkpoint(alias) == str(tmp_path / name)
    assert GLUSConfig.from_pretrained(alias).model_type == "glus"


def test_cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("GLUS_HF_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("GLUS_HF_CACHE")
    assert cache_folder().name == "glus_hf"


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GLUS_HF_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(CheckpointError, match="GLUS_HF_CACHE"):
        resolve_checkpoint("glus-a")


# ---- revisions

OTHER = "fedcba9876543210fedcba9876543210fedcba98"
RESOLVE = "import glus_hf; print(glus_hf.resolve_checkpoint('{}'))"


def test_a_pinned_revision_is_another_folder(used, hub):
    """It is asked for by its commit and kept beside the one of the branch, which stays as it is."""
    folder, *_ = used
    model = f"glus-s@{OTHER}"
    code = RESOLVE.format(model)
    assert finish(start(code, folder, hub.url)) == [str(folder / "cache" / model)]
    record = json.loads((folder / "cache" / model / "conversion.json").read_text())
    assert record["sources"]["checkpoint"]["revision"] == OTHER
    assert OTHER in hub.revisions("Swindl/GLUS-S")
    assert finish(start(code, folder, HF_HUB_OFFLINE="1")) == [str(folder / "cache" / model)]
    same = RESOLVE.format(f"glus-7b@{COMMIT}")  # what the branch was at
    assert finish(start(same, folder, HF_HUB_OFFLINE="1")) == [str(folder / "cache" / "glus-s")]


def test_the_known_commit_is_taken_from_the_history(used, hub):
    """main has moved on; the Hub needs the whole hash of the commit of which seven digits are known."""
    folder, *_ = used
    known = RELEASED["glus-a"].known_commit.ljust(40, "0")
    hub.histories["Swindl/GLUS-A"] = [COMMIT, OTHER, known]
    messages = []
    assert finish(start(RESOLVE.format("glus-a"), folder, hub.url), messages) == [str(folder / "cache" / "glus-a")]
    record = json.loads((folder / "cache" / "glus-a" / "conversion.json").read_text())
    assert record["sources"]["checkpoint"]["revision"] == known
    assert known in hub.revisions("Swindl/GLUS-A") and "is at commit" not in messages[0]


def test_another_commit_than_the_one_known_is_said(used):
    """Without a history main is followed, and may have moved; the line says how to stay where one is."""
    _, _, text = used
    assert f"Swindl/GLUS-S is at commit {COMMIT}, not at {RELEASED['glus-s'].known_commit}" in text
    assert f"glus-s@{COMMIT}" in text


@pytest.mark.parametrize("revision", ["a b", "../x", "refs/pr/1"])
def test_what_is_no_revision(revision, tmp_path, monkeypatch):
    monkeypatch.setenv("GLUS_HF_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match="revision"):
        resolve_checkpoint(f"glus-s@{revision}")
    assert not list(tmp_path.iterdir())


def test_every_loader_takes_a_revision(tmp_path, monkeypatch):
    monkeypatch.setenv("GLUS_HF_CACHE", str(tmp_path))
    shutil.copytree(resolve_checkpoint("glus-tiny"), tmp_path / f"glus-s@{OTHER}")
    for name, revision in (("glus-7b", OTHER), (f"glus-7b@{OTHER}", None)):
        pinned = {} if revision is None else {"revision": revision}
        for loader in (GLUSConfig, GLUSProcessor, GLUSForVideoSegmentation, AutoModelForReferringVideoSegmentation):
            loader.from_pretrained(name, **pinned)
        assert pipeline(model=name, **pinned).model.name_or_path == str(tmp_path / f"glus-s@{OTHER}")


# ---- waiting


def test_who_waits_says_so(tmp_path, monkeypatch, caplog):
    """One line, when another process is converting; nothing when nobody is."""
    monkeypatch.setenv("GLUS_HF_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hold = "import filelock, sys\nwith filelock.FileLock(sys.argv[1]): print('held', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path / ".glus-a.lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout.readline() == b"held\n"
    threading.Timer(0.5, holder.stdin.close).start()
    shutil.copytree(resolve_checkpoint("glus-tiny"), tmp_path / "converting")
    threading.Timer(0.3, os.rename, (tmp_path / "converting", tmp_path / "glus-a")).start()
    assert resolve_checkpoint("glus-a") == str(tmp_path / "glus-a")
    holder.wait(60)
    assert caplog.messages == [f"glus-a: another process is converting it in {tmp_path}; waiting for it"]
