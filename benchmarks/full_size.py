"""GLUS-7B at its real sizes on this machine, with random weights: convert, load, segment, take a step of training.

    python benchmarks/full_size.py --work DIR
    python benchmarks/full_size.py --work DIR --scale tiny        # the same in a minute, on a miniature

Writes a checkpoint as the released ones are (14.5 GB: language model in bfloat16, mask branch in float32, sharded
`.bin`), and runs on it what a user runs: `glus-hf convert`, `from_pretrained` in bfloat16, `glus-hf segment` on 8
frames at two expressions, and one step of the recipe `finetune_lora_24gb` on one video. Every step is a process of its
own. A step whose output is there is not run again; `--steps` runs some. The released shards are removed once they are
converted (`--keep` leaves them). The table has minutes and peak memory beside what is calculated.

The weights make the model answer [SEG] always, so that masks are decoded. The program says how much disk it needs, and
stops before it writes if that is not free; with fewer `--layers` than 32 it is less.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor


ROOT = Path(__file__).parents[1]
FIXTURE = ROOT / "tests/fixtures/upstream_tiny"
TEXTS = ("the red square", "the thing moving left")
FRAMES, GB = 8, 1e9
SEG_ID = 480  # of the miniature's tokenizer, which both scales take
BIAS = 5.0  # the first coordinate of every state: makes the head answer [SEG]
SEG_WEIGHT = 100.0  # behind 32 layers the first coordinate is half as large as the others; 32,000 words compete


# ---- what the steps do


def write(args: argparse.Namespace) -> None:
    """The released folder, CLIP's, the frames and the training data."""
    from glus_hf.conversion.llava_names import CLIP_PREFIX, OUR_CLIP_PREFIX
    from glus_hf.models.glus.convert_glus_to_original import _rotary_constants, _upstream_weights
    from glus_hf.models.glus.original_config_glus import upstream_from_config

    model, released, clip = build(args), args.work / "released", args.work / "clip"
    for folder, source in ((released, FIXTURE / "checkpoint"), (clip, FIXTURE / "clip")):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.bin", "*.safetensors"))
    shapes = model.state_dict()
    ours = ((name, random_weight(name, meta.shape)) for name, meta in shapes.items() if OUR_CLIP_PREFIX not in name)
    rotary = _rotary_constants(model.config, {})
    write_shards(_upstream_weights(ours, rotary, set()), released, int(args.shard_gb * GB))
    towers = {CLIP_PREFIX + name.removeprefix(OUR_CLIP_PREFIX): name for name in shapes if OUR_CLIP_PREFIX in name}
    tower = {name: random_weight(ours, shapes[ours].shape).bfloat16() for name, ours in towers.items()}
    save_file(tower, clip / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((clip / "config.json").read_text()) | model.config.vision_config.to_dict()
    (clip / "config.json").write_text(json.dumps(config | {"model_type": "clip_vision_model"}))
    (released / "config.json").write_text(json.dumps(upstream_from_config(model.config)))
    write_frames(args.work / "frames", *args.size)
    write_training_data(args.work / "data", args.work / "frames")


def build(args: argparse.Namespace):
    """The model without data."""
    from glus_hf import GLUSConfig, GLUSForVideoSegmentation
    from glus_hf.models.glus.original_config_glus import config_from_upstream

    if args.scale == "tiny":
        read = lambda folder: json.loads((FIXTURE / folder / "config.json").read_text())
        config = config_from_upstream(read("checkpoint"), read("clip"), FIXTURE / "sam2_config.yaml", SEG_ID)
    else:
        config = GLUSConfig(seg_token_id=SEG_ID)
        config.text_config.num_hidden_layers = args.layers
    with torch.device("meta"):
        return GLUSForVideoSegmentation(config)


def random_weight(name: str, shape: torch.Size) -> Tensor:
    """In the precision of the released files; the first coordinate of the states is the same everywhere."""
    weight = torch.randn(shape) * 0.02
    is_scale = name.endswith("weight") and len(shape) == 1
    weight = weight + 1 if is_scale else weight
    if name.endswith("language_model.embed_tokens.weight"):
        weight[:, 0] = BIAS
    elif name.endswith(("language_model.norm.weight", "lm_head.weight")):
        weight[..., 0] = float(weight.ndim == 1)
    elif name.endswith("mm_projector.weight") or ".language_model." in name and name.endswith(LAST_OF_A_BLOCK):
        weight[0] = 0
    if name.endswith("mm_projector.bias"):
        weight[0] = BIAS
    if name == "lm_head.weight":
        weight[SEG_ID, 0] = SEG_WEIGHT
    return weight.float() if "mask_model" in name or "seg_projection" in name else weight.bfloat16()


LAST_OF_A_BLOCK = ("o_proj.weight", "down_proj.weight")


def write_shards(weights: Iterator[tuple[str, Tensor]], folder: Path, limit: int) -> None:
    """`pytorch_model-….bin` of at most `limit` bytes and their index; one shard at a time is in memory."""
    shard: dict[str, Tensor] = {}
    places: dict[str, int] = {}
    numbers = iter(range(1, 1000))
    number = next(numbers)
    for name, tensor in weights:
        if shard and sum(part.nbytes for part in shard.values()) + tensor.nbytes > limit:
            torch.save(shard, folder / f"part-{number}")
            shard, number = {}, next(numbers)
        shard[name], places[name] = tensor, number
    torch.save(shard, folder / f"part-{number}")
    files = {index: f"pytorch_model-{index:05d}-of-{number:05d}.bin" for index in range(1, number + 1)}
    for index, file in files.items():
        (folder / f"part-{index}").rename(folder / file)
    index = {"metadata": {}, "weight_map": {name: files[place] for name, place in places.items()}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))


