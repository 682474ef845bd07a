"""What the trainers of GLUS and of its key-frame selector share: a loss over whole optimizer steps, and its log."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from huggingface_hub import HfApi
from torch import Tensor
from transformers import Trainer, TrainingArguments
from transformers.utils import logging

from ..errors import CheckpointError, UserError
from ..publishing.model_card import CardOptions, is_template, write_card
from ..publishing.push import PushOptions, push_folder
from ..publishing.push_objects import public_name
from ..publishing.repository_files import README, read_repository
from .checkpoints import check_complete, check_same_parts, last_checkpoint, loading, other_options
from .frame_passes import FramesSeen, frames_in, frames_of
from .non_finite import GradientWatch
from .optimizer_state import check_loaded, settings_of
from .samples.resumable_sampler import EpochDataset, ResumableSampler


logger = logging.get_logger(__name__)

MERGED = "merged"
"""Folder in the output of what is pushed where an adapter alone would not do."""
DAMAGED = "PytorchStreamReader"  # of torch, about a file that it cannot read
SAMPLE_COLUMNS = ("dataset", "video_id", "expression_ids", "expressions", "object_ids", "frame_names")
SAMPLE_COLUMNS += ("frame_indices", "key")


class StepTrainer(Trainer):
    """A trainer whose loss terms are means over a whole optimizer step, of all accumulation steps and processes.

    A subclass implements `compute_loss`, which adds each term to `_sums`, and `_counts`. Batches say in "samples" what
    they are made of; a loss or gradient that is not finite stops the training there.
    """

    TERMS: tuple[str, ...] = ()
    loss_is_scaled_for_ga = True  # by the counts of the whole step

    def __init__(self, model, args: TrainingArguments, data_collator: Callable, callbacks=None, **kwargs):
        callbacks = [*(callbacks or []), GradientWatch(self), FramesSeen()]
        super().__init__(model, args, _WithSamples(data_collator), callbacks=callbacks, **kwargs)
        self.current_samples: list = []
        self.dataset_names: set[str] = set()
        self._is_idle = False
        self.model_accepts_loss_kwargs = True  # what older transformers have for loss_is_scaled_for_ga
        self._restart_sums(0)

    def _restart_sums(self, step: int) -> None:
        self._sums, self._summed_steps = dict.fromkeys(self.TERMS, 0.0), step

    @staticmethod
    def _counts(batch: Mapping) -> Tensor:
        """Over what the two kinds of terms of a batch are means: two numbers."""
        raise NotImplementedError

    def get_batch_samples(self, epoch_iterator: Iterator, num_batches: int, device) -> tuple[list, Tensor]:
        """The batches of one optimizer step, and the sum of their counts over all processes."""
        self.control.should_training_stop |= self.state.global_step >= self.state.max_steps
        self._is_idle = self.control.should_training_stop
        if self._is_idle:  # a finished run was resumed; transformers would go on
            return [], torch.zeros(2)
        batches = []
        for _ in range(num_batches):
            try:
                batches.append(next(epoch_iterator))
            except StopIteration:
                break
        self.current_samples = [sample for batch in batches for sample in batch["samples"]]
        self.dataset_names |= {sample["dataset"] for sample in self.current_samples if "dataset" in sample}
        counts = torch.stack([self._counts(batch) for batch in batches]).sum(0) if batches else torch.zeros(2)
        frames = counts.new_tensor([frames_in(self.current_samples)])
        counts = self.accelerator.reduce(torch.cat([counts, frames]).to(device), "sum")
        self._frames_seen.count += int(counts[-1])
        return batches, counts[:-1]

    @property
    def _frames_seen(self) -> FramesSeen:
        """A resumed run puts another one in the place of that of the start."""
        return next(callback for callback in self.callback_handler.callbacks if isinstance(callback, FramesSeen))

    def frame_passes(self) -> dict[str, float]:
        """`frames_seen`: frames of all samples so far, of all processes. `frame_passes`: their number over the frames
        of the training set's videos (the paper: 11.6 in 3000 steps). Only what can be told."""
        seen, total = self._frames_seen.count, frames_of(self.train_dataset)
        if not seen:
            return {}
        return {"frames_seen": seen, **({"frame_passes": round(seen / total, 4)} if total else {})}

    def _get_train_sampler(self, train_dataset=None):
        dataset = self.train_dataset if train_dataset is None else train_dataset
        if isinstance(dataset, EpochDataset):
            return ResumableSampler(dataset, self.args.seed if self.args.data_seed is None else self.args.data_seed)
        return super()._get_train_sampler(train_dataset)

    def get_eval_dataloader(self, eval_dataset=None):
        """As in transformers, of data whose epoch does not move: neither with the evaluations nor with training."""
        if eval_dataset is None or isinstance(eval_dataset, str):
            self.eval_dataset = _frozen(self.eval_dataset)
        return super().get_eval_dataloader(_frozen(eval_dataset))

    def _maybe_log_save_evaluate(self, *args, **kwargs):
        if not self._is_idle:  # the checkpoint is what it would save and evaluate again
            super()._maybe_log_save_evaluate(*args, **kwargs)

    def _logged_terms(self) -> list[str]:
        return list(self.TERMS)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As in transformers, with the unweighted means of all terms since the last time, and [`frame_passes`]."""
        if "loss" in logs:
            steps, names = max(self.state.global_step - self._summed_steps, 1), self._logged_terms()
            sums = torch.stack([torch.as_tensor(self._sums[name], device=self.args.device) for name in names])
            means = self.accelerator.reduce(sums.float(), "mean") / steps
            logs = {**logs, **dict(zip(names, means.tolist(), strict=True))}
            self._restart_sums(self.state.global_step)
        if "loss" in logs or "train_loss" in logs:
            logs |= self.frame_passes()
        super().log(logs, start_time)

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs):
        """As in transformers; with a checkpoint (or True: the last one) everything goes on as if never interrupted."""
        if resume_from_checkpoint is True:
            resume_from_checkpoint = str(last_checkpoint(self.args.output_dir))
        self._restart_sums(0)
        if resume_from_checkpoint:
            self._resume(Path(resume_from_checkpoint))
        return super().train(resume_from_checkpoint=resume_from_checkpoint or None, **kwargs)

    # ---- publishing

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """As in transformers, without the form that peft leaves in the place of a card."""
        super()._save(output_dir, state_dict)
        card = Path(output_dir or self.args.output_dir) / README
        if card.is_file() and is_template(card.read_text(encoding="utf-8")):
            card.unlink()

    def create_model_card(self, model_name: str | None = None, **_) -> None:
        """Write the card that [`push_to_hub`] pushes into the output folder."""
        if self.is_world_process_zero():
            output = Path(self.args.output_dir)
            name = self.hub_model_id or self.args.hub_model_id or model_name or output.absolute().name
            base = public_name(getattr(self.accelerator.unwrap_model(self.model), "name_or_path", None))
            facts = read_repository(output, base or name).facts
            (output / README).write_text(str(write_card(name, facts, self._card(base))), encoding="utf-8")

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **card,
    ):
        """Push what was trained as a whole repository, in one commit: an adapter, if its base is one that others can
        load (an alias or a model of the Hub), else the whole model, the adapter merged. To be called by all processes.

        Args:
            commit_message, blocking, token, revision, private: as in transformers.
            card: `tags`, `datasets`, `results` and `licence` of the [`CardOptions`].

        Returns:
            The commit, or its future; None on all processes but the first.

        Raises:
            CheckpointError: the Hub refuses or cannot be reached; one line. The repository is as it was.
        """
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        token = token if token is not None else self.args.hub_token
        if self.hub_model_id is None:
            self.init_hf_repo(token=token, private=private)
        folder, base = self._folder_to_push()
        if not self.is_world_process_zero():
            return None
        self._finish_current_push()
        options = PushOptions(revision or self.args.hub_revision, private, commit_message, token=token)
        push = lambda: push_folder(folder, self.hub_model_id, options, replace(self._card(base), **card))
        return push() if blocking else HfApi().run_as_future(push)

    def _folder_to_push(self) -> tuple[Path, str | None]:
        """The folder with what was trained, and the public name of what it was trained from."""
        model, output = self.accelerator.unwrap_model(self.model), Path(self.args.output_dir)
        adapted = getattr(model, "peft_config", None)
        base = public_name(getattr(model, "name_or_path", None))
        if adapted and base:
            self.save_model(_internal_call=True)
            return output, base
        merged = output / MERGED
        if self.args.should_save and merged.exists():
            shutil.rmtree(merged)
        self.accelerator.wait_for_everyone()
        return self.export(merged), base

    def _card(self, base: str | None) -> CardOptions:
        args = self.args
        batch = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        training = {"steps": self.state.global_step, "batch": batch, "learning rate": args.learning_rate}
        training |= {"optimizer": str(args.optim).split(".")[-1].lower(), "seed": args.seed}
        return CardOptions(base_model=base, datasets=sorted(self.dataset_names), training=training)

    def _resume(self, checkpoint: Path) -> None:
        """Take from a checkpoint what transformers does not know of."""
        step = check_complete(checkpoint)
        check_same_parts(checkpoint, self.accelerator.unwrap_model(self.model))
        self._restart_sums(step)
        if 0 < self.args.max_steps <= step:
            logger.warning(f"{checkpoint}: is of step {step} of {self.args.max_steps}, so nothing is left to train")

    def _determine_best_metric(self, metrics: dict[str, float], *args, **kwargs) -> bool:
        try:
            return super()._determine_best_metric(metrics, *args, **kwargs)
        except KeyError:
            known = ", ".join(name.removeprefix("eval_") for name in metrics if name.startswith("eval_"))
            name = self.args.metric_for_best_model
            raise UserError(
                f"metric_for_best_model is {name}, but evaluation gives {known}; use one of them"
            ) from None

    def create_scheduler(self, num_training_steps: int, *args, **kwargs):
        self._warn_of_long_warmup(num_training_steps)
        try:
            return super().create_scheduler(num_training_steps, *args, **kwargs)
        except TypeError as error:
            options = self.args.lr_scheduler_kwargs
            raise UserError(
                f"lr_scheduler_kwargs {options} do not fit lr_scheduler_type {self.args.lr_scheduler_type.value} "
                f"({error}); change one of them"
            ) from None

    def _warn_of_long_warmup(self, steps: int) -> None:
        warmup = self.args.get_warmup_steps(steps)
        if warmup >= steps and self.args.lr_scheduler_type != "constant" and self.args.should_log:
            logger.warning(
                f"the warm-up of {warmup} steps does not end in the {steps} steps of this run, so the learning rate "
                f"only rises; set warmup_steps to {steps // 10} or less, or max_steps to {10 * warmup} or more"
            )

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        is_whole = checkpoint is not None and not self.is_deepspeed_enabled and not self.is_fsdp_enabled
        before = settings_of(self.optimizer, self.lr_scheduler) if is_whole else []
        try:
            with loading(checkpoint):
                super()._load_optimizer_and_scheduler(checkpoint)
        except CheckpointError as error:
            if not isinstance(error.__cause__, (ValueError, KeyError, RuntimeError)) or DAMAGED in str(error):
                raise
            reason = " ".join(str(error.__cause__).split())
            raise other_options(checkpoint, f"another optimizer or other parts of the model ({reason})") from None
        if is_whole:
            with loading(checkpoint):
                check_loaded(self.optimizer, self.lr_scheduler, before)

    def _load_from_checkpoint(self, checkpoint: str, *args, **kwargs) -> None:
        with loading(checkpoint):
            super()._load_from_checkpoint(checkpoint, *args, **kwargs)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        with loading(checkpoint):
            super()._load_rng_state(checkpoint)


class _WithSamples:
    """A collator whose batches say which samples they are made of, and are plain dicts."""

    def __init__(self, collator: Callable):
        self.collator = collator

    def __call__(self, samples: list[dict]) -> dict:
        described = [{name: sample[name] for name in SAMPLE_COLUMNS if name in sample} for sample in samples]
        return {**self.collator(samples), "samples": described}


def _frozen(data):
    """Datasets, or a dict of them, in an epoch that stays; what has no epoch as it is."""
    if isinstance(data, dict):
        return {name: _frozen(part) for name, part in data.items()}
    return data.frozen() if isinstance(data, EpochDataset) else data


def check_size(dataset, args: TrainingArguments) -> None:
    """Fewer samples than a step takes would silently make the steps smaller; those that are left over are warned of.

    Raises:
        ValueError: there are fewer; one line.
    """
    step = args.per_device_train_batch_size * args.gradient_accumulation_steps * max(args.world_size, 1)
    if dataset is None or not hasattr(dataset, "__len__"):
        return
    if len(dataset) < step:
        raise UserError(
            f"the training set has {len(dataset)} videos, an optimizer step takes {step}; use more data, a smaller "
            "batch, or a mixture with more samples per epoch"
        )
    if len(dataset) % step and args.should_log:
        logger.warning(
            f"the training set has {len(dataset)} videos, no multiple of the {step} of an optimizer step; the last "
            "step of every epoch takes fewer"
        )


__all__ = ["StepTrainer", "check_size"]
