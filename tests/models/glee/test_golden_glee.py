"""GLEE against golden numbers of the released modules, of a miniature with random weights."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.models.glee.check_golden import GROUPS, check_swin, main
from tests.models.glee.original_folders import Miniature
from tests.paths import FIXTURES


FOLDER = FIXTURES / "glee_tiny"
LEAST = {"category": 54, "referring": 43, "video_prompt": 41, "train_category": 329, "train_referring": 329}
LEAST |= {"image_prompt_mask": 19, "image_prompt_point": 23, "image_prompt_box": 22}
LEAST |= {"train_prompt": 335, "train_video": 334}


@pytest.fixture(scope="module")
def mini():
    return Miniature(FOLDER)


@pytest.mark.parametrize("group", GROUPS)
def test_equals_the_released_modules(mini, group):
    differences = GROUPS[group](mini)
    assert len(differences) >= LEAST[group]
    assert not [difference for difference in differences if difference.is_past]


def test_the_swin_equals_the_released_one(mini):
    assert max(difference.value for difference in check_swin(mini)) < 1e-5


def test_the_program_finds_a_changed_weight(tmp_path, capsys):
    """A weight that is off by a thousandth is past the limits, and the program says so."""
    for file in FOLDER.iterdir():
        (tmp_path / file.name).symlink_to(file)
    weights = load_file(FOLDER / "checkpoint.safetensors")
    weights["glee.predictor.decoder.layers.0.linear1.weight"] *= 1.001
    (tmp_path / "checkpoint.safetensors").unlink()
    save_file(weights, tmp_path / "checkpoint.safetensors")
    assert main([str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "PAST ITS LIMIT: category.decoder.layer0.raw" in printed
    assert "PAST ITS LIMIT: category.pixel" not in printed  # what comes before


def test_the_released_mask_of_padding_has_no_effect(mini):
    """With a mask that works, referring features differ from the released ones."""
    with torch.no_grad():
        masked = mini.model(fusion_text_mask=True)
        expression = mini.tokenize([mini.settings["expression"]])
        output = masked(mini.pixels("referring.frames")[:1], **expression)
    golden = mini.golden["referring.out.layer2.pred_logits"][:1]
    assert (output.logits - golden).abs().max() > 0.01 * golden.abs().max()
