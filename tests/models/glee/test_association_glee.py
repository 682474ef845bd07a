"""All objects with a name in a video: how queries are linked, which tracks are chosen, and what is kept in memory."""

import contextlib
import io
import itertools
import weakref

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy.optimize import linear_sum_assignment
from torch.nn import functional as F

from glus_hf import GLEEForVideoSegmentation, GLEEProcessor, UserError
from glus_hf.data.motion_shapes import SHAPES, generate_clip
from glus_hf.models.glee.association_glee import QueryTracks, choose_tracks
from glus_hf.predictions.instance_tracks import InstanceTracks
from tests.models.glee.small_glee import small_eva02, small_model, small_processor


NAMES = ["red dog", "cat"]
VIDEO = np.random.default_rng(0).integers(0, 256, (7, 40, 60, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model():
    return small_model(seed=4)


@pytest.fixture(scope="module")
def processor():
    return small_processor()


def follow(model, processor, video=VIDEO, names=NAMES, **options):
    return list(model.track_instances(processor.init_instance_session(video, names), **options))


# ---- linking


def test_queries_are_assigned_by_the_mean_of_the_last_three_frames():
    """Against all permutations."""
    frames = torch.randn(6, 4, 5, generator=torch.Generator().manual_seed(1))
    tracks, aligned = QueryTracks(), []
    for embeddings in frames:
        found = tracks.align(embeddings).tolist()
        if aligned:
            mean = torch.stack(aligned[-3:]).mean(0)
            alike = F.cosine_similarity(mean[:, None], embeddings[None], dim=-1)
            total = lambda order, alike=alike: sum(alike[track, query].item() for track, query in enumerate(order))
            assert found == list(max(itertools.permutations(range(4)), key=total))
        else:
            assert found == [0, 1, 2, 3]
        aligned.append(embeddings[found])


def test_the_second_reading_finds_the_tracks_of_the_first_in_another_order():
    frames = torch.randn(4, 6, 8, generator=torch.Generator().manual_seed(2))
    order = torch.tensor([3, 0, 5, 1, 2, 4])
    first, second = QueryTracks(), QueryTracks(start=frames[0])
    for embeddings in frames:
        expected = embeddings[first.align(embeddings)]
        torch.testing.assert_close(embeddings[order][second.align(embeddings[order])], expected)


def test_pairs_of_track_and_name_or_the_best_name_of_each():
    logits = torch.tensor([[3.0, 2.0], [1.0, -5.0], [-2.0, 0.0]])
    pairs, best = choose_tracks(logits, 4, False, 0.4), choose_tracks(logits, 4, True, 0.4)
    assert (pairs.tracks.tolist(), pairs.labels.tolist()) == ([0, 0, 1, 2], [0, 1, 0, 1])
    assert (best.tracks.tolist(), best.labels.tolist()) == ([0, 1, 2], [0, 0, 1])
    assert choose_tracks(logits, 2, False, 0.0).tracks.tolist() == [0, 0]
    torch.testing.assert_close(best.scores, torch.tensor([3.0, 1.0, 0.0]).sigmoid())


# ---- videos


def test_it_is_what_a_plain_loop_finds(model, processor):
    """Every frame by the image model, linked by SciPy."""
    outputs, memory, total = [], [], 0
    for frame in VIDEO:
        with torch.no_grad():
            output = model(**processor(frame, NAMES))
        embeddings = F.normalize(output.query_embeddings[0], dim=-1)
        order = torch.arange(len(embeddings))
        if memory:
            mean = F.normalize(torch.stack(memory[-3:]).mean(0), dim=-1)
            order = torch.tensor(linear_sum_assignment(1 - (mean @ embeddings.T).numpy())[1])
        memory.append(output.query_embeddings[0][order])
        total = total + output.logits[0][order]
        outputs.append((output, order))
    scores, flat = (total / len(VIDEO)).sigmoid().flatten().topk(5)
    found = follow(model, processor, top_k=5)
    assert [output.frame_idx for output in found] == list(range(7))
    for ours, (output, order) in zip(found, outputs, strict=True):
        assert ours.object_ids == [1, 2, 3, 4, 5] and ours.labels == (flat % 2).tolist()
        torch.testing.assert_close(ours.scores, scores, rtol=1e-4, atol=1e-5)
        queries = order[flat // 2]
        logits = F.interpolate(output.pred_masks[:, queries], output.padded_size, mode="bilinear")
        (size,) = processor.image_processor(VIDEO[0]).resized_sizes
        logits = F.interpolate(logits[..., : size[0], : size[1]], (40, 60), mode="bilinear")[0]
        torch.testing.assert_close(ours.mask_logits, logits, rtol=1e-3, atol=1e-3)
        assert ours.mask_cells.tolist() == (output.pred_masks[0, queries] > 0).flatten(1).sum(1).tolist()


def test_batch_size_changes_nothing(model, processor):
    one, three = follow(model, processor, batch_size=1), follow(model, processor, batch_size=3)
    for first, second in zip(one, three, strict=True):
        assert first.labels == second.labels
        torch.testing.assert_close(first.mask_logits, second.mask_logits, rtol=1e-4, atol=1e-4)


def test_masks_are_empty_where_the_name_is_not_seen(model, processor):
    plain = follow(model, processor, top_k=6)
    threshold = torch.stack([output.frame_scores for output in plain]).median().item()
    for with_all, output in zip(plain, follow(model, processor, top_k=6, frame_threshold=threshold), strict=True):
        is_absent = with_all.frame_scores < threshold
        assert (output.mask_logits[is_absent] < 0).all() and (output.mask_cells[is_absent] == 0).all()
        torch.testing.assert_close(output.mask_logits[~is_absent], with_all.mask_logits[~is_absent])


def test_nothing_above_the_threshold(model, processor):
    found = follow(model, processor, threshold=0.9999)
    assert len(found) == 7 and found[0].mask_logits.shape == (0, 40, 60) and found[0].object_ids == []
    tracks = InstanceTracks(2)
    for output in found:
        tracks.add(output)
    assert tracks.youtube_vis(1) == tracks.tao(1) == []


@pytest.mark.parametrize("length", [10, 40])
def test_memory_does_not_grow_with_the_video(model, processor, length):
    """No more than two batches of frames live at once, and every frame is read twice."""
    alive, reads = weakref.WeakSet(), [0] * length
    decode = model.model.decode

    class Frames:
        def __len__(self):
            return length

        def __getitem__(self, index):
            reads[index] += 1
            return VIDEO[index % len(VIDEO)]

    def counted(*args, **kwargs):
        output = decode(*args, **kwargs)
        alive.add(output.mask_features)
        assert len(alive) <= 2
        return output

    session = processor.init_instance_session(VIDEO[:1], NAMES)
    session.frames = Frames()
    model.model.decode = counted
    try:
        for output in model.track_instances(session, batch_size=2, top_k=3):
            assert output.mask_logits.shape[0] == 3
    finally:
        del model.model.decode
    assert [count - (index == 0) * (reads[0] - 2) for index, count in enumerate(reads)] == [2] * length


def test_pro_follows_objects_too(processor):
    found = follow(small_model(backbone_config=small_eva02()), processor, top_k=4)
    assert len(found) == 7 and found[0].mask_logits.shape == (4, 40, 60)


def test_bad_input_is_refused(model, processor):
    with pytest.raises(UserError, match="no category names"):
        processor.init_instance_session(VIDEO, [])
    with pytest.raises(UserError, match="top_k must be 1 or more, got 0"):
        follow(model, processor, top_k=0)
    with pytest.raises(UserError, match="training mode"):
        follow(small_model().train(), processor)


# ---- glee-tiny


def test_glee_tiny_follows_shapes():
    """By the measure of YouTube-VIS: the IoU of all masks of a track, which COCO's evaluation computes for the frames
    of a video below each other."""
    model, processor = (
        GLEEForVideoSegmentation.from_pretrained("glee-tiny"),
        GLEEProcessor.from_pretrained("glee-tiny"),
    )
    names, annotations, results = list(SHAPES), [], []
    for video in range(6):
        clip = generate_clip(video, split="test", size=128, num_frames=6)
        for sprite, masks in zip(clip.scene.sprites, clip.masks, strict=True):
            if masks.any():
                rle = tall(masks)
                annotation = {"image_id": video, "category_id": names.index(sprite.shape) + 1, "segmentation": rle}
                area, box = int(masks.sum()), coco_mask.toBbox(rle).tolist()
                annotations.append({**annotation, "id": len(annotations) + 1, "iscrowd": 0, "area": area, "bbox": box})
        tracks = InstanceTracks(len(names))
        for output in follow(model, processor, clip.frames, names):
            tracks.add(output)
        for result in tracks.youtube_vis(video):
            masks = [None if rle is None else coco_mask.decode(rle) for rle in result.pop("segmentations")]
            masks = [np.zeros((128, 128)) if mask is None else mask for mask in masks]
            results.append({**result, "image_id": result.pop("video_id"), "segmentation": tall(masks)})
    assert average_precision(annotations, results, 6, len(names)) > 0.4


def tall(masks):
    return coco_mask.encode(np.asfortranarray(np.concatenate([np.asarray(mask, np.uint8) for mask in masks])))


def average_precision(annotations, results, videos, categories):
    """AP50."""
    truth = COCO()
    truth.dataset = {
        "images": [{"id": video, "height": 6 * 128, "width": 128} for video in range(videos)],
        "annotations": annotations,
        "categories": [{"id": number + 1} for number in range(categories)],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[1]
