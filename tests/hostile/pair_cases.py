"""Pairs of a vision-language model and a mask model: processors with programs in them, parts that make no pair."""

from __future__ import annotations

import functools
import os
import shutil
from pathlib import Path

from tests.hostile.cases import WORKS, Case
from tests.hostile.ingredients import anew, fields_of, fifo, frame_folder, link, put, replaced, set_fields, sparse


SETTINGS, TEMPLATE, TOKENIZER = "pair/processor_config.json", "pair/chat_template.jinja", "pair/tokenizer_config.json"
ENDLESS = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
GROWING = "{% set n = namespace(x=['a']) %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}"
LARGE = "{{ 'a' * 10**11 }}"
NEW = ("new-model", "--vlm", "parts/vlm", "--mask", "parts/mask", "-q", "-o", "new")
EVIL = "open('../outside/OWNED', 'w')\nclass C:\n    pass\n"
OWN_TOKENIZER = {"AutoTokenizer": ["evil.C", "evil.C"]}
ONE_COLOUR = {"image_mean": [0.5], "image_std": [0.5]}


def saved_processor(work: Path) -> None:
    from tests.models.glus_vlm.small_glus_vlm import small_processor

    small_processor().save_pretrained(work / "pair")


def load(work: Path) -> None:
    from glus_hf import GLUSVLMProcessor

    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    processor = GLUSVLMProcessor.from_pretrained(work / "pair")
    session = processor.init_video_session(frame_folder(work, "seen"), "the red circle")
    processor.frame_view(list(session.frames))


def parts(work: Path) -> None:
    from tests.models.glus_vlm.saved_parts import save_parts

    save_parts(work / "parts", "qwen2_5_vl", "sam2_video")


def pair(name: str, *steps, words=("work/pair",), **more) -> Case:
    return Case(f"pair: {name}", replaced(saved_processor, *steps), load, words=words, **more)


def images(name: str, **fields) -> Case:
    return pair(f"images, {name}", fields_of(SETTINGS, **{f"image_processor__{key}": fields[key] for key in fields}))


def frame(name: str, **fields) -> Case:
    return pair(f"frame, {name}", fields_of(SETTINGS, **{f"chat_frame__{key}": fields[key] for key in fields}))


def new(name: str, *steps, words=("parts",), **more) -> Case:
    return Case(f"pair: new, {name}", replaced(parts, *steps), NEW, words=words, **more)


works = functools.partial(pair, expect=WORKS, words=(), writes=("seen",))
no_frame = fields_of(SETTINGS, chat_frame=...)
evil = lambda work: put(work / "parts/vlm/evil.py", EVIL)


def template(text: str):
    """A step that gives the vision-language model another chat template, wherever it is looked for."""

    def run(work: Path) -> None:
        put(work / "parts/vlm/chat_template.jinja", text)
        set_fields(work / "parts/vlm/tokenizer_config.json", chat_template=text)

    return run


def copied(source: str, target: str):
    return lambda work: shutil.copytree(work / source, work / target, dirs_exist_ok=True)


CASES = [
    works("good"),
    works("a template without end", anew(TEMPLATE, put, ENDLESS)),
    works("a template that grows", anew(TEMPLATE, put, GROWING), fields_of(TOKENIZER, chat_template=LARGE)),
    pair(
        "a template without end, of an earlier version",
        anew(TEMPLATE, put, ENDLESS),
        no_frame,
    ),
    pair(
        "a template without end in the tokenizer",
        lambda work: (work / TEMPLATE).unlink(),
        fields_of(TOKENIZER, chat_template=ENDLESS),
        no_frame,
    ),
    pair("a template in the settings", fields_of(SETTINGS, chat_template=ENDLESS), no_frame, warns=True),
    pair("a template that is a FIFO", anew(TEMPLATE, fifo)),
    pair("a template that is a device", anew(TEMPLATE, link, "/dev/zero")),
    pair("a template of 1 TB", anew(TEMPLATE, sparse, 1 << 40)),
    pair("a template that is no text", anew(TEMPLATE, put, b"\xff\xfe")),
    pair("a template more that is a FIFO", lambda work: fifo(work / "pair/additional_chat_templates/x.jinja")),
    pair("a template more of 1 TB", lambda work: sparse(work / "pair/additional_chat_templates/x.jinja", 1 << 40)),
    frame("with an answer", head="It is [SEG]."),
    frame("with an image", between="<|image_pad|>"),
    frame("without a middle", middle=""),
    frame("of 10^6 letters", gap="a " * 500_000),
    frame("that is a number", gap=7),
    frame("with another part", code="{{ 1 }}"),
    pair("frame, a list", fields_of(SETTINGS, chat_frame=["a"])),
    images("a deviation of 0", image_std=[0.0, 0.0, 0.0]),
    images("a mean of one channel", image_mean=[0.5]),
    images("patches of 10^5 pixels", patch_size=10**5),
    images("patches of 1000 pixels", patch_size=1000),
    images("patches of no pixels", patch_size=0),
    images("10^6 patches at a position", merge_size=10**6),
    images("10^6 frames in a patch", temporal_patch_size=10**6),
    images("a size that is text", size="large"),
    images("a scale that is infinite", rescale_factor=1e39),
    images("another class", image_processor_type="os.system"),
    pair("a mask of 10^6 pixels", fields_of(SETTINGS, mask_size=10**6)),
    pair("10^9 positions of a frame", fields_of(SETTINGS, max_frame_tokens=10**9)),
    pair("another family", fields_of(SETTINGS, vlm_type="llava")),
    pair("no such family", fields_of(SETTINGS, vlm_type="__import__")),
    pair("another token for images", fields_of(SETTINGS, image_token="the")),
    new("good", expect=WORKS, words=(), writes=("new",)),
    new("a template without end", template(ENDLESS), slow=True),
    new("a template that grows", template(GROWING)),
    new("a template of much text", template(LARGE)),
    new("a template that writes no images", template("hello")),
    new(
        "the mask model is none",
        copied("parts/vlm", "parts/mask"),
    ),
    new(
        "the vision-language model is none",
        copied("parts/mask", "parts/vlm"),
    ),
    new("statistics of one colour", anew("parts/mask/preprocessor_config.json", put, ONE_COLOUR)),
    new("statistics that are a FIFO", anew("parts/mask/preprocessor_config.json", fifo)),
    new("weights cut short", lambda work: os.truncate(work / "parts/vlm/model.safetensors", 3000)),
    new("a config that is a FIFO", anew("parts/vlm/config.json", fifo)),
    new("10^6 layers", fields_of("parts/vlm/config.json", text_config__num_hidden_layers=10**6)),
    new("a vocabulary of 10^9", fields_of("parts/vlm/config.json", text_config__vocab_size=10**9)),
    new("a mask of 10^6 pixels", fields_of("parts/mask/config.json", vision_config__image_size=10**6)),
    new(
        "code of its own",
        evil,
        fields_of("parts/vlm/config.json", model_type="evil", auto_map={"AutoConfig": "evil.C"}),
    ),
    new(
        "code of its own in the tokenizer",
        evil,
        fields_of("parts/vlm/tokenizer_config.json", tokenizer_class="Evil", auto_map=OWN_TOKENIZER),
        expect=WORKS,
        words=(),
        writes=("new",),
        warns=True,
    ),
    Case("pair: new, into a part", parts, (*NEW[:-1], "parts/vlm"), words=("parts/vlm",)),
    Case(
        "pair: new, no such part",
        parts,
        ("new-model", "--vlm", "nowhere", "--mask", "parts/mask", "-o", "new"),
        words=("nowhere",),
    ),
]
