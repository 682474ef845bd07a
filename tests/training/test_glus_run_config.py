"""Configuration files of GLUS: what is wrong is said in one line."""

import pytest

from glus_hf.errors import ConfigError
from glus_hf.training.glus_run_config import load_run_config
from tests.training.runs.run_files import DATA, write


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"modle": {}}, "unknown key modle; did you mean model?"),
        ({"training": {"learning_rte": 1}}, "unknown key training.learning_rte; did you mean training.learning_rate?"),
        ({"training": {"lora_rnk": 1}}, "unknown key training.lora_rnk; did you mean training.lora_rank?"),
        ({"learning_rate": 1}, "unknown key learning_rate; did you mean training.learning_rate?"),
        ({"model": {"max_steps": 1}}, "unknown key model.max_steps; did you mean training.max_steps?"),
        ({"data": {"train": [{"nam": "mevis"}]}}, "unknown key data.train.0.nam; did you mean data.train.0.name?"),
        ({"model": {"zzz": 1}}, "unknown key model.zzz; valid keys are pretrained, dtype"),
        ({"training": {"zzz": 1}}, "unknown key training.zzz; valid keys nearest to it are "),
        ({"training": {"learning_rate": "fast"}}, "training.learning_rate must be a number, got 'fast'"),
        ({"training": {"max_steps": True}}, "training.max_steps must be a number, got True"),
        ({"training": {"bf16": "yes please"}}, "training.bf16 must be true or false, got 'yes please'"),
        ({"training": [1]}, "training must be keys with values"),
        ({"data": {"train": {"name": "mevis"}}}, "data.train must be a list of datasets"),
        ({"data": {"train": [{"split": "train"}]}}, "data.train.0 has no name"),
        ({"model": {"dtype": "int8"}}, "model.dtype must be one of float32, bfloat16, float16, got 'int8'"),
        ({"data": {}}, "data.train is empty"),
        ({"training": {"max_steps": 1.5}}, "training.max_steps must be a whole number, got 1.5"),
        ({"training": {"seed": float("inf")}}, "training.seed must be a finite number, got inf"),
        ({"training": {"max_steps": None}}, "training.max_steps must be a number, got None"),
        ({"training": {"lora_targets": 5}}, "training.lora_targets must be a list, got 5"),
        ({"training": {"lora_targets": [5]}}, "training.lora_targets must be a list of texts, got [5]"),
        ({"training": {"report_to": 5}}, "training.report_to must be text or a list, got 5"),
        ({"training": {"output_dir": 5}}, "training.output_dir must be text, got 5"),
        ({"training": {"output_dir": None}}, "training.output_dir is missing"),
        ({"export": 5}, "export must be text, got 5"),
        ({"model": {"pretrained": 5}}, "model.pretrained must be text, got 5"),
        ({"model": {"pretrained": ""}}, "model.pretrained is missing"),
        ({"model": {"options": 5}}, "model.options must be keys with values, got 5"),
        ({"model": {"options": {"num_maskmmem": 0}}}, "unknown key model.options.num_maskmmem; did you mean model."),
        ({"model": {"options": {"num_maskmem": -1}}}, "model.options.num_maskmem must be a whole number, 0 or more"),
        (
            {"model": {"options": {"num_query_frames": 0}}},
            "model.options.num_query_frames must be a whole number, 1 or",
        ),
        ({"validation": {"max_videos": -1}}, "validation.max_videos must be a whole number, 0 or more, got -1"),
        ({"data": {**DATA["data"], "mask_overlap": "foo"}}, "data.mask_overlap must be one of union, sum, got 'foo'"),
        ({"model": {"attn_implementation": "foo"}}, "model.attn_implementation must be one of null, sdpa, eager, "),
        ({"data": {"train": [{"name": "mevis", "weight": 0}]}}, "data.train.0.weight must be more than 0, got 0"),
        ({"data": {**DATA["data"], "samples_per_epoch": 0}}, "data.samples_per_epoch must be 1 or more, got 0"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, content, message):
    file = write(tmp_path, {**DATA, **content})
    with pytest.raises(ConfigError) as caught:
        load_run_config(file)
    assert str(caught.value).startswith(f"{file}: {message}") and "\n" not in str(caught.value)
