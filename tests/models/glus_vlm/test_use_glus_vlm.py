"""A pair in the hands of a user: the pipeline, and the sizes of its parts."""

import pytest

import glus_hf
from glus_hf.models.model_summary import part_sizes
from tests.models.glus_vlm.small_glus_vlm import noise, small_model, small_processor


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    small_model(answers=False).save_pretrained(folder)
    small_processor().save_pretrained(folder)
    return str(folder)


def test_the_pipeline_takes_it(folder):
    results = glus_hf.pipeline(model=folder)(noise(5), ["the red circle", "green square"])
    assert [result["label"] for result in results] == ["the red circle", "green square"]
    assert all(result["masks"].shape == (5, 48, 64) for result in results)


def test_every_part_is_counted_once(folder):
    sizes = part_sizes(folder)
    assert [part.name for part in sizes] == ["vlm", "mask_model", "seg_projection", "all"]
    assert sum(part.parameters for part in sizes[:-1]) == sizes[-1].parameters
