"""What a run's settings say of its model."""

import torch

from glus_hf.evaluation.runs.fingerprint import model_settings
from glus_hf.models.device_views import where_made
from tests.models.glus.small_glus import small_model, small_processor


def test_views_of_a_device_and_compiled_stages_are_named_where_there_are_any():
    model, processor = small_model(), small_processor()
    plain = model_settings(model, "small", processor)
    assert set(plain) == {"model"} and plain["model"]["dtype"] == "torch.float32"
    processor.image_processor.views = "device"
    model.compile_stages()
    assert model_settings(model, "small", processor) == {**plain, "views": "device", "compile": True}
    processor.image_processor.views = "pil"
    model.compile_stages(False)
    assert model_settings(model, "small", processor) == plain


def test_views_are_made_on_a_gpu_by_default():
    processor = small_processor()
    assert where_made(processor, torch.device("cuda")) == "device" and where_made(None, torch.device("cuda")) == "pil"
