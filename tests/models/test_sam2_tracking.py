"""The pruned session of SAM-2 against the whole one, and against transformers' own loop."""

import torch
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

from glus_hf.models.sam2_tracking import encode_frame, start_tracking, track_frame, turned_back
from tests.models.grounded.small_grounded import SIDE, noise, parts, small_processor


BOX = torch.tensor([0.2, 0.2, 0.7, 0.8])
SIZE = (48, 64)


def views(num_frames):
    session = small_processor().init_video_session(noise(num_frames), "the dog")
    return torch.cat([session.mask_view(index, SIDE) for index in range(num_frames)])


@torch.no_grad()
def follow(sam, pixels, prune, first=0):
    masks = parts()[1]
    frames = [image[None] for image in pixels]
    steps = enumerate(frames, start=first)
    return torch.stack([track_frame(masks, sam, encode_frame(masks, each), each, at, prune)[0] for at, each in steps])


def test_pruning_leaves_the_masks_as_they_are():
    masks, pixels = parts()[1], views(14)
    whole, pruned = (start_tracking(masks, SIZE, BOX) for _ in range(2))
    expected, found = follow(whole, pixels, prune=False), follow(pruned, pixels, prune=True)
    assert torch.equal(expected, found)
    kept = pruned.output_dict_per_obj[0]["non_cond_frame_outputs"]
    assert len(whole.output_dict_per_obj[0]["non_cond_frame_outputs"]) == 13 and sorted(kept) == [10, 11, 12, 13]
    assert [index for index in kept if "maskmem_features" in kept[index]] == [12, 13]
    assert not pruned.processed_frames


def test_what_pruning_keeps_is_read():
    """Each kept frame matters for the next one: the test above would see a memory that is lost."""
    masks, pixels = parts()[1], views(9)
    sam = start_tracking(masks, SIZE, BOX)
    before = follow(sam, pixels[:8], prune=True)
    assert torch.isfinite(before).all()
    recent = sam.output_dict_per_obj[0]["non_cond_frame_outputs"]
    del recent[min(recent)]
    other = start_tracking(masks, SIZE, BOX)
    expected = follow(other, pixels, prune=True)[-1]
    assert not torch.equal(follow(sam, pixels[8:], prune=True, first=8)[0], expected)


def test_same_masks_as_the_loop_of_transformers():
    masks, pixels = parts()[1], views(7)
    sam = Sam2VideoInferenceSession(pixels, *SIZE, dtype=torch.float32)
    index = sam.obj_id_to_idx(1)
    labels = torch.tensor([[[2, 3]]], dtype=torch.int32)
    sam.add_point_inputs(index, 0, {"point_coords": (BOX * SIDE).view(1, 1, 2, 2), "point_labels": labels})
    sam.obj_with_new_inputs = [1]
    expected = [output.pred_masks[0, 0] for output in masks.propagate_in_video_iterator(sam, start_frame_idx=0)]
    found = follow(start_tracking(masks, SIZE, BOX), pixels, prune=True)
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-4, rtol=1e-4)


def test_the_way_back_starts_from_the_key_frame():
    """As a session that segments the key frame itself, then goes on."""
    masks, pixels = parts()[1], views(6)
    forward = start_tracking(masks, SIZE, BOX)
    follow(forward, pixels[2:], prune=True)
    back = follow(turned_back(masks, SIZE, forward), pixels[:2].flip(0), prune=True, first=1)
    alone = follow(start_tracking(masks, SIZE, BOX), pixels[:3].flip(0), prune=True)
    assert torch.equal(back, alone[1:])