def write_frames(folder: Path, width: int, height: int) -> None:
    """A red square that moves over noise."""
    folder.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(60, 160, (height // 8, width // 8, 3), np.uint8)
    for index in range(FRAMES):
        frame = cv2.resize(noise, (width, height))
        frame[square(index, width, height)] = (40, 40, 220)
        cv2.imwrite(str(folder / f"{index:05d}.jpg"), frame)


def square(index: int, width: int, height: int) -> tuple[slice, slice]:
    left = width // 10 + index * width // 20
    return slice(height // 4, height // 2), slice(left, left + width // 4)


def write_training_data(folder: Path, frames: Path) -> None:
    """The same clip as a dataset of one's own, with its masks."""
    shutil.copytree(frames, folder / "train/videos/clip", dirs_exist_ok=True)
    (folder / "train/masks").mkdir(parents=True, exist_ok=True)
    height, width = cv2.imread(str(frames / "00000.jpg")).shape[:2]
    for index in range(FRAMES):
        mask = np.zeros((height, width), np.uint8)
        mask[square(index, width, height)] = 255
        cv2.imwrite(str(folder / f"train/masks/{index:05d}.png"), mask)
    rows = [{"video": "clip", "expression": text, "masks": "masks"} for text in TEXTS]
    (folder / "train/expressions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def load(args: argparse.Namespace) -> None:
    from glus_hf import GLUSForVideoSegmentation

    model = GLUSForVideoSegmentation.from_pretrained(str(args.work / "model"), dtype=torch.bfloat16)
    size = sum(parameter.nbytes for parameter in model.parameters())
    (args.work / "loaded.json").write_text(json.dumps({"bytes": size}))


# ---- running them


def commands(args: argparse.Namespace) -> dict[str, tuple[list[str], Path]]:
    """Step -> command, and the output that says that it is done."""
    work, cli = args.work, [sys.executable, "-m", "glus_hf.cli"]
    shared = ["--work", work, "--scale", args.scale, "--layers", args.layers, "--shard-gb", args.shard_gb]
    own = [sys.executable, __file__, *shared, "--size", *args.size]
    sam2 = ["--sam2-config", FIXTURE / "sam2_config.yaml"] if args.scale == "tiny" else []
    folders = ["--source", work / "released", "--clip", work / "clip", "--output", work / "model"]
    overrides = {
        "model.pretrained": work / "model",
        "data.train.0.data_dir": work / "data",
        "data.cache_dir": work / "rows",
        "validation.name": '""',
        "export": "null",
        "training.output_dir": work / "trained",
        "training.total_train_batch_size": 1,
        "training.max_steps": 1,
        "training.warmup_steps": 0,
        "training.eval_strategy": "no",
        "training.early_stopping_patience": "null",
        "training.dataloader_num_workers": 0,
        "training.logging_steps": 1,
        "training.save_steps": 1,
        "training.use_cpu": str(not torch.cuda.is_available()).lower(),
    }
    segment = [work / "frames", *TEXTS, "--model", work / "model", "--dtype", "bfloat16", "--batch-size", 1]
    return {
        "write": ([*own, "--child", "write"], work / "released"),
        "convert": ([*cli, "convert", *folders, "--dtype", "bfloat16", *sam2], work / "model"),
        "load": ([*own, "--child", "load"], work / "loaded.json"),
        "segment": ([*cli, "segment", *segment, "-o", work / "overlay.mp4", "--overwrite"], work / "overlay.mp4"),
        "train": (
            [*cli, "train", "finetune_lora_24gb", *(f"{key}={value}" for key, value in overrides.items())],
            work / "trained",
        ),
    }


def calculated(args: argparse.Namespace) -> dict[str, tuple[str, float]]:
    """Peak bytes by step, and what of: of tensors alone; Python and its libraries take 0.6 GB beside them."""
    from training_memory import SETTINGS, calculate

    model = build(args)
    size = {name: part.numel() for name, part in model.named_parameters()}
    weights = 2.0 * sum(size.values())
    found = {
        "write": ("a shard", min(args.shard_gb * GB, weights)),
        "convert": ("a shard, mapped", min(args.shard_gb * GB, weights)),
        "load": ("weights", weights),
        "segment": ("weights", weights),
    }
    if args.scale == "full":
        setting = next(one for one in SETTINGS if one.name == "finetune_lora_24gb.yaml")
        width, height = args.size
        parts = calculate(replace(setting, layers=args.layers, width=width, height=height))
        total = sum(part for name, part in parts.items() if not name.startswith("  "))
        found["train"] = ("benchmarks/training_memory.py", total)
    return found


FULL_LAYERS = 32
STEPS = ("write", "convert", "load", "segment", "train")


def run(name: str, command: list, output: Path, args: argparse.Namespace) -> dict:
    """Minutes and peak memory of a step; its log is in the work folder."""
    begin, log = time.perf_counter(), args.work / f"{name}.log"
    with log.open("w") as file:
        process = subprocess.Popen(list(map(str, command)), stdout=file, stderr=file, cwd=Path(__file__).parent)
        _, status, used = os.wait4(process.pid, 0)
    minutes = (time.perf_counter() - begin) / 60
    found = {"minutes": minutes, "cpu_minutes": (used.ru_utime + used.ru_stime) / 60, "peak": used.ru_maxrss * 1024}
    code = os.waitstatus_to_exitcode(status)
    if code or not output.exists():
        reason = "killed, most likely for memory" if code == -9 else f"exit code {code}"
        raise SystemExit(f"{name}: {reason} after {minutes:.1f} minutes, {found['peak'] / GB:.1f} GB; see {log}")
    return found


def check_answers(log: Path) -> None:
    """A frame without an answer costs no mask decoder and no memory: the figures would be too small."""
    if "No answer" in log.read_text():
        raise SystemExit(f"segment: not all frames got [SEG], so not all masks were decoded; see {log}")


def check_disk(args: argparse.Namespace, steps: list[str]) -> None:
    """Before anything is written."""
    weights = 2 * sum(part.numel() for part in build(args).parameters())
    needs = {"write": 1.08, "convert": 1.0, "train": 0.05}  # of the weights in bfloat16
    needed = sum(needs.get(step, 0) for step in steps) * weights
    free = shutil.disk_usage(args.work).free
    if needed > free:
        raise SystemExit(
            f"the steps {', '.join(steps)} write {needed / GB:.1f} GB, but {free / GB:.1f} GB are free in "
            f"{args.work}; free some, or take fewer --layers"
        )


def print_table(record: dict[str, dict], args: argparse.Namespace) -> None:
    print("| step | minutes | CPU minutes | peak memory, GB | calculated, GB | of what |")
    print("| --- | --- | --- | --- | --- | --- |")
    expected: Callable = calculated(args).get
    for name in STEPS:
        what, size = expected(name, ("", None))
        figures = record.get(name)
        measured = "| not run | | " if figures is None else (
            f"| {figures['minutes']:.1f} | {figures['cpu_minutes']:.1f} | {figures['peak'] / GB:.2f} "
        )  # fmt: skip
        print(f"| {name} {measured}| {'' if size is None else f'{size / GB:.2f}'} | {what} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for everything; a run goes on in it")
    parser.add_argument("--scale", choices=("full", "tiny"), default="full")
    parser.add_argument("--layers", type=int, default=FULL_LAYERS, help="of the language model, at --scale full")
    parser.add_argument(
        "--shard-gb", type=float, default=4.5, help="largest .bin; the released ones are 9.98 and 4.48"
    )
    parser.add_argument("--size", type=int, nargs=2, default=(1280, 720), help="width and height of the clip")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS)
    parser.add_argument("--keep", action="store_true", help="leave the released shards after the conversion")
    parser.add_argument("--child", choices=("write", "load"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.work = args.work.resolve()
    if args.child:
        return {"write": write, "load": load}[args.child](args)
    args.work.mkdir(parents=True, exist_ok=True)
    file = args.work / "steps.json"
    record = json.loads(file.read_text()) if file.is_file() else {}
    runnable = commands(args)
    is_done = lambda name: name in record and (name == "write" and "convert" in record or runnable[name][1].exists())
    steps = [name for name in STEPS if name in args.steps and not is_done(name)]
    check_disk(args, steps)
    for name in steps:
        command, output = runnable[name]
        if output.is_dir():  # of a step that was interrupted
            shutil.rmtree(output)
        print(f"{name} ...", file=sys.stderr)
        figures = run(name, command, output, args)
        if name == "segment":
            check_answers(args.work / "segment.log")
        record[name] = figures
        file.write_text(json.dumps(record, indent=2) + "\n")
        if name == "convert" and not args.keep:
            shutil.rmtree(args.work / "released")
    print_table(record, args)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    print(f"\n{memory / GB:.1f} GB of memory, {os.cpu_count()} cores, PyTorch {torch.__version__}", end="; ")
    print(f"this program itself {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB")


if __name__ == "__main__":
    main()
