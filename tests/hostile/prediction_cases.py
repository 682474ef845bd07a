"""Trees of predictions that are scored or packed, ours or another program's."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from tests.hostile.cases import USAGE, WORKS, Case
from tests.hostile.image_cases import EPS, png
from tests.hostile.ingredients import anew, fifo, last_json, link, own_data, predictions, put, replaced, score, sparse
from tests.hostile.small_media import image_bytes


MASK = "preds/park/0/00001.png"
SCORE = score("--json", "--quiet")


def both(work: Path) -> None:
    own_data(work)
    predictions(work)


def spoiled(name: str, *steps, call=SCORE, words=("00001.png",), **more) -> Case:
    return Case(f"prediction: {name}", replaced(both, *steps), call, words=words, **more)


def content(name: str, data: bytes | str, **more) -> Case:
    return spoiled(name, anew(MASK, put, data), **more)


def j_of(value: float):
    def run(work: Path, out: str) -> None:
        assert abs(last_json(out)["J"] - value) < 0.02, out

    return run


GOOD = image_bytes(np.full((48, 48), 255, np.uint8))

CASES = [
    spoiled("good", expect=WORKS, words=(), check=j_of(24 * 16 / 48**2)),
    Case("prediction: no such folder", own_data, SCORE, words=("preds",)),
    Case(
        "prediction: a file in place of the folder",
        lambda work: (own_data(work), put(work / "preds", "x")),
        SCORE,
        words=("preds",),
    ),
    Case(
        "prediction: an empty folder", lambda work: (own_data(work), (work / "preds").mkdir()), SCORE, words=("preds",)
    ),
    spoiled("an expression that is missing", lambda work: shutil.rmtree(work / "preds/park/1"), words=("park/1",)),
    spoiled("a frame that is missing", lambda work: (work / MASK).unlink()),
    content("empty", b""),
    content("cut short", GOOD[:60]),
    content("a PostScript file", EPS),
    content("a JPEG", image_bytes(np.full((48, 48), 255, np.uint8), "JPEG")),
    content("of another size", image_bytes(np.full((9, 9), 255, np.uint8))),
    content("in colours", image_bytes(np.full((48, 48, 3), 255, np.uint8))),
    content("16 bits", image_bytes(np.full((48, 48), 65535, np.uint16))),
    content("60000 x 60000", png(60000, 60000, b"x")),
    content("rows that never come", png(48, 48, b"")),
    content("a palette that is missing", png(48, 48, None, 8, 3)),
    spoiled("a FIFO", anew(MASK, fifo)),
    spoiled("a device", anew(MASK, link, "/dev/zero")),
    spoiled("a folder", anew(MASK, lambda path: path.mkdir())),
    spoiled("a link to nothing", anew(MASK, link, "gone.png")),
    spoiled("1 TB", anew(MASK, sparse, 1 << 40, GOOD)),
    spoiled("a rule for missing masks that is not there", call=score("--missing", "maybe"), words=("maybe",)),
    spoiled("a protocol that is not there", call=score("--protocol", "../own"), words=("../own",)),
    spoiled("minus one process", call=score("--num-workers", "-1"), words=("--num-workers",), expect=USAGE),
    spoiled("scores over the dataset", call=score("-o", "data/expressions.jsonl"), words=("data/expressions.jsonl",)),
    spoiled("scores over a mask", call=score("-o", MASK), words=(MASK,)),
    spoiled("scores into a folder", call=score("-o", "preds"), words=("preds",)),
    spoiled("scores through a file", call=score("-o", "data/expressions.jsonl/scores.jsonl"), words=("scores.jsonl",)),
    spoiled(
        "scores over a foreign file",
        lambda work: put(work / "notes.txt", "mine"),
        call=score("-o", "notes.txt"),
        words=("notes.txt",),
    ),
    spoiled(
        "scores into a FIFO",
        lambda work: fifo(work / "scores.jsonl"),
        call=score("-o", "scores.jsonl"),
        words=("scores.jsonl",),
    ),
]
