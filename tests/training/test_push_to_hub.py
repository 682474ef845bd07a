"""What a trainer pushes, to a Hub on 127.0.0.1."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.paths import ROOT
from tests.training.small_training import saved_model
from tests.warm_python import warm_python
from tests.writable_hub import TOKEN, WritableHub


PUSH = """
import sys
import torch
from glus_hf import GLUSForVideoSegmentation
from tests.training.small_training import quick_trainer
base, output, merged = sys.argv[1:]
trainer = quick_trainer(output, GLUSForVideoSegmentation.from_pretrained(base), max_steps=1, push_to_hub=True,
                        hub_model_id="me/my-glus", hub_token="hf_loopback")
trainer.train()
trainer.push_to_hub()
trainer.push_to_hub(revision="again")
trainer.export(merged)
pushed = GLUSForVideoSegmentation.from_pretrained("me/my-glus")
wanted = GLUSForVideoSegmentation.from_pretrained(merged)
for (name, one), (_, other) in zip(pushed.state_dict().items(), wanted.state_dict().items(), strict=True):
    assert torch.equal(one, other), name
"""


def push(tmp_path, base, is_public=False):
    """Files of the repository after training an adapter of `base`, which is on the Hub itself if `is_public`."""
    with WritableHub() as hub:
        if is_public:
            hub.branches["me/base"], hub.private["me/base"] = {"main": "base"}, False
            hub.commits["base"] = {path.name: path.read_bytes() for path in Path(base).iterdir()}
            base = "me/base"
        environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
        environment |= {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]), "HF_TOKEN": TOKEN}
        environment |= {"HF_HOME": str(tmp_path / "home")}
        command = [*warm_python(), "-c", PUSH, base, str(tmp_path / "run"), str(tmp_path / "merged")]
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-4000:]
        assert list(hub.messages.values()) == ["End of training"] * 2
        assert hub.files("me/my-glus").keys() == hub.files("me/my-glus", "again").keys()
        return hub.files("me/my-glus")


def assert_a_card_of_ours(files, tmp_path):
    card = files["README.md"].decode()
    about = yaml.safe_load(card.split("---")[1])
    assert about["library_name"] == "glus_hf" and about["datasets"] == ["motion_shapes"]
    assert "| steps | 1 |" in card and "More Information Needed" not in card
    assert not [name for name, content in files.items() if str(tmp_path).encode() in content]
    assert not [name for name in files if name.endswith((".bin", ".pt"))]
    return about


def test_of_an_adapter_whose_base_nobody_else_has_the_whole_model_is_pushed(tmp_path):
    files = push(tmp_path, saved_model(tmp_path / "base"))
    assert {"config.json", "model.safetensors", "processor_config.json"} <= set(files)
    assert not [name for name in files if "adapter" in name]
    assert_a_card_of_ours(files, tmp_path)
    assert "detach_memory" in json.loads(files["config.json"])


@pytest.mark.slow
def test_of_an_adapter_of_a_public_model_the_adapter_is_pushed(tmp_path):
    files = push(tmp_path, saved_model(tmp_path / "base"), is_public=True)
    names = {"adapter_config.json", "adapter_model.safetensors", "base_config.json", "processor_config.json"}
    assert names <= set(files) and not [name for name in files if name.startswith("model")]
    assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == "me/base"
    about = assert_a_card_of_ours(files, tmp_path)
    assert "peft" in about["tags"] and about["base_model"] == "me/base"
    assert files["adapter_model.safetensors"] == (tmp_path / "run" / "adapter_model.safetensors").read_bytes()
