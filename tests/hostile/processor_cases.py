"""Processors: tokenizers and settings of images that are damaged, malicious or without bounds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.hostile.cases import WORKS, Case
from tests.hostile.ingredients import (
    TINY,
    anew,
    clip,
    fields_of,
    fifo,
    frame_folder,
    link,
    model,
    put,
    replaced,
    set_fields,
    sparse,
)


SEGMENT = ("segment", "clip.mp4", "the red square", "-o", "out.mp4", "-q", "--model", "model")
TOKENIZER, SETTINGS, OPTIONS = "model/tokenizer.json", "model/processor_config.json", "model/tokenizer_config.json"
EVIL = "open('../outside/OWNED', 'w')\nclass Tokenizer:\n    pass\n"


def spoiled(name: str, *steps, words=("model",), **more) -> Case:
    return Case(f"processor: {name}", replaced(clip, model, *steps), SEGMENT, words=words, **more)


def glee(name: str, *steps, words=("model",)) -> Case:
    """A copy of glee-tiny, spoiled, that detects in an image."""
    copy = lambda work: shutil.copytree(TINY.with_name("glee-tiny"), work / "model")
    call = ("detect", "frames/00000.png", "red square", "-o", "out.png", "-q", "--model", "model")
    return Case(f"processor: GLEE, {name}", replaced(frame_folder, copy, *steps), call, words=words)


def tokenizer(name: str, words=("model",), **fields) -> Case:
    return spoiled(f"tokenizer, {name}", fields_of(TOKENIZER, **fields), words=words)


def images(name: str, more: dict | None = None, **fields) -> Case:
    """Other settings of the image processor."""

    def step(work: Path) -> None:
        content = json.loads((work / SETTINGS).read_text())
        content["image_processor"].update(fields)
        put(work / SETTINGS, content)

    return spoiled(f"images, {name}", step, **(more or {}))


def replace_rule(pattern: dict, content: str, repeat: int = 1) -> dict:
    rule = {"type": "Replace", "pattern": pattern, "content": content}
    return {"type": "Sequence", "normalizers": [rule] * repeat}


def vocabulary(name: str, change, words=("model",)) -> Case:
    """A tokenizer whose vocabulary was changed."""

    def step(work: Path) -> None:
        content = json.loads((work / TOKENIZER).read_text())
        change(content)
        put(work / TOKENIZER, content)

    return spoiled(f"tokenizer, {name}", step, words=words)


def with_code(file: str, fields: dict) -> Case:
    """A tokenizer or processor that brings code, which a user would be asked about."""

    def step(work: Path) -> None:
        put(work / "model" / "evil.py", EVIL)
        set_fields(work / file, **fields)

    return spoiled(f"code of its own in {file.rpartition('/')[2]}", step, **PASSED_OVER)


PASSED_OVER = {"expect": WORKS, "words": (), "writes": ("out.mp4",), "warns": True}
CODE = {"auto_map": {"AutoTokenizer": ["evil.Tokenizer", "evil.Tokenizer"], "AutoProcessor": "evil.Tokenizer"}}

CASES = [
    spoiled("tokenizer, missing", lambda work: (work / TOKENIZER).unlink()),
    spoiled("tokenizer, empty", anew(TOKENIZER, put, "")),
    spoiled("tokenizer, no JSON", anew(TOKENIZER, put, "{")),
    spoiled("tokenizer, nested too deeply", anew(TOKENIZER, put, "[" * 200_000)),
    spoiled("tokenizer, a list", anew(TOKENIZER, put, "[]")),
    spoiled("tokenizer, not UTF-8", anew(TOKENIZER, put, b"\xff\xfe")),
    spoiled("tokenizer, a FIFO", anew(TOKENIZER, fifo)),
    spoiled("tokenizer, a device", anew(TOKENIZER, link, "/dev/zero")),
    spoiled("tokenizer, 1 TB", anew(TOKENIZER, sparse, 1 << 40, b"{")),
    tokenizer("a rule that explodes", normalizer=replace_rule({"String": "e"}, "e" * 1000, 12)),
    tokenizer("a rule that explodes in few steps", normalizer=replace_rule({"Regex": "."}, "x" * 1_000_000, 3)),
    tokenizer("a rule that adds everywhere", normalizer=replace_rule({"Regex": ""}, "x" * 10_000, 4)),
    tokenizer("a regular expression without end", normalizer=replace_rule({"Regex": "(([a-z ]+)+)+$0"}, "x")),
    tokenizer(
        "a regular expression without end, to split",
        pre_tokenizer={
            "type": "Split",
            "pattern": {"Regex": "((a|a|[a-z ])+)+!"},
            "behavior": "Isolated",
            "invert": False,
        },
    ),
    tokenizer("a regular expression that is none", normalizer=replace_rule({"Regex": "((("}, "x")),
    tokenizer("a part that is not there", normalizer={"type": "Exec", "program": "sh"}),
    tokenizer("no model", model=None),
    tokenizer("a model that is not there", model={"type": "Pickle"}),
    tokenizer(
        "a template that explodes",
        post_processor={
            "type": "TemplateProcessing",
            "single": [{"Sequence": {"id": "A", "type_id": 0}}] * 200_000,
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {},
        },
    ),
    vocabulary("no words", lambda content: content["model"].update(vocab={})),
    vocabulary(
        "ids beyond the vocabulary",
        lambda content: content["model"]["vocab"].update(
            {word: 10**6 + index for index, word in enumerate(content["model"]["vocab"])}
        ),
    ),
    vocabulary("no token of the protocol", lambda content: content.update(added_tokens=[])),
    spoiled("options, no JSON", anew(OPTIONS, put, "{")),
    spoiled("options, nested too deeply", anew(OPTIONS, put, "[" * 200_000)),
    spoiled("options, a FIFO", anew(OPTIONS, fifo)),
    spoiled(
        "options, a class that is not there",
        fields_of(OPTIONS, tokenizer_class="os.system"),
        expect=WORKS,
        words=(),
        writes=("out.mp4",),
        warns=True,
    ),
    with_code(OPTIONS, CODE),
    with_code(SETTINGS, CODE),
    spoiled("settings, missing", lambda work: (work / SETTINGS).unlink()),
    spoiled("settings, no JSON", anew(SETTINGS, put, "{")),
    spoiled("settings, nested too deeply", anew(SETTINGS, put, "[" * 200_000)),
    spoiled("settings, a list", anew(SETTINGS, put, "[]")),
    spoiled("settings, a FIFO", anew(SETTINGS, fifo)),
    spoiled("settings, a class that is not there", fields_of(SETTINGS, processor_class="subprocess.Popen")),
    spoiled("settings, no query frames", fields_of(SETTINGS, num_query_frames=0)),
    spoiled("settings, 10^9 image tokens", fields_of(SETTINGS, num_image_tokens=10**9)),
    spoiled("settings, minus one context frame", fields_of(SETTINGS, num_context_frames=-1)),
    images("a deviation of 0", image_std=[0.0, 0.0, 0.0]),
    images("a deviation that is NaN", image_std=[float("nan")] * 3),
    images("a mean that is infinite", image_mean=[float("inf")] * 3),
    images("a mean of two channels", image_mean=[0.5, 0.5]),
    images("no size", size={"shortest_edge": 0}),
    images("a size of 10^9", size={"shortest_edge": 10**9}),
    images("a size that is text", size="large"),
    images("a way to resize that is not there", resample=99),
    images("a scale that is infinite", rescale_factor=1e39),
    images("a type that is not there", PASSED_OVER, image_processor_type="os.system"),
    glee("a deviation of 0", fields_of(SETTINGS, image_processor__image_std=[0.0, 0.0, 0.0])),
    glee("a divisor of 10^9", fields_of(SETTINGS, image_processor__size_divisor=10**9)),
    glee("a size of two pixels", fields_of(SETTINGS, image_processor__size={"shortest_edge": 0, "longest_edge": 2})),
    glee("names beyond the memory", fields_of(SETTINGS, max_names=10**12)),
    glee("two end tokens", fields_of("model/config.json", text_config__eos_token_id=[1, 2]), words=("eos_token_id",)),
    glee("code of its own", fields_of("model/config.json", model_type="bert", auto_map={"AutoConfig": "evil.C"})),
]
