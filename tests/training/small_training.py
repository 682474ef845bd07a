"""A small model on disk, drawn clips and the quickest trainer, for tests."""

import functools
import tempfile
from pathlib import Path

import torch

from glus_hf.data.load_dataset import load_referring_dataset
from glus_hf.training.arguments import GLUSTrainingArguments
from glus_hf.training.samples.referring_video_dataset import ReferringVideoDataset
from glus_hf.training.trainer import GLUSTrainer
from tests.models.glus.small_glus import small_model, small_processor


QUICK = {
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 1,
    "max_steps": 2,
    "warmup_steps": 0,
    "logging_steps": 1,
    "save_strategy": "no",
    "lora_dropout": 0.0,
    "use_cpu": True,
    "disable_tqdm": True,
}


@functools.cache
def _cache() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="glus-hf-rows-")


@functools.cache
def rows(num_videos: int = 8, split: str = "train", seed: int = 0):
    """Rows of MotionShapes clips of 8 frames, 64 pixels."""
    return load_referring_dataset(
        "motion_shapes", split=split, num_videos=num_videos, num_frames=8, size=64, seed=seed, cache_dir=_cache().name
    )


def videos(num_videos: int = 8, **options) -> ReferringVideoDataset:
    return ReferringVideoDataset(rows(num_videos), **options)


def fresh_model(**overrides):
    """A random model with the plain head that checkpoints have (without the bias that makes it always say [SEG])."""
    model = small_model(**overrides)
    head = torch.nn.Linear(model.config.text_config.hidden_size, model.config.text_config.vocab_size, bias=False)
    head.weight = model.lm_head.weight
    model.lm_head = head
    return model


def saved_model(folder, **overrides) -> str:
    """A random model and its processor, saved."""
    fresh_model(**overrides).save_pretrained(folder)
    small_processor().save_pretrained(folder)
    return str(folder)


def quick_trainer(output, model=None, dataset=None, **options) -> GLUSTrainer:
    """`options`: of the arguments, or of the trainer where they are its own."""
    own = {name: options.pop(name) for name in ("eval_dataset", "video_evaluator", "callbacks") if name in options}
    return GLUSTrainer(
        fresh_model() if model is None else model,
        GLUSTrainingArguments(str(output), **{**QUICK, **options}),
        train_dataset=videos() if dataset is None else dataset,
        processing_class=small_processor(),
        **own,
    )


def history(trainer, name: str = "loss") -> list[float]:
    """What was logged under a name, step by step."""
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def tiny_run(folder: Path, base: str, *more: str) -> list[str]:
    """Overrides of the recipe tiny: three steps of four drawn clips on a small model."""
    sets = {
        "model.pretrained": base,
        "data.cache_dir": folder / "cache",
        "data.train.0.options.num_videos": 8,
        "validation.name": "''",
        "training.eval_strategy": "'no'",
        "training.output_dir": folder / "run",
        "training.total_train_batch_size": 4,
        "training.per_device_train_batch_size": 1,
        "training.max_steps": 3,
        "training.save_steps": 1,
        "training.logging_steps": 1,
        "training.lora_dropout": 0.0,
        "training.contrastive_gather": "true",
        "training.use_cpu": "true",
        "export": folder / "model",
    }
    return [*(f"{key}={value}" for key, value in sets.items()), *more]


def trained(model) -> dict[str, torch.Tensor]:
    """Copies of what is trained."""
    return {name: value.detach().clone() for name, value in model.named_parameters() if value.requires_grad}


class Listed(torch.utils.data.Dataset):
    """Chosen samples, in order."""

    def __init__(self, samples):
        self.samples = samples

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]


def uneven_samples():
    """Videos with 1, 3, 2 and 1 expressions: batches of two of them have 4 and 3, single ones 1 to 3."""
    samples = []
    for index, count in enumerate((1, 3, 2, 1)):
        sample = videos()[index]
        assert len(sample["expressions"]) == 3
        lists = ("expressions", "masks", "object_ids", "annotation_ids", "expression_ids")
        samples.append({**sample, **{name: sample[name][:count] for name in lists}})
    return samples
