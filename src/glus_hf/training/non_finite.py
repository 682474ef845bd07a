"""Stop at a loss or gradient that is NaN or infinite, and say which samples it came from."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import TrainerCallback

from ..errors import NonFiniteLossError


BAD_SAMPLES_FILE = "non_finite_samples.json"


def stop_at_samples(
    what: str, trainer, samples: Sequence[Mapping], values: Mapping[str, float], steps_ago: int = 0
) -> None:
    """Write down the samples behind a `what` ("loss", "gradient") that is not finite.

    Raises:
        NonFiniteLossError: always.
    """
    args, step = trainer.args, trainer.state.global_step - steps_ago
    name = BAD_SAMPLES_FILE if args.world_size == 1 else f"rank_{args.process_index}_{BAD_SAMPLES_FILE}"
    file = Path(args.output_dir) / name
    file.parent.mkdir(parents=True, exist_ok=True)
    record = {"step": step, "what": what, "values": dict(values), "samples": list(samples)}
    file.write_text(json.dumps(record, indent=2, default=_plain) + "\n", encoding="utf-8")
    shown = ", ".join(_name(sample) for sample in samples[:3])
    more = f" and {len(samples) - 3} more" if len(samples) > 3 else ""
    raise NonFiniteLossError(
        f"the {what} is not finite at step {step + 1}; in it: {shown}{more}; all ids are in {file}; look at these "
        "samples, or lower the learning rate"
    )


class GradientWatch(TrainerCallback):
    """Looks at the gradients before they are applied.

    One that is not finite would ruin the weights, and the next samples would get the blame. The scaler of fp16 skips
    such steps itself. DeepSpeed has applied and freed the gradients by the time it is asked, so that only their norm
    can be looked at, when it is logged.
    """

    def __init__(self, trainer):
        self.trainer = trainer

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        if args.fp16:
            return
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        if not gradients:
            return
        largest = torch.stack([_local(gradient).detach().float().abs().max() for gradient in gradients]).max()
        if not torch.isfinite(largest):
            stop_at_samples("gradient", self.trainer, self.trainer.current_samples, {"largest": float(largest)})

    def on_log(self, args, state, control, logs=None, **kwargs):
        norm = (logs or {}).get("grad_norm", 0.0)
        if not (args.fp16 or math.isfinite(norm)):
            stop_at_samples("gradient", self.trainer, self.trainer.current_samples, {"norm": norm}, steps_ago=1)


def _local(tensor: Tensor) -> Tensor:
    """The shard of a sharded tensor (FSDP) that this process has; maybe none of it."""
    tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return tensor if tensor.numel() else tensor.new_zeros(1)


def _name(sample: Mapping) -> str:
    expressions = ",".join(map(str, sample.get("expression_ids", ())))
    return f"{sample.get('dataset')}/{sample.get('video_id')} expressions {expressions}"


def _plain(value):
    return value.tolist() if hasattr(value, "tolist") else str(value)
