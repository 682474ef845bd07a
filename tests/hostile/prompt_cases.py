"""Prompts of `segment-object`: points and boxes outside, drawn objects that are none."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from tests.hostile.cases import WORKS, Case
from tests.hostile.image_cases import png
from tests.hostile.ingredients import SIZE, anew, clip, fifo, frame_folder, link, put, replaced, sparse


IMAGE, DRAWN = "frames/00000.png", "lines.png"
RUN = ("-o", "out.png", "--objects", "found.json", "--json", "-q", "--model", "model")
WRITES = ("out.png", "found.json")


def drawn(values, mode: str | None = None):
    """A step that writes an image of marks."""
    return lambda work: Image.fromarray(np.asarray(values, np.uint8), mode).save(work / DRAWN)


def half(height: int = SIZE, width: int = SIZE) -> np.ndarray:
    """A mask of the left half."""
    return np.where(np.arange(width) < width // 2, 1, 0)[None].repeat(height, 0)


def prompt(name: str, *options: str, steps=(), words=(), image: str = IMAGE, **more) -> Case:
    call = ("segment-object", image, *RUN, *options)
    return Case(f"prompt: {name}", replaced(frame_folder, model, *steps), call, words=words, **more)


def model(work: Path) -> None:
    """A small GLEE that takes prompts, with random weights; saved once for all cases."""
    template = work.parent.parent / "template-glee"
    if not template.is_dir():
        from tests.models.glee.small_glee import small_model, small_processor

        small_model(seed=2).save_pretrained(template)
        small_processor().save_pretrained(template)
    shutil.copytree(template, work / "model")


def works(name: str, *options: str, **more) -> Case:
    return prompt(name, *options, expect=WORKS, writes=WRITES, **more)


def scribble(name: str, *steps, option: str = "--scribble", words=(DRAWN,), **more) -> Case:
    return prompt(f"drawn, {name}", option, DRAWN, steps=steps, words=words, **more)


CASES = [
    works("good", "--point", "20,20"),
    prompt("none", words=("--point",)),
    prompt("a point outside", "--point", "4800,20", words=("4800",)),
    prompt("a point below 0", "--point", "-1,20", words=("-1",)),
    prompt("a point on the far edge", "--point", f"{SIZE},{SIZE}", words=(str(SIZE),)),
    prompt("a point that is NaN", "--point", "nan,20", words=("nan",)),
    prompt("a point that is infinite", "--point", "inf,20", words=("inf",)),
    prompt("a point of 10^6 digits", "--point", "9" * 10**5 + ",1", words=("--point",)),
    prompt("a point of three numbers", "--point", "1,2,3", words=("1,2,3",)),
    works("a point of other digits", "--point", "١,٢"),
    prompt("a point that is empty", "--point", "", words=("--point",)),
    works("a point 10^4 times", "--point", " ".join(["20,20"] * 10**4)),
    prompt("10^4 objects", *["--point", "20,20"] * 10**4, words=("10000 objects",)),
    prompt("a box outside", "--box", "100,100,200,200", words=("100",)),
    prompt("a box of no area", "--box", "10,10,10,20", words=("10,10,10,20",)),
    prompt("a box turned round", "--box", "20,20,10,10", words=("20,20,10,10",)),
    prompt("a box that is NaN", "--box", "nan,nan,nan,nan", words=("nan",)),
    works("a box of a millionth", "--box", "10,10,10.000001,10.000001"),
    prompt("ids of 300 objects", *["--point", "20,20"] * 300, "--ids", "ids.png", words=("ids.png",)),
    prompt("a picture named otherwise", "--point", "20,20", "-o", "out.txt", words=("out.txt",)),
    prompt("over the image", "--point", "20,20", "-o", IMAGE, "--overwrite", words=(IMAGE,)),
    prompt(
        "over the marks", "--mask", DRAWN, "-o", DRAWN, "--overwrite", steps=(drawn(half() * 255),), words=(DRAWN,)
    ),
    prompt("one place twice", "--point", "20,20", "-o", "out.png", "--ids", "out.png", words=("out.png",)),
    prompt("a video", "--point", "20,20", steps=(clip,), image="clip.mp4", words=("clip.mp4",)),
    prompt("an image that is not there", "--point", "20,20", image="gone.png", words=("gone.png",)),
    prompt("an image that is a FIFO", "--point", "20,20", steps=(anew(IMAGE, fifo),), words=(IMAGE,)),
    prompt("a model that takes expressions", "--point", "20,20", "--model", "glus-tiny", words=("glus-tiny",)),
    prompt("a score that is unknown", "--point", "20,20", "--score", "area", words=("area",)),
    scribble("good", drawn(half() * 255), words=(), expect=WORKS, writes=WRITES),
    scribble("good, a mask", drawn(half() * 255), option="--mask", words=(), expect=WORKS, writes=WRITES),
    scribble("not there"),
    scribble("of another size", drawn(half(SIZE + 1) * 255)),
    scribble("of another size, a mask", drawn(half(SIZE // 2, SIZE // 2) * 255), option="--mask"),
    scribble("all black", drawn(half() * 0)),
    scribble("of every colour", drawn(np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3)))),
    scribble("a FIFO", lambda work: fifo(work / DRAWN)),
    scribble("a device", lambda work: link(work / DRAWN, "/dev/zero")),
    scribble("1 TB", lambda work: sparse(work / DRAWN, 1 << 40)),
    scribble("text", lambda work: put(work / DRAWN, "x" * 100)),
    scribble("cut short", drawn(half() * 255), lambda work: put(work / DRAWN, (work / DRAWN).read_bytes()[:60])),
    scribble("PostScript", lambda work: put(work / DRAWN, "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 48 48\n")),
    scribble("a claim of 60000 x 60000", lambda work: put(work / DRAWN, png(60_000, 60_000, b""))),
]
