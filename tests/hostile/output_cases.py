"""Where results go: nothing that is not ours is overwritten; what cannot be written is known before the work."""

from __future__ import annotations

import os
from pathlib import Path

from tests.hostile.cases import WORKS, Case
from tests.hostile.checkpoint_cases import CONVERT
from tests.hostile.ingredients import (
    QUIET,
    clip,
    evaluate,
    fifo,
    frame_folder,
    link,
    own_data,
    put,
    replaced,
    upstream,
)
from tests.hostile.resume_cases import run


def segment(name: str, *options: str, make=lambda work: None, words=(), source="clip.mp4", **more) -> Case:
    call = ("segment", source, "the red square", *options, "-q")
    return Case(f"output: segment, {name}", replaced(clip, make), call, words=words, **more)


def mine(name: str):
    """A step that makes a file of the user's own."""
    return lambda work: put(work / name, "mine")


def evaluated(name: str, *options: str, make=lambda work: None, output="preds", words=None, **more) -> Case:
    call = evaluate(*options, output=output)
    return Case(f"output: evaluate, {name}", replaced(own_data, make), call, words=words or (output,), **more)


def demo(name: str, make, words=("demo",), **more) -> Case:
    return Case(f"output: demo, {name}", make, ("demo", "-o", "demo"), words=words, **more)


def converted(name: str, make, words=("converted",)) -> Case:
    return Case(f"output: convert, {name}", replaced(upstream, make), CONVERT, words=words)


def labels(name: str, *options: str, make=lambda work: None, output="labels", words=None) -> Case:
    call = ("pseudo-label", "--dataset", "own", "--data-dir", "data", "-o", output, "--device", "cpu", "-q", *options)
    return Case(f"output: pseudo-label, {name}", replaced(own_data, make), call, words=words or (output,))


def trained(name: str, make, *options: str, words=("run",)) -> Case:
    call = ("train", "tiny", "training.output_dir=run", "export=trained", "training.max_steps=1", *options)
    return Case(f"output: train, {name}", make, call, words=words)


def earlier(work: Path) -> None:
    """An overlay of an earlier run of ours."""
    clip(work)
    run(work, ("segment", "clip.mp4", "the red square", "-o", "out.mp4", "-q"))


SHAPES = ("--dataset", "motion_shapes", "--split", "test", "--num-videos", "1")

