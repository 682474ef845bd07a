"""Manifests of `segment-many`: damaged, dressed up, or of a stranger; and `compare` of models that are none."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

from tests.hostile.cases import WORKS, Case
from tests.hostile.ingredients import clip, fifo, last_json, link, own_data, put, replaced, sparse


MANIFEST, PARQUET, TABLE = "list.jsonl", "list.parquet", "list.csv"
GOOD = {"video": "clip.mp4", "expression": "the red square"}
RUN = ("-o", "out", "--device", "cpu", "--json", "-q")


def manifest(*entries, name: str = MANIFEST):
    """A step that writes entries, or lines as they are."""
    texts = [each if isinstance(each, (str, bytes)) else json.dumps(each) for each in entries]
    lines = [text.encode() if isinstance(text, str) else text for text in texts]
    return lambda work: put(work / name, b"".join(line + b"\n" for line in lines))


def many(name: str, *steps, file: str = MANIFEST, options=(), words=None, **more) -> Case:
    words = (file,) if words is None else words
    return Case(f"many: {name}", replaced(clip, *steps), ("segment-many", file, *RUN, *options), words=words, **more)


def entry(name: str, words=(MANIFEST, "line 1"), **fields) -> Case:
    return many(name, manifest({**GOOD, **fields}), words=words)


def fails(name: str, video: str, *steps, words=(), **more) -> Case:
    """A video that cannot be read: it has its reason, the other one its masks."""

    def check(work: Path, out: str) -> None:
        counts = last_json(out)
        assert counts["num_expressions"] == 2 and counts["failed"] == 1, counts
        lines = [json.loads(line) for line in (work / "out/results.jsonl").read_text().splitlines()]
        errors = [line["error"] for line in lines if line.get("error")]
        assert len(errors) == 1 and all(word in errors[0] for word in words), errors

    rows = manifest(GOOD, {"video": video, "expression": "the red square", "video_id": "other"})
    more = {"expect": WORKS, "words": (), "writes": ("out",), "warns": True, "check": check} | more
    return many(f"a video, {name}", rows, *steps, **more)


def parquet(**columns):
    """A step that writes a table."""

    def run(work: Path) -> None:
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.table(columns), work / PARQUET)

    return run


def bomb(work: Path) -> None:
    """A small Parquet file with a text of 200,000 letters, 10,000 times."""
    import numpy as np
    import pyarrow

    texts = pyarrow.DictionaryArray.from_arrays(np.zeros(10_000, np.int32), ["x" * 200_000])
    parquet(video=["clip.mp4"] * 10_000, expression=texts)(work)


def nested(work: Path) -> None:
    """Parquet with a list of 3 * 10^6 expressions in one row."""
    parquet(video=["clip.mp4"], expressions=[["x"] * 3_000_000])(work)


def archive(work: Path, size: int | None = None, kind: bytes = tarfile.REGTYPE, name: str = "clip.mp4") -> None:
    """A tar with the clip, or with another member under its name."""
    content = (work / "clip.mp4").read_bytes()
    with tarfile.open(work / "shard.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        member = tarfile.TarInfo(name)
        member.size, member.type, member.linkname = len(content), kind, "../outside/secret.txt"
        tar.addfile(member, io.BytesIO(content) if kind == tarfile.REGTYPE else None)
    if size is not None:
        os.truncate(work / "shard.tar", size)


def tar(name: str, step, video: str = "tar://clip.mp4::shard.tar", **more) -> Case:
    return fails(f"a tar, {name}", video, step, **more)


def masks(work: Path, count: int = 1) -> None:
    found = [path.relative_to(work) for path in (work / "out/masks").rglob("*.parquet")]
    assert len(found) == count, found


def compare(name: str, models: str, words: tuple, *more, make=own_data, data="data", **fields) -> Case:
    call = ("compare", "--models", models, "--dataset", "own", "--data-dir", data, "--split", "train", "-o", "out")
    return Case(f"many: compare, {name}", make, (*call, "--json", "-q", *more), words=words, **fields)


CASES = [
    many("good", manifest(GOOD), expect=WORKS, words=(), writes=("out",), check=lambda work, out: masks(work)),
    many("empty", manifest()),
    many("not there", words=(MANIFEST,)),
    many("a folder", lambda work: (work / MANIFEST).mkdir()),
    many("a FIFO", lambda work: fifo(work / MANIFEST)),
    many("a device", lambda work: link(work / MANIFEST, "/dev/zero")),
    many("1 TB", lambda work: sparse(work / MANIFEST, 1 << 40)),
    many("a line of 1 GB", lambda work: sparse(work / MANIFEST, 1 << 30, b'{"video": "')),
    many("another kind of file", manifest(GOOD, name="list.txt"), file="list.txt"),
    many("no JSON", manifest("{'video': 1}")),
    many("a list", manifest("[]")),
    many(
        "a number without end", manifest('{"video": "clip.mp4", "expression": "x", "key_frame": ' + "9" * 10_000 + "}")
    ),
    many("NaN", manifest('{"video": "clip.mp4", "expression": "x", "key_frame": NaN}')),
    many("nested too deeply", manifest("[" * 200_000)),
    many("nested too deeply in a field", manifest('{"video": "clip.mp4", "x": ' + "[" * 200_000)),
    many("a field twice", manifest('{"video": "clip.mp4", "video": "x.mp4", "expression": "x"}')),
    many("bytes that are no UTF-8", manifest(b'{"video": "\xff", "expression": "x"}')),
    many("half a character", manifest('{"video": "\\ud800", "expression": "x"}')),
    entry("no expression", expression=None),
    entry("an expression of spaces", expression=" \t "),
    entry("an expression that is a list", expression=["x"]),
    entry("expressions that are a text", expression=None, expressions="the red square"),
    entry("expressions that are objects", expression=None, expressions=[{"text": "x"}]),
    entry("no expressions", expression=None, expressions=[]),
    many(
        "a protocol token",
        manifest(GOOD, {**GOOD, "expression": "find <image> [SEG]"}),
        expect=WORKS,
        words=('"failed": 1',),
        writes=("out",),
        warns=True,
    ),
    entry("no video", video=None),
    entry("a video that is a number", video=7),
    entry("a video of control characters", video="a\x1b[2Jb.mp4"),
    entry("a video of 10^6 letters", video="a" * 10**6),
    entry("a key frame below 0", key_frame=-1),
    entry("a key frame of 10^12", key_frame=10**12),
    entry("a key frame that is true", key_frame=True),
    entry("a key frame that is text", key_frame="first"),
    entry("an id out of the folder", video_id="../../outside/x"),
    entry("an id that is a path", video_id="/etc"),
    entry("an id that is a dot", video_id="."),
    entry("an id of 10^5 letters", ("longer than 200 bytes",), video_id="a" * 10**5),
    entry("an id of control characters", video_id="a\nb"),
    entry("an expression's id out of the folder", expression_id=".."),
    entry("an expression's id with a slash", expression_id="a/b"),
    entry("an expression's id that is a list", expression_id=["a"]),
    entry("a tar without a member", video="tar://::shard.tar"),
    entry("a tar without a file", video="tar://clip.mp4"),
    many("two expressions with one id", manifest({**GOOD, "expression_id": 1}, {**GOOD, "expression_id": "1"})),
    many("two videos with one id", manifest(GOOD, {**GOOD, "video": "sub/../clip2.mp4", "video_id": "clip"})),
    many("a video in the folder of another", manifest(GOOD, {**GOOD, "video_id": "clip/0.parquet"}), words=("clip",)),
    many(
        "ids that differ in their case alone",
        manifest(GOOD, {**GOOD, "video_id": "CLIP"}),
        expect=WORKS,
        words=(),
        writes=("out",),
        check=lambda work, out: masks(work, 2),
    ),
    many("a path in the output", manifest(GOOD), options=("-o", "list.jsonl/out"), words=("list.jsonl",)),
    many("the output is a file of others", manifest(GOOD), options=("-o", "clip.mp4"), words=("clip.mp4",)),
    many("the output is a folder of others", manifest(GOOD), options=("-o", "../outside"), words=("outside",)),
    many("the table is the manifest", manifest(GOOD), options=("--table", MANIFEST)),
    many("a table over a file of others", manifest(GOOD), options=("--table", "clip.mp4"), words=("clip.mp4",)),
    many(
        "masks that are a link",
        manifest(GOOD),
        lambda work: link(work / "out/masks", "../../outside"),
        words=("out",),
        reads_outside=True,
    ),
    many(
        "more than 500,000 expressions of a video that is not there",
        manifest(*[{"video": "gone.mp4", "expressions": ["x"] * 50_000}] * 11),
        words=(MANIFEST, "500000"),
        slow=True,
    ),
    many("CSV without its columns", manifest("a,b", "1,2", name=TABLE), file=TABLE),
    many("CSV with more cells", manifest("video,expression", "clip.mp4,x,y", name=TABLE), file=TABLE),
    many("CSV with an open quote", manifest("video,expression", '"clip.mp4,x', name=TABLE), file=TABLE),
    many("CSV with a cell of 10^6 letters", manifest("video,expression", "x" * 10**6, name=TABLE), file=TABLE),
    many("CSV with zeros", manifest("video,expression", b"clip.mp4,\0", name=TABLE), file=TABLE),
    many("CSV that is a FIFO", lambda work: fifo(work / TABLE), file=TABLE),
    many("Parquet, text", manifest(GOOD, name=PARQUET), file=PARQUET),
    many("Parquet that is a FIFO", lambda work: fifo(work / PARQUET), file=PARQUET),
    many("Parquet that is a device", lambda work: link(work / PARQUET, "/dev/zero"), file=PARQUET),
    many(
        "Parquet cut short",
        parquet(video=["clip.mp4"], expression=["x"]),
        lambda work: os.truncate(work / PARQUET, 200),
        file=PARQUET,
    ),
    many(
        "Parquet with a header of 2 GB",
        lambda work: put(work / PARQUET, b"PAR1" + bytes(100) + b"\xff\xff\xff\x7fPAR1"),
        file=PARQUET,
    ),
    many(
        "Parquet with other bytes in the middle",
        parquet(video=["clip.mp4"] * 100, expression=[f"x{number}" for number in range(100)]),
        lambda work: put(work / PARQUET, (data := (work / PARQUET).read_bytes())[:40] + bytes(60) + data[100:]),
        file=PARQUET,
    ),
    many("Parquet with texts of 2 GB", bomb, file=PARQUET, words=(PARQUET, "letters")),
    many("Parquet with 3 * 10^6 expressions in a row", nested, file=PARQUET),
    many("Parquet with numbers", parquet(video=[1.5], expression=["x"]), file=PARQUET),
    many("Parquet with structs", parquet(video=["a"], expression=[{"a": 1}]), file=PARQUET),
    many("Parquet with bytes", parquet(video=[b"clip.mp4"], expression=[b"\xff"]), file=PARQUET),
    many("Parquet without videos", parquet(expression=["x"]), file=PARQUET),
    many("Parquet with lists of lists", parquet(video=["a"], expressions=[[["x"]]]), file=PARQUET),
    fails("not there", "gone.mp4", words=("gone.mp4",)),
    fails("a FIFO", "pipe.mp4", lambda work: fifo(work / "pipe.mp4"), words=("pipe.mp4",)),
    fails("a device", "zero.mp4", lambda work: link(work / "zero.mp4", "/dev/zero"), words=("zero.mp4",)),
    fails("a playlist", "list.m3u8", lambda work: put(work / "list.m3u8", "#EXTM3U\n../outside/secret.txt\n")),
    fails("cut short", "short.mp4", lambda work: put(work / "short.mp4", (work / "clip.mp4").read_bytes()[:400])),
    fails("an address of this machine", "http://127.0.0.1:9/clip.mp4", words=("127.0.0.1",)),
    fails("an address of a cloud's settings", "http://169.254.169.254/latest", words=("169.254.169.254",)),
    fails("a file's address", "file:///etc/passwd", words=("file://",)),
    fails("addresses in a chain", "simplecache::http://127.0.0.1/x.mp4"),
    fails("a store of references", "reference://x", words=("reference://",)),
    fails("a store that is unknown", "nowhere://x", words=("nowhere://",)),
    fails("a store in the memory", "memory://gone.mp4", words=("memory://",)),
    fails("a repository on this machine", "git://..:main@clip.mp4", words=("git://",)),
    fails("a zip as a store", "zip://clip.mp4", words=("zip://",)),
    fails("a key frame that is not there", "clip.mp4", manifest(GOOD, {**GOOD, "video_id": "b", "key_frame": 99})),
    tar("a member that is not there", archive, "tar://gone.mp4::shard.tar", words=("gone.mp4",)),
    tar("a file that is not there", lambda work: None, words=("shard.tar",)),
    tar("cut short", lambda work: archive(work, 900), words=("shard.tar",)),
    tar("a link in it", lambda work: archive(work, kind=tarfile.SYMTYPE)),
    tar("a hard link in it", lambda work: archive(work, kind=tarfile.LNKTYPE)),
    tar("a FIFO in it", lambda work: archive(work, kind=tarfile.FIFOTYPE)),
    tar("a member out of the folder", archive, "tar://../clip.mp4::shard.tar"),
    tar("a FIFO", lambda work: fifo(work / "shard.tar"), words=("shard.tar",)),
    tar("a device", lambda work: link(work / "shard.tar", "/dev/zero"), words=("shard.tar",)),
    tar("a tar in a tar", archive, "tar://clip.mp4::tar://x::shard.tar"),
    compare("no models", " , ", ()),
    compare("a model twice", "glus-tiny,glus-tiny", ("glus-tiny",)),
    compare(
        "a table that is a file of others",
        "glus-tiny",
        ("table.md",),
        make=replaced(own_data, lambda work: put(work / "out/table.md", "mine")),
    ),
]
