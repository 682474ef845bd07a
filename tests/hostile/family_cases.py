"""Configurations of GLEE, the grounded engine and SAM 3: numbers that fill the memory, parts that make no model."""

from __future__ import annotations

import functools
import os
import shutil
from pathlib import Path

from tests.hostile.cases import WORKS, Case
from tests.hostile.ingredients import anew, fields_of, fifo, frame_folder, replaced


CONFIG, SETTINGS = "model/config.json", "model/processor_config.json"
SEGMENT = ("segment", "frames", "the red car", "-o", "out.mp4", "--json", "-q", "--model", "model", "--device", "cpu")
OBJECT = (
    "segment-object",
    "frames/00000.png",
    "--box",
    "10,10,30,30",
    "-o",
    "out.png",
    "--json",
    "-q",
    "--model",
    "model",
)
DETECT = ("detect", "frames/00000.png", "red square", "-o", "out.png", "--json", "-q", "--model", "model")


def saved(kind: str):
    """A step that saves a small model of a family with random weights, once for all cases."""

    def run(work: Path) -> None:
        from importlib import import_module

        frame_folder(work)
        template = work.parent.parent / f"template-{kind}"
        if not template.is_dir():
            small = import_module(f"tests.models.{kind}")
            os.environ["TQDM_DISABLE"] = "1"
            small.small_model().save_pretrained(template)
            small.small_processor().save_pretrained(template)
        shutil.copytree(template, work / "model")

    return run


def family(group: str, make, call, name: str, *steps, words=("model",), **more) -> Case:
    return Case(f"family: {group}, {name}", replaced(make, *steps), call, words=words, **more)


grounded = functools.partial(family, "grounded", saved("grounded.small_grounded"), SEGMENT)
sam3 = functools.partial(family, "SAM 3", saved("sam3_video.small_sam3"), SEGMENT)
glee = functools.partial(family, "GLEE", saved("glee.small_glee"), OBJECT)
detect = functools.partial(family, "GLEE, detect", saved("glee.small_glee"), DETECT)
GOOD = {"expect": WORKS, "words": (), "warns": True}


def config(make, name: str, **fields) -> Case:
    last = next(iter(fields)).rpartition("__")[2]
    return make(name, fields_of(CONFIG, **fields), words=(last,))


def bad(make, name: str, words=("model",), **fields) -> Case:
    return make(name, fields_of(CONFIG, **fields), words=words)


DETECTOR, BACKBONE = "detector_config", "backbone_config"
EVA = {"model_type": "glee_eva02", "hidden_size": 1 << 17, "num_hidden_layers": 1024}

