"""The mask of a model at its key frame, carried through the video by plain SAM-2."""

import pytest
import torch
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

from glus_hf import CheckpointError, GLUSForVideoSegmentation, UserError, pipeline
from glus_hf.inference.sam2_propagation import Sam2Propagation, load_sam2
from glus_hf.models.sam2_tracking import mask_view
from tests.models.grounded.small_grounded import SIDE, noise, parts, small_model
from tests.models.tiny_family import TinyConfig, TinyForVideoSegmentation, TinyProcessor


MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FRAMES = noise(9)
TEXTS = ["the bright pixels", "the dark pixels"]


def carried():
    return Sam2Propagation(TinyForVideoSegmentation(TinyConfig(brightness=127)).eval(), parts()[1])


def segmented(model, key_frame=None, texts=TEXTS):
    session = TinyProcessor().init_video_session(FRAMES, texts)
    return list(model.propagate_in_video_iterator(session, key_frame=key_frame))


def by_frame(outputs, text):
    """Logits and scores `[T]` of an expression, in frame order."""
    found = {}
    for output in outputs:
        if text in output.text_indices:
            row = output.text_indices.index(text)
            assert output.frame_idx not in found
            found[output.frame_idx] = output.mask_logits[row], float(output.scores[row])
    assert sorted(found) == list(range(len(FRAMES)))
    return torch.stack([found[index][0] for index in range(len(FRAMES))]), [found[i][1] for i in range(len(FRAMES))]


@torch.no_grad()
def test_the_way_forward_is_the_loop_of_transformers():
    own = TinyForVideoSegmentation(TinyConfig(brightness=127)).eval()
    mask = segmented(own)[0].mask_logits[1] > 0
    model, size = parts()[1], FRAMES[0].shape[:2]
    pixels = torch.cat([mask_view(frame, SIDE, MEAN, STD) for frame in FRAMES])
    sam = Sam2VideoInferenceSession(pixels, *size, dtype=torch.float32)
    side = torch.nn.functional.interpolate(
        mask[None, None].float(), (SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True
    )
    sam.add_mask_inputs(sam.obj_id_to_idx(1), 0, (side >= 0.5).float())
    sam.obj_with_new_inputs = [1]
    expected = torch.cat([each.pred_masks for each in model.propagate_in_video_iterator(sam, start_frame_idx=0)])
    expected = torch.nn.functional.interpolate(expected, size=size, mode="bilinear", align_corners=False)[:, 0]
    found, _ = by_frame(segmented(carried()), 1)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_every_expression_starts_from_its_own_key_frame():
    together = segmented(carried(), key_frame=[6, 2])
    order = [output.frame_idx for output in together]
    assert order == [2, 3, 4, 5, 6, 7, 8, 5, 4, 3, 2, 1, 0]
    for text, start in enumerate([6, 2]):
        alone, scores = by_frame(segmented(carried(), key_frame=start, texts=[TEXTS[text]]), 0)
        found, found_scores = by_frame(together, text)
        torch.testing.assert_close(found, alone)
        assert found_scores == pytest.approx(scores)


def test_the_words_are_read_at_the_key_frame_alone():
    """The second half of the video is another; what is followed does not change with its bright pixels."""
    model, read = carried(), []
    tiny = model.model
    inner = tiny.propagate_in_video_iterator

    def counted(session, **kwargs):
        for output in inner(session, **kwargs):
            read.append(output.frame_idx)
            yield output

    tiny.propagate_in_video_iterator = counted
    segmented(model, key_frame=4)
    assert read == [4]


def test_without_a_mask_at_the_key_frame_all_are_empty():
    nothing = Sam2Propagation(TinyForVideoSegmentation(TinyConfig(brightness=255)).eval(), parts()[1])
    outputs = segmented(nothing, texts=[TEXTS[0]])
    assert all((output.mask_logits == -100).all() and output.scores == 0 for output in outputs)
    assert [output.missing for output in outputs] == [[0]] * len(FRAMES)


def test_a_model_with_sam2_carries_its_own_masks():
    model = small_model()
    assert Sam2Propagation(model).mask_model is model.mask_model


def test_models_without_sam2_say_so():
    with pytest.raises(UserError, match="no SAM-2 of its own; name one, as facebook/sam2.1-hiera-tiny"):
        Sam2Propagation(TinyForVideoSegmentation(TinyConfig()))


def test_sam2_of_a_folder(tmp_path):
    parts()[1].save_pretrained(tmp_path)
    loaded = load_sam2(str(tmp_path))
    assert loaded.image_size == SIDE and not loaded.training
    with pytest.raises(CheckpointError, match="no such folder"):
        load_sam2("no-such-sam2")


def test_sizes_that_transformers_cannot_follow(tmp_path):
    model = GLUSForVideoSegmentation.from_pretrained("glus-tiny")
    with pytest.raises(UserError, match="the model's own SAM-2 has other sizes .*; name one"):
        Sam2Propagation(model)


def test_the_pipeline_takes_it():
    pipe = pipeline(model="glus-tiny", device="cpu")
    pipe.model = Sam2Propagation(pipe.model, parts()[1])
    result = pipe(FRAMES[:3], "the red circle")
    assert result["masks"].shape == (3, *FRAMES[0].shape[:2])
