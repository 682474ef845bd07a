"""Damage to the files of a checkpoint, by name: what a folder from elsewhere may hold, by accident or on purpose.

`all_mutations(folder)` lists what can be done to a folder that `save_pretrained` made; each takes a copy of it and
changes files there. Nothing here needs the package: other tests and scripts use the same list.
"""

from __future__ import annotations

import copy
import functools
import json
import os
import pickle
import struct
from collections.abc import Callable, Iterator
from pathlib import Path


Mutation = Callable[[Path], None]

DELETED = object()
DEEP = functools.reduce(lambda inner, _: [inner], range(200), 1)
VALUES = {
    "missing": DELETED,
    "null": None,
    "text": "text",
    "empty text": "",
    "long text": "x" * 100_000,
    "true": True,
    "zero": 0,
    "minus one": -1,
    "half": 0.5,
    "billion": 10**9,
    "beyond int64": 10**30,
    "nan": float("nan"),
    "infinite": float("inf"),
    "empty list": [],
    "list": [1, 2, 3],
    "huge list": list(range(200_000)),
    "object": {"a": 1},
    "deep": DEEP,
}
"""What every field of a JSON file is set to."""


def read(file: Path):
    return json.loads(file.read_text(encoding="utf-8"))


def write(file: Path, content) -> None:
    file.write_text(json.dumps(content), encoding="utf-8")


def change(name: str, edit: Callable[[object], object]) -> Mutation:
    """A JSON file with another content; `edit` changes it in place, or returns a new one."""

    def mutate(folder: Path) -> None:
        content = read(folder / name) if (folder / name).exists() else {}
        result = edit(content)
        write(folder / name, content if result is None else result)

    return mutate


def put(name: str, content: bytes | str) -> Mutation:
    """A file with this content."""

    def mutate(folder: Path) -> None:
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return mutate


def set_field(name: str, path: tuple, value) -> Mutation:
    def edit(content):
        content = functools.reduce(lambda inner, key: inner[key], path[:-1], content)
        if value is DELETED:
            del content[path[-1]]
        else:
            content[path[-1]] = copy.deepcopy(value)

    return change(name, edit)


def field_paths(content, path: tuple = ()) -> Iterator[tuple]:
    """Every field of nested objects, parents first."""
    for key, value in content.items() if isinstance(content, dict) else ():
        yield (*path, key)
        yield from field_paths(value, (*path, key))


def field_mutations(folder: Path, name: str, skip=()) -> dict[str, Mutation]:
    """Every field of a JSON file times every value."""
    return {
        f"{name}: {'.'.join(path)}: {label}": set_field(name, path, value)
        for path in field_paths(read(folder / name))
        if path[0] not in skip
        for label, value in VALUES.items()
    }


def file_mutations(name: str) -> dict[str, Mutation]:
    """Contents that are no JSON object, and what is no regular file."""
    contents = {
        "empty": b"",
        "cut": b'{"a": ',
        "deep lists": b"[" * 200_000,
        "deep objects": b'{"a":' * 200_000,
        "list": b"[1, 2]",
        "number": b"7",
        "null": b"null",
        "zeros": bytes(4096),
        "not utf-8": b'{"a": "\xff\xfe"}',
        "utf-16": '{"model_type": "glus"}'.encode("utf-16"),
        "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "web page": b"<!DOCTYPE html><html></html>",
        "many lists": b"[" + b"[]," * 2_000_100 + b"1]",
        "twice": b'{"model_type": "glus", "model_type": "glus"}',
        "large number": b'{"a": ' + b"9" * 100_000 + b"}",
    }
    found = {f"{name}: {label}": put(name, content) for label, content in contents.items()}
    return found | place_mutations(name)


def place_mutations(name: str) -> dict[str, Mutation]:
    """Named pipes, devices, folders and links in the place of a file."""

    def replace(make: Callable[[Path], object]) -> Mutation:
        def mutate(folder: Path) -> None:
            (folder / name).unlink(missing_ok=True)
            make(folder / name)

        return mutate

    return {
        f"{name}: named pipe": replace(os.mkfifo),
        f"{name}: folder": replace(os.mkdir),
        f"{name}: device without end": replace(lambda file: file.symlink_to("/dev/zero")),
        f"{name}: random device": replace(lambda file: file.symlink_to("/dev/urandom")),
        f"{name}: link to itself": replace(lambda file: file.symlink_to(file.name)),
        f"{name}: link to nothing": replace(lambda file: file.symlink_to("nowhere")),
        f"{name}: missing": replace(lambda file: None),
    }