CASES = [
    grounded("a view too small for the detector"),
    config(grounded, "10^9 queries", detector_config__num_queries=10**9),
    config(grounded, "10^6 layers", detector_config__encoder_layers=10**6),
    config(grounded, "a width of 0", detector_config__d_model=0),
    bad(grounded, "a width of 48", detector_config__d_model=48),
    config(grounded, "a vocabulary of 10^9", detector_config__text_config__vocab_size=10**9),
    bad(grounded, "a vocabulary of 10^7", detector_config__text_config__vocab_size=10**7),
    bad(grounded, "positions of 10^9", detector_config__text_config__max_position_embeddings=10**9),
    bad(grounded, "heads that do not divide", detector_config__encoder_attention_heads=3),
    config(grounded, "an image of 10^6 pixels", mask_config__image_size=10**6),
    config(grounded, "10^9 memories", mask_config__num_maskmem=10**9),
    config(grounded, "no frames to look at", num_detection_frames=0),
    config(grounded, "10^9 frames to look at", num_detection_frames=10**9),
    bad(grounded, "a threshold that is NaN", no_target_threshold=float("nan")),
    bad(grounded, "another detector", ("model_type",), detector_config__model_type="bert"),
    bad(
        grounded,
        "a detector of its own code",
        detector_config__auto_map={"AutoConfig": "evil.C"},
        detector_config__model_type="x",
    ),
    bad(grounded, "a detector that is text", detector_config="x"),
    bad(
        grounded,
        "a backbone elsewhere",
        detector_config__backbone="../outside",
        detector_config__use_timm_backbone=True,
    ),
    bad(grounded, "a mask model that is a list", mask_config=[1]),
    bad(grounded, "a field in the place of a method", ("from_dict",), from_dict=1),
    bad(grounded, "depths that are empty", detector_config__backbone_config__depths=[]),
    bad(grounded, "10^6 windows", detector_config__backbone_config__window_size=10**6),
    bad(grounded, "text of more tokens than positions", detector_config__max_text_len=1),
    bad(grounded, "patches of 1024", detector_config__backbone_config__patch_size=1024),
    grounded(
        "processor, a size of 10^6",
        fields_of(SETTINGS, image_processor__size={"shortest_edge": 10**6, "longest_edge": 10**6}),
    ),
    grounded(
        "processor, a size of 0", fields_of(SETTINGS, image_processor__size={"shortest_edge": 0, "longest_edge": 0})
    ),
    grounded(
        "processor, padding of 10^6", fields_of(SETTINGS, image_processor__pad_size={"height": 10**6, "width": 10**6})
    ),
    grounded("processor, a deviation of 0", fields_of(SETTINGS, image_processor__image_std=[0.0, 0.0, 0.0])),
    grounded("a processor that is a FIFO", anew(SETTINGS, fifo)),
    grounded("weights cut short", lambda work: os.truncate(work / "model/model.safetensors", 5000)),
    sam3("good", writes=("out.mp4",), **GOOD),
    bad(sam3, "masks of 10^6 pixels", sam3_config__low_res_mask_size=10**6),
    bad(sam3, "masks of 0 pixels", sam3_config__low_res_mask_size=0),
    bad(sam3, "10^9 frames of delay", sam3_config__hotstart_delay=10**12),
    bad(sam3, "a delay below 0", sam3_config__hotstart_delay=-1),
    bad(sam3, "no objects", sam3_config__max_num_objects=0),
    bad(sam3, "a threshold that is NaN", sam3_config__score_threshold_detection=float("nan")),
    sam3(
        "never refreshed", fields_of(CONFIG, sam3_config__recondition_every_nth_frame=0), writes=("out.mp4",), **GOOD
    ),
    config(sam3, "10^6 layers", sam3_config__detector_config__detr_encoder_config__num_layers=10**6),
    config(sam3, "10^9 queries", sam3_config__detector_config__detr_decoder_config__num_queries=10**9),
    bad(sam3, "10^5 queries", sam3_config__detector_config__detr_decoder_config__num_queries=10**5),
    config(sam3, "an image of 10^6 pixels", sam3_config__tracker_config__image_size=10**6),
    bad(sam3, "images of another side", sam3_config__detector_config__vision_config__backbone_config__image_size=1008),
    bad(sam3, "a tracker that is text", sam3_config__tracker_config="x"),
    bad(
        sam3,
        "a detector of its own code",
        sam3_config__detector_config__auto_map={"AutoConfig": "evil.C"},
        sam3_config__detector_config__model_type="x",
    ),
    bad(sam3, "a hole of 10^12 pixels", sam3_config__fill_hole_area=10**12),
    sam3("processor, masks of 10^6 pixels", fields_of(SETTINGS, mask_size=10**6)),
    sam3("weights cut short", lambda work: os.truncate(work / "model/model.safetensors", 5000)),
    glee("good", writes=("out.png",), **GOOD),
    config(glee, "a crop of 10^7 pixels", prompt_crop_size=10**7),
    config(glee, "a crop of 50000 pixels", prompt_crop_size=50_000),
    config(glee, "a crop of 0 pixels", prompt_crop_size=0),
    config(glee, "a crop of no part", prompt_crop_factor=0.0),
    bad(glee, "a crop that is NaN", prompt_crop_factor=float("nan")),
    config(glee, "10^7 points of a prompt", prompt_num_points=10**7),
    config(glee, "no points of a prompt", prompt_num_points=0),
    config(glee, "a prompter that is unknown", visual_prompter="os"),
    config(glee, "features that are unknown", prompt_features="os"),
    bad(glee, "no prompter", ("prompt",), visual_prompter=None),
    bad(glee, "10^7 labels", ("label_tables",), label_tables={"a": 10**7}),
    bad(glee, "1000 tables", ("label_tables",), label_tables={f"t{number}": 1 for number in range(1000)}),
    bad(glee, "tables that are a list", label_tables=[1]),
    bad(glee, "labels that are text", label_tables={"a": "b"}),
    bad(glee, "a table out of the model", ("label_tables",), label_tables={"../x.y": 3}),
    config(glee, "10^7 queries without an object", track_num_negatives=10**9),
    config(glee, "10^5 queries", num_queries=10**6),
    glee("queries beyond the image", fields_of(CONFIG, num_queries=10**5), writes=("out.png",), **GOOD),
    bad(glee, "8192 levels", num_feature_levels=16),
    glee("a width of 48", fields_of(CONFIG, d_model=48), warns=True),
    bad(glee, "a width of 0", d_model=0),
    bad(glee, "a backbone of 2^17 channels", backbone_config=EVA),
    bad(
        glee,
        "a backbone whose grid is 512",
        backbone_config={**EVA, "hidden_size": 64, "num_hidden_layers": 1, "position_grid": 512},
    ),
    bad(glee, "a backbone of text", backbone_config={"model_type": "bert"}),
    bad(glee, "a backbone elsewhere", backbone_config={"model_type": "timm_backbone", "backbone": "../outside"}),
    bad(glee, "a backbone that is a list", backbone_config=[1]),
    config(detect, "a similarity that is unknown", temporal_similarity="os"),
    bad(detect, "a threshold that is NaN", multi_object_threshold=float("nan")),
    config(detect, "groups that do not divide", group_norm_groups=7),
]
