"""The aliases of the released GLEE: a file in the Hub's cache is converted once; without it, what to do."""

import os
import subprocess

import torch
from safetensors.torch import load_file

from glus_hf import resolve_checkpoint
from glus_hf.conversion.converted_cache import CACHE_VARIABLE
from tests.models.glee.small_glee import small_model, word_tokenizer
from tests.paths import FIXTURES
from tests.warm_python import warm_python


COMMIT = "0123456789abcdef0123456789abcdef01234567"
LOAD = """
import os, glus_hf
first = glus_hf.resolve_checkpoint("glee-lite")
written = os.stat(os.path.join(first, "model.safetensors")).st_mtime_ns
model = glus_hf.AutoModelForReferringVideoSegmentation.from_pretrained("glee-lite")
processor = glus_hf.GLEEProcessor.from_pretrained("glee-lite")
assert os.stat(os.path.join(first, "model.safetensors")).st_mtime_ns == written
try:
    glus_hf.resolve_checkpoint("glee-plus")
except glus_hf.CheckpointError as error:
    print(error)
print(first, model.config.d_model, processor.max_text_tokens)
"""


def cached(home, kind, repo):
    """The folder of a repository's only commit in a Hub cache."""
    folder = home / "hub" / f"{kind}s--{repo.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    snapshot = folder / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    return snapshot


def test_a_file_in_the_cache_is_converted_once(tmp_path):
    home = tmp_path / "hf"
    zoo = cached(home, "space", "Junfeng5/GLEE_demo") / "MODEL_ZOO"
    zoo.mkdir()
    torch.save({"model": load_file(FIXTURES / "glee_tiny" / "checkpoint.safetensors")}, zoo / "GLEE_Lite_joint.pth")
    clip = cached(home, "model", "openai/clip-vit-base-patch32")
    word_tokenizer(["red", "dog"]).save_pretrained(clip)
    (clip / "config.json").write_text('{"model_type": "clip"}')
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1", CACHE_VARIABLE: str(tmp_path / "cache")}
    done = subprocess.run([*warm_python(), "-c", LOAD], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    refused, loaded = done.stdout.splitlines()
    assert loaded.split() == [str(tmp_path / "cache" / "glee-lite"), "64", "20"]
    assert refused.startswith("glee-plus: Junfeng5/GLEE_demo: is not cached and cannot be downloaded")
    assert "glus-hf convert --source GLEE_Plus_joint.pth" in refused
    assert not (tmp_path / "cache" / "glee-plus").exists()


def test_a_converted_folder_in_the_cache_is_used(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    small_model().save_pretrained(tmp_path / "glee-plus")
    assert resolve_checkpoint("glee-plus") == str(tmp_path / "glee-plus")
