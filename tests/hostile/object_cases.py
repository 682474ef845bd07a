"""Datasets of objects whose files lead elsewhere, never end, or ask for too much."""

from __future__ import annotations

import json
from pathlib import Path

from tests.data.object_trees import image_bytes, make_tree, put_tar, sa1b_content
from tests.hostile.cases import PROBLEMS, WORKS, Case
from tests.hostile.ingredients import anew, fifo, link, put, replaced, sparse


ANNOTATIONS = "coco/annotations/instances_train2017.json"

BURST = "burst/train/all_classes.json"


def check(dataset: str) -> tuple[str, ...]:
    return ("data", "check", dataset, "--dataset", dataset, "--json", "-q")


def spoiled(name: str, dataset: str, *steps, words: tuple, expect: str = PROBLEMS, **more) -> Case:
    make = replaced(lambda work: make_tree(dataset, work), *steps)
    return Case(f"objects: {dataset}, {name}", make, check(dataset), expect, words=words, **more)


def coco(change):
    """A step that changes the annotations."""

    def run(work: Path) -> None:
        content = json.loads((work / ANNOTATIONS).read_text())
        change(content)
        put(work / ANNOTATIONS, content)

    return run


def shard(members: dict) -> object:
    return lambda work: put_tar(work / "sa1b" / "sa_000000.tar", members)


def burst(change):
    """A step that changes the one sequence."""

    def run(work: Path) -> None:
        content = json.loads((work / BURST).read_text())
        change(content["sequences"][0])
        put(work / BURST, content)

    return run


SAMPLE = {"sa_0.json": json.dumps(sa1b_content(0, 0)).encode()}

CASES = [
    spoiled("good", "coco", words=('"images": 2',), expect=WORKS),
    spoiled("good", "sa1b", words=('"masks": 4',), expect=WORKS),
    spoiled(
        "an image above", "coco", coco(lambda c: c["images"][0].update(file_name="../../outside/x.jpg")), words=("..",)
    ),
    spoiled(
        "an image by its whole path",
        "coco",
        coco(lambda c: c["images"][1].update(file_name="/etc/x")),
        words=("/etc/x",),
    ),
    spoiled(
        "an image with a zero", "coco", coco(lambda c: c["images"][0].update(file_name="a\0b")), words=("plain name",)
    ),
    spoiled(
        "an image in an archive elsewhere",
        "coco",
        coco(lambda c: c["images"][0].update(file_name="a::/etc/x.tar")),
        words=("plain name",),
    ),
    spoiled(
        "control letters in a name",
        "coco",
        coco(lambda c: c["images"][0].update(file_name="\x1b[2J.jpg")),
        words=("plain name",),
    ),
    spoiled(
        "an expression of a million letters for an id",
        "coco",
        coco(lambda c: c["annotations"][0].update(image_id="x" * 10**6)),
        words=("not there",),
    ),
    spoiled(
        "a mask of a billion pixels",
        "coco",
        coco(lambda c: c["annotations"][0].update(segmentation={"size": [1 << 16, 1 << 16], "counts": [1 << 32]})),
        words=("object 1",),
    ),
    spoiled(
        "an image of a billion pixels",
        "coco",
        coco(lambda c: [c["images"][0].update(height=1 << 16, width=1 << 16), c["annotations"].clear()]),
        words=("65536",),
    ),
    spoiled(
        "a million points",
        "coco",
        coco(lambda c: c["annotations"][1].update(segmentation=[[1e9] * 10**6])),
        words=("far outside",),
    ),
    spoiled(
        "a number without end",
        "coco",
        anew(ANNOTATIONS, put, '{"images": [{"id": ' + "9" * 6000 + "}]}"),
        words=(ANNOTATIONS,),
    ),
    spoiled("nested too deeply", "coco", anew(ANNOTATIONS, put, '{"images": [' + "[" * 10**6), words=(ANNOTATIONS,)),
    spoiled("annotations of 70 GB", "coco", anew(ANNOTATIONS, sparse, 70 * 10**9, b"{"), words=("70 GB",)),
    spoiled(
        "annotations of 3 GB of zeros",
        "coco",
        anew(ANNOTATIONS, sparse, 3 * 10**9, b'{"images": ['),
        words=(ANNOTATIONS,),
        slow=True,
    ),
    spoiled("good", "burst", words=('"masks": 3',), expect=WORKS),
    spoiled("good", "tao", words=('"tracks": 2',), expect=WORKS),
    spoiled(
        "a sequence above", "burst", burst(lambda s: s.update(seq_name="../../../outside")), words=("plain name",)
    ),
    spoiled(
        "a mask of a billion pixels",
        "burst",
        burst(lambda s: s.update(height=1 << 16, width=1 << 16)),
        words=("object 1",),
    ),
    spoiled(
        "a million frames of one mask",
        "burst",
        burst(lambda s: s.update(annotated_image_paths=["00000001.jpg"] * 10**6)),
        words=("segmentations",),
    ),
    spoiled("an image that is a pipe", "coco", anew("coco/train2017/000000000001.jpg", fifo), words=("a named pipe",)),
    spoiled(
        "an image that is a link to a device",
        "coco",
        anew("coco/train2017/000000000001.jpg", link, "/dev/zero"),
        words=("a device",),
    ),
    spoiled(
        "an image of text", "coco", anew("coco/train2017/000000000001.jpg", put, "x"), words=("000000000001.jpg",)
    ),
    spoiled(
        "a shard that is a pipe", "sa1b", anew("sa1b/sa_000000.tar", fifo), words=("no shards",), expect="one line"
    ),
    spoiled(
        "a member above", "sa1b", shard({"../../outside/sa_0.jpg": image_bytes(0), **SAMPLE}), words=("no such image",)
    ),
    spoiled(
        "masks of another image",
        "sa1b",
        shard(
            {
                "sa_0.jpg": image_bytes(0),
                "sa_0.json": json.dumps({**sa1b_content(0, 0), "image": {"height": 9, "width": 9}}).encode(),
            }
        ),
        words=("sa_0.json",),
    ),
    spoiled(
        "a table without end of a line",
        "openimages",
        anew("openimages/oidv6-train-annotations-bbox.csv", put, "ImageID," * 10**6),
        words=("has no column",),
    ),
    spoiled(
        "a quote without end",
        "openimages",
        anew("openimages/class-descriptions-boxable.csv", put, '"' + "x\n" * 10**6),
        words=("is no table",),
    ),
]
