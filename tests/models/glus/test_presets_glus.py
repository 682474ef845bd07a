"""Every option in which paper and public code differ: what it computes, and the presets that set them all."""

import json
from functools import partial

import numpy as np
import pytest
import torch
import transformers.pipelines
from torch.nn import functional as F
from transformers import AutoConfig, AutoProcessor

import glus_hf
from glus_hf import (
    AutoModelForReferringVideoSegmentation,
    CheckpointError,
    GLUSConfig,
    GLUSForVideoSegmentation,
    GLUSProcessor,
)
from glus_hf.models.glus.presets_glus import (
    COMPAT,
    MODEL_OPTIONS,
    PROCESSOR_OPTIONS,
    apply_compat,
    apply_processor_compat,
    select_options,
)
from glus_hf.models.memory_bank import MemoryBank
from glus_hf.models.recipe_losses import mask_bce_loss, mask_dice_loss
from tests.models.common import assert_same, randomize
from tests.models.glus.small_glus import small_model, small_processor


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Model and processor with the default options."""
    folder = tmp_path_factory.mktemp("glus")
    model = small_model()
    model.lm_head.bias = None  # small_model adds one; a saved GLUS has none
    randomize(model).save_pretrained(folder)
    small_processor().save_pretrained(folder)
    return folder


def options_of(target, names):
    return {name: getattr(target, name) for name in names}


# ---- presets


def test_released_is_the_default():
    assert options_of(GLUSConfig(), MODEL_OPTIONS) == select_options("released", MODEL_OPTIONS)
    assert options_of(small_processor(), PROCESSOR_OPTIONS) == select_options("released", PROCESSOR_OPTIONS)


def test_every_preset_sets_every_option():
    for name, options in COMPAT.items():
        assert set(options) == {*MODEL_OPTIONS, *PROCESSOR_OPTIONS}, name
        GLUSConfig(**select_options(name, MODEL_OPTIONS))  # refuses values it does not know


def test_presets_differ_from_the_default_in():
    changes = {
        name: {option: value for option, value in options.items() if value != COMPAT["released"][option]}
        for name, options in COMPAT.items()
    }
    assert changes == {
        "released": {},
        "evaluation-script": {"fuser_scale": "identity", "overlap": "sum"},
        "paper": {
            "dense_position_dtype": "float32",
            "memory_features": "raw",
            "seg_hidden_state": "penultimate",
            "detach_memory": False,
        },
    }


@pytest.mark.parametrize("name", COMPAT)
def test_apply_compat_changes_nothing_else(name):
    config, processor = GLUSConfig(), small_processor()
    expected = config.to_dict() | select_options(name, MODEL_OPTIONS)
    assert apply_compat(config, name) is config and config.to_dict() == expected
    expected = processor.to_dict() | select_options(name, PROCESSOR_OPTIONS)
    assert apply_processor_compat(processor, name) is processor and processor.to_dict() == expected


@pytest.mark.parametrize("name", [pytest.param("released", marks=pytest.mark.slow), "evaluation-script", "paper"])
def test_a_loaded_model_keeps_its_preset(folder, tmp_path, name):
    model = GLUSForVideoSegmentation.from_pretrained(folder, compat=name)
    assert options_of(model.config, MODEL_OPTIONS) == select_options(name, MODEL_OPTIONS)
    processor = GLUSProcessor.from_pretrained(folder, compat=name)
    assert options_of(processor, PROCESSOR_OPTIONS) == select_options(name, PROCESSOR_OPTIONS)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    for file in ("config.json", "processor_config.json", "tokenizer_config.json"):
        assert "compat" not in json.loads((tmp_path / file).read_text())
    again = GLUSForVideoSegmentation.from_pretrained(tmp_path)
    assert again.config.to_diff_dict() | {"_name_or_path": 0} == model.config.to_diff_dict() | {"_name_or_path": 0}
    assert GLUSProcessor.from_pretrained(tmp_path).to_dict() == processor.to_dict()


def test_multimask_fallback_reaches_a_loaded_model(folder):
    model = GLUSForVideoSegmentation.from_pretrained(folder, multimask_fallback=False)
    assert not model.model.mask_model.mask_decoder.dynamic_multimask_via_stability


def test_single_options_go_before_the_preset(folder):
    model = GLUSForVideoSegmentation.from_pretrained(folder, compat="paper", memory_features="conditioned")
    assert (model.config.memory_features, model.config.seg_hidden_state) == ("conditioned", "penultimate")
    processor = GLUSProcessor.from_pretrained(folder, compat="evaluation-script", context_frames="uniform")
    assert (processor.context_frames, processor.overlap) == ("uniform", "sum")


@pytest.mark.parametrize(
    ("cls", "option", "value"),
    [
        (GLUSForVideoSegmentation, "fuser_scale", "none"),
        (GLUSForVideoSegmentation, "fuser_scal", "identity"),
        (GLUSForVideoSegmentation, "dtype", "bf16"),
        (GLUSProcessor, "overlap", "max"),
    ],
)
def test_a_wrong_option_is_not_blamed_on_the_files_alone(folder, cls, option, value):
    with pytest.raises(CheckpointError, match=rf"{option}.*; correct the options given"):
        cls.from_pretrained(folder, **{option: value})


def test_a_given_config_is_not_changed(folder):
    config = GLUSConfig.from_pretrained(folder)
    model = GLUSForVideoSegmentation.from_pretrained(folder, config=config, compat="paper")
    assert model.config.seg_hidden_state == "penultimate" and config.seg_hidden_state == "last"


def test_auto_classes_take_presets(folder):
    assert AutoConfig.from_pretrained(folder, compat="paper").seg_hidden_state == "penultimate"
    model = AutoModelForReferringVideoSegmentation.from_pretrained(folder, compat="paper")
    assert model.config.seg_hidden_state == "penultimate"
    assert AutoProcessor.from_pretrained(folder, compat="evaluation-script").overlap == "sum"


def test_the_pipeline_takes_presets(folder):
    """Both its parts; a part that is given stays as it is."""
    for make in (glus_hf.pipeline, partial(transformers.pipelines.pipeline, "referring-video-segmentation")):
        pipe = make(model=str(folder), compat="evaluation-script")
        assert (pipe.model.config.fuser_scale, pipe.processor.overlap) == ("identity", "sum")
    pipe = glus_hf.pipeline(model=str(folder), compat="paper", model_kwargs={"memory_features": "conditioned"})
    assert (pipe.model.config.seg_hidden_state, pipe.model.config.memory_features) == ("penultimate", "conditioned")
    processor = small_processor()
    pipe = glus_hf.pipeline(model=str(folder), processor=processor, compat="evaluation-script")
    assert pipe.processor is processor and processor.overlap == "union"
    with pytest.raises(ValueError, match=r"^compat goes with a model's name; pass compat to its from_pretrained$"):
        glus_hf.pipeline(model=pipe.model, processor=processor, compat="paper")
    with pytest.raises(ValueError, match="^unknown compat 'papers'"):
        glus_hf.pipeline(model=str(folder), compat="papers")


def test_options_of_the_processor_stay_out_of_the_tokenizer(folder, tmp_path):
    GLUSProcessor.from_pretrained(folder, overlap="sum").save_pretrained(tmp_path)
    assert "overlap" not in json.loads((tmp_path / "tokenizer_config.json").read_text())


def test_unknown_names_are_refused_in_one_line(folder):
    message = r"^unknown compat 'papers'; use one of released, evaluation-script, paper$"
    for load in (GLUSConfig, GLUSProcessor, GLUSForVideoSegmentation):
        with pytest.raises(ValueError, match=message):
            load.from_pretrained(folder, compat="papers")
    with pytest.raises(ValueError, match=message):
        apply_compat(GLUSConfig(), "papers")
    with pytest.raises(ValueError, match="apply_compat"):
        GLUSConfig(compat="paper")


def test_unknown_values_are_refused(folder):
    for load in (GLUSConfig, GLUSForVideoSegmentation):
        with pytest.raises(ValueError, match="fuser_scale must be one of"):
            load.from_pretrained(folder, fuser_scale="zero")
    for option in PROCESSOR_OPTIONS:
        with pytest.raises(ValueError, match=f"unknown {option} 'zero'; use one of"):
            GLUSProcessor.from_pretrained(folder, **{option: "zero"})


# ---- what the options compute


def mask_branch(**options):
    model = small_model(**options)
    randomize(model)
    features = model.model.encode_mask_frames(torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    prompts = torch.randn(1, 32, generator=torch.Generator().manual_seed(1))
    return model.model, features, prompts


def decode_two_frames(model, features, prompts):
    """Masks of two equal frames, and the memory of the second."""
    bank = MemoryBank(7, 1)
    masks = [model.decode_frame(features, prompts, bank, frame, [True]) for frame in range(2)]
    return masks, bank.entries[1][0]


@torch.no_grad()
@pytest.mark.parametrize("kind", ["conditioned", "raw"])
def test_memory_of_conditioned_or_raw_features(kind):
    model, features, prompts = mask_branch(memory_features=kind)
    masks, memory = decode_two_frames(model, features, prompts)
    bank = MemoryBank(7, 1)
    model.decode_frame(features, prompts, bank, 0, [True])
    conditioned = model.condition_on_memory(features, bank, 1)
    raw = features.embedding.permute(1, 2, 0).reshape(conditioned.shape)
    expected, other = (model.encode_memory(source, masks[1])[0] for source in (conditioned, raw))
    assert_same(memory, expected if kind == "conditioned" else other)
    assert (expected - other).abs().max() > 1e-3


@torch.no_grad()
def test_identity_is_the_scale_that_the_public_script_leaves():
    """It leaves 1e-6, the initial value. `x + 1e-6 f(x)` differs from `x` by rounding of float32, and less in
    bfloat16."""
    model, features, prompts = mask_branch(fuser_scale="identity")
    identity = decode_two_frames(model, features, prompts)
    model.config.fuser_scale = "checkpoint"
    checkpoint = decode_two_frames(model, features, prompts)
    for layer in model.mask_model.memory_encoder.memory_fuser.layers:
        layer.scale.fill_(1e-6)
    script = decode_two_frames(model, features, prompts)
    assert_same(script, identity, rtol=0, atol=2e-5)
    assert (checkpoint[1] - identity[1]).abs().max() > 1e-2
    assert_same(checkpoint[0][0], identity[0][0])  # the first frame reads no memory


@torch.no_grad()
@pytest.mark.parametrize("fallback", [True, False])
def test_multimask_fallback_by_hand(fallback):
    model, features, prompts = mask_branch(multimask_fallback=fallback)
    conditioned = model.condition_on_memory(features, MemoryBank(7, 1), 0)
    decoder = model.mask_model.mask_decoder
    ours = model.decode_masks(conditioned, features.high_resolution, prompts)
    decoder.dynamic_multimask_via_stability = False
    arguments = {
        "image_embeddings": conditioned,
        "image_positional_embeddings": model.dense_positions(),
        "sparse_prompt_embeddings": prompts[:, None, None],
        "dense_prompt_embeddings": model.mask_model.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1),
        "high_resolution_features": features.high_resolution,
    }
    single = decoder(multimask_output=False, **arguments)[0][0, 0]
    others, scores = (output[0, 0] for output in decoder(multimask_output=True, **arguments)[:2])
    stability = (single > 0.05).sum() / (single > -0.05).sum()
    assert stability < 0.98  # else this mask cannot tell
    assert_same(ours, others[scores.argmax()][None] if fallback else single)


@torch.no_grad()
def test_penultimate_state_leaves_the_words_alone():
    last, penultimate = (randomize(small_model(seg_hidden_state=kind)).model for kind in ("last", "penultimate"))
    embeddings = torch.randn(1, 5, 32, generator=torch.Generator().manual_seed(0))
    words, states = last.read_states(embeddings, None)
    same_words, other_states = penultimate.read_states(embeddings, None)
    assert_same(words, states)
    assert_same(same_words, words)
    assert (other_states - states).abs().max() > 1e-2


# ---- overlapping objects


def two_objects():
    """Two squares of a 16 x 16 frame that overlap in 4 x 4 pixels, `bool [objects, query frames, height, width]`."""
    objects = np.zeros((2, 4, 16, 16), bool)
    objects[0, :, 0:8, 0:8] = objects[1, :, 4:12, 4:12] = True
    return objects


def targets(masks, **options):
    processor = small_processor()
    for option, value in options.items():
        setattr(processor, option, value)
    frames = [np.zeros((16, 16, 3), np.uint8)] * 8
    return processor({"frames": frames, "expressions": ["square"] * len(masks), "masks": masks}).mask_labels[0]


@pytest.mark.parametrize(("overlap", "total", "most"), [("union", 64 + 64 - 16, 1), ("sum", 64 + 64, 2)])
def test_overlap_of_objects(overlap, total, most):
    objects = two_objects()
    first = objects[:1]
    for masks in ([objects, first], [objects.astype(np.uint8) * 255, first], [objects.sum(0), first[0]]):
        labels = targets(masks, overlap=overlap)
        assert labels.shape == (2, 4, 16, 16) and labels.dtype == torch.float32
        assert labels.sum((-2, -1)).tolist() == [[total] * 4, [64] * 4]
        assert (labels[0] == most).sum() == 4 * (16 if most == 2 else total)
    assert_same(targets([objects, objects], overlap=overlap), targets(np.stack([objects] * 2), overlap=overlap))


def test_image_masks_are_no_numbers_of_objects():
    masks = two_objects().any(0)[None].astype(np.uint8) * 255
    assert targets(masks).max() == 1
    with pytest.raises(ValueError, match="numbers of objects, got 255"):
        targets(masks, overlap="sum")


def test_masks_of_objects_of_the_wrong_shape():
    objects = two_objects()
    for masks in ([objects[:, :3]], [objects, objects[..., :8]], [objects[None]]):
        with pytest.raises(ValueError, match="masks must be"):
            targets(masks)


def test_losses_of_a_target_of_two_by_hand():
    logits, target = torch.tensor([[[1.0, -2.0]]]), torch.tensor([[[2.0, 0.0]]])
    terms = F.softplus(torch.tensor([1.0, -2.0])) - torch.tensor([2.0, 0.0])  # softplus(x) - x t
    torch.testing.assert_close(mask_bce_loss(logits, target), terms.mean()[None])
    first, second = torch.sigmoid(torch.tensor([1.0, -2.0])) / 1000
    expected = 1 - (2 * first * 2 + 1e-6) / (first + second + 2 / 1000 + 1e-6)
    torch.testing.assert_close(mask_dice_loss(logits, target), expected[None])
