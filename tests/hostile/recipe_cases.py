"""Recipes of `train`: damaged YAML, values of another kind, numbers without end."""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.hostile.cases import Case
from tests.hostile.ingredients import fifo, link, put, replaced, sparse


FILE = "recipe.yaml"
WHOLE = {
    "model": {"pretrained": "glus-tiny"},
    "data": {"train": [{"name": "motion_shapes", "options": {"num_videos": 2, "size": 48}}]},
    "training": {
        "output_dir": "run",
        "max_steps": 1,
        "total_train_batch_size": 1,
        "per_device_train_batch_size": 1,
        "disable_tqdm": True,
    },
    "export": "trained",
}
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefghi", "bcdefghij")
)


def text(name: str, content: str | bytes, **more) -> Case:
    return file(name, lambda work: put(work / FILE, content), **more)


def file(name: str, *steps, words=(FILE,), call=("train", FILE), **more) -> Case:
    return Case(f"recipe: {name}", replaced(lambda work: None, *steps), call, words=words, **more)


def value(name: str, path: str, content, words=None, **more) -> Case:
    """A good recipe with another value of a key."""

    def make(work: Path) -> None:
        whole = yaml.safe_load(yaml.safe_dump(WHOLE))
        *parents, last = path.split(".")
        section = whole
        for part in parents:
            section = section[int(part)] if isinstance(section, list) else section.setdefault(part, {})
        section[last] = content
        put(work / FILE, yaml.safe_dump(whole))

    words = (path.rpartition(".")[2],) if words is None else words
    return file(name, make, words=words, **more)


def key(name: str, override: str, words=None, **more) -> Case:
    make = lambda work: put(work / FILE, yaml.safe_dump(WHOLE))
    return file(f"override, {name}", make, call=("train", FILE, override), words=words or (), **more)


