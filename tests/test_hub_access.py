"""Checkpoints on the Hub: failures are one line that says what to do, and nobody waits for a Hub that is not there."""

import importlib
import shutil
import socket

import pytest
from huggingface_hub import errors

import glus_hf
from glus_hf import (
    AutoModelForReferringVideoSegmentation,
    CheckpointError,
    GLUSConfig,
    GLUSForVideoSegmentation,
    GLUSProcessor,
    GLUSSelector,
    resolve_checkpoint,
)
from glus_hf.hub_access import hub_failure, is_hub_name, without_waiting
from glus_hf.models.checkpoint_loading import readable_errors


LOADERS = [
    lambda name: glus_hf.pipeline("referring-video-segmentation", model=name),
    AutoModelForReferringVideoSegmentation.from_pretrained,
    GLUSForVideoSegmentation.from_pretrained,
    GLUSProcessor.from_pretrained,
    GLUSConfig.from_pretrained,
    GLUSSelector.from_pretrained,
]
NAMES = ["pipeline", "auto", "model", "processor", "config", "selector"]


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A Hub that nobody answers for; every try to connect is noted."""
    tries = []

    def connect(address, timeout=None):
        tries.append((address, timeout))
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    for variable in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "https://hub.invalid")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    return tries


@pytest.mark.parametrize("load", LOADERS, ids=NAMES)
def test_a_hub_out_of_reach_is_tried_once(hub, load):
    with pytest.raises(CheckpointError, match="owner/name: is no folder here.*hub.invalid.*Name or service") as error:
        load("owner/name")
    assert "\n" not in str(error.value) and "save" not in str(error.value)
    assert hub == [(("hub.invalid", 443), 5)]


@pytest.mark.parametrize("load", LOADERS, ids=NAMES)
def test_offline_mode_is_named(hub, load, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="owner/name: .*HF_HUB_OFFLINE is set") as error:
        load("owner/name")
    assert "\n" not in str(error.value) and "save" not in str(error.value) and hub == []


def test_a_cached_checkpoint_loads_without_the_hub(hub, tmp_path, caplog):
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = tmp_path / "cache" / "models--owner--name"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    shutil.copytree(resolve_checkpoint("glus-tiny"), folder / "snapshots" / commit)
    options = {"cache_dir": str(tmp_path / "cache")}
    model = GLUSForVideoSegmentation.from_pretrained("owner/name", **options)
    assert model.config.model_type == "glus" and "taken from the cache" in caplog.text
    assert GLUSProcessor.from_pretrained("owner/name", **options).seg_token_id == model.config.seg_token_id
    assert {timeout for _, timeout in hub} == {5} and len(hub) <= 4


def test_folders_and_aliases_do_not_ask_the_hub(hub):
    assert GLUSProcessor.from_pretrained("glus-tiny").seg_token_id > 0
    for name in ("./name", "glus-tiny", "/a/b", "a/b/c", "~/name", "name/", None, resolve_checkpoint("glus-tiny")):
        assert without_waiting(name, {}) == {}
    assert hub == [] and is_hub_name("owner/name")


def test_a_hub_within_reach(hub, monkeypatch):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        monkeypatch.undo()
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert hub_failure() is None
    assert "refused" in hub_failure()


def test_a_proxy_has_to_say_itself(hub, monkeypatch):
    monkeypatch.setenv("no_proxy", "localhost")
    assert "Name or service" in hub_failure() and len(hub) == 1
    monkeypatch.setenv("https_proxy", "http://proxy.invalid:3128")
    assert hub_failure() is None and len(hub) == 1


def answer(kind, status):
    """An error as huggingface_hub raises it for an answer of the Hub."""
    http = importlib.import_module(errors.HfHubHTTPError.__mro__[1].__module__.split(".")[0])
    request = http.Request("GET", "https://hub.invalid/owner/name")
    return kind("the server's own words", response=http.Response(status, request=request))


@pytest.mark.parametrize(
    "cause, words",
    [
        (answer(errors.RepositoryNotFoundError, 401), "no model on the Hub; check the name, or log in"),
        (answer(errors.GatedRepoError, 403), "is gated on the Hub; ask for access"),
        (answer(errors.RevisionNotFoundError, 404), "no such revision"),
        (answer(errors.RemoteEntryNotFoundError, 404), "lacks a file on the Hub"),
        (answer(errors.HfHubHTTPError, 503), "the Hub answered 503; try again later"),
        (errors.OfflineModeIsEnabled("offline"), "HF_HUB_OFFLINE is set; unset it"),
        (errors.LocalEntryNotFoundError("not here"), "not in the cache, and the Hub cannot be reached"),
        (OSError("disk full"), "check the name, and that this model of the Hub has all its files .disk full"),
    ],
)
def test_failures_of_the_hub_are_one_line_each(cause, words):
    with pytest.raises(CheckpointError, match=f"owner/name: .*{words}") as error:
        with readable_errors("owner/name"):
            try:
                raise cause
            except Exception as reason:  # as transformers does
                raise OSError(str(reason)) from reason
    assert "\n" not in str(error.value) and "save model" not in str(error.value)


def test_a_damaged_folder_is_still_to_be_saved_again(tmp_path):
    with pytest.raises(CheckpointError, match="save model and processor there again"), readable_errors(tmp_path):
        raise OSError("no preprocessor_config.json")
