"""Expressions and other words that a user gives, on the command line and in Python."""

from __future__ import annotations

from pathlib import Path

from tests.hostile.cases import WORKS, Case
from tests.hostile.ingredients import clip, evaluate, last_json, line, own_data, put


SEGMENT = ("segment", "clip.mp4")
OUTPUT = ("-o", "out.mp4")


def command(name: str, *texts: str, words=(), **more) -> Case:
    return Case(f"text: {name}", clip, (*SEGMENT, *texts, *OUTPUT, "-q"), words=words, **more)


def python(name: str, text, words=(), **more) -> Case:
    """The pipeline with a text that is no text."""

    def call(work: Path) -> None:
        from glus_hf.pipelines.factory import pipeline

        pipeline(model="glus-tiny", device="cpu")("clip.mp4", text() if callable(text) else text)

    return Case(f"text: {name}", clip, call, words=words, **more)


def shown(name: str, text: str) -> Case:
    """An expression whose control characters may not reach the terminal, in the table of results."""
    call = (*SEGMENT, text, *OUTPUT)
    return Case(f"text: {name}", clip, call, WORKS, writes=("out.mp4",), words=("Overlay",), warns=True)


def option(name: str, *options: str, words: tuple) -> Case:
    return Case(f"text: {name}", clip, (*SEGMENT, "the red square", *OUTPUT, "-q", *options), words=words)


def same_text(text: str):
    def run(work: Path, out: str) -> None:
        assert [row["label"] for row in last_json(out)["expressions"]] == [text], out

    return run


def works(name: str, text: str) -> Case:
    call = (*SEGMENT, text, *OUTPUT, "--json")
    return Case(f"text: {name}", clip, call, WORKS, writes=("out.mp4",), check=same_text(text), warns=True)


def own_text(name: str, text: str, words: tuple) -> Case:
    return Case(
        f"text: in a dataset, {name}",
        lambda work: own_data(work, lines=[line(expression=text)]),
        evaluate(),
        words=words,
        writes=("preds",),
    )


CASES = [
    command("empty", ""),
    command("blanks", "  \t "),
    command("a token of the protocol", "the [SEG] square", words=("[SEG]",)),
    command("the image token", "<image> red", words=("<image>",)),
    command("a million letters", "red " * 30_000),
    command("one good and one empty", "the red square", ""),
    shown("a red escape sequence", "\x1b[31mthe red square\x1b[0m"),
    shown("a bell and a backspace", "the red\x07 square\x08\x08"),
    shown("eight-bit control characters", "the \x9b31m square"),
    works("right to left and emoji", "the red \u05e9\u05dc\u05d5\u05dd \U0001f534 square"),
    works("brackets that rich reads", "the [bold]red[/bold] square"),
    works("percent signs", "100 %s red %d squares"),
    python("a number", 5, words=("text",)),
    python("nothing", None, words=("text",)),
    python("a list of numbers", [1, 2], words=("expression",)),
    python("an empty list", [], words=("text",)),
    python("bytes", b"the red square", words=("text",)),
    python("a set of numbers", lambda: {1.5}, words=("expression",)),
    python("half a character", "the \ud800 square"),
    python("a zero", "the red\0 square", warns=True, expect=WORKS),
    option("a device that is not there", "--device", "cuda:99", words=("--device cuda:99",)),
    option("a device that is a path", "--device", "../../etc", words=("--device",)),
    option("a precision that is not there", "--dtype", "int8", words=("--dtype int8",)),
    option("a threshold without a selector", "--no-target-threshold", "nan", words=("threshold",)),
    option("a selector that is no selector", "--selector", "glus-tiny", words=("glus-tiny",)),
    option("a preset that is not there", "--compat", "none", words=("none",)),
    option("a key frame that is no number", "--key-frame", "1e3", words=("--key-frame 1e3",)),
    own_text("blanks", "   ", ("expressions.jsonl",)),
    own_text("a token of the protocol", "the [SEG] square", ("[SEG]",)),
    Case(
        "text: a threshold that is no number",
        own_data,
        evaluate("--threshold", "nan"),
        words=("threshold",),
        writes=("preds",),
    ),
    Case(
        "text: key frames from a broken file",
        lambda work: (own_data(work), put(work / "keys.json", "{" * 100_000)),
        evaluate("--key-frames", "keys.json"),
        words=("keys.json",),
    ),
    Case(
        "text: an option of the dataset that is no pair",
        own_data,
        evaluate("--data-option", "="),
        words=("--data-option",),
    ),
    Case(
        "text: context frames beyond the video",
        own_data,
        evaluate("--context-frames", "0,1,2,99"),
        words=("99",),
        writes=("preds",),
    ),
]
