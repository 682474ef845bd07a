"""What `import glus_hf` does to a process, in fresh ones."""

import os
import subprocess
import sys

import pytest

import glus_hf
from glus_hf.model_families import ALL_FAMILIES
from tests.warm_python import warm_python


NOT_IMPORTED = [
    "torch",
    "torchvision",
    "av",
    "cv2",
    "scipy",
    "matplotlib",
    "PIL",
    "typer",
    "rich",
    "gradio",
    "sam2",
    "deepspeed",
    "flash_attn",
    "sentencepiece",
]
USE = """
assert AutoConfig.for_model("glus").model_type == "glus"
folder = glus_hf.resolve_checkpoint("glus-tiny")
assert type(AutoProcessor.from_pretrained(folder)).__name__ == "GLUSProcessor"
assert type(AutoModel.from_pretrained(folder)).__name__ == "GLUSForVideoSegmentation"
assert type(AutoConfig.for_model("glus_selector")).__name__ == "GLUSSelectorConfig"
pipe = pipeline("referring-video-segmentation", model="glus-tiny", device="cpu")
assert type(pipe) is glus_hf.ReferringVideoSegmentationPipeline
assert pipeline(task="referring-video-segmentation", device="cpu").model.config.model_type == "glus"
"""
ORDERS = {
    "glus_hf first": "import glus_hf\nfrom transformers import AutoConfig, AutoModel, AutoProcessor, pipeline\n",
    "transformers first": "from transformers import AutoConfig, AutoModel, AutoProcessor, pipeline\nimport glus_hf\n",
    "one by one": (
        "from transformers import AutoConfig\nimport glus_hf\n"
        "from transformers import pipeline, AutoProcessor, AutoModel\n"
    ),
    "our class first": (
        "from glus_hf import ReferringVideoSegmentationPipeline\nimport glus_hf\n"
        "from transformers import pipeline, AutoProcessor, AutoModel, AutoConfig\n"
    ),
    "processor first": "import glus_hf\nfrom transformers import AutoProcessor, AutoModel, AutoConfig, pipeline\n",
}


def run(code, python=(sys.executable,)):
    """Standard output of `code` in a fresh process."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    result = subprocess.run([*python, "-c", code], capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_import_is_light():
    modules = run("import sys, glus_hf; print(*sys.modules)").split()
    assert not {name.split(".")[0] for name in modules} & set(NOT_IMPORTED)
    # under this name transformers finds our models; see glus_hf/registration.py
    ours = {"transformers.models." + name for name in ALL_FAMILIES}
    assert {name for name in modules if name.startswith("transformers")} == ours


def slow(name):
    return pytest.param(name, marks=pytest.mark.slow)


QUICK = ("transformers first",)


@pytest.mark.parametrize("order", [order if order in QUICK else slow(order) for order in ORDERS])
def test_registration_in_every_order(order):
    run(ORDERS[order] + USE, warm_python())


@pytest.mark.parametrize("name", [slow("LlamaModel"), slow("Sam2VideoConfig"), slow("Trainer")])
def test_half_imported_transformers_is_left_alone(name):
    run(f"import glus_hf\nfrom transformers import {name}")


@pytest.mark.parametrize("name", ["AutoModelForReferringVideoSegmentation", slow("GLUSProcessor"), slow("pipeline")])
def test_a_name_can_be_imported_first(name):
    run(f"from glus_hf import {name}", warm_python())


def test_every_name_is_there():
    for name in glus_hf.__all__:
        assert getattr(glus_hf, name) is not None
    assert set(glus_hf.__all__) <= set(dir(glus_hf))
    with pytest.raises(AttributeError, match="no_such_name"):
        glus_hf.no_such_name  # noqa: B018
