"""GLEE-Lite, GLEE-Plus and GLEE-Pro of full size with random weights: speed, memory, parameters, operations.

    python benchmarks/glee.py sizes
    OMP_NUM_THREADS=1 python benchmarks/glee.py speed --variant lite --texts 1 16

`sizes` counts on the meta device; nothing is computed. `speed` segments a drawn video by the session contract: shared,
all expressions in one session, so that the backbone reads a frame once; and unshared, a session for every expression.
The two take turns; printed are median, lowest and highest of the rounds. Every number of expressions has a process of
its own, whose peak memory is measured; a first, short run warms up. On a CPU, seconds are those of the processor, not
of the clock. As in the release, the image reads padding words too, and GLEE-Pro pads every frame to 1536 x 1536.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedTokenizerFast

from glus_hf import GLEEConfig, GLEEForVideoSegmentation, GLEEImageProcessor, GLEEProcessor
from glus_hf.models.glee.text_encoder_glee import GLEEText


SWIN_L = {
    "model_type": "swin",
    "embed_dim": 192,
    "depths": [2, 2, 18, 2],
    "num_heads": [6, 12, 24, 48],
    "window_size": 12,
    "drop_path_rate": 0.0,
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}
BACKBONES = {"lite": None, "plus": SWIN_L, "pro": {"model_type": "glee_eva02"}}
SIDES = {"lite": 1024, "plus": 1024, "pro": 1536}  # of the images in the paper's Table 3
PAPER = {
    "lite": (127.27, 1.17, 7.6),
    "plus": (295.53, 2.47, 4.2),
    "pro": (399.60, 7.25, 1.5),
}  # million, TFLOP, frames/s on an A100
VOCABULARY, START, END = 49408, 49406, 49407
EXPRESSION = "the small dog on the left"
NAMES, NAME_TOKENS = 80, 4  # COCO's, with start and end


def make_model(variant: str) -> GLEEForVideoSegmentation:
    text = {"vocab_size": VOCABULARY, "bos_token_id": START, "eos_token_id": END, "pad_token_id": END}
    config = GLEEConfig(backbone_config=BACKBONES[variant], text_config=text, fusion_text_mask=False)
    return GLEEForVideoSegmentation(config).eval()


def make_processor(variant: str, side: int) -> GLEEProcessor:
    """Any words will do: the weights are random."""
    vocabulary = {"<unk>": 0, "<s>": START, "</s>": END} | {word: 1 + n for n, word in enumerate(EXPRESSION.split())}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", START), ("</s>", END)]
    )
    names = {"unk_token": "<unk>", "pad_token": "</s>", "bos_token": "<s>", "eos_token": "</s>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **names)
    images = GLEEImageProcessor(size={"shortest_edge": side, "longest_edge": 2 * side})
    if variant == "pro":
        square = dict.fromkeys(("height", "width"), SIDES[variant])
        images = GLEEImageProcessor(size={"longest_edge": SIDES[variant]}, pad_size=square, pad_value=128)
    return GLEEProcessor(images, tokenizer)


# ---- parameters and operations


def count_sizes(variant: str) -> dict:
    side = SIDES[variant]
    with torch.device("meta"):
        model = make_model(variant)
        pixels, tokens = torch.zeros(1, 3, side, side), torch.zeros(NAMES, 77, dtype=torch.long)
        names = GLEEText(
            torch.zeros(NAMES, model.config.d_model),
            torch.zeros(1, NAMES * NAME_TOKENS, model.config.d_model),
            torch.zeros(1, NAMES * NAME_TOKENS, dtype=torch.bool),
            False,
        )
    inner = model.model
    with torch.no_grad():
        features, backbone, attention = counted(lambda: inner.encode_images(pixels))
        _, decoders, _ = counted(lambda: inner.decode(features, names))
        _, text, _ = counted(lambda: inner.text_encoder.student(input_ids=tokens))
    parameters, operations, _ = PAPER[variant]
    return {
        "variant": variant,
        "parameters, million": round(sum(parameter.numel() for parameter in model.parameters()) / 1e6, 2),
        "paper, million": parameters,
        "TFLOP": {
            "backbone": round(backbone, 3),
            "of these, queries x keys and weights x values": round(attention, 3),
            "decoders, 80 names": round(decoders, 3),
            "text tower, 80 names": round(text, 3),
            "image": round(backbone + decoders, 3),
        },
        "paper, TFLOP": operations,
    }


def counted(function) -> tuple:
    """The result, 10^12 operations of convolutions, products of matrices and attention, and those of attention alone;
    a multiply-add is two."""
    with FlopCounterMode(display=False) as counter:
        result = function()
    attention = sum(count for name, count in counter.get_flop_counts()["Global"].items() if "bmm" in str(name))
    return result, counter.get_total_flops() / 1e12, attention / 1e12


# ---- speed and memory


def clock(device: str) -> float:
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def measure(args) -> None:
    """All rounds of one number of texts, in this process: shared and unshared in turns."""
    torch.manual_seed(0)
    model, processor = make_model(args.variant).to(args.device), make_processor(args.variant, args.side)
    height, width = args.side, args.width
    video = np.random.default_rng(0).integers(0, 256, (args.frames, height, width, 3), dtype=np.uint8)
    (texts,) = args.texts
    cases = {"shared": [[EXPRESSION] * texts], "unshared": [[EXPRESSION]] * texts}
    if texts == 1:
        del cases["unshared"]
    run(model, processor, video[:1, : height // 4, : width // 4], [EXPRESSION], args.batch_size)  # warms up
    seconds, peak = {case: [] for case in cases}, None
    for _ in range(args.rounds):
        for case, groups in cases.items():
            begin = clock(args.device)
            for group in groups:
                run(model, processor, video, group, args.batch_size)
            seconds[case].append((clock(args.device) - begin) / args.frames)
            peak = peak or peak_memory(args.device)  # of the shared case, which comes first
    result = {"variant": args.variant, "texts": texts, "peak memory, GB": round(peak, 2)}
    for case, values in seconds.items():
        result[f"{case}, seconds per frame"] = spread(values)
        result[f"{case}, frames per second"] = round(1 / float(np.median(values)), 4)
    if texts > 1:
        result["unshared / shared"] = spread([a / b for b, a in zip(*seconds.values(), strict=True)])
    print(json.dumps(result), flush=True)


def spread(values: list[float]) -> list[float]:
    """Median, lowest and highest."""
    return [round(float(value), 3) for value in (np.median(values), min(values), max(values))]


def peak_memory(device: str) -> float:
    """In GB: of the process on a CPU, of tensors on a GPU."""
    on_gpu = device != "cpu"
    return (
        torch.cuda.max_memory_allocated() / 1e9 if on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    )


def run(model, processor, video, texts: list[str], batch_size: int) -> None:
    session = processor.init_video_session(video, texts)
    for _ in model.propagate_in_video_iterator(session, batch_size=batch_size):
        pass


def measure_all(args) -> None:
    for texts in args.texts:
        options = {name: getattr(args, name) for name in ("variant", "side", "width", "frames", "device", "rounds")}
        command = [sys.executable, __file__, "speed", "--here", "--texts", str(texts)]
        command += [part for name, value in options.items() for part in (f"--{name}", str(value))]
        command += ["--batch-size", str(args.batch_size)] if args.batch_size else []
        subprocess.run(command, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("sizes", "speed"))
    parser.add_argument("--variant", choices=BACKBONES, default="lite")
    parser.add_argument("--texts", type=int, nargs="+", default=[1, 16], help="expressions about the video")
    parser.add_argument("--side", type=int, default=480, help="height of the frames")
    parser.add_argument("--width", type=int, default=854)
    parser.add_argument("--frames", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3, help="of the cases, which take turns")
    parser.add_argument("--batch-size", type=int, help="frame-expression pairs decoded at once; the model's own")
    parser.add_argument("--device", default="cpu", help="cuda: beside the paper's frames per second on an A100")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.what == "sizes":
        for variant in BACKBONES:
            print(json.dumps(count_sizes(variant)))
    elif args.here:
        measure(args)
    else:
        measure_all(args)


if __name__ == "__main__":
    main()
