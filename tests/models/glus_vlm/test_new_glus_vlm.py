"""A checkpoint to start from, put together from the folders of its parts."""

import json

import pytest
import torch

from glus_hf import CheckpointError, GLUSVLMForVideoSegmentation, GLUSVLMProcessor
from glus_hf.cli.main import main
from glus_hf.models.glus_vlm.new_glus_vlm import make_new_model
from tests.models.glus_vlm.saved_parts import save_parts
from tests.models.glus_vlm.small_glus_vlm import PAIRS, noise


@pytest.mark.parametrize(("family", "mask"), [*PAIRS, ("internvl", "sam2_video"), ("llava", "sam2_video")])
def test_every_weight_is_that_of_its_part_and_seg_is_new(tmp_path, family, mask):
    vlm, branch = save_parts(tmp_path, family, mask)
    make_new_model(tmp_path / "vlm", tmp_path / "mask", tmp_path / "pair", num_query_frames=3, progress=False)
    model = GLUSVLMForVideoSegmentation.from_pretrained(tmp_path / "pair").eval()
    processor = GLUSVLMProcessor.from_pretrained(tmp_path / "pair")
    found = model.state_dict()
    for prefix, part in (("vlm.", vlm), ("mask_model.", branch)):
        for name, weight in part.state_dict().items():
            torch.testing.assert_close(
                found[prefix + name][: len(weight)] if weight.ndim else found[prefix + name], weight
            )
    assert model.config.seg_token_id == processor.seg_token_id == len(processor.tokenizer) - 1
    assert len(model.get_input_embeddings().weight) == len(processor.tokenizer)
    assert processor.mask_image_std == [0.25, 0.5, 0.5]
    session = processor.init_video_session(noise(4), "the red circle")
    outputs = list(model.propagate_in_video_iterator(session))
    assert [output.frame_idx for output in outputs] == [0, 1, 2, 3]
    record = json.loads((tmp_path / "pair" / "conversion.json").read_text())
    assert record["kind"] == "new-model" and record["sources"]["vlm"]["name"] == "vlm"
    assert "model.safetensors" in record["sources"]["mask"]["sha256"]


def test_the_command_and_the_same_seed_the_same_file(tmp_path, capsys):
    save_parts(tmp_path, *PAIRS[0])
    parts = ["--vlm", str(tmp_path / "vlm"), "--mask", str(tmp_path / "mask"), "--quiet"]
    for name in ("one", "two"):
        with pytest.raises(SystemExit) as end:
            main(["new-model", *parts, "--frame-times", "-o", str(tmp_path / name)])
        assert end.value.code == 0
    assert f"Wrote {tmp_path / 'one'}" in capsys.readouterr().out
    same = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two")]
    assert same[0] == same[1]
    assert GLUSVLMProcessor.from_pretrained(tmp_path / "one").frame_times is True


def test_wrong_parts_are_refused_in_one_line(tmp_path):
    save_parts(tmp_path, *PAIRS[0])
    with pytest.raises(CheckpointError, match="vlm_config.model_type must be one of llava"):
        make_new_model(tmp_path / "mask", tmp_path / "mask", tmp_path / "pair")
    with pytest.raises(CheckpointError, match="no such folder; pass a folder or a name of the Hub"):
        make_new_model(tmp_path / "vlm", tmp_path / "absent", tmp_path / "pair")
    assert not (tmp_path / "pair").exists()
