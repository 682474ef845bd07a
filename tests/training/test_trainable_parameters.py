"""What trains, by name and number, of the 7B model and of a small one."""

import re

import pytest
import torch

from glus_hf import GLUSConfig, GLUSForVideoSegmentation
from glus_hf.models.trainable_parts import LLAMA_LORA
from glus_hf.training.samples.collators import GLUSCollator
from glus_hf.training.trainable_parameters import DECODER_PARTS, prepare_model, trainable_parameters
from tests.models.glus.small_glus import small_processor
from tests.training.small_training import fresh_model, videos


WIDTH, VOCABULARY, LAYERS, RANK = 4096, 32004, 32, 8
LORA = LAYERS * 2 * 2 * RANK * WIDTH
PROJECTION = 1024 * WIDTH + WIDTH
SEG = WIDTH * WIDTH + WIDTH + WIDTH * 256 + 256
PREFIX = "base_model.model."
COPY = ".modules_to_save.default"


def released_model(**options):
    with torch.device("meta"):
        return prepare_model(GLUSForVideoSegmentation(GLUSConfig(seg_token_id=32000)), **options)


def test_what_trains_of_the_released_model():
    groups = trainable_parameters(released_model())
    assert {group: sum(counts.values()) for group, counts in groups.items()} == {
        "LoRA": LORA,
        "input embeddings": VOCABULARY * WIDTH,
        "language model head": VOCABULARY * WIDTH,
        "vision projection": PROJECTION,
        "[SEG] projection": SEG,
        "mask decoder": 3_506_560,
    }
    expected = {
        f"{PREFIX}model.language_model.layers.{layer}.self_attn.{name}.lora_{side}.default.weight": RANK * WIDTH
        for layer in range(LAYERS)
        for name in ("q_proj", "v_proj")
        for side in "AB"
    }
    assert groups["LoRA"] == expected
    assert groups["input embeddings"] == {
        f"{PREFIX}model.language_model.embed_tokens{COPY}.weight": VOCABULARY * WIDTH
    }
    assert groups["language model head"] == {f"{PREFIX}lm_head{COPY}.weight": VOCABULARY * WIDTH}
    assert groups["vision projection"] == {
        f"{PREFIX}model.mm_projector{COPY}.weight": 1024 * WIDTH,
        f"{PREFIX}model.mm_projector{COPY}.bias": WIDTH,
    }
    assert groups["[SEG] projection"] == {
        f"{PREFIX}model.seg_projection{COPY}.0.weight": WIDTH * WIDTH,
        f"{PREFIX}model.seg_projection{COPY}.0.bias": WIDTH,
        f"{PREFIX}model.seg_projection{COPY}.2.weight": WIDTH * 256,
        f"{PREFIX}model.seg_projection{COPY}.2.bias": 256,
    }
    decoder = f"{PREFIX}model.mask_model.mask_decoder."
    parts = {name.removeprefix(decoder).split(COPY)[0] for name in groups["mask decoder"]}
    assert parts == set(DECODER_PARTS)


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        ({"embeddings": "new_tokens", "new_token_ids": (32000, 32001, 32002)}, {"embeddings": 3 * WIDTH}),
        ({"embeddings": "frozen"}, {"embeddings": None}),
        ({"lora_rank": 16, "lora_targets": ("q_proj",)}, {"LoRA": LORA}),
        ({"language_model": "frozen"}, {"LoRA": None}),
        ({"mask_branch": "frozen"}, {"mask decoder": None}),
        ({"projections": False}, {"[SEG] projection": None, "vision projection": None}),
    ],
)
def test_options(options, changes):
    groups = {group: sum(counts.values()) for group, counts in trainable_parameters(released_model(**options)).items()}
    expected = {
        "LoRA": LORA,
        "input embeddings": changes.get("embeddings", VOCABULARY * WIDTH),
        "language model head": changes.get("embeddings", VOCABULARY * WIDTH),
        "vision projection": PROJECTION,
        "[SEG] projection": SEG,
        "mask decoder": 3_506_560,
    }
    expected |= {group: count for group, count in changes.items() if group != "embeddings"}
    assert groups == {group: count for group, count in expected.items() if count}


def test_lora_hits_the_language_model_alone():
    model = fresh_model()
    pattern = re.compile(LLAMA_LORA.format(names="q_proj|v_proj"))
    hit = [name for name, _ in model.named_modules() if pattern.fullmatch(name)]
    layers = len(model.model.language_model.layers)
    names = [f"{layer}.self_attn.{name}" for layer in range(layers) for name in ("q_proj", "v_proj")]
    assert hit == [f"model.language_model.layers.{name}" for name in names]
    alike = [name for name, _ in model.named_modules() if name.endswith(("q_proj", "v_proj"))]
    assert len(alike) > 2 * len(hit)  # CLIP's and SAM-2's


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"memory_gradient": True},
        {"embeddings": "frozen"},
        {"embeddings": "new_tokens", "new_token_ids": (2, 3)},
        {"language_model": "frozen"},
        {"language_model": "full"},
        {"language_model": "full", "mask_branch": "full", "vision_tower": True},
        {"language_model": "full", "mask_branch": "full", "memory_gradient": True},
    ],
)
def test_everything_that_trains_gets_a_gradient(options):
    """Otherwise several processes would wait for each other: they exchange all gradients."""
    model = prepare_model(fresh_model(), **options).train()
    model(**GLUSCollator(small_processor())([videos()[0], videos()[3]])).loss.backward()
    missing = [name for name, value in model.named_parameters() if value.requires_grad and value.grad is None]
    assert not missing
    frozen = [name for name, value in model.named_parameters() if not value.requires_grad and value.grad is not None]
    assert not frozen


def test_new_tokens_alone_change():
    model = prepare_model(fresh_model(), embeddings="new_tokens", new_token_ids=(2, 3))
    before = model.get_base_model().lm_head.weight.detach().clone()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and "trainable_tokens" in name:
            parameter.data += 1
    changed = (model.merge_and_unload().lm_head.weight != before).any(-1)
    assert changed.nonzero().flatten().tolist() == [2, 3]


def test_putting_the_adapter_on_warns_of_nothing(recwarn):
    """peft asks for a property that transformers has renamed."""
    prepare_model(fresh_model())
    assert not [str(warning.message) for warning in recwarn if "deprecated" in str(warning.message)]
