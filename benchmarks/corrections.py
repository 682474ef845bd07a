"""What one corrected frame does for GLUS: J&F before and after, on clips in which objects cover each other.

    python benchmarks/corrections.py --model glus-tiny --num-clips 40

An expression is corrected once: on the first frame whose J&F is below `--lost`, by the true mask. Only the frames
after that one are counted, so the given mask itself counts for nothing.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch

import glus_hf
from glus_hf.data.motion_shapes import generate_clip
from glus_hf.metrics.j_and_f import j_and_f


def masks_of(model, session) -> np.ndarray:
    """`[frames, height, width]` of the first expression."""
    outputs = sorted(model.propagate_in_video_iterator(session), key=lambda output: output.frame_idx)
    return np.stack([(output.mask_logits[0] > 0).cpu().numpy() for output in outputs])


def correct_once(pipe, frames, text: str, target: np.ndarray, lost: float) -> tuple[float, float] | None:
    """J&F of the frames after the first lost one, before and after it is corrected; None where none is lost."""
    session = pipe.processor.init_video_session(frames, text)
    session.keep_readings = True
    own = masks_of(pipe.model, session)
    scores = [j_and_f(mask[None], true[None])["j_and_f"] for mask, true in zip(own, target, strict=True)]
    frame = next((n for n, score in enumerate(scores[:-1]) if score < lost and target[n].any()), None)
    if frame is None:
        return None
    session.add_prompt(frame, 0, mask=target[frame])
    corrected = masks_of(pipe.model, session)
    return tuple(j_and_f(masks[frame + 1 :], target[frame + 1 :])["j_and_f"] for masks in (own, corrected))


def measure(
    pipe, num_clips: int, lost: float = 0.5, split: str = "occlusion"
) -> tuple[int, list[tuple[float, float]]]:
    """How many expressions there are, and a pair of J&F for each that is lost."""
    pairs, count = [], 0
    for index in range(num_clips):
        clip = generate_clip(index, split=split, seed=0)
        for expression in clip.expressions:
            pair = correct_once(pipe, list(clip.frames), expression.text, clip.target_masks(expression), lost)
            count, pairs = count + 1, pairs + [pair] * (pair is not None)
    return count, pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="glus-tiny")
    parser.add_argument("--num-clips", type=int, default=40)
    parser.add_argument("--split", default="occlusion")
    parser.add_argument("--lost", type=float, default=0.5, help="J&F below which a frame is lost")
    args = parser.parse_args()
    torch.set_num_threads(1)
    pipe = glus_hf.pipeline(model=args.model, device="cpu")
    count, pairs = measure(pipe, args.num_clips, args.lost, args.split)
    before, after = (100 * np.mean(column) for column in zip(*pairs, strict=True)) if pairs else (np.nan, np.nan)
    raised = sum(after > before for before, after in pairs)
    print(f"{len(pairs)} of {count} expressions have a lost frame; correcting it raises {raised} of them")
    print(f"J&F of the frames after it: {before:.1f} -> {after:.1f}")


if __name__ == "__main__":
    main()