CASES = [
    segment("a new place", "-o", "new/deep/out.mp4", expect=WORKS, writes=("new",)),
    segment("the input itself", "-o", "clip.mp4", words=("clip.mp4",)),
    segment(
        "the input by another name",
        "-o",
        "other.mp4",
        make=lambda work: link(work / "other.mp4", "clip.mp4"),
        words=("other.mp4",),
    ),
    segment(
        "the input by a hard link",
        "-o",
        "other.mp4",
        make=lambda work: os.link(work / "clip.mp4", work / "other.mp4"),
        words=("other.mp4",),
    ),
    segment("a foreign file", "-o", "out.mp4", make=mine("out.mp4"), words=("out.mp4",)),
    segment(
        "a foreign file that is a link",
        "-o",
        "out.mp4",
        make=lambda work: link(work / "out.mp4", "../outside/secret.txt"),
        words=("out.mp4",),
        reads_outside=True,
    ),
    segment("a folder", "-o", "out.mp4", make=lambda work: (work / "out.mp4").mkdir(), words=("out.mp4",)),
    segment("a FIFO", "-o", "out.mp4", make=lambda work: fifo(work / "out.mp4"), words=("out.mp4",)),
    segment("below a file", "-o", "clip.mp4/out.mp4", words=("out.mp4",)),
    segment("a format that is not there", "-o", "out.exe", words=("out.exe",)),
    segment("a name too long", "-o", "n" * 300 + ".mp4", words=("nnnn",)),
    segment("a folder of the system", "-o", "/proc/out.mp4", words=("/proc/out.mp4",)),
    segment(
        "masks over the frames",
        "-o",
        "out.mp4",
        "--masks-dir",
        "frames",
        source="frames",
        make=frame_folder,
        words=("frames",),
    ),
    segment("masks into the folder of the clip", "-o", "out.mp4", "--masks-dir", ".", words=(".",)),
    segment(
        "masks over foreign files",
        "-o",
        "out.mp4",
        "--masks-dir",
        "masks",
        make=mine("masks/0/00000.png"),
        words=("masks",),
    ),
    segment("masks over a file", "-o", "out.mp4", "--masks-dir", "masks", make=mine("masks"), words=("masks",)),
    segment(
        "masks through a link",
        "-o",
        "out.mp4",
        "--masks-dir",
        "masks",
        make=lambda work: link(work / "masks", "../outside"),
        words=("masks",),
        reads_outside=True,
    ),
    segment(
        "masks in a new place", "-o", "out.mp4", "--masks-dir", "masks", expect=WORKS, writes=("out.mp4", "masks")
    ),
    Case(
        "output: segment, an earlier overlay",
        earlier,
        ("segment", "clip.mp4", "x", "-o", "out.mp4", "-q"),
        words=("out.mp4",),
    ),
    Case(
        "output: segment, an earlier overlay, overwritten",
        earlier,
        ("segment", "clip.mp4", "the red square", "-o", "out.mp4", "-q", "--overwrite"),
        WORKS,
        writes=("out.mp4",),
    ),
    segment("a foreign file, overwritten", "-o", "out.mp4", "--overwrite", make=mine("out.mp4"), words=("out.mp4",)),
    evaluated("the dataset itself", output="data"),
    evaluated("the dataset itself, overwritten", "--overwrite", output="data"),
    evaluated("inside the dataset", output="data/preds"),
    evaluated("the masks of the dataset", "--overwrite", output="data/masks"),
    evaluated("around the dataset", "--overwrite", output="."),
    evaluated("the dataset through a link", make=lambda work: link(work / "preds", "data")),
    evaluated("a file", make=mine("preds")),
    evaluated(
        "foreign files in the place of an expression, overwritten", "--overwrite", make=mine("preds/park/0/00000.png")
    ),
    evaluated(
        "a link in the place of an expression",
        make=lambda work: (link(work / "preds/park", "../../outside"), put(work.parent / "outside/0/keep.txt", "x")),
        reads_outside=True,
    ),
    evaluated("foreign results, overwritten", "--overwrite", make=mine("preds/results.jsonl")),
    evaluated("a folder of the system", output="/proc/preds"),
    Case(
        "output: evaluate, an archive over a foreign file",
        mine("mine.zip"),
        ("evaluate", *SHAPES, "--zip", "mine.zip", "-o", "preds", *QUIET),
        words=("mine.zip",),
    ),
    evaluated("plots over foreign files", "--plots", "plots", make=mine("plots/notes.txt"), words=("plots",)),
    demo("foreign files", mine("demo/video.mp4")),
    demo("a foreign folder", mine("demo/notes.txt")),
    demo("a file", mine("demo")),
    demo("a link", lambda work: link(work / "demo", "../outside"), reads_outside=True),
    converted("a foreign folder", mine("converted/notes.txt")),
    converted("a file", mine("converted")),
    converted("a link", lambda work: link(work / "converted", "../outside")),
    converted("a link to nothing", lambda work: link(work / "converted", "gone")),
    labels("the dataset itself", output="data"),
    labels("a file", make=mine("labels")),
    labels("foreign labels", make=mine("labels/own/park/0.json")),
    labels("foreign labels, overwritten", "--overwrite", make=mine("labels/own/park/0.json")),
    trained("a foreign folder", mine("run/notes.txt")),
    trained("a file", mine("run")),
    trained("a foreign export", mine("trained/notes.txt"), words=("trained",)),
    Case(
        "output: check, a copy of the dataset is as it was",
        own_data,
        ("data", "check", "data", "-q"),
        WORKS,
    ),
    Case(
        "output: convert-coco, a foreign folder",
        lambda work: (put(work / "coco.json", {}), frame_folder(work), put(work / "new" / "notes.txt", "mine")),
        ("data", "convert-coco", "--annotations", "coco.json", "--frames", "frames", "-o", "new", "-q"),
        words=("new",),
    ),
]
