"""Objects followed from prompts: who answers, from what, in which order, and to whom a pixel belongs."""

import pytest
import torch

from glus_hf import UserError
from glus_hf.data.motion_shapes import generate_clip
from glus_hf.models.glee.tracking_glee import merge_objects
from tests.models.glee.small_glee import small_model, small_processor


CLIP = generate_clip(3, split="test", size=64, num_frames=4)
FRAMES, MASK = list(CLIP.frames), CLIP.masks[0, 0]
BOX = [8, 10, 40, 44]


@pytest.fixture(scope="module")
def pair():
    return small_model(seed=2), small_processor()


def run(pair, prompts, frames=FRAMES, **options):
    model, processor = pair
    session = processor.init_video_session(frames)
    for frame_idx, object_id, prompt in prompts:
        session.add_prompt(frame_idx, object_id, **prompt)
    return list(model.propagate_in_video_iterator(session, **options))


def places(outputs):
    return [(output.frame_idx, output.object_ids) for output in outputs]


def masks_of(outputs):
    return {
        (output.frame_idx, name): mask
        for output in outputs
        for name, mask in zip(output.object_ids, output.mask_logits > 0, strict=True)
    }


def test_a_mask_is_kept_and_the_rest_is_decoded_with_what_was_read_of_it(pair):
    outputs = run(pair, [(0, 4, {"mask": MASK})])
    assert places(outputs) == [(frame, [4]) for frame in range(4)]
    torch.testing.assert_close(masks_of(outputs)[0, 4], torch.from_numpy(MASK))
    assert outputs[0].scores.tolist() == [1.0]
    model, processor = pair
    inputs = processor(FRAMES[:2], segmentation_maps=[MASK, MASK])
    with torch.no_grad():
        text = model.model.encode_text(inputs["input_ids"], inputs["attention_mask"], is_referring=False)
        pixels, first = inputs["pixel_values"], inputs["prompt_masks"][:1]
        prompt = model.model.read_prompt(pixels[:1], model.model.encode_images(pixels[:1]), text, first, ["mask"])
        final = model.model.decode(model.model.encode_images(pixels[1:]), text, prompt).final
    assert outputs[1].query_indices == [int(final.confidence_logits[0, :, 0].argmax())]


def test_objects_that_come_later_go_back_and_share_no_pixel(pair):
    outputs = run(pair, [(0, 2, {"mask": MASK}), (2, 9, {"box": BOX}), (3, 5, {"points": [20, 20]})])
    forward = [(0, [2]), (1, [2]), (2, [2, 9]), (3, [2, 5, 9])]
    assert places(outputs) == [*forward, (2, [5]), (1, [5, 9]), (0, [5, 9])]
    assert outputs[2].text_indices == [0, 2] and outputs[4].text_indices == [1]
    masks = masks_of(outputs)
    for frame in range(4):
        together = torch.stack([mask for (own, _), mask in masks.items() if own == frame])
        assert together.sum(0).max() <= 1
    assert places(run(pair, [(0, 2, {"mask": MASK}), (2, 9, {"box": BOX})], backward=False)) == forward[:2] + [
        (2, [2, 9]),
        (3, [2, 9]),
    ]


def test_a_second_prompt_of_an_object_is_what_later_frames_see(pair):
    other = CLIP.masks[1, 2]
    one, two = (masks_of(run(pair, prompts)) for prompts in ([(0, 1, {"mask": MASK})], both(other)))
    assert all(torch.equal(one[frame, 1], two[frame, 1]) for frame in (0, 1))
    torch.testing.assert_close(two[2, 1], torch.from_numpy(other))
    assert not torch.equal(one[3, 1], two[3, 1])


def both(other):
    return [(0, 1, {"mask": MASK}), (2, 1, {"mask": other})]


