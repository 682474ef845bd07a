"""From a configuration to a trainer."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import PreTrainedModel, ProcessorMixin

from ..errors import ConfigError
from ..model_families import load_class
from ..models.checkpoint_loading import model_type_of
from ..models.weight_fit import make_without_data
from .arguments import GLUSTrainingArguments
from .glus_run_config import ModelSection, RunConfig, load_run_config
from .runs.library_errors import make_arguments
from .runs.run_data import load_rows, one_or_mixture
from .samples.mixture import MixtureDataset
from .samples.referring_video_dataset import ReferringVideoDataset
from .trainer import GLUSTrainer
from .validation import VideoValidation, first_videos


FRAMES = ("num_context_frames", "num_query_frames")


def build_trainer(config: RunConfig) -> GLUSTrainer:
    """Model, data and trainer of a run. Nothing is trained yet.

    Raises:
        UserError: something of the configuration does not fit; one line.

    Example:

        >>> trainer = build_trainer(load_run_config("tiny.yaml"))  # doctest: +SKIP
        >>> trainer.train()  # doctest: +SKIP
    """
    args = make_arguments(GLUSTrainingArguments, config.training)
    processor = load_processor(config)
    with args.main_process_first(desc="reading the datasets"):  # the others find them in the cache
        train = training_set(config, processor, args.seed)
        validation = load_rows(config.data, config.validation) if config.validation.name else None
    if validation is None and args.do_eval:
        raise ConfigError("training.eval_strategy is set but no dataset to validate on; set validation.name")
    evaluator = None
    if validation is not None and config.validation.max_videos != 0:
        evaluator = VideoValidation(
            validation,
            Path(args.output_dir) / "validation",
            split=config.validation.split,
            max_videos=config.validation.max_videos,
            protocol=config.validation.protocol,
        )
    _check_names(config, args, evaluator)
    return GLUSTrainer(
        load_model(config.model),
        args,
        train_dataset=train,
        eval_dataset=None if validation is None else _validation_set(config, validation, processor),
        processing_class=processor,
        video_evaluator=evaluator,
    )


def _check_names(config: RunConfig, args: GLUSTrainingArguments, evaluator: VideoValidation | None) -> None:
    if evaluator is None and args.metric_for_best_model in ("J&F", "eval_J&F"):
        raise ConfigError(
            "training.metric_for_best_model is J&F (early stopping's default) but no video is segmented; set "
            "validation.name and validation.max_videos, or another metric_for_best_model such as J_given_text"
        )
    names = {dataset.name for dataset in config.data.train}
    unknown = sorted(set(args.contrastive_datasets or ()) - names) if args.contrastive_loss_weight else []
    if unknown:
        raise ConfigError(
            f"training.contrastive_datasets names {', '.join(unknown)}, but the run trains on "
            f"{', '.join(sorted(names))}; use names of data.train"
        )


def load_processor(config: RunConfig) -> ProcessorMixin:
    """The processor of that model, with the numbers of frames that the run gives it."""
    frames = {name: value for name, value in config.model.options.items() if name in FRAMES}
    options = {"overlap": config.data.mask_overlap, **frames}
    options |= _preset(config.model)
    return load_class(model_type_of(config.model.pretrained), "processor").from_pretrained(
        config.model.pretrained, **options
    )


def _preset(section: ModelSection) -> dict:
    return {} if section.compat is None else {"compat": section.compat}


def load_model(section: ModelSection) -> PreTrainedModel:
    """The model to start from."""
    options = {**section.options, **_preset(section)}
    if section.attn_implementation is not None:
        options["attn_implementation"] = section.attn_implementation
    if section.quantization == "4bit":
        options["quantization_config"] = _four_bit(section)
    dtype = getattr(torch, section.dtype)
    model_class = load_class(model_type_of(section.pretrained), "model")
    model = model_class.from_pretrained(section.pretrained, dtype=dtype, **options)
    model.name_or_path = section.pretrained  # not the folder of an alias: adapters name their base
    return model


def _four_bit(section: ModelSection):
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        raise ConfigError("model.quantization: 4bit needs bitsandbytes; pip install bitsandbytes") from None
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, section.dtype),
        llm_int8_skip_modules=_not_quantized(section),
    )


def _not_quantized(section: ModelSection) -> list[str]:
    """Everything but the language model, by whole names: others would match parts of the mask model."""
    family = model_type_of(section.pretrained)
    config = load_class(family, "config").from_pretrained(section.pretrained)
    parts = make_without_data(load_class(family, "model"), config).trainable_parts
    return [parts.head, parts.mask_model, *parts.projections, *parts.vision]


def training_set(config: RunConfig, processor: ProcessorMixin, seed: int) -> ReferringVideoDataset | MixtureDataset:
    """One dataset as it is, or several mixed by weight."""
    make = lambda section: _videos(config, load_rows(config.data, section), processor, seed)
    return one_or_mixture(config.data, make, seed)


def _validation_set(config: RunConfig, rows, processor: ProcessorMixin) -> ReferringVideoDataset:
    """Samples for the validation losses: the videos that are segmented, the same frames at every evaluation."""
    return _videos(config, first_videos(rows, config.validation.max_videos or None), processor, seed=0)


def _videos(config: RunConfig, rows, processor: ProcessorMixin, seed: int) -> ReferringVideoDataset:
    return ReferringVideoDataset(
        rows,
        num_context_frames=processor.num_context_frames,
        num_query_frames=processor.num_query_frames,
        max_expressions=config.data.max_expressions,
        mask_overlap=config.data.mask_overlap,
        seed=seed,
        on_error=config.data.on_error,
    )


__all__ = ["build_trainer", "load_model", "load_processor", "load_run_config", "training_set"]
