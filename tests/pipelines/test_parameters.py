"""Parameters of the wrong kind are one line, when the pipeline is made and when it is called."""

import numpy as np
import pytest
import torch

import glus_hf
from glus_hf import UserError
from glus_hf.pipelines.parameters import check_parameters


@pytest.mark.parametrize(
    "name, values, words",
    [
        ("batch_size", ["auto", 0, -1, 1.5, True], "batch_size must be a whole number of at least 1, or None"),
        ("max_frames", ["3", 0, 2.0, True], "max_frames must be a positive integer or None"),
        ("context_frames", [5, [1.5], {"a": 1}, [None]], "context_frames must be the name of a strategy or a list"),
        ("threshold", ["0", None, float("nan"), True, [0]], "threshold must be a finite number"),
        ("timeout", [0, "5", None, float("inf")], "timeout must be a positive number of seconds"),
        ("max_download_bytes", [0, None, 1.5, "1GB"], "max_download_bytes must be a positive number of bytes"),
        ("progress", ["yes", 1, None], "progress must be True or False"),
        ("allow_private_addresses", ["no", 0], "allow_private_addresses must be True or False"),
        ("no_target_threshold", ["0", float("nan")], "no_target_threshold must be a finite number"),
    ],
)
def test_a_wrong_kind_is_one_line(name, values, words):
    for value in values:
        with pytest.raises(UserError, match=words) as error:
            check_parameters({name: value})
        assert repr(value) in str(error.value) and "\n" not in str(error.value)


def test_what_is_right_passes():
    check_parameters({"batch_size": None, "max_frames": np.int64(3), "context_frames": "middle", "threshold": 0})
    check_parameters({"context_frames": [0, 1, 2, 3], "threshold": np.float32(0.5), "timeout": 3, "progress": False})
    check_parameters({"context_frames": torch.tensor([0, 1]), "batch_size": 4, "max_download_bytes": 10**6})


def test_the_pipeline_checks_before_any_work():
    with pytest.raises(UserError, match="batch_size must be"):
        glus_hf.pipeline(model="glus-tiny", batch_size="auto")
    pipe = glus_hf.pipeline(model="glus-tiny", device="cpu")
    with pytest.raises(UserError, match="batch_size must be"):
        pipe("no-such-clip.mp4", "the red circle", batch_size="auto")
    with pytest.raises(TypeError, match="unknown parameter batchsize; known are"):
        pipe("no-such-clip.mp4", "the red circle", batchsize=3)
