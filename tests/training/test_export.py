"""Trained adapters become models of their own, with the same outputs."""

import json
import os

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

import glus_hf
from glus_hf import CheckpointError, GLUSForVideoSegmentation, GLUSProcessor
from glus_hf.models.adapters import BASE_CONFIG
from glus_hf.training.checkpoints import check_same_parts
from glus_hf.training.export import export_adapter
from glus_hf.training.trainable_parameters import prepare_model
from tests.hostile.ingredients import set_fields
from tests.models.glus.small_glus import small_model
from tests.training.small_training import quick_trainer, saved_model, videos


STRONG = {"learning_rate": 2e-2, "max_steps": 3}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return saved_model(tmp_path_factory.mktemp("base"))


def load(folder):
    return GLUSForVideoSegmentation.from_pretrained(folder)


def outputs(model, trainer):
    batch = trainer.data_collator([videos()[0], videos()[3]])
    batch.pop("samples")
    model.pack_expressions(False)  # packed, states that nobody reads are zero
    with torch.no_grad():
        found = model.eval()(**batch)
    masks = torch.cat([logits.flatten() for logits in found.mask_logits])
    return {"masks": masks, "seg": found.seg_embeddings, "states": found.hidden_states}


def test_saving_an_adapter_does_not_ask_the_hub_for_its_base(tmp_path, base, monkeypatch, recwarn):
    asked = []
    monkeypatch.setattr("peft.utils.save_and_load.check_file_exists_on_hf_hub", lambda *a, **k: asked.append(a))
    model = prepare_model(load(base), base_name="glus-tiny")
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["base_model_name_or_path"] == "glus-tiny"
    assert not asked and not [warning for warning in recwarn if "config file" in str(warning.message)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        *(
            pytest.param(options, marks=pytest.mark.slow)
            for options in (
                {"embedding_training": "new_tokens"},
                {"language_model_training": "frozen"},
                {"language_model_training": "full"},
                {"memory_gradient": True},
            )
        ),
        {"memory_gradient": True, "language_model_training": "full"},
    ],
    ids=["lora", "new tokens", "no lora", "full", "memory gradient", "full, memory gradient"],
)
def test_exported_model_gives_the_same(tmp_path, base, options):
    trainer = quick_trainer(tmp_path / "run", load(base), **STRONG, **options)
    trainer.train()
    trained = outputs(trainer.model, trainer)
    folder = trainer.export(tmp_path / "exported")
    exported = load(folder)
    torch.testing.assert_close(outputs(exported, trainer), trained, rtol=0, atol=1e-5)
    assert (outputs(load(base), trainer)["masks"] - trained["masks"]).abs().max() > 1e-2
    assert exported.config.detach_memory
    assert GLUSProcessor.from_pretrained(folder).num_query_frames == 4
    frames = videos()[0]["frames"]
    assert glus_hf.pipeline(model=str(folder))(frames, "the red circle")["masks"].shape[0] == len(frames)
    # exporting changed nothing: training goes on
    torch.testing.assert_close(outputs(trainer.model, trainer), trained, rtol=0, atol=0)


def test_export_of_a_checkpoint(tmp_path, base):
    trainer = quick_trainer(tmp_path / "run", load(base), **STRONG, save_strategy="steps", save_steps=3)
    trainer.train()
    export_adapter(tmp_path / "run" / "checkpoint-3", tmp_path / "exported")
    trained = outputs(trainer.model, trainer)
    torch.testing.assert_close(outputs(load(tmp_path / "exported"), trainer), trained, rtol=0, atol=1e-5)
    peft_alone = PeftModel.from_pretrained(load(base), str(tmp_path / "run" / "checkpoint-3"))
    torch.testing.assert_close(outputs(peft_alone, trainer), trained, rtol=0, atol=0)


def test_options_of_the_run_are_exported(tmp_path, base):
    model = GLUSForVideoSegmentation.from_pretrained(base, memory_stride=5, fuser_scale="identity")
    trainer = quick_trainer(tmp_path / "run", model, **STRONG)
    trainer.train()
    exported = load(trainer.export(tmp_path / "exported"))
    assert (exported.config.memory_stride, exported.config.fuser_scale) == (5, "identity")
    torch.testing.assert_close(outputs(exported, trainer), outputs(trainer.model, trainer), rtol=0, atol=1e-5)


def dtypes(folder) -> set[torch.dtype]:
    return {tensor.dtype for tensor in load_file(folder / "model.safetensors").values()}


