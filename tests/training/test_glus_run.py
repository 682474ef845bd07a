"""From a configuration to a trainer: every recipe runs a step, and what does not fit is said before training."""

import pytest
import torch

from glus_hf import GLUSConfig, GLUSForVideoSegmentation, GLUSProcessor
from glus_hf.errors import ConfigError
from glus_hf.training.glus_run import build_trainer
from glus_hf.training.glus_run_config import load_run_config
from glus_hf.training.runs.train_from_file import RECIPES
from tests.training.runs.run_files import clips, small_run, write
from tests.training.small_training import history, saved_model


CONFIGS = sorted(
    file for file in RECIPES.glob("*.yaml") if not file.stem.startswith(("selector", "glee"))
)  # those of the other trainer


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return saved_model(tmp_path_factory.mktemp("base"))


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_every_configuration_runs_a_step(tmp_path, base, file):
    overrides = small_run(base, tmp_path) + [f"export={tmp_path / 'model'}"]
    if file.stem == "finetune_lora_24gb":  # own data: here the layout of the MeViS miniature, by its own builder
        overrides += ["data.train.0.name=mevis", "data.train.0.data_dir=null"]
        overrides += ["validation.name=mevis", "validation.data_dir=null", "validation.split=valid_u"]
    if file.stem == "tiny":
        overrides += ["data.train.0.options.num_videos=4", "validation.options.num_videos=1"]
    else:
        overrides += ["validation.max_videos=1", "training.dataloader_drop_last=false"]
        if file.stem == "finetune_lora_24gb":
            overrides += ["training.total_train_batch_size=1"]
        else:
            overrides += ["data.samples_per_epoch=4"]
    config = load_run_config(file, overrides)
    trainer = build_trainer(config)
    trainer.train()
    assert len(history(trainer)) == 1 and len(history(trainer, "eval_J&F")) == 1
    assert (tmp_path / "run" / "checkpoint-1" / "adapter_model.safetensors").is_file()
    assert (trainer.export(config.export) / "model.safetensors").is_file()


def test_validation_without_a_data_set(tmp_path, base):
    file = write(tmp_path, {"data": {"train": [clips(2)]}})
    config = load_run_config(file, [*small_run(base, tmp_path), "training.eval_strategy=steps"])
    with pytest.raises(ConfigError, match="set validation.name"):
        build_trainer(config)


def test_early_stopping_needs_segmented_videos(tmp_path, base):
    file = write(tmp_path, {"data": {"train": [clips(2)]}, "validation": clips(1)})
    options = ["validation.split=train", "training.eval_strategy=steps", "training.early_stopping_patience=1"]
    config = load_run_config(file, [*small_run(base, tmp_path), *options, "validation.max_videos=0"])
    with pytest.raises(ConfigError, match="^training.metric_for_best_model is J&F [^\n]*; set validation.name and"):
        build_trainer(config)


def test_the_contrastive_loss_needs_data_sets_of_the_run(tmp_path, base):
    file = write(tmp_path, {"data": {"train": [clips(2)]}})
    overrides = [*small_run(base, tmp_path), "training.contrastive_datasets=[motion_shapes, mevs]"]
    with pytest.raises(
        ConfigError, match="^training.contrastive_datasets names mevs, [^\n]* trains on motion_shapes; "
    ):
        build_trainer(load_run_config(file, overrides))
    build_trainer(load_run_config(file, [*overrides, "training.contrastive_loss_weight=0"]))


def test_numbers_of_frames_reach_the_processor(tmp_path, base):
    """What is trained is what inference reads."""
    file = write(tmp_path, {"data": {"train": [clips(2)]}})
    options = ["model.options.num_query_frames=2", "model.options.num_context_frames=3"]
    trainer = build_trainer(load_run_config(file, [*small_run(base, tmp_path), *options]))
    assert len(trainer.train_dataset[0]["frames"]) == 5
    folder = trainer.export(tmp_path / "model")
    config, processor = GLUSConfig.from_pretrained(folder), GLUSProcessor.from_pretrained(folder)
    for found in (config, processor, trainer.processing_class):
        assert (found.num_context_frames, found.num_query_frames) == (3, 2)


def test_an_unknown_protocol_is_refused_before_training(tmp_path, base):
    file = write(tmp_path, {"data": {"train": [clips(2)]}, "validation": clips(1)})
    config = load_run_config(file, [*small_run(base, tmp_path), "validation.split=train", "validation.protocol=foo"])
    with pytest.raises(ValueError, match="^protocol 'foo' is unknown; use one of [^\n]*$"):
        build_trainer(config)


def test_four_bits_need_bitsandbytes(tmp_path, base):
    file = write(tmp_path, {"data": {"train": [clips(2)]}})
    config = load_run_config(file, [*small_run(base, tmp_path), "model.quantization=4bit"])
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        with pytest.raises(ConfigError, match="pip install bitsandbytes"):
            build_trainer(config)
        return
    trainer = build_trainer(config)
    linear = [name for name, module in trainer.model.named_modules() if isinstance(module, bitsandbytes.nn.Linear4bit)]
    assert linear and all(".language_model.layers." in name for name in linear)
    trainer.train()
    exported = GLUSForVideoSegmentation.from_pretrained(trainer.export(tmp_path / "model"))
    assert exported.dtype == torch.float32 and not hasattr(exported.config, "quantization_config")
