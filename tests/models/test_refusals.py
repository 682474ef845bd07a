"""Errors of libraries in a model that others made are one line; those of ours stay."""

import pytest
import torch

import glus_hf
from glus_hf.errors import CheckpointError, UserError
from glus_hf.models.refusals import explained, explained_outputs
from tests.models.glus.small_glus import small_model


def refused():
    yield 1
    torch.ones(2) @ torch.ones(3)


def test_a_model_of_others_is_named():
    model = small_model()
    model.name_or_path = "folder/model"
    outputs = explained_outputs(model, refused())
    assert next(outputs) == 1
    with pytest.raises(CheckpointError, match="^folder/model: the model cannot compute .RuntimeError: .*; use config"):
        next(outputs)


def test_a_defect_of_ours_and_errors_of_users_stay():
    bundled = glus_hf.GLUSForVideoSegmentation.from_pretrained("glus-tiny")
    with pytest.raises(RuntimeError) as defect:
        list(explained_outputs(bundled, refused()))
    assert not isinstance(defect.value, CheckpointError)
    with pytest.raises(UserError, match="^no such frame$"), explained(small_model()):
        raise UserError("no such frame")
    with pytest.raises(torch.OutOfMemoryError), explained(small_model()):
        raise torch.OutOfMemoryError("out of memory")
