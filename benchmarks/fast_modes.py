"""What modes that are not the exact one gain and cost: CPU time and J&F of glus-tiny on MotionShapes.

    OMP_NUM_THREADS=1 python benchmarks/fast_modes.py --clips 20 --seeds 0 1 2 --json fast_modes.json

Each seed is another set of clips of the test split. All modes segment the same clips, one after the other; J&F is the
mean over frames, expressions and clips, as `glus-hf evaluate` scores; beside it the spread of its difference to the
exact mode over the seeds. "8 bit" and "4 bit" (needs bitsandbytes) are weights of the language model, on a CPU, too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from transformers import BitsAndBytesConfig

from glus_hf import pipeline
from glus_hf.data.motion_shapes import generate_clip
from glus_hf.metrics.j_and_f import j_and_f


MODES = {
    "exact": {},
    "whole windows": {"window": "whole"},
    "stride 2": {"frame_stride": 2},
    "stride 3": {"frame_stride": 3},
    "stride 4": {"frame_stride": 4},
}
QUANTIZED = {
    "8 bit": {"load_in_8bit": True},
    "4 bit": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
}
TASK = "referring-video-segmentation"


def load(mode: str, model: str):
    if mode in QUANTIZED:
        parts = pipeline(TASK, model=model, device="cpu").model.trainable_parts
        kept = [parts.head, parts.mask_model, *parts.projections, *parts.vision]  # all but the language model
        options = QUANTIZED[mode] | {"bnb_4bit_compute_dtype": torch.float32, "llm_int8_skip_modules": kept}
        return pipeline(TASK, model=model, model_kwargs={"quantization_config": BitsAndBytesConfig(**options)})
    return pipeline(TASK, model=model, device="cpu", dtype=mode if mode == "bfloat16" else None)


def segment(pipe, mode: str, clip, texts: list[str]) -> np.ndarray:
    """Masks `bool [expressions, frames, height, width]`."""
    if mode.startswith("live"):
        known = {"num_frames": len(clip.frames)} if mode == "live, length known" else {}
        live = pipe.open_live(texts, **known)
        return np.stack([live.push(frame).masks for frame in clip.frames], 1)
    session = pipe.processor.init_video_session(list(clip.frames), texts)
    masks = np.zeros((len(texts), *clip.frames.shape[:3]), bool)
    for output in pipe.model.propagate_in_video_iterator(session, **MODES.get(mode, {})):
        masks[:, output.frame_idx] = (output.mask_logits > 0).numpy()
    return masks


def measure(pipe, mode: str, clip) -> tuple[list[float], float, int]:
    """J&F of each expression, CPU seconds, and masks made."""
    texts = [expression.text for expression in clip.expressions]
    begin = time.process_time()
    masks = segment(pipe, mode, clip, texts)
    seconds = time.process_time() - begin
    pairs = zip(masks, clip.expressions, strict=True)
    scores = [j_and_f(track, clip.target_masks(expression))["j_and_f"] for track, expression in pairs]
    return scores, seconds, masks.shape[0] * masks.shape[1]


def run_mode(mode: str, arguments) -> dict:
    pipe, by_seed, seconds, count = load(mode, arguments.model), [], 0.0, 0
    for seed in arguments.seeds:
        scores = []
        for index in range(arguments.clips):
            found, took, masks = measure(pipe, mode, generate_clip(index, "test", seed, arguments.size))
            scores, seconds, count = scores + found, seconds + took, count + masks
        by_seed.append(100 * float(np.mean(scores)))
    return {"mode": mode, "j_and_f": by_seed, "ms_per_mask": 1000 * seconds / count}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="glus-tiny")
    parser.add_argument("--modes", nargs="+", default=[*MODES, "live", "live, length known", "bfloat16", *QUANTIZED])
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_grad_enabled(False)
    rows = []
    for mode in arguments.modes:
        row = run_mode(mode, arguments)
        exact = rows[0] if rows else row
        costs = [own - reference for own, reference in zip(row["j_and_f"], exact["j_and_f"], strict=True)]
        row |= {"mean": round(statistics.mean(row["j_and_f"]), 2), "difference": round(statistics.mean(costs), 2)}
        row |= {"lowest": round(min(costs), 2), "highest": round(max(costs), 2)}
        row["times_as_fast"] = round(exact["ms_per_mask"] / row["ms_per_mask"], 2)
        rows.append(row)
        print(json.dumps(row), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