def test_references_differ_from_the_third_frame_on(pair):
    """On the second frame, the frame before is the prompt itself."""
    found = {kind: run(pair, [(0, 1, {"mask": MASK})], reference=kind) for kind in ("first", "previous")}
    first, previous = (masks_of(outputs) for outputs in found.values())
    assert torch.equal(first[1, 1], previous[1, 1]) and not torch.equal(first[2, 1], previous[2, 1])
    joined = run(pair, [(0, 1, {"mask": MASK}), (1, 2, {"box": BOX})], reference="first+previous")
    assert not torch.equal(masks_of(joined)[3, 1], previous[3, 1])


def test_batches_do_not_change_the_result(pair):
    prompts = [(0, 1, {"mask": MASK}), (0, 2, {"box": BOX}), (0, 3, {"points": [[20, 20], [22, 20]]})]
    one, three = (run(pair, prompts, batch_size=size, reference="first+previous") for size in (1, 3))
    for left, right in zip(one, three, strict=True):
        torch.testing.assert_close(left.mask_logits, right.mask_logits, atol=1e-3, rtol=1e-3)


def test_without_crop_tokens(pair):
    model = small_model(seed=2, visual_prompter="fine")
    outputs = run((model, pair[1]), [(0, 1, {"mask": MASK}), (0, 2, {"box": BOX})], reference="first+previous")
    assert places(outputs) == [(frame, [1, 2]) for frame in range(4)]


def test_where_the_model_is_unsure_the_mask_is_empty(pair):
    model = small_model(seed=2, no_target_threshold=1.0)
    masks = masks_of(run((model, pair[1]), [(0, 1, {"mask": MASK})], reference="previous"))
    assert masks[0, 1].any() and not any(masks[frame, 1].any() for frame in (1, 2, 3))


def test_a_pixel_is_of_the_most_probable_object_or_of_none():
    """Against the definition: the background has the product of 1 - p."""
    logits = 3 * torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0))
    probabilities = torch.cat([(1 - logits.sigmoid()).prod(0)[None], logits.sigmoid()])
    owner = probabilities.argmax(0)
    merged = merge_objects(logits) > 0
    for number in range(3):
        assert torch.equal(merged[number], owner == number + 1)
    torch.testing.assert_close(merge_objects(logits[:1]), logits[:1])


def test_what_is_refused(pair):
    model, processor = pair
    for prompt, message in [
        ({}, "got none"),
        ({"mask": MASK, "box": BOX}, "got mask, box"),
        ({"mask": MASK[:10]}, r"must be bool \[64, 64\]"),
        ({"mask": MASK & False}, "marks nothing"),
        ({"box": [70, 0, 80, 9]}, "no area inside"),
        ({"box": [1, 2, 3]}, "four numbers"),
        ({"points": [64, 2]}, "outside the frame"),
        ({"points": [float("nan"), 2]}, "finite"),
    ]:
        with pytest.raises(UserError, match=message):
            processor.init_video_session(FRAMES).add_prompt(0, 1, **prompt)
    session = processor.init_video_session(FRAMES)
    with pytest.raises(UserError, match="0..3"):
        session.add_prompt(4, 1, mask=MASK)
    with pytest.raises(UserError, match="1 or more"):
        session.add_prompt(0, 0, mask=MASK)
    with pytest.raises(UserError, match="neither expressions nor prompts"):
        next(model.propagate_in_video_iterator(session))
    with pytest.raises(UserError, match="has expressions"):
        processor.init_video_session(FRAMES, "dog").add_prompt(0, 1, mask=MASK)
    session.add_prompt(0, 1, mask=MASK)
    with pytest.raises(UserError, match="leave key_frame out"):
        next(model.propagate_in_video_iterator(session, key_frame=1))
    with pytest.raises(UserError, match="reference must be one of"):
        next(model.propagate_in_video_iterator(session, reference="last"))
    with pytest.raises(UserError, match="takes no visual prompts"):
        next(small_model(visual_prompter=None).propagate_in_video_iterator(session))
    with pytest.raises(UserError, match="belong to prompts"):
        next(model.propagate_in_video_iterator(processor.init_video_session(FRAMES, "dog"), backward=False))
