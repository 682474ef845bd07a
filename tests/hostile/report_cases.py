"""Folders of runs that become a page, or go to the Hub with a model: damaged, dressed up, or of a stranger."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from tests.hostile.cases import WORKS, Case
from tests.hostile.ingredients import anew, fifo, last_json, line, link, model, put, replaced, write_lines
from tests.hostile.resume_cases import evaluated


PAGE = "report.html"
REPORT = ("report", "preds", "--data-dir", "data", "--json", "-q")
TRAINING = ("report", "run", "--json", "-q")
PUSH = ("push", "model", "me/mine", "--json", "-q")
SUMMARY, RESULTS, STATE = "preds/summary.json", "preds/results.jsonl", "run/trainer_state.json"
LOG = [{"step": step, "loss": 1 / step, "epoch": step / 4} for step in (1, 2, 4)]
MARKUP = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


def report(name: str, *steps, call=REPORT, words=(), **more) -> Case:
    return Case(f"report: {name}", replaced(evaluated, *steps), call, words=words, **more)


def works(name: str, *steps, call=REPORT, **more) -> Case:
    return report(name, *steps, call=call, expect=WORKS, writes=(PAGE,), **more)


def field(file: str, value, *path):
    """A step that changes a field in the first line of a file of JSON; Ellipsis takes it out."""

    def run(work: Path) -> None:
        text = (work / file).read_text()
        first, rest = (text, "") if file.endswith(".json") else text.split("\n", 1)
        content = json.loads(first)
        section = content
        for part in path[:-1]:
            section = section[part]
        if value is ...:
            del section[path[-1]]
        else:
            section[path[-1]] = value
        put(work / file, json.dumps(content) + ("" if file.endswith(".json") else f"\n{rest}"))

    return run


def training(name: str, log, **more) -> Case:
    make = lambda work: put(work / STATE, {"global_step": 4, "log_history": log})
    return Case(f"report: training, {name}", make, TRAINING, **{"words": ("run",), **more})


def push(name: str, *steps, call=PUSH, words=("model",)) -> Case:
    """A model that must be refused before anything is sent: a connection would fail the case."""
    return Case(f"report: push, {name}", replaced(model, *steps), call, words=words)


def mask(writer, *arguments):
    return anew("preds/park/0/00001.png", writer, *arguments)


def _moved(name: str, target: str):
    """A step that puts a folder elsewhere and a link to it in its place."""

    def run(work: Path) -> None:
        os.rename(work / name, work / "other")
        link(work / name, target)

    return run


def _says(work: Path, words: str) -> None:
    assert words in (work / PAGE).read_text()


def no_markup(work: Path, out: str) -> None:
    page = (work / PAGE).read_text()
    assert "<script>alert" not in page and "<img src=x" not in page
    assert last_json(out)["output"] == PAGE


CASES = [
    works("good"),
    works(
        "markup in an expression and in the model's name",
        lambda work: write_lines(work / "data", [line(expression=MARKUP), line()]),
        field(RESULTS, MARKUP, "expression"),
        field(RESULTS, MARKUP, "expression_type"),
        field(SUMMARY, MARKUP, "settings", "model", "name"),
        field(SUMMARY, {"J&F": 0.5}, "totals", "by_type", MARKUP),
        check=no_markup,
    ),
    works("a model without a name", field(SUMMARY, "x", "settings", "model")),
    works(
        "a mask that is gone",
        lambda work: (work / "preds/park/0/00001.png").unlink(),
        check=lambda work, out: _says(work, "Mask missing, drawn as empty: frame 00001."),
    ),
    works(
        "no masks of an expression",
        lambda work: shutil.rmtree(work / "preds/park/0"),
        check=lambda work, out: _says(work, "drawn as empty: frame 00000, 00001, 00002 and 1 more."),
    ),
    report("a mask that is a link", mask(link, "../../../../outside/mask.png"), words=("00001.png",)),
    report("masks that are a link", _moved("preds/park/0", "../../other"), words=("preds/park/0",)),
    report("a video's masks that are a link", _moved("preds/park", "../other"), words=("preds/park",)),
    report("a mask cut short", lambda work: os.truncate(work / "preds/park/0/00001.png", 20), words=("00001.png",)),
    report("a mask that is a FIFO", mask(fifo), words=("00001.png",)),
    report("a mask that is a device", mask(link, "/dev/zero"), words=("00001.png",)),
    report(
        "a mask of 9000 x 9000",
        mask(lambda path: Image.fromarray(np.zeros((9000, 9000), np.uint8)).save(path)),
        words=("00001.png",),
    ),
    report("no data", lambda work: shutil.rmtree(work / "data"), words=("data",)),
    report("a summary, no JSON", anew(SUMMARY, put, "{"), words=(SUMMARY,)),
    report("a summary nested too deeply", anew(SUMMARY, put, "[" * 200_000), words=(SUMMARY,)),
    report("a summary that is a FIFO", anew(SUMMARY, fifo), words=("preds",)),
    report("a summary that is a list", anew(SUMMARY, put, "[]"), words=(SUMMARY,)),
    report("totals that are text", field(SUMMARY, "high", "totals", "J&F"), words=(SUMMARY,)),
    report("a scale of 0", field(SUMMARY, 0, "totals", "scale"), words=(SUMMARY,)),
    report("types that are a list", field(SUMMARY, [1], "totals", "by_type"), words=(SUMMARY,)),
    report("settings that are text", field(SUMMARY, "x", "settings"), words=(SUMMARY,)),
    report(
        "no dataset of that name", field(SUMMARY, "../../outside", "settings", "dataset"), words=("../../outside",)
    ),
    report(
        "a cache elsewhere", field(SUMMARY, {"cache_dir": "../outside"}, "settings", "data_options"), words=("preds",)
    ),
    report("options that are a list", field(SUMMARY, [1], "settings", "data_options"), words=("preds",)),
    report("results, no JSON", anew(RESULTS, put, "{\n"), words=(RESULTS,)),
    report("a result that is a list", anew(RESULTS, put, "[]\n"), words=(RESULTS,)),
    report("a score that is text", field(RESULTS, "high", "J&F"), words=(RESULTS,)),
    report("a score without end", field(RESULTS, 10**400, "J"), words=(RESULTS,)),
    report("results of 8 GB", lambda work: os.truncate(work / RESULTS, 8 << 30), words=(RESULTS,)),
    report("over a file of its own run", call=(*REPORT, "-o", SUMMARY, "--overwrite"), words=(SUMMARY,)),
    report("over a file of the dataset", call=(*REPORT, "-o", "data/expressions.jsonl"), words=("expressions.jsonl",)),
    report(
        "two runs, one of training", lambda work: put(work / STATE, {"log_history": LOG}), call=(*TRAINING, "preds")
    ),
    training("good", LOG, expect=WORKS, words=(), writes=(PAGE,)),
    training("no log", 3),
    training("steps that are text", [{"step": "x", "loss": 1.0}] * 3),
    training("values without end", [{**entry, "loss": 10**400} for entry in LOG]),
    training("a single step", LOG[:1]),
    push("a config that is a FIFO", anew("model/config.json", fifo)),
    push("weights that are a link to a secret", anew("model/model.safetensors", link, "../../outside/secret.txt")),
    push("a card that is a link to a secret", anew("model/README.md", link, "../../outside/secret.txt")),
    push("a licence that is a device", anew("model/LICENSE", link, "/dev/zero")),
    push("a path in a config", field("model/config.json", "/home/me/data", "from_folder"), words=("/home/me/data",)),
    push("weights cut short", lambda work: os.truncate(work / "model/model.safetensors", 1000)),
    push("a pickle", lambda work: os.rename(work / "model/model.safetensors", work / "model/pytorch_model.bin")),
    push(
        "results that are text", evaluated, field(SUMMARY, "x", "totals"), call=(*PUSH, "--results", "preds"), words=()
    ),
    push(
        "options of results that are a list",
        evaluated,
        field(SUMMARY, [1], "settings", "data_options"),
        call=(*PUSH, "--results", "preds"),
        words=(SUMMARY,),
    ),
]
