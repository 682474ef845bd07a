"""Datasets: own data and the layouts of the benchmarks, damaged, malicious, or odd and good."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path

from tests.hostile.cases import PROBLEMS, WORKS, Case
from tests.hostile.ingredients import (
    anew,
    check,
    clip,
    evaluate,
    fifo,
    last_json,
    line,
    link,
    own_data,
    put,
    replaced,
    sparse,
    write_lines,
)
from tests.paths import FIXTURES


DEEP = "[" * 200_000
RLE = {"size": [48, 48], "counts": [0, 100, 2204]}
LINES = "expressions.jsonl"


def lines(name: str, *items, words=(LINES,), **more) -> Case:
    """Own data with these lines, read for an evaluation."""
    make = lambda work: own_data(work, lines=list(items))
    return Case(f"dataset: {name}", make, evaluate(), words=words, **{"writes": (), **more})


def checked(name: str, *items, words=(LINES,), make=own_data, **more) -> Case:
    """Own data with these lines, checked."""
    steps = [lambda work: write_lines(work / "data", list(items))] if items else []
    return Case(f"dataset: checked, {name}", replaced(make, *steps), check(), PROBLEMS, words=words, **more)


def spoiled(name: str, *steps, words=(LINES,), **more) -> Case:
    return Case(f"dataset: {name}", replaced(own_data, *steps), evaluate(), words=words, **more)


def masks(name: str, rle, words=("mask",), **more) -> Case:
    """Own data whose first mask is this, in run lengths."""
    item = line(masks=[rle, None, None, None])
    return checked(f"run lengths, {name}", item, words=words, **more)


def benchmark(name: str, dataset: str, tree: str, split: str, *steps, words: tuple = (), **options) -> Case:
    """A miniature tree of a benchmark, spoiled, and all its rows read."""

    def make(work: Path) -> None:
        shutil.copytree(FIXTURES / "datasets" / tree, work / "data")

    def call(work: Path) -> None:
        from glus_hf import load_referring_dataset

        for row in load_referring_dataset(dataset, "data", split, **options):
            assert row["frames"]

    return Case(f"dataset: {dataset}, {name}", replaced(make, *steps), call, words=words)


def with_json(name: str, change):
    """A step that changes a JSON file of the data."""

    def run(work: Path) -> None:
        path = work / "data" / name
        content = json.loads(path.read_text())
        path.write_text(json.dumps(change(content) or content))

    return run


def first_video(change):
    def run(content: dict) -> None:
        change(next(iter(content["videos"].values())))

    return run


class Malicious:
    """Writes a file when it is unpickled."""

    def __reduce__(self):
        return os.system, ("touch ../outside/OWNED",)


def scored_twice(work: Path, out: str) -> None:
    assert last_json(out)["num_expressions"] == 2, out


MEVIS, MEVIS_TREE = "valid_u/meta_expressions.json", "mevis"
GOOD = evaluate("--json")

CASES = [
    Case("dataset: good", own_data, GOOD, WORKS, writes=("preds",), check=scored_twice),
    Case("dataset: no such folder", lambda work: None, evaluate(), words=("data",)),
    Case("dataset: a file in place of the folder", lambda work: put(work / "data", "x"), evaluate(), words=("data",)),
    Case("dataset: an empty folder", lambda work: (work / "data").mkdir(), evaluate(), words=("data",)),
    Case(
        "dataset: a name that is not there",
        own_data,
        ("evaluate", "--dataset", "../own", "--split", "x"),
        words=("../own",),
    ),
    Case("dataset: a split that is not there", own_data, evaluate(split="../data"), words=("../data",)),
    lines("no JSON", "{", line()),
    lines("nested too deeply", DEEP),
    lines("a list", "[]"),
    lines("a number without end", '{"video": "park", "expression": "x", "id": ' + "9" * 6000 + "}"),
    lines("a key twice", '{"video": "park", "video": "park", "expression": "x"}'),
    lines("half a character", '{"video": "park", "expression": "\\ud800"}'),
    lines("an unknown field", line(colour="red")),
    lines("no video", line(video=None)),
    lines("a video above the folder", line(video="../../outside/x", masks=None), words=("../../outside/x",)),
    lines("a video by its whole path", line(video="/etc", masks=None), words=("/etc",)),
    lines("a video with a zero", line(video="a\0b", masks=None)),
    lines("a video that is a number", line(video=5, masks=None)),
    lines("an expression that is a list", line(expression=["x"])),
    lines("masks above the folder", line(masks="../../outside"), words=("../../outside",)),
    lines("masks by their whole path", line(masks="/etc"), words=("/etc",)),
    lines("masks that are not there", line(masks="masks/none"), words=("masks/none",)),
    lines("objects that are text", line(masks=None, objects="x")),
    lines("an id with a slash", line(id="a/b")),
    lines("an id above the folder", line(id="..")),
    lines("an id twice", line(id="a"), line(id="a")),
    lines("an id of 300 letters", line(id="a" * 300), words=("a" * 50,), writes=("preds",)),
    lines("an id that is a list", line(id=[1])),
    spoiled("empty", anew(f"data/{LINES}", put, "")),
    spoiled("not UTF-8", anew(f"data/{LINES}", put, b'{"video": "park", "expression": "\xff"}\n')),
    spoiled("UTF-16", anew(f"data/{LINES}", put, json.dumps(line()).encode("utf-16"))),
    spoiled("zeros", anew(f"data/{LINES}", put, bytes(4096))),
    spoiled("a FIFO", anew(f"data/{LINES}", fifo)),
    spoiled("a device", anew(f"data/{LINES}", link, "/dev/zero")),
    spoiled("lines of 4 TB", anew(f"data/{LINES}", sparse, 4 << 40, json.dumps(line()).encode() + b"\n")),
    spoiled("a folder in place of the lines", anew(f"data/{LINES}", lambda path: path.mkdir())),
    spoiled("two layouts", lambda work: put(work / "data" / "train" / LINES, "{}\n")),
    Case(
        "dataset: an expression in the folder of another",
        lambda work: (
            own_data(work, lines=[line(id="0", masks=None), line(video="park/0", masks=None)]),
            shutil.copytree(work / "data" / "videos" / "park", work / "data" / "videos" / "park" / "0"),
        ),
        evaluate(),
        words=("park/0",),
    ),
    Case(
        "dataset: the video and its folder",
        replaced(own_data, lambda work: clip(work / "data" / "videos", "park.mp4")),
        evaluate(),
        words=("park",),
    ),
    Case(
        "dataset: a byte order mark",
        replaced(own_data, lambda work: put(work / "data" / LINES, b"\xef\xbb\xbf" + json.dumps(line()).encode())),
        evaluate("--json"),
        WORKS,
        writes=("preds",),
    ),
    masks("more than a frame", {"size": [48, 48], "counts": [0, 5000]}),
    masks("of another size", {"size": [4, 4], "counts": [0, 16]}),
    masks("of 2^60 pixels", {"size": [1 << 30, 1 << 30], "counts": [1 << 60]}),
    masks("negative", {"size": [48, 48], "counts": [-1, 2305]}),
    masks("with a fraction", {"size": [48, 48], "counts": [0.5, 2303.5]}),
    masks("without an end", {"size": [48, 48], "counts": "oooo"}),
    masks("of foreign characters", {"size": [48, 48], "counts": "\u00e9"}),
    masks("a run too long", {"size": [48, 48], "counts": "PPPPPPPPPPPP0"}),
    masks("empty text", {"size": [48, 48], "counts": ""}),
    masks("a size of text", {"size": ["48", "48"], "counts": "x"}),
    masks("a mask that is a list", [1, 2]),
    checked("no masks for a frame", line(masks=[RLE])),
    checked(
        "a mask file of no frame",
        make=replaced(own_data, lambda work: put(work / "data/masks/park/9.png", "x")),
        words=("9.png",),
    ),
    checked(
        "a frame that is a link to nothing",
        make=replaced(own_data, anew("data/videos/park/00001.png", link, "no.png")),
        words=("00001.png",),
    ),
    checked("every line broken", *["{"] * 50),
    checked(
        "a video that is a FIFO",
        line(video="pipe", masks=None),
        make=replaced(own_data, lambda work: fifo(work / "data/videos/pipe.mp4")),
        words=("pipe",),
    ),
    benchmark(
        "no JSON",
        "mevis",
        MEVIS_TREE,
        "valid_u",
        lambda work: put(work / "data" / MEVIS, "{"),
        words=("meta_expressions.json",),
    ),
    benchmark(
        "deep JSON",
        "mevis",
        MEVIS_TREE,
        "valid_u",
        lambda work: put(work / "data" / MEVIS, '{"videos": ' + DEEP),
        words=("meta_expressions.json",),
    ),
    benchmark(
        "a list",
        "mevis",
        MEVIS_TREE,
        "valid_u",
        lambda work: put(work / "data" / MEVIS, []),
        words=("meta_expressions.json",),
    ),
    benchmark(
        "expressions that are a list",
        "mevis",
        MEVIS_TREE,
        "valid_u",
        with_json(MEVIS, first_video(lambda video: video.update(expressions=[]))),
        words=("meta_expressions.json",),
    ),
    benchmark(
        "frames above the folder",
        "mevis",
        MEVIS_TREE,
        "valid_u",
        with_json(MEVIS, first_video(lambda video: video.update(frames=["../../x"]))),
        words=("../../x",),
    ),
    benchmark(
        "frames that are numbers",
        "mevis",
        MEVIS_TREE,
        "valid_u",
        with_json(MEVIS, first_video(lambda video: video.update(frames=[1, 2]))),
        words=("meta_expressions.json",),
    ),
    benchmark("a FIFO", "mevis", MEVIS_TREE, "valid_u", anew(f"data/{MEVIS}", fifo), words=("meta_expressions.json",)),
    benchmark(
        "a device",
        "mevis",
        MEVIS_TREE,
        "valid_u",
        anew(f"data/{MEVIS}", link, "/dev/zero"),
        words=("meta_expressions.json",),
    ),
    benchmark(
        "8 TB",
        "mevis",
        MEVIS_TREE,
        "valid_u",
        anew(f"data/{MEVIS}", sparse, 8 << 40, b"{"),
        words=("meta_expressions.json",),
    ),
    benchmark(
        "masks cut short",
        "mevis",
        MEVIS_TREE,
        "valid_u",
        lambda work: os.truncate(work / "data/valid_u/mask_dict.json", 300),
        words=("mask_dict.json",),
    ),
    benchmark(
        "masks that are missing",
        "mevis",
        MEVIS_TREE,
        "valid_u",
        lambda work: (work / "data/valid_u/mask_dict.json").unlink(),
        words=("mask_dict.json",),
    ),
    benchmark(
        "masks that are a FIFO",
        "mevis",
        MEVIS_TREE,
        "valid_u",
        anew("data/valid_u/mask_dict.json", fifo),
        words=("mask_dict.json",),
    ),
    benchmark(
        "a pickle that runs a program",
        "ref_davis17",
        "DAVIS17",
        "train",
        lambda work: put(work / "data/train/mask_dict.pkl", pickle.dumps({"0": Malicious()})),
        words=("mask_dict.pkl",),
        ground_truth="pickle",
    ),
    benchmark(
        "a pickle cut short",
        "ref_davis17",
        "DAVIS17",
        "train",
        lambda work: os.truncate(work / "data/train/mask_dict.pkl", 40),
        words=("mask_dict.pkl",),
        ground_truth="pickle",
    ),
    benchmark(
        "a pickle that is a FIFO",
        "ref_davis17",
        "DAVIS17",
        "train",
        anew("data/train/mask_dict.pkl", fifo),
        words=("mask_dict.pkl",),
        ground_truth="pickle",
    ),
    benchmark(
        "a pickle without end",
        "ref_davis17",
        "DAVIS17",
        "train",
        lambda work: put(work / "data/train/mask_dict.pkl", b"\x80\x04" + b"(" * 300_000 + b"."),
        words=("mask_dict.pkl",),
        ground_truth="pickle",
    ),
    benchmark(
        "no JSON",
        "revos",
        "ReVOS",
        "valid",
        lambda work: put(work / "data/meta_expressions_valid_.json", "nul"),
        words=("meta_expressions_valid_.json",),
    ),
    benchmark(
        "no JSON",
        "reasonvos",
        "ReasonVOS",
        "test",
        lambda work: put(work / "data/meta_expressions.json", b"\xff\xfe"),
        words=("meta_expressions.json",),
    ),
    benchmark(
        "no JSON",
        "refer_youtube_vos",
        "Refer-YouTube-VOS",
        "valid",
        lambda work: put(work / "data/meta_expressions/valid/meta_expressions.json", "{}"),
        words=("meta_expressions.json",),
    ),
]
