"""SAM 3 behind the session contract: unions of objects, its delay, what it removed, and memory that does not grow."""

import json

import pytest
import torch

from glus_hf import CheckpointError, Sam3PhraseForVideoSegmentation, Sam3PhraseProcessor, UserError
from glus_hf.hub import resolve_checkpoint
from glus_hf.models.sam3_video import inference_sam3_video as inference
from glus_hf.models.sam3_video.released_sam3_video import convert_sam3
from tests.models.glus_vlm.small_glus_vlm import noise
from tests.models.sam3_video.small_sam3 import small_model, small_processor, tiny_sam3, tokenizer


TEXTS = ["the red car", "dog"]


def run(model, texts, num_frames=10, **options):
    session = small_processor().init_video_session(noise(num_frames), texts)
    return list(model.propagate_in_video_iterator(session, **options))


def by_text(outputs, text):
    return {
        output.frame_idx: (output.mask_logits[row], output.scores[row])
        for output in outputs
        for row, index in enumerate(output.text_indices)
        if index == text
    }


def test_every_frame_once_from_its_key_frame_both_ways():
    outputs = run(small_model(), TEXTS, key_frame=[4, 0])
    order = {text: [o.frame_idx for o in outputs if text in o.text_indices] for text in (0, 1)}
    assert order == {0: [4, 5, 6, 7, 8, 9, 3, 2, 1, 0], 1: list(range(10))}
    assert all(output.mask_logits.shape == (1, 48, 64) for output in outputs)
    assert any(float(output.scores.max()) > 0 for output in outputs)
    assert all(0 <= score <= 1 for output in outputs for score in output.scores.tolist())


def test_masks_are_those_of_its_own_loop_without_forgetting(monkeypatch):
    found = run(small_model(), TEXTS, num_frames=14)
    calls = []
    monkeypatch.setattr(inference, "forget", lambda *arguments: calls.append(1))
    whole = run(small_model(), TEXTS, num_frames=14)
    assert len(calls) == len(found) == 14
    for ours, theirs in zip(found, whole, strict=True):
        assert torch.equal(ours.mask_logits, theirs.mask_logits) and torch.equal(ours.scores, theirs.scores)


def held(sam):
    tensors = [
        value
        for outputs in sam.output_dict_per_obj.values()
        for kept in outputs.values()
        for output in kept.values()
        for value in output.values()
        if isinstance(value, torch.Tensor)
    ]
    return sum(tensor.numel() for tensor in tensors if tensor.numel() > 1000)


def test_what_is_held_does_not_grow_with_the_video(monkeypatch):
    sizes, forget = [], inference.forget

    def measured(config, sam, *arguments):
        forget(config, sam, *arguments)
        sizes.append(held(sam))

    monkeypatch.setattr(inference, "forget", measured)
    run(small_model(), TEXTS[:1], num_frames=24)
    assert 0 < sizes[-4] <= 1.3 * max(sizes[:12])


class Output:
    """One frame of SAM 3 with three objects, two of the first phrase."""

    frame_idx = 5
    suppressed_obj_ids = frozenset()
    obj_id_to_score = {0: 0.5, 1: 0.9, 2: 0.7}

    def __init__(self):
        self.obj_id_to_mask = {i: torch.full((1, 4, 4), -5.0) for i in range(3)}
        for i in range(3):
            self.obj_id_to_mask[i][0, i] = 5.0


def joined(output, removed=()):
    session = small_processor().init_video_session(noise(2), TEXTS)
    sam = inference.start_session(tiny_sam3(), session, [0, 1])
    sam.obj_id_to_prompt_id = {0: 0, 1: 0, 2: 1}
    sam.hotstart_removed_obj_ids = set(removed)
    return inference.join_objects(sam, output, [0, 1], TEXTS, (4, 4))


def test_an_expression_is_all_objects_of_its_phrase():
    output = joined(Output())
    rows = (output.mask_logits > 0).any(-1).tolist()
    assert rows == [[True, True, False, False], [False, False, True, False]]
    torch.testing.assert_close(output.scores, torch.tensor([0.9, 0.7]))


def test_removed_and_suppressed_objects_are_none():
    output = Output()
    output.suppressed_obj_ids = {2}
    found = joined(output, removed=[1])
    assert (found.mask_logits[0] > 0).any(-1).tolist() == [True, False, False, False]
    assert (found.mask_logits[1] == -100).all() and found.scores.tolist() == [0.5, 0.0]


def test_a_folder_of_sam3_becomes_ours(tmp_path):
    tiny_sam3().save_pretrained(tmp_path / "sam3")
    tokenizer().save_pretrained(tmp_path / "sam3")
    (tmp_path / "sam3" / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.5, 0.5]})
    )
    convert_sam3(tmp_path / "sam3", tmp_path / "ours", progress=False)
    model = Sam3PhraseForVideoSegmentation.from_pretrained(tmp_path / "ours").eval()
    torch.testing.assert_close(dict(model.sam3.state_dict()), dict(tiny_sam3().state_dict()), atol=0, rtol=0)
    processor = Sam3PhraseProcessor.from_pretrained(tmp_path / "ours")
    assert processor.mask_size == 112 and processor.mask_image_std == [0.25, 0.5, 0.5]
    session = processor.init_video_session(noise(3), "the red car")
    assert [output.frame_idx for output in model.propagate_in_video_iterator(session)] == [0, 1, 2]
    with pytest.raises(CheckpointError, match="no SAM 3 for videos; use facebook/sam3"):
        convert_sam3(tmp_path / "ours", tmp_path / "again")


def test_the_alias_says_that_the_weights_are_gated(tmp_path, monkeypatch):
    monkeypatch.setenv("GLUS_HF_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointError, match="gated: ask for access on https://huggingface.co/facebook/sam3"):
        resolve_checkpoint("sam3")


def test_what_it_cannot_read_is_refused_in_one_line():
    processor = small_processor()
    with pytest.raises(UserError, match="has no context frames"):
        processor.init_video_session(noise(2), "dog", context_frames=[0])
    with pytest.raises(UserError, match="the limit is 32"):
        processor.clean_expression("red car " * 20)