# ---- weights


WEIGHTS = "model.safetensors"


def split_weights(file: Path) -> tuple[dict, bytes]:
    """Header and data of a safetensors file."""
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def join_weights(header: dict | bytes, data: bytes) -> bytes:
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header)) + header + data


def change_header(edit: Callable[[dict, str], object]) -> Mutation:
    """Another header; `edit` gets it and the name of its first floating tensor."""

    def mutate(folder: Path) -> None:
        header, data = split_weights(folder / WEIGHTS)
        first = next(name for name, entry in header.items() if name != "__metadata__" and entry["dtype"][0] in "FB")
        result = edit(header, first)
        (folder / WEIGHTS).write_bytes(join_weights(header if result is None else result, data))

    return mutate


def change_bytes(edit: Callable[[bytes], bytes]) -> Mutation:
    def mutate(folder: Path) -> None:
        (folder / WEIGHTS).write_bytes(edit((folder / WEIGHTS).read_bytes()))

    return mutate


def fill_weights(value: bytes, every: int = 1) -> Mutation:
    """The first float32 of every n-th tensor set to four bytes."""

    def mutate(folder: Path) -> None:
        header, data = split_weights(folder / WEIGHTS)
        data = bytearray(data)
        entries = [entry for name, entry in header.items() if name != "__metadata__"]
        for entry in entries[::every]:
            start, end = entry["data_offsets"]
            if end - start >= 4:
                data[start : start + 4] = value
        (folder / WEIGHTS).write_bytes(join_weights(header, bytes(data)))

    return mutate


def _entry(header: dict, name: str, **fields) -> None:
    header[name] |= fields


def _twice(header: dict, name: str) -> bytes:
    text = json.dumps(header)
    return (text[:-1] + f", {json.dumps(name)}: {json.dumps(header[name])}}}").encode()


