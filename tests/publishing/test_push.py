"""A folder becomes a repository of a Hub on 127.0.0.1, whole or not at all, and comes back as the same model."""

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from huggingface_hub import constants

import glus_hf
from glus_hf import CheckpointError, GLUSForVideoSegmentation, GLUSProcessor
from glus_hf.cli.main import main
from glus_hf.data.motion_shapes import generate_clip
from glus_hf.errors import UserError
from glus_hf.hub import packaged_folder
from glus_hf.media.video import write_video
from glus_hf.publishing.model_card import CardOptions
from glus_hf.publishing.push import PushOptions, push_folder, push_results
from glus_hf.publishing.run_results import results_of
from tests.warm_python import warm_python
from tests.writable_hub import PART, TOKEN, WritableHub


TINY = packaged_folder("glus-tiny")
CLIP = generate_clip(0, split="test", size=64, num_frames=6)
TEXT = CLIP.expressions[0].text
RESULTS = results_of({"dataset": "mevis", "split": "valid_u"}, {"J&F": 0.5, "J": 0.4, "F": 0.6, "scale": 1})


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A Hub that this process talks to, with an empty cache; retries do not wait."""
    for variable in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    monkeypatch.setattr("transformers.utils.hub._hf_api", None)  # made again, for this Hub
    with WritableHub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        yield hub


@pytest.fixture(scope="module")
def masks():
    return segment("glus-tiny")


def segment(model, **options):
    return glus_hf.pipeline(model=model, **options)(CLIP.frames, TEXT)["masks"]


def metadata(card: bytes) -> dict:
    return yaml.safe_load(card.decode().split("---")[1])


def saved(folder: Path, **options) -> Path:
    """glus-tiny without its card, or with `options` saved again."""
    shutil.copytree(TINY, folder, ignore=shutil.ignore_patterns("README.md", *(["model.*"] if options else [])))
    if options:
        GLUSForVideoSegmentation.from_pretrained("glus-tiny").save_pretrained(folder, **options)
    return folder


def weights(model) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def assert_loads_as_tiny(name: str, **options) -> None:
    GLUSProcessor.from_pretrained(name, **options)
    found, wanted = (
        weights(GLUSForVideoSegmentation.from_pretrained(n, **o)) for n, o in ((name, options), (TINY, {}))
    )
    assert found.keys() == wanted.keys() and all(np.array_equal(found[key], wanted[key]) for key in wanted)


def test_what_is_pushed_comes_back_with_the_same_masks(hub, tmp_path, masks):
    push_folder(saved(tmp_path / "model"), "me/shapes", card=CardOptions("glus-tiny", ("motion_shapes",), RESULTS))
    assert hub.history("me/shapes") == 1
    names = {"config.json", "model.safetensors", "processor_config.json", "tokenizer.json", "tokenizer_config.json"}
    assert set(hub.files("me/shapes")) == names | {"README.md"}
    assert np.array_equal(segment("me/shapes"), masks)
    card = metadata(hub.files("me/shapes")["README.md"])
    assert card["library_name"] == "glus_hf" and card["license"] == "apache-2.0"
    assert card["datasets"] == ["motion_shapes"] and "referring-video-segmentation" in card["tags"]
    (result,) = card["model-index"][0]["results"]
    assert result["dataset"]["split"] == "valid_u"
    assert {metric["name"]: metric["value"] for metric in result["metrics"]} == {"J&F": 50.0, "J": 40.0, "F": 60.0}


def test_a_model_in_memory_brings_its_processor_and_the_card_a_snippet_that_runs(hub, tmp_path, monkeypatch):
    GLUSForVideoSegmentation.from_pretrained("glus-tiny").push_to_hub("shapes", private=True, tags=["mine"])
    assert hub.private == {"me/shapes": True} and hub.history("me/shapes") == 1
    card = hub.files("me/shapes")["README.md"].decode()
    assert "mine" in metadata(card.encode())["tags"]
    code, video = card.split("```python\n")[1].split("```")[0], tmp_path / "video.mp4"
    write_video(video, CLIP.frames, 8)
    namespace = {}
    monkeypatch.chdir(tmp_path)
    exec(code.replace("the dog on the left", TEXT), namespace)
    masks = glus_hf.pipeline(model="glus-tiny")(str(video), TEXT)["masks"]
    assert np.array_equal(namespace["result"]["masks"], masks)


def test_a_pipeline_and_a_processor_are_pushed_too(hub):
    glus_hf.pipeline(model="glus-tiny").push_to_hub("me/pipe")
    assert_loads_as_tiny("me/pipe")
    before = hub.files("me/pipe")
    GLUSProcessor.from_pretrained("glus-tiny").push_to_hub("me/pipe", commit_message="processor again")
    assert hub.files("me/pipe") == before and list(hub.messages.values())[-1] == "processor again"


def test_a_branch_is_made_and_read_by_its_name(hub, tmp_path, masks):
    folder = saved(tmp_path / "model")
    push_folder(folder, "me/shapes", PushOptions(revision="v2"))
    assert hub.branches["me/shapes"]["main"] != hub.branches["me/shapes"]["v2"]
    assert np.array_equal(segment("me/shapes", revision="v2"), masks)
    assert np.array_equal(segment("me/shapes@v2"), masks)
    for kind in (GLUSForVideoSegmentation, GLUSProcessor, glus_hf.GLUSConfig):
        kind.from_pretrained("me/shapes", revision="v2")
        kind.from_pretrained("me/shapes@v2")
        with pytest.raises(CheckpointError, match="no such revision"):
            kind.from_pretrained("me/shapes", revision="v3")
    with pytest.raises(CheckpointError, match="me/shapes: cannot be loaded; check the name"):
        GLUSForVideoSegmentation.from_pretrained("me/shapes")  # main is empty


def test_a_cut_upload_changes_nothing_and_the_next_one_sends_the_rest(hub, tmp_path):
    folder = saved(tmp_path / "model", max_shard_size="3MB")
    shards = sorted(folder.glob("*.safetensors"))
    total = sum(shard.stat().st_size for shard in shards)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    hub.cut_after = total - PART
    with pytest.raises(CheckpointError, match="the Hub cannot be reached.*repository is as it was"):
        push_folder(folder, "me/shapes")
    assert hub.files("me/shapes") == {} and hub.history("me/shapes") == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    arrived = sum(map(len, hub.large.values()))
    assert 0 < arrived < total
    hub.cut_after, hub.bytes_of_large = None, 0
    push_folder(folder, "me/shapes")
    assert hub.bytes_of_large == total - arrived
    assert hub.history("me/shapes") == 1
    assert_loads_as_tiny("me/shapes")


@pytest.mark.slow
def test_a_killed_push_changes_nothing(hub, tmp_path):
    """SIGKILL while the weights are on their way; then the same command again."""
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": TOKEN,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_OFFLINE": "0",
    }
    command = [*warm_python(), "-m", "glus_hf.cli", "push", str(TINY), "me/shapes"]
    child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while hub.bytes_of_large < 2 * PART and child.poll() is None and time.monotonic() < until:
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL and hub.files("me/shapes") == {}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert f"{hub.url}/me/shapes/commit/" in done.stdout
    assert hub.files("me/shapes")["model.safetensors"] == (TINY / "model.safetensors").read_bytes()


def test_weights_of_an_earlier_model_go_with_the_commit(hub, tmp_path):
    push_folder(saved(tmp_path / "shards", max_shard_size="3MB"), "me/shapes")
    assert "model.safetensors.index.json" in hub.files("me/shapes")
    push_folder(saved(tmp_path / "whole"), "me/shapes")
    assert [name for name in hub.files("me/shapes") if "safetensors" in name] == ["model.safetensors"]


def test_somebody_elses_push_in_between_is_not_lost(hub, tmp_path):
    folder = saved(tmp_path / "model")
    hub.refuse_commit = 412
    with pytest.raises(CheckpointError, match="somebody pushed at the same time"):
        push_folder(folder, "me/shapes")
    assert hub.files("me/shapes") == {}


def test_without_a_token_one_line_says_how_to_log_in(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(CheckpointError, match=r"me/shapes: .*hf auth login.*as it was") as error:
        push_folder(TINY, "me/shapes")
    assert "\n" not in str(error.value) and "hf_wrong" not in str(error.value) and hub.branches == {}


def test_only_files_of_the_checkpoint_leave(hub, tmp_path):
    folder = saved(tmp_path / "model")
    for name in ("optimizer.pt", "training_args.bin", "trainer_state.json", ".env", "notes.py"):
        (folder / name).write_text("secret")
    (folder / "checkpoint-3").mkdir()
    push_folder(folder, "me/shapes")
    assert not [name for name, content in hub.files("me/shapes").items() if content == b"secret"]
    (folder / "vocab.txt").symlink_to(tmp_path / "secret.txt")
    (tmp_path / "secret.txt").write_text("secret")
    with pytest.raises(CheckpointError, match="vocab.txt: is a link out of the folder"):
        push_folder(folder, "me/shapes")


def test_no_path_of_this_machine_leaves(hub, tmp_path):
    folder = saved(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "_name_or_path": str(folder)}))
    push_folder(folder, "me/shapes")
    assert not [name for name, content in hub.files("me/shapes").items() if str(tmp_path).encode() in content]
    (folder / "config.json").write_text(json.dumps({**config, "teacher": str(folder)}))
    with pytest.raises(CheckpointError, match="config.json: teacher is a path"):
        push_folder(folder, "me/shapes")
    shutil.copy(TINY / "config.json", folder)
    (folder / "README.md").write_text(f"---\nlicense: mit\n---\nfrom {Path.home()}/runs/3")
    with pytest.raises(UserError, match="README.md: names .*a path of this machine"):
        push_folder(folder, "me/shapes")


def test_a_card_that_somebody_wrote_stays(hub, tmp_path):
    folder = saved(tmp_path / "model")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n\nMine.\n")
    push_folder(folder, "me/shapes", card=CardOptions(results=RESULTS))
    card = hub.files("me/shapes")["README.md"]
    assert b"Mine." in card and metadata(card)["license"] == "mit" and "model-index" in metadata(card)
    (folder / "README.md").write_text("# Model Card for Model ID\n\n[More Information Needed]\n")
    push_folder(folder, "me/other")
    assert b"More Information Needed" not in hub.files("me/other")["README.md"]


def test_results_are_added_to_a_card_and_replace_older_ones(hub, tmp_path):
    push_folder(TINY, "me/shapes")
    push_results("me/shapes", RESULTS)
    better = results_of({"dataset": "mevis", "split": "valid_u"}, {"J&F": 0.7, "J": 0.4, "F": 0.6, "scale": 1})
    push_results("me/shapes", better)
    card = hub.files("me/shapes")["README.md"]
    (result,) = metadata(card)["model-index"][0]["results"]
    assert [metric["value"] for metric in result["metrics"] if metric["name"] == "J&F"] == [70.0]
    assert b"The smallest GLUS" in card and hub.history("me/shapes") == 3


def test_an_evaluation_pushes_its_scores(hub, tmp_path):
    push_folder(TINY, "me/shapes")
    data = ["--dataset", "motion_shapes", "--split", "test", "--num-videos", "1", "--data-option", "num_frames=6"]
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        main(
            [
                "evaluate",
                *data,
                "--model",
                "me/shapes@main",
                "-o",
                str(tmp_path / "run"),
                "--push-results",
                "me/shapes",
                "--json",
            ]
        )
    printed = json.loads(out.getvalue().splitlines()[-1])
    (result,) = metadata(hub.files("me/shapes")["README.md"])["model-index"][0]["results"]
    assert result["metrics"][0] == {"type": "j_and_f", "name": "J&F", "value": round(100 * printed["J&F"], 2)}
    assert printed["results_url"].startswith(hub.url) and hub.history("me/shapes") == 2


def test_the_command_line_says_what_stays_and_where_it_went(hub, tmp_path):
    folder = saved(tmp_path / "model")
    (folder / "optimizer.pt").touch()
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), contextlib.suppress(SystemExit):
        main(["push", str(folder), "me/shapes", "--license", "mit", "--base-model", "glus-tiny", "--revision", "v2"])
    assert "Not pushed: optimizer.pt" in err.getvalue() and f"Pushed: {hub.url}/me/shapes/commit/" in out.getvalue()
    assert metadata(hub.files("me/shapes", "v2")["README.md"])["license"] == "mit"


WITHOUT_THE_PACKAGE = """
import sys
for name in ("glus_hf", "av", "datasets", "pycocotools", "typer"):
    sys.modules[name] = None
import numpy as np
from transformers import AutoModel, AutoProcessor
model = AutoModel.from_pretrained("me/shapes", trust_remote_code=True)
processor = AutoProcessor.from_pretrained("me/shapes", trust_remote_code=True)
session = processor.init_video_session(np.load(sys.argv[1]), [sys.argv[2]])
outputs = sorted(model.propagate_in_video_iterator(session), key=lambda output: output.frame_idx)
masks = [processor.post_process_masks(output.mask_logits).numpy()[0] for output in outputs]
np.save(sys.argv[3], np.stack(masks))
"""


@pytest.mark.slow
def test_with_its_code_it_runs_without_the_package(hub, tmp_path, masks):
    push_folder(TINY, "me/shapes", PushOptions(with_code=True))
    np.save(tmp_path / "clip.npy", CLIP.frames)
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
    command = [*warm_python(), "-c", WITHOUT_THE_PACKAGE, tmp_path / "clip.npy", TEXT, tmp_path / "masks.npy"]
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert np.array_equal(np.load(tmp_path / "masks.npy"), masks)