CASES = [
    file("not there"),
    file("a folder", lambda work: (work / FILE).mkdir()),
    file("a FIFO", lambda work: fifo(work / FILE)),
    file("a device", lambda work: link(work / FILE, "/dev/zero")),
    file("1 TB", lambda work: sparse(work / FILE, 1 << 40)),
    file(
        "a name of a recipe with a path",
        call=("train", "../outside/secret.txt"),
        words=("secret.txt",),
        reads_outside=True,
    ),
    text("empty", ""),
    text("no YAML", "model: [1, 2"),
    text("aliases of aliases", BOMB),
    text("a mapping that holds itself", "model: &a {pretrained: *a}\n"),
    text("brackets in each other", "model: " + "[" * 100_000),
    text("blocks in each other", "".join(" " * level + f"k{level}:\n" for level in range(900))),
    text("lists in each other", "- " * 100_000 + "x"),
    text("an object of Python", "model: !!python/object/apply:os.system ['touch OWNED']\n"),
    text("a module of Python", "model: !!python/module:os\n"),
    text("bytes that are no UTF-8", b"model: \xff\xfe\n"),
    text("zeros", b"\0" * 100),
    text("a number of 10^5 digits", "model: " + "9" * 100_000),
    text("a number of base 60", "training: 1:" + "59:" * 1000 + "0"),
    text("a date that is none", "model: 2024-99-99"),
    text("a key that is a list", "? [a, b]\n: 1\n"),
    text("a key twice", "model: {pretrained: glus-tiny}\nmodel: {pretrained: x}\n"),
    text("a list", "- model"),
    text("control characters", 'model: "\\e[2J"\n'),
    value("a section that is text", "model", "x"),
    value("a section that is a list", "training", [1]),
    value("no data", "data.train", []),
    value("data that are text", "data.train", "motion_shapes"),
    value("data without a name", "data.train", [{}], words=("name",)),
    value("data of an unknown name", "data.train.0.name", "../../x", words=("../../x",)),
    value("a weight of 0", "data.train.0.weight", 0),
    value("a weight that is NaN", "data.train.0.weight", float("nan")),
    value("a weight without end", "data.train.0.weight", 10**400),
    value("options that are a list", "data.train.0.options", [1]),
    value("an option that is unknown", "data.train.0.options", {"colour": 1}, words=("colour",)),
    value("10^12 videos", "data.train.0.options", {"num_videos": 10**12}, words=("num_videos",)),
    value("videos of 10^6 pixels", "data.train.0.options", {"num_videos": 2, "size": 10**6}, words=("size",)),
    value(
        "videos of minus one frame", "data.train.0.options", {"num_videos": 2, "num_frames": -1}, words=("num_frames",)
    ),
    value("10^9 frames", "data.train.0.options", {"num_videos": 2, "num_frames": 10**9}, words=("num_frames",)),
    value("a size that is text", "data.train.0.options", {"size": "large"}, words=("size",)),
    value("no expressions of a video", "data.max_expressions", 0),
    value("no model", "model.pretrained", None),
    value("a model that is a list", "model.pretrained", ["glus-tiny"]),
    value("a model that is not there", "model.pretrained", "gone/model", words=("gone/model",)),
    value("a model out of the folder", "model.pretrained", "../outside", words=("outside",), reads_outside=True),
    value("a dtype that is none", "model.dtype", "os.system"),
    value("an option of the model that is unknown", "model.options", {"__class__": 1}, words=("__class__",)),
    value("an option of the model without end", "model.options", {"num_maskmem": 10**9}, words=("num_maskmem",)),
    value("a quantization that is none", "model.quantization", "1bit"),
    value("a key that is unknown", "training.os", 1, words=("training.os",)),
    value("no steps", "training.max_steps", 0, words=("max_steps",)),
    value("steps that are text", "training.max_steps", "many"),
    value("half a step", "training.max_steps", 1.5),
    value("a batch of 0", "training.per_device_train_batch_size", 0),
    value("a batch of 10^12", "training.per_device_train_batch_size", 10**12, words=("batch",)),
    value("a rate that is NaN", "training.learning_rate", float("nan")),
    value("a rate below 0", "training.learning_rate", -1.0),
    value("a rate without end", "training.learning_rate", float("inf")),
    value("an optimizer that is none", "training.optim", "os.system", words=("os.system",)),
    value("a scheduler that is none", "training.lr_scheduler_type", "os.system", words=("os.system",)),
    value("minus one worker", "training.dataloader_num_workers", -1),
    value("10^6 workers", "training.dataloader_num_workers", 10**6),
    value("a seed below 0", "training.seed", -1),
    value("a seed of 2^80", "training.seed", 2**80),
    value("a folder that is empty", "training.output_dir", ""),
    value("a folder that is a list", "training.output_dir", ["run"]),
    value("a folder of others", "training.output_dir", "../outside", words=("outside",), reads_outside=True),
    value("an export over others", "export", "../outside", words=("outside",), reads_outside=True),
    value("a folder with a zero", "training.output_dir", "run\0x", words=("output_dir",)),
    value("a report to what is not there", "training.report_to", "os.system"),
    value("a checkpoint that is not there", "training.resume_from_checkpoint", "gone", words=("resume",)),
    value("validation of an unknown name", "validation", {"name": "nothing"}, words=("nothing",)),
    value("validation of minus one video", "validation", {"name": "motion_shapes", "max_videos": -1}),
    key("without a value", "training.max_steps", ("training.max_steps",)),
    key("without a key", "=5", ("=5",)),
    key("of a section that is unknown", "nothing.x=5", ("nothing",)),
    key("with a position of 10^6", "data.train.1000000.name=x", ("1000000",)),
    key("with YAML that is none", "training.max_steps=[", ("max_steps",)),
    key("with aliases of aliases", f"model.options={{a: {BOMB[:60]}", ()),
    key("with 10^5 parts", ".".join("a" * 100_000) + "=1", ()),
    key("below a value", "model.pretrained.x=1", ("pretrained",)),
]
