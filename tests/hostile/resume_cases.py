"""Folders of earlier runs that are resumed, damaged meanwhile, or never were ours."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from tests.hostile.cases import WORKS, Case
from tests.hostile.ingredients import (
    anew,
    evaluate,
    fifo,
    line,
    link,
    own_data,
    put,
    replaced,
    set_fields,
    write_lines,
)


PREDS, PRIVATE = "preds", "preds/.glus_hf"
SETTINGS, MANIFEST = f"{PRIVATE}/settings.json", f"{PRIVATE}/rank-00000.jsonl"
AGAIN = evaluate("--json", "--quiet")
LABEL = ("pseudo-label", "--dataset", "own", "--data-dir", "data", "-o", "labels", "--device", "cpu", "--quiet")
TRAIN = (
    "train",
    "tiny",
    "training.output_dir=run",
    "training.max_steps=1",
    "training.total_train_batch_size=2",
    "training.per_device_train_batch_size=2",
    "training.disable_tqdm=true",
    "training.eval_strategy=no",
    "export=trained",
    "--resume",
)


def evaluated(work: Path) -> None:
    """An evaluation that is done."""
    _made_once(work, "evaluated", evaluate())


def labelled(work: Path) -> None:
    """Pseudo-labels that are done."""
    _made_once(work, "labelled", LABEL)


def _made_once(work: Path, name: str, arguments: tuple) -> None:
    """Own data and what a command writes beside it: the first case runs the command, the others get copies."""
    template = work.parent.parent / f"template-{name}"
    if not template.is_dir():
        own_data(template)
        run(template, arguments)
    shutil.copytree(template, work, symlinks=True, dirs_exist_ok=True)


def run(work: Path, arguments: tuple) -> None:
    """Run a command that must work."""
    from glus_hf.cli.main import main

    os.chdir(work)
    try:
        main(list(arguments))
    except SystemExit as end:
        assert not end.code, end.code


def resumed(name: str, *steps, call=AGAIN, words=(PREDS,), **more) -> Case:
    return Case(f"resume: {name}", replaced(evaluated, *steps), call, words=words, **{"writes": (PREDS,), **more})


def whole(work: Path, out: str) -> None:
    """All masks are there, and the secret outside is as it was."""
    for expression in ("0", "1"):
        for index in range(4):
            with Image.open(work / PREDS / "park" / expression / f"{index:05d}.png") as image:
                assert image.size == (48, 48) and np.asarray(image).dtype == np.uint8
    assert (work.parent / "outside" / "secret.txt").read_text() == "secret\n"


def works(name: str, *steps, call=AGAIN, **more) -> Case:
    return resumed(name, *steps, call=call, expect=WORKS, words=(), check=whole, warns=True, **more)


def labels(name: str, *steps, **more) -> Case:
    return Case(f"resume: labels, {name}", replaced(labelled, *steps), LABEL, **{"writes": ("labels",), **more})


def train(name: str, make, **more) -> Case:
    return Case(f"resume: train, {name}", make, TRAIN, **{"writes": ("run",), "warns": True, **more})


def cut_mask(work: Path) -> None:
    path = work / PREDS / "park" / "0" / "00001.png"
    os.truncate(path, path.stat().st_size // 2)


def elsewhere(name: str):
    """A step that moves a folder of the run outside and leaves a link."""

    def run(work: Path) -> None:
        shutil.move(work / name, work.parent / "outside" / "moved")
        (work / name).symlink_to("../" * name.count("/") + "../outside/moved")

    return run


CASES = [
    works("done already"),
    works("a mask cut short", cut_mask),
    works("a mask that is gone", lambda work: (work / PREDS / "park" / "0" / "00001.png").unlink()),
    works("a mask that is empty", anew("preds/park/1/00003.png", put, b"")),
    works("an expression that is gone", lambda work: shutil.rmtree(work / PREDS / "park" / "1")),
    works("half a line at the end", lambda work: os.truncate(work / MANIFEST, (work / MANIFEST).stat().st_size - 20)),
    works("what a kill left behind", lambda work: put(work / PRIVATE / "partial" / "abc" / "00000.png", b"x")),
    works("results that are gone", lambda work: (work / PREDS / "results.jsonl").unlink()),
    works("a foreign file beside", lambda work: put(work / PREDS / "notes.txt", "mine")),
    works("overwritten", call=evaluate("--json", "--quiet", "--overwrite")),
    resumed("a broken line", lambda work: put(work / MANIFEST, "{\n" + (work / MANIFEST).read_text())),
    resumed("a line that is a list", lambda work: put(work / MANIFEST, "[]\n" + (work / MANIFEST).read_text())),
    resumed("a line nested too deeply", lambda work: put(work / MANIFEST, "[" * 200_000 + "\n")),
    resumed(
        "a line of numbers that are none",
        lambda work: put(work / MANIFEST, (work / MANIFEST).read_text().replace('"', "", 2)),
    ),
    resumed("lines that are a FIFO", anew(MANIFEST, fifo)),
    resumed("lines that are a device", anew(MANIFEST, link, "/dev/zero")),
    resumed("settings, no JSON", anew(SETTINGS, put, "{")),
    resumed("settings, a list", anew(SETTINGS, put, "[]")),
    resumed("settings, nested too deeply", anew(SETTINGS, put, "[" * 200_000)),
    resumed("settings, a FIFO", anew(SETTINGS, fifo)),
    resumed("settings, a device", anew(SETTINGS, link, "/dev/zero")),
    resumed("settings of another run", lambda work: set_fields(work / SETTINGS, threshold=9)),
    resumed("another text", lambda work: write_lines(work / "data", [line(expression="the blue circle"), line()])),
    resumed("another threshold", call=evaluate("--threshold", "1.5"), words=("threshold",)),
    resumed(
        "a file in place of the private folder", lambda work: (shutil.rmtree(work / PRIVATE), put(work / PRIVATE, "x"))
    ),
    Case(
        "resume: overwritten through a link",
        replaced(evaluated, elsewhere("preds/park/0")),
        evaluate("--quiet", "--overwrite"),
        words=("preds",),
        writes=(PREDS,),
        reads_outside=True,
    ),
    Case(
        "resume: a run that is elsewhere, overwritten",
        replaced(evaluated, elsewhere("preds/.glus_hf")),
        evaluate("--quiet", "--overwrite"),
        words=("preds",),
        reads_outside=True,
    ),
    Case(
        "resume: foreign ids in the lines, overwritten",
        replaced(
            evaluated,
            lambda work: put(work / PREDS / "mine" / "0" / "keep.txt", "mine"),
            lambda work: put(
                work / MANIFEST,
                (work / MANIFEST).read_text()
                + json.dumps({"dataset": "own", "video_id": "mine", "expression_id": "0"})
                + "\n",
            ),
        ),
        evaluate("--quiet", "--overwrite"),
        words=("keep.txt",),
        writes=(PREDS,),
    ),
    Case(
        "resume: ids above the folder in the lines, overwritten",
        replaced(
            evaluated,
            lambda work: put(
                work / MANIFEST,
                (work / MANIFEST).read_text()
                + json.dumps({"dataset": "own", "video_id": "..", "expression_id": "data"})
                + "\n",
            ),
        ),
        evaluate("--quiet", "--overwrite"),
        WORKS,
        writes=(PREDS,),
        warns=True,
    ),
    Case(
        "resume: masks of another program",
        lambda work: (own_data(work), put(work / "preds/park/0/00000.png", b"x")),
        evaluate(),
        words=("preds",),
    ),
    Case(
        "resume: results of another program",
        lambda work: (own_data(work), put(work / "preds/results.jsonl", "mine\n")),
        evaluate(),
        words=("preds",),
    ),
    labels("done already", expect=WORKS),
    labels("no JSON", anew("labels/own/park/0.json", put, "{"), expect=WORKS, warns=True),
    labels("gone", lambda work: (work / "labels/own/park/0.json").unlink(), expect=WORKS, warns=True),
    train("no folder", lambda work: None, expect=WORKS, writes=("run", "trained"), slow=True),
    train(
        "no checkpoint that is complete",
        lambda work: put(work / "run" / "checkpoint-5" / "model.safetensors", b""),
        expect=WORKS,
        writes=("run", "trained"),
        slow=True,
    ),
]