@pytest.mark.parametrize("language_model", ["lora", pytest.param("full", marks=pytest.mark.slow)])
def test_dtype(tmp_path, base, language_model):
    """That of the base's files, whatever precision it was trained in, or the one that is asked for."""
    half = tmp_path / "base"
    load(base).bfloat16().save_pretrained(half)
    GLUSProcessor.from_pretrained(base).save_pretrained(half)
    options = {**STRONG, "language_model_training": language_model}
    trainer = quick_trainer(tmp_path / "run", load(base), **options)
    assert dtypes(trainer.export(tmp_path / "same")) == {torch.float32}
    assert dtypes(trainer.export(tmp_path / "half", dtype="bfloat16")) == {torch.bfloat16}
    model = GLUSForVideoSegmentation.from_pretrained(half, dtype=torch.bfloat16)
    folder = quick_trainer(tmp_path / "half run", model, **options).export(tmp_path / "again")
    assert dtypes(folder) == {torch.bfloat16} and load(folder).dtype == torch.bfloat16
    assert not (tmp_path / "run" / "whole").exists()


def test_errors_are_one_line(tmp_path, base):
    with pytest.raises(CheckpointError, match="has no adapter_config.json"):
        export_adapter(base, tmp_path / "exported")
    trainer = quick_trainer(tmp_path / "run")  # made in memory
    with pytest.raises(CheckpointError, match=r"does not name the model it was trained on; [^\n]*$"):
        trainer.export(tmp_path / "exported")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    for language_model in ("lora", "full"):
        trainer = quick_trainer(tmp_path / "run", load(base), language_model_training=language_model)
        with pytest.raises(CheckpointError, match="used: is not empty; choose a new folder"):
            trainer.export(tmp_path / "used")
        with pytest.raises(CheckpointError, match="file: is a file; choose a new folder"):
            trainer.export(tmp_path / "used" / "file")


def test_an_adapter_of_a_packaged_model_names_its_alias():
    adapted = prepare_model(load("glus-tiny"))
    assert adapted.peft_config["default"].base_model_name_or_path == "glus-tiny"


def test_the_adapter_names_its_base(tmp_path, base):
    trainer = quick_trainer(tmp_path / "run", load(base))
    trainer.save_model(str(tmp_path / "adapter"))
    assert json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["base_model_name_or_path"] == base


SPOILED = {
    "no JSON": lambda file: file.write_text("{"),
    "nested too deeply": lambda file: file.write_text("[" * 200_000),
    "a key twice": lambda file: file.write_text('{"r": 4, "r": 8}'),
    "a rank of a billion": lambda file: set_fields(file, r=10**9),
    "a rank that is text": lambda file: set_fields(file, r="many"),
    "an alpha that is no number": lambda file: set_fields(file, lora_alpha=float("nan")),
    "a regular expression without end": lambda file: set_fields(file, target_modules=r"(\w+\.?)*Q"),
    "a kind that is not there": lambda file: set_fields(file, peft_type="EVIL"),
    "a pipe": lambda file: (file.unlink(), os.mkfifo(file)),
}


SAME_REFUSAL = {"a key twice", "a rank that is text", "an alpha that is no number", "a kind that is not there"}


@pytest.mark.parametrize(
    "damage", [pytest.param(name, marks=[pytest.mark.slow] * (name in SAME_REFUSAL)) for name in SPOILED]
)
def test_settings_of_an_adapter_are_looked_at_before_peft_reads_them(tmp_path, base, damage):
    model = prepare_model(load(base), base_name=str(base))
    model.save_pretrained(tmp_path / "adapter")
    SPOILED[damage](tmp_path / "adapter" / "adapter_config.json")
    for read in (lambda: export_adapter(tmp_path / "adapter", tmp_path / "exported", base), lambda: resumed(tmp_path)):
        with pytest.raises(CheckpointError, match=r"^[^\n]*adapter[^\n]*$"):
            read()
    assert not (tmp_path / "exported").exists()


def resumed(folder):
    check_same_parts(folder / "adapter", prepare_model(small_model()))


@pytest.mark.parametrize("content", ["{", '{"memory_stride": 0}', '{"num_context_frames": 1000000000}'])
def test_options_of_a_run_that_are_damaged_are_one_line(tmp_path, base, content):
    prepare_model(load(base), base_name=str(base)).save_pretrained(tmp_path / "adapter")
    (tmp_path / "adapter" / BASE_CONFIG).write_text(content)
    with pytest.raises(CheckpointError, match=rf"^[^\n]*{BASE_CONFIG}[^\n]*$"):
        export_adapter(tmp_path / "adapter", tmp_path / "exported")
