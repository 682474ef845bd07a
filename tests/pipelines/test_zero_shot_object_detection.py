"""Objects by names through transformers' task: its inputs, its results, and one pass for all names."""

import numpy as np
import pytest
from PIL import Image
from transformers.pipelines import ZeroShotObjectDetectionPipeline

import glus_hf
from glus_hf import UserError
from glus_hf.pipelines.zero_shot_object_detection import ObjectsByNamePipeline
from tests.models.glee.small_glee import small_model, small_processor


IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
NAMES = ["red dog", "cat", "circle"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("glee")
    small_model(seed=2).save_pretrained(path)
    small_processor().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def pipe(folder):
    return glus_hf.pipeline("zero-shot-object-detection", model=str(folder), device="cpu")


def test_it_is_a_pipeline_of_the_task(pipe):
    assert type(pipe) is ObjectsByNamePipeline and isinstance(pipe, ZeroShotObjectDetectionPipeline)


def test_results_are_those_of_the_model(pipe):
    found = pipe(IMAGE, candidate_labels=NAMES, threshold=0.5)
    outputs = pipe.model(**pipe.processor(IMAGE, NAMES))
    (expected,) = pipe.processor.post_process_object_detection(outputs, [(40, 60)], threshold=0.5)
    assert [each["label"] for each in found] == [NAMES[label] for label in expected["labels"]] and len(found) > 1
    assert [each["score"] for each in found] == pytest.approx(expected["scores"].tolist(), abs=1e-5)
    corners = [[each["box"][name] for name in ("xmin", "ymin", "xmax", "ymax")] for each in found]
    assert corners == expected["boxes"].int().tolist()
    scores = [each["score"] for each in found]
    assert scores == sorted(scores, reverse=True) and min(scores) > 0.5
    assert pipe(IMAGE, candidate_labels=NAMES, threshold=0.5, top_k=1) == found[:1]


def test_the_inputs_of_transformers(pipe, tmp_path):
    IMAGE.save(tmp_path / "image.png")
    alone = pipe(IMAGE, candidate_labels=NAMES)
    assert pipe(str(tmp_path / "image.png"), candidate_labels=NAMES) == alone
    assert pipe(IMAGE, candidate_labels="red dog, cat, circle") == alone
    assert pipe([IMAGE, IMAGE], candidate_labels=NAMES) == [alone, alone]
    samples = [{"image": IMAGE, "candidate_labels": NAMES}, {"image": IMAGE, "candidate_labels": ["cat"]}]
    first, second = pipe(samples)
    assert first == alone and {each["label"] for each in second} <= {"cat"}


def test_one_pass_for_all_names(pipe):
    passes = []
    hook = pipe.model.model.backbone.register_forward_hook(lambda *_: passes.append(1))
    pipe(IMAGE, candidate_labels=NAMES)
    hook.remove()
    assert len(passes) == 1


def test_a_model_in_memory(folder):
    pipe = glus_hf.pipeline("zero-shot-object-detection", model=small_model(), processor=small_processor())
    assert type(pipe) is ObjectsByNamePipeline


@pytest.mark.parametrize("names", [[], None])
def test_without_names(pipe, names):
    with pytest.raises(UserError, match="names") as error:
        pipe(IMAGE, candidate_labels=names)
    assert "\n" not in str(error.value)


def test_masks_on_request(pipe):
    plain = pipe(IMAGE, candidate_labels=NAMES, threshold=0.3)
    found = pipe(IMAGE, candidate_labels=NAMES, threshold=0.3, masks=True)
    assert [{name: value for name, value in each.items() if name != "mask"} for each in found] == plain
    assert found and all(each["mask"].shape == (40, 60) and each["mask"].dtype == bool for each in found)


def test_a_family_that_finds_no_names_is_refused():
    with pytest.raises(UserError, match="glus-tiny does not find objects by names; use a model of the family glee"):
        glus_hf.pipeline("zero-shot-object-detection", model="glus-tiny")


@pytest.mark.parametrize("threshold", [float("nan"), None, "high"])
def test_a_threshold_that_is_no_number_is_refused(pipe, threshold):
    with pytest.raises(UserError, match=f"threshold must be a finite number, got {threshold!r}"):
        pipe(IMAGE, candidate_labels=NAMES, threshold=threshold)
