"""Models in memory, as users of torch and peft make them."""

import copy
import shutil
import warnings

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModelForCausalLM, get_peft_model
from transformers import pipeline

import glus_hf
from glus_hf import GLUSForVideoSegmentation, GLUSProcessor, UserError
from glus_hf.data.motion_shapes import generate_clip


TASK = "referring-video-segmentation"
CLIP = generate_clip(0, split="test", size=64, num_frames=3)
FRAMES, TEXT = CLIP.frames, CLIP.expressions[0].text


@pytest.fixture(scope="module")
def model():
    return GLUSForVideoSegmentation.from_pretrained("glus-tiny").eval()


@pytest.fixture(scope="module")
def processor():
    return GLUSProcessor.from_pretrained("glus-tiny")


@pytest.fixture(scope="module")
def expected(model, processor):
    return pipeline(TASK, model=model, processor=processor, device="cpu")(FRAMES, TEXT)


def assert_close(result, expected, iou=0.999):
    common, both = (result["masks"] & expected["masks"]).sum(), (result["masks"] | expected["masks"]).sum()
    assert both and common / both >= iou


def test_a_compiled_model(model, processor, expected):
    for make in (pipeline, glus_hf.pipeline):
        compiled = make(TASK, model=torch.compile(model), processor=processor, device="cpu")
        assert_close(compiled(FRAMES, TEXT), expected)


@pytest.mark.filterwarnings("ignore")
def test_a_model_with_quantized_linear_layers(model, processor, expected):
    quantized = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear})
    kinds = {type(module).__module__ for module in quantized.modules()}
    assert any("quantized.dynamic" in kind for kind in kinds)
    segment = pipeline(TASK, model=quantized, processor=processor, device="cpu")
    assert_close(segment(FRAMES, TEXT), expected, iou=0.8)


@pytest.fixture
def causal(model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj", "v_proj"])
        return get_peft_model(copy.deepcopy(model), config).eval()


def test_an_adapter_of_a_causal_language_model_segments(causal, processor, expected):
    assert isinstance(causal, PeftModelForCausalLM) and not causal.can_generate()
    assert_close(pipeline(TASK, model=causal, processor=processor, device="cpu")(FRAMES, TEXT), expected)


def test_an_adapter_of_a_causal_language_model_trains(causal, processor):
    masks = np.ones((1, 2, 64, 64), bool)
    sample = {"frames": [FRAMES[0]] * 6, "expressions": [TEXT], "masks": masks, "frame_times": np.linspace(0, 1, 6)}
    output = causal(**processor([sample]))
    output.loss.backward()
    gradients = [weight.grad for name, weight in causal.named_parameters() if "lora_B" in name]
    assert all(gradient is not None for gradient in gradients)
    assert any(gradient.abs().sum() > 0 for gradient in gradients)


def test_what_does_not_go_is_one_line(causal, processor, model):
    with pytest.raises(UserError, match="not with text"):
        causal.base_model.prepare_inputs_for_generation()
    with pytest.raises(UserError, match="takes no inputs_embeds"):
        model(torch.zeros(1, 4, dtype=torch.long), torch.zeros(1, 8, 3, 8, 8), inputs_embeds=torch.zeros(1))
    with pytest.raises(UserError, match="model is a Linear, which does not segment"):
        pipeline(TASK, model=torch.nn.Linear(1, 1), processor=processor)
    with pytest.raises(UserError, match="pass processor="):
        pipeline(TASK, model=model)
    with pytest.raises(UserError, match="model is a int"):
        glus_hf.pipeline(model=5, processor=processor, task=TASK)


def test_a_broken_tokenizer_is_refused_before_the_weights_are_read(tmp_path, monkeypatch):
    folder = shutil.copytree(glus_hf.resolve_checkpoint("glus-tiny"), tmp_path / "model")
    (folder / "tokenizer.json").write_text("{")
    monkeypatch.setattr(GLUSForVideoSegmentation, "__init__", lambda *_: pytest.fail("a model was built"))
    for make in (pipeline, glus_hf.pipeline):
        with pytest.raises(UserError, match="tokenizer.json"):
            make(TASK, model=str(folder), device="cpu")


def test_a_folder_without_a_model_is_named_as_such_before_its_processor_is_missed(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(UserError, match="holds a 'llama' model"):
        pipeline(TASK, model=str(tmp_path), device="cpu")
