"""How well GLEE answers prompts on held-out MotionShapes, with and without crop tokens.

    python examples/tiny_glee_prompts.py --model runs/glee-tiny/glee-tiny --num-images 100 --num-clips 20 \
        --output prompts.jsonl

Stills: mean J over the visible objects, each prompted by a point on it, its box or its mask. Clips: J&F of objects
followed from their masks on the first frame, without that frame and the last one, as in the DAVIS evaluation. "fine"
is the same model, whose crop tokens are left out. Each still and each clip is a line of OUTPUT; the same command goes
on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from tiny_glee_ap import still
from tiny_glee_batches import LEAST_PIXELS, draw_prompt

from glus_hf import GLEEForVideoSegmentation, GLEEProcessor
from glus_hf.data.motion_shapes import generate_clip
from glus_hf.metrics.j_and_f import j_and_f


TOKENS = ("full", "fine")
KINDS = ("point", "box", "mask")
SIZE = 128


def prompts_of(rng, masks: np.ndarray, kind: str) -> dict:
    """One prompt for each mask `[objects, height, width]` of an image, as the processor takes them."""
    if kind == "mask":
        return {"segmentation_maps": [masks]}
    drawn = [draw_prompt(rng, mask, kind) for mask in masks]
    if kind == "scribble":
        return {"segmentation_maps": [np.stack([each["segmentation_maps"][0] for each in drawn])], "is_scribble": True}
    (name,) = drawn[0]
    return {name: [[each[name][0][0] for each in drawn]]}


@torch.no_grad()
def score_still(model, processor, index: int, split: str, seed: int) -> dict[str, list[float]]:
    """J of every object of a still, by kind of prompt."""
    frame, objects = still(index, split, seed, SIZE)
    masks = [mask for _, mask in objects if mask.sum() >= LEAST_PIXELS]
    if not masks:
        return {}
    rng, scores = np.random.default_rng([seed, index]), {}
    for kind in KINDS:
        inputs = processor(frame, **prompts_of(rng, np.stack(masks), kind))
        (found,) = processor.post_process_prompts(model(**inputs), [frame.shape[:2]], inputs["prompt_images"])
        pairs = zip(found["masks"].numpy(), masks, strict=True)
        scores[kind] = [float((own & true).sum() / (own | true).sum()) for own, true in pairs]
    return scores


def score_clip(model, processor, index: int, split: str, seed: int) -> dict[str, list[float]]:
    """J&F of every object that the first frame of a clip shows."""
    clip = generate_clip(index, split=split, seed=seed, size=SIZE)
    shown = np.flatnonzero(clip.masks[:, 0].sum((1, 2)) >= LEAST_PIXELS)
    if len(shown) == 0:
        return {}
    session = processor.init_video_session(list(clip.frames))
    for number in shown:
        session.add_prompt(0, int(number) + 1, mask=clip.masks[number, 0])
    found = [(each.mask_logits > 0).numpy() for each in model.propagate_in_video_iterator(session)]
    pairs = zip(np.stack(found, 1), clip.masks[shown], strict=True)
    return {"video": [j_and_f(own[1:-1], true[1:-1])["j_and_f"] for own, true in pairs]}


def read_done(path: Path) -> list[dict]:
    """Lines of an earlier run; the last may be cut."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    whole = [line for line in lines if line.endswith("\n")]
    path.write_text("".join(whole))
    return [json.loads(line) for line in whole]


def measure(model_name: str, sizes: dict[str, int], output: Path, split: str, seed: int, kinds=TOKENS) -> list[dict]:
    """A record for each still and clip that is asked for."""
    settings = {"model": model_name, "split": split, "seed": seed}
    key_of = lambda record: tuple(record[name] for name in ("model", "split", "seed", "tokens", "part", "index"))
    done = {key_of(record): record for record in read_done(output)}
    model = GLEEForVideoSegmentation.from_pretrained(model_name).eval()
    processor, records = GLEEProcessor.from_pretrained(model_name), []
    scorers = {"still": score_still, "clip": score_clip}
    for tokens in kinds:
        model.config.visual_prompter = tokens
        for part, index in ((part, index) for part, count in sizes.items() for index in range(count)):
            record = {**settings, "tokens": tokens, "part": part, "index": index}
            if key_of(record) not in done:
                done[key_of(record)] = {**record, "scores": scorers[part](model, processor, index, split, seed)}
                with output.open("a") as file:
                    file.write(json.dumps(done[key_of(record)]) + "\n")
            records.append(done[key_of(record)])
    return records


def summaries(records: list[dict]) -> Iterator[str]:
    """Means in percent over objects, a line for each kind of tokens."""
    for tokens in TOKENS:
        own = [record for record in records if record["tokens"] == tokens]
        parts = [f"{name} {mean:.1f} ({count} objects)" for name, (mean, count) in means(own).items()]
        yield f"{tokens}: {', '.join(parts)}"


def means(records: list[dict]) -> dict[str, tuple[float, int]]:
    """By kind of prompt, the mean over objects in percent and their number."""
    found = {}
    for name in (*KINDS, "video"):
        values = [value for record in records for value in record["scores"].get(name, [])]
        if values:
            found[name] = (100 * float(np.mean(values)), len(values))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a GLEE with visual_prompter 'full'")
    parser.add_argument("--num-images", type=int, default=100)
    parser.add_argument("--num-clips", type=int, default=20)
    parser.add_argument("--split", default="test", choices=["validation", "test", "test_held_out", "occlusion"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True, help="JSON lines")
    args = parser.parse_args()
    torch.set_num_threads(1)
    sizes = {"still": args.num_images, "clip": args.num_clips}
    print(*summaries(measure(args.model, sizes, args.output, args.split, args.seed)), sep="\n")


if __name__ == "__main__":
    main()