def weight_mutations() -> dict[str, Mutation]:
    header_edits = {
        "negative offset": lambda header, name: _entry(header, name, data_offsets=[-4, 4]),
        "offsets swapped": lambda header, name: _entry(header, name, data_offsets=header[name]["data_offsets"][::-1]),
        "offset past the end": lambda header, name: _entry(header, name, data_offsets=[0, 10**15]),
        "overlapping": lambda header, name: _entry(header, name, data_offsets=[0, 4], shape=[1]),
        "no offsets": lambda header, name: header[name].pop("data_offsets") and None,
        "no dtype": lambda header, name: header[name].pop("dtype") and None,
        "no shape": lambda header, name: header[name].pop("shape") and None,
        "unknown dtype": lambda header, name: _entry(header, name, dtype="F99"),
        "integer dtype": lambda header, name: _entry(header, name, dtype="I32"),
        "unsigned dtype": lambda header, name: _entry(header, name, dtype="U32"),
        "half dtype": lambda header, name: _entry(header, name, dtype="F16"),
        "dtype a number": lambda header, name: _entry(header, name, dtype=7),
        "shape negative": lambda header, name: _entry(header, name, shape=[-1]),
        "shape huge": lambda header, name: _entry(header, name, shape=[2**40, 2**40]),
        "shape nested": lambda header, name: _entry(header, name, shape=[[1]]),
        "shape flat": lambda header, name: _entry(
            header, name, shape=[functools.reduce(int.__mul__, header[name]["shape"], 1)]
        ),
        "shape turned": lambda header, name: _entry(header, name, shape=header[name]["shape"][::-1] + [1]),
        "entry null": lambda header, name: header.update({name: None}),
        "entry a list": lambda header, name: header.update({name: [1]}),
        "renamed": lambda header, name: header.update({f"other.{name}": header.pop(name)}),
        "metadata a number": lambda header, name: header.update(__metadata__=7),
        "metadata nested": lambda header, name: header.update(__metadata__={"a": {"b": 1}}),
        "format pickle": lambda header, name: header.update(__metadata__={"format": "pickle"}),
        "format tf": lambda header, name: header.update(__metadata__={"format": "tf"}),
        "twice": _twice,
        "empty object": lambda header, name: b"{}",
        "empty": lambda header, name: b"",
        "list": lambda header, name: b"[]",
        "deep": lambda header, name: b"[" * 100_000,
        "not utf-8": lambda header, name: b'{"\xff": 1}',
        "many lists": lambda header, name: b'{"a":[' + b"[]," * 2_000_100 + b"1]}",
    }
    bytes_edits = {
        "empty": lambda content: b"",
        "four bytes": lambda content: content[:4],
        "cut in the header": lambda content: content[:200],
        "cut in the data": lambda content: content[: len(content) // 2],
        "last byte cut": lambda content: content[:-1],
        "one byte more": lambda content: content + b"\0",
        "header longer than the file": lambda content: struct.pack("<Q", 10**7) + content[8:],
        "header of 2**63": lambda content: struct.pack("<Q", 2**63) + content[8:],
        "header of 2**64 - 1": lambda content: struct.pack("<Q", 2**64 - 1) + content[8:],
        "header of 0": lambda content: struct.pack("<Q", 0) + content[8:],
        "zeros": lambda content: bytes(len(content)),
        "pointer": lambda content: b"version https://git-lfs.github.com/spec/v1\n",
        "web page": lambda content: b"<!DOCTYPE html><html></html>",
        "pickle": lambda content: pickle.dumps({"a": 1}),
    }
    nan, infinite, large = struct.pack("<f", float("nan")), struct.pack("<f", float("inf")), struct.pack("<f", 3e38)
    found = {f"header: {label}": change_header(edit) for label, edit in header_edits.items()}
    found |= {f"bytes: {label}": change_bytes(edit) for label, edit in bytes_edits.items()}
    found |= {
        "values: nan everywhere": fill_weights(nan),
        "values: one nan": fill_weights(nan, every=10**6),
        "values: infinite": fill_weights(infinite, every=7),
        "values: one infinite": fill_weights(infinite, every=10**6),
        "values: largest everywhere": fill_weights(large),
    }
    return {f"{WEIGHTS}: {label}": mutate for label, mutate in found.items()} | place_mutations(WEIGHTS)


class Evil:
    """Unpickled with code, it makes a file `ran-code` in the folder."""

    def __init__(self, path: str):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def pickle_mutations() -> dict[str, Mutation]:
    """`pytorch_model.bin` in the place of the safetensors."""

    def as_bin(content: Callable[[Path], bytes]) -> Mutation:
        def mutate(folder: Path) -> None:
            (folder / WEIGHTS).unlink()
            (folder / "pytorch_model.bin").write_bytes(content(folder))

        return mutate

    found = {
        "code": lambda folder: pickle.dumps({"a": Evil(str(folder / "ran-code"))}),
        "empty": lambda folder: b"",
        "text": lambda folder: b"hello",
        "number": lambda folder: pickle.dumps(7),
        "long memo": lambda folder: b"\x80\x02" + b"r\xff\xff\xff\x7f" * 10 + b".",
        "huge text": lambda folder: b"\x80\x04\x8d" + struct.pack("<Q", 2**50) + b"a",
        "cut zip": lambda folder: b"PK\x03\x04" + bytes(100),
    }
    return {f"pytorch_model.bin: {label}": as_bin(content) for label, content in found.items()}


INDEX = "model.safetensors.index.json"


def index_mutations() -> dict[str, Mutation]:
    """Weights in shards, whose index says something wrong."""

    def with_index(edit: Callable[[dict, Path], object], keep: bool = False) -> Mutation:
        def mutate(folder: Path) -> None:
            header, _ = split_weights(folder / WEIGHTS)
            shard = "model-00001-of-00001.safetensors"
            (folder / WEIGHTS).rename(folder / shard)
            content = {"metadata": {}, "weight_map": {name: shard for name in header if name != "__metadata__"}}
            result = edit(content, folder)
            write(folder / INDEX, content if result is None else result)

        return mutate

    def elsewhere(target: Callable[[Path], str]) -> Callable:
        def edit(content: dict, folder: Path) -> None:
            outside = folder.parent / f"{folder.name}-outside.safetensors"
            (folder / "model-00001-of-00001.safetensors").rename(outside)
            content["weight_map"] = dict.fromkeys(content["weight_map"], target(outside))

        return edit

    def every(value) -> Callable:
        return lambda content, folder: content.update(weight_map=dict.fromkeys(content["weight_map"], value))

    edits = {
        "right": lambda content, folder: None,
        "path upwards": elsewhere(lambda file: f"../{file.name}"),
        "absolute path": elsewhere(str),
        "missing shard": every("model-00002-of-00002.safetensors"),
        "shard a number": every(7),
        "shard null": every(None),
        "shard a list": every(["model-00001-of-00001.safetensors"]),
        "shard empty": every(""),
        "shard a dot": every("."),
        "shard a device": every("/dev/zero"),
        "shard with a zero byte": every("a\0b.safetensors"),
        "shard is the index": every(INDEX),
        "shard is the config": every("config.json"),
        "no weight map": lambda content, folder: content.pop("weight_map") and None,
        "weight map a list": lambda content, folder: content.update(weight_map=[1]),
        "weight map empty": lambda content, folder: content.update(weight_map={}),
        "metadata null": lambda content, folder: content.update(metadata=None),
        "metadata a number": lambda content, folder: content.update(metadata=7),
        "one name missing": lambda content, folder: content["weight_map"].popitem() and None,
        "one name too many": lambda content, folder: content["weight_map"].update(
            {"more": "model-00001-of-00001.safetensors"}
        ),
        "list": lambda content, folder: [1],
    }
    return {f"{INDEX}: {label}": with_index(edit) for label, edit in edits.items()}


# ---- tokenizers


def _normalizers(*steps: dict) -> Callable:
    return lambda content: content.update(normalizer={"type": "Sequence", "normalizers": list(steps)})


def _replace(pattern: dict, content: str) -> dict:
    return {"type": "Replace", "pattern": pattern, "content": content}


def _split(regex: str) -> Callable:
    rule = {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}
    return lambda content: content.update(pre_tokenizer=rule)


def tokenizer_mutations() -> dict[str, Mutation]:
    double = _replace({"String": "e"}, "ee")
    edits = {
        "replace doubles 40 times": _normalizers(*[double] * 40),
        "replace by a million": _normalizers(_replace({"String": "e"}, "x" * 10**6)),
        "replace grows step by step": _normalizers(*[_replace({"String": "e"}, "e" * 50)] * 6),
        "replace nothing": _normalizers(_replace({"String": ""}, "abc")),
        "replace an empty regex": _normalizers(_replace({"Regex": "x*"}, "abc" * 1000)),
        "regex with nested stars": _normalizers(_replace({"Regex": "(e+)+$"}, "x")),
        "regex with nested groups": _normalizers(_replace({"Regex": "((e|ee)*)*$"}, "x")),
        "regex with alternatives": _normalizers(_replace({"Regex": "(?:a|a|b|b|[a-z ])*$Q"}, "x")),
        "regex with a reference": _normalizers(_replace({"Regex": r"(.*)(.*)(.*)\1\2\3Q"}, "x")),
        "regex with many counts": _normalizers(_replace({"Regex": "((e{1000}){1000}){1000}"}, "x")),
        "regex that is none": _normalizers(_replace({"Regex": "(("}, "x")),
        "prepend a million": _normalizers({"type": "Prepend", "prepend": "x" * 10**6}),
        "many normalizers": _normalizers(*[{"type": "NFKD"}] * 100_000),
        "unknown normalizer": _normalizers({"type": "Run", "command": "ls"}),
        "broken charsmap": _normalizers({"type": "Precompiled", "precompiled_charsmap": "AAAAAAAAAAAA"}),
        "split with nested stars": _split(r"(\w+\s?)*$Q"),
        "split with many stars": _split(".*" * 12 + "Q"),
        "split that is none": _split("[z-a]"),
        "padding to a billion": lambda content: content.update(
            padding={
                "strategy": {"Fixed": 10**9},
                "direction": "Right",
                "pad_to_multiple_of": None,
                "pad_id": 0,
                "pad_type_id": 0,
                "pad_token": "<unk>",
            }
        ),
        "truncation to nothing": lambda content: content.update(
            truncation={"direction": "Right", "max_length": 0, "strategy": "LongestFirst", "stride": 0}
        ),
        "stride too long": lambda content: content.update(
            truncation={"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 10}
        ),
        "added id of a billion": lambda content: content["added_tokens"].append(
            {**content["added_tokens"][0], "id": 10**9, "content": "[more]"}
        ),
        "added id negative": lambda content: content["added_tokens"].append(
            {**content["added_tokens"][0], "id": -1, "content": "[more]"}
        ),
        "added token empty": lambda content: content["added_tokens"].append(
            {**content["added_tokens"][0], "id": 100, "content": ""}
        ),
        "ids beyond the embeddings": lambda content: content["model"].update(
            vocab={name: index + 10**6 for name, index in content["model"]["vocab"].items()}
        ),
        "ids twice": lambda content: content["model"].update(vocab=dict.fromkeys(content["model"]["vocab"], 5)),
        "vocabulary of words only": lambda content: content["model"].update(vocab={"a": 0}),
        "model of another type": lambda content: content["model"].update(type="Unigram"),
        "deep post processor": lambda content: content.update(
            post_processor=functools.reduce(
                lambda inner, _: {"type": "Sequence", "processors": [inner]},
                range(100),
                {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            )
        ),
    }
    found = {f"tokenizer.json: {label}": change("tokenizer.json", edit) for label, edit in edits.items()}
    config = {
        "code": {"auto_map": {"AutoTokenizer": ["evil.Tokenizer", "evil.Tokenizer"]}, "tokenizer_class": "Own"},
        "code, class known": {"auto_map": {"AutoTokenizer": [None, "evil.Tokenizer"]}},
        "unknown class": {"tokenizer_class": "NoSuchTokenizer"},
        "class of another kind": {"tokenizer_class": "AutoModel"},
        "added ids": {"added_tokens_decoder": {"1000000000": {"content": "[more]", "special": True}}},
        "added ids negative": {"added_tokens_decoder": {"-5": {"content": "[more]", "special": True}}},
        "added ids of words": {"added_tokens_decoder": {"abc": {"content": "[more]"}}},
        "file elsewhere": {"tokenizer_file": "/etc/passwd", "vocab_file": "/etc/passwd"},
        "chat template": {"chat_template": "{% for i in range(10**9) %}a{% endfor %}"},
        "padding side": {"padding_side": "up"},
        "extra tokens": {"extra_special_tokens": {"a": 7}},
        "many extra tokens": {"additional_special_tokens": [f"[t{index}]" for index in range(300_000)]},
    }
    for label, fields in config.items():
        edit = functools.partial(_update, fields)
        found[f"tokenizer_config.json: {label}"] = _with_code(change("tokenizer_config.json", edit))
    return found


def _update(fields: dict, content: dict) -> None:
    content |= copy.deepcopy(fields)


def _with_code(mutate: Mutation) -> Mutation:
    """And a module beside it that makes a file `ran-code` when it is imported."""

    def with_module(folder: Path) -> None:
        mutate(folder)
        code = f"open({str(folder / 'ran-code')!r}, 'w').close()\nclass Tokenizer: pass\n"
        (folder / "evil.py").write_text(code)

    return with_module


# ---- configurations


def config_mutations() -> dict[str, Mutation]:
    """What no single field of a saved configuration shows."""
    fields = {
        "code": {"auto_map": {"AutoConfig": "evil.Tokenizer", "AutoModel": "evil.Tokenizer"}},
        "code, type unknown": {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Tokenizer"}},
        "weights elsewhere": {"transformers_weights": "../other.safetensors"},
        "kernels of the Hub": {"attn_implementation": "owner/kernels", "_attn_implementation": "owner/kernels"},
        "unknown quantization": {"quantization_config": {"quant_method": "evil"}},
        "quantization of nothing": {"quantization_config": {}},
        "quantization a number": {"quantization_config": 7},
        "a billion labels": {"num_labels": 10**9},
        "method overwritten": {"to_dict": 1, "from_dict": 2, "save_pretrained": 3},
        "property overwritten": {"num_image_tokens": 10**9, "name_or_path": 7, "use_return_dict": 3},
        "class attribute overwritten": {"sub_configs": {}, "attribute_map": {"a": "b"}},
        "dunder": {"__class__": "str", "__init__": 1},
        "dtype of whole numbers": {"dtype": "int8"},
        "dtype unknown": {"dtype": "float7"},
        "dtype a module": {"dtype": "nn"},
        "float written as a word": {"initializer_range": {"__float__": "NaN"}},
        "generation": {"max_length": -5, "temperature": "hot"},
    }
    found = {
        f"config.json: {label}": _with_code(change("config.json", functools.partial(_update, values)))
        for label, values in fields.items()
    }
    generation = {"max_length": "x", "eos_token_id": [1] * 1000, "transformers_version": 7}
    found["generation_config.json: wrong types"] = change(
        "generation_config.json", functools.partial(_update, generation)
    )
    return found


def all_mutations(folder: Path) -> dict[str, Mutation]:
    """Every mutation of a folder with config, processor, tokenizer and weights; about 5,000."""
    found: dict[str, Mutation] = {}
    for name in ("config.json", "processor_config.json", "tokenizer_config.json"):
        found |= field_mutations(folder, name)
    found |= field_mutations(folder, "tokenizer.json", skip=("added_tokens", "model"))
    for name in ("config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json"):
        found |= file_mutations(name)
    for name in ("generation_config.json", "preprocessor_config.json", "special_tokens_map.json", INDEX):
        found |= file_mutations(name)
    found |= config_mutations() | weight_mutations() | index_mutations() | pickle_mutations() | tokenizer_mutations()
    return found | adapter_mutations()


def adapter_mutations() -> dict[str, Mutation]:
    """A LoRA adapter in the folder's place, whose base is wrong or whose settings explode."""

    def adapter(fields: Callable[[Path], object], weights: bytes | None = None) -> Mutation:
        def mutate(folder: Path) -> None:
            for file in folder.iterdir():
                file.unlink()
            content = fields(folder)
            write(folder / "adapter_config.json", content)
            if weights is not None:
                (folder / "adapter_model.safetensors").write_bytes(weights)

        return mutate

    usual = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
    tiny = usual | {"base_model_name_or_path": "glus-tiny"}
    edits = {
        "base is itself": lambda folder: usual | {"base_model_name_or_path": str(folder)},
        "base missing": lambda folder: usual,
        "base null": lambda folder: usual | {"base_model_name_or_path": None},
        "base a number": lambda folder: usual | {"base_model_name_or_path": 7},
        "base a list": lambda folder: usual | {"base_model_name_or_path": ["glus-tiny"]},
        "base not there": lambda folder: usual | {"base_model_name_or_path": "./no/such/folder"},
        "no weights": lambda folder: tiny,
        "rank of a billion": lambda folder: tiny | {"r": 10**9},
        "rank 0": lambda folder: tiny | {"r": 0},
        "rank a word": lambda folder: tiny | {"r": "many"},
        "alpha nan": lambda folder: tiny | {"lora_alpha": float("nan")},
        "modules by a bad regex": lambda folder: tiny | {"target_modules": r"(\w+\.?)*Q"},
        "modules a number": lambda folder: tiny | {"target_modules": 7},
        "type unknown": lambda folder: tiny | {"peft_type": "EVIL"},
        "type null": lambda folder: tiny | {"peft_type": None},
        "list": lambda folder: [1],
        "rank pattern": lambda folder: tiny | {"rank_pattern": {r"(\w+\.?)*Q": 10**9}},
        "library": lambda folder: tiny | {"auto_mapping": {"base_model_class": "X", "parent_library": "antigravity"}},
    }
    found = {f"adapter_config.json: {label}": adapter(fields) for label, fields in edits.items()}
    broken = {"empty": b"", "cut": struct.pack("<Q", 10**9) + b"{", "nothing in it": join_weights({}, b"")}
    found |= {
        f"adapter_model.safetensors: {label}": adapter(lambda folder: tiny, weights)
        for label, weights in broken.items()
    }
    return found
