"""MotionShapes: deterministic, exact, and its expressions mean what they say."""

import json

import numpy as np
import pytest

from glus_hf.data.motion_shapes import COLORS, DIRECTIONS, HELD_OUT, KINDS, SPLITS, Scene, Sprite, generate_clip
from glus_hf.data.motion_shapes.language import MOTION_PHRASES, Filter, phrase, vocabulary
from glus_hf.data.motion_shapes.write_mevis import write_mevis_layout
from glus_hf.media.rle import decode_rle


def clips(split="test", count=40, **kwargs):
    return [generate_clip(index, split=split, size=64, **kwargs) for index in range(count)]


def still(shape="square", color="red", size="large", at=(0.5, 0.5)):
    return Sprite(shape, color, size, "still", np.array([0.0, 1.0]), np.array([at, at]))


def scene_of(*sprites):
    return Scene(list(sprites), np.full(3, 50.0), np.zeros((7, 7)))


def test_the_same_arguments_give_the_same_clip():
    first, second = generate_clip(3, seed=5), generate_clip(3, seed=5)
    np.testing.assert_array_equal(first.frames, second.frames)
    np.testing.assert_array_equal(first.masks, second.masks)
    assert [expression.text for expression in first.expressions] == [e.text for e in second.expressions]


def test_splits_seeds_and_indices_give_different_clips():
    variants = [generate_clip(0, split=split, size=32, num_frames=4) for split in SPLITS]
    variants += [generate_clip(0, seed=1, size=32, num_frames=4), generate_clip(1, size=32, num_frames=4)]
    images = {clip.frames.tobytes() for clip in variants}
    assert len(images) == len(variants)


def test_shapes_dtypes_and_lengths():
    clip = generate_clip(0, size=96, num_frames=11)
    assert clip.frames.shape == (11, 96, 96, 3) and clip.frames.dtype == np.uint8
    assert clip.masks.shape == (len(clip.scene.sprites), 11, 96, 96) and clip.masks.dtype == bool
    assert {len(clip.frames) for clip in clips()} <= set(range(8, 25))


def test_unknown_split_is_refused():
    with pytest.raises(ValueError, match="no split .*use one of"):
        generate_clip(0, split="val")


def test_visible_masks_never_overlap_and_the_front_one_wins():
    for clip in clips():
        assert clip.masks.sum(0).max() <= 1
    behind, front = still(color="red"), still(color="blue", size="small")
    frames, masks = scene_of(behind, front).render(np.zeros(1), 64)
    assert masks[1, 0, 32, 32] and not masks[0, 0, 32, 32]
    assert frames[0, 32, 32].tolist() == list(COLORS["blue"])


def test_the_mask_is_where_the_colour_is():
    frames, masks = scene_of(still(shape="circle")).render(np.zeros(1), 128)
    is_red = frames[0, ..., 0].astype(int) > 180
    assert (is_red != masks[0, 0]).mean() < 0.005  # only anti-aliased edges may differ
    assert masks[0, 0].sum() == pytest.approx(np.pi * (0.145 * 128) ** 2, rel=0.03)


def test_one_scene_renders_alike_at_every_resolution():
    scene = generate_clip(2, size=64).scene
    small, large = scene.render(np.array([0.4]), 64)[1], scene.render(np.array([0.4]), 128)[1]
    np.testing.assert_allclose(small.mean((1, 2, 3)), large.mean((1, 2, 3)), atol=0.004)


def test_directions_go_where_their_words_say():
    seen = set()
    for clip in clips(count=60):
        for sprite in clip.scene.sprites:
            if sprite.motion in DIRECTIONS:
                moved = sprite.position(np.array([1.0]))[0] - sprite.position(np.array([0.0]))[0]
                assert moved @ np.array(DIRECTIONS[sprite.motion]) > 0.35
                assert abs(moved).min() < 1e-9
                seen.add(sprite.motion)
    assert seen == set(DIRECTIONS)


def test_entering_and_leaving_sprites_are_absent_in_part():
    checked = 0
    for clip in clips(count=60, num_frames=12):
        for sprite, masks in zip(clip.scene.sprites, clip.masks, strict=True):
            if sprite.motion == "enter":
                assert not masks[0].any()
                checked += 1
            if sprite.motion == "leave":
                assert not masks[-1].any()
                checked += 1
    assert checked > 10


def test_the_target_is_exactly_what_passes_the_filter():
    for clip in clips():
        for expression in clip.expressions:
            assert expression.object_ids == clip.scene.targets(expression.filter)
            assert expression.kind in KINDS


def test_static_expressions_name_one_and_motion_expressions_need_the_motion():
    for clip in clips(count=80):
        for expression in clip.expressions:
            wanted = expression.filter
            alike = clip.scene.targets(Filter(wanted.shape, wanted.color, wanted.size))
            if expression.kind == "static":
                assert wanted.motion is None and len(alike) == 1
            if expression.kind in ("motion", "conjunction"):
                assert len(expression.object_ids) == 1 < len(alike)
            if expression.kind == "conjunction":
                assert len(clip.scene.targets(Filter(motion=wanted.motion))) > 1
            if expression.kind == "multi":
                assert 2 <= len(expression.object_ids) <= 3
            if expression.kind == "no_target":
                assert not expression.object_ids and not clip.target_masks(expression).any()


def test_every_kind_occurs():
    kinds = {expression.kind for clip in clips(count=400, num_frames=2) for expression in clip.expressions}
    assert kinds == set(KINDS)


def test_held_out_combinations_occur_only_in_their_split():
    def combinations(split):
        sprites = (sprite for clip in clips(split, 60, num_frames=2) for sprite in clip.scene.sprites)
        return {(sprite.color, sprite.shape, sprite.motion) for sprite in sprites}

    assert HELD_OUT
    assert not combinations("train") & HELD_OUT and not combinations("test") & HELD_OUT
    assert combinations("test_held_out") & HELD_OUT


def test_at_least_four_paraphrases_and_correct_plurals():
    rng = np.random.default_rng(0)
    for motion, phrases in MOTION_PHRASES.items():
        assert len(phrases) >= 4
        said = {phrase(rng, Filter("cross", "red", None, motion), 2) for _ in range(60)}
        assert len(said) >= 4
        for text in said:
            words = text.split()
            assert "crosses" in words and "cross" not in words
            assert "is" not in words and "moves" not in words and "enters" not in words
    assert phrase(rng, Filter("square", "blue", "small", "left"), 1).count("squares") == 0


def test_the_vocabulary_covers_every_expression():
    words = set(vocabulary())
    for split in ("train", "test_held_out"):
        for clip in clips(split, 80, num_frames=2):
            for expression in clip.expressions:
                assert set(expression.text.split()) <= words


def test_mevis_layout(tmp_path):
    root = write_mevis_layout(tmp_path, "validation", num_videos=3, size=48, num_frames=5)
    assert root == tmp_path / "valid_u"
    meta = json.loads((root / "meta_expressions.json").read_text())
    mask_dict = json.loads((root / "mask_dict.json").read_text())
    assert len(meta["videos"]) == 3
    for index, (name, video) in enumerate(meta["videos"].items()):
        clip = generate_clip(index, split="validation", size=48, num_frames=5)
        assert video["frames"] == ["00000", "00001", "00002", "00003", "00004"]
        assert len(list((root / "JPEGImages" / name).glob("*.jpg"))) == 5
        for expression, entry in zip(clip.expressions, video["expressions"].values(), strict=True):
            assert entry["exp"] == expression.text
            tracks = [mask_dict[str(anno_id)] for anno_id in entry["anno_id"]]
            union = np.zeros_like(clip.masks[0])
            for track in tracks:
                union |= np.stack([decode_rle(rle, (48, 48)) for rle in track])
            np.testing.assert_array_equal(union, clip.target_masks(expression))


def test_every_split_has_a_mevis_layout(tmp_path):
    for split in SPLITS:
        root = write_mevis_layout(tmp_path, split, num_videos=1, size=48, num_frames=5)
        assert root.name == {"validation": "valid_u"}.get(split, split) and (root / "mask_dict.json").is_file()
    with pytest.raises(ValueError, match="no split 'valid_u' .*'occlusion'"):
        write_mevis_layout(tmp_path, "valid_u")


def test_occlusion_clips_hide_who_is_who_but_not_where():
    for index in range(20):
        clip = generate_clip(index, split="occlusion", size=64, num_frames=16)
        shapes = {(sprite.shape, sprite.size) for sprite in clip.scene.sprites}
        colors = {sprite.color for sprite in clip.scene.sprites}
        assert len(shapes) == 1 and len(colors) == len(clip.scene.sprites) >= 2  # colour alone tells them apart
        assert all(expression.kind == "static" for expression in clip.expressions)
        times = np.linspace(0, 1, 16)
        veiled = (times > clip.scene.veil[0]) & (times < clip.scene.veil[1])
        assert not veiled[:4].any() and veiled.sum() >= 4  # everyone is seen first
        inside = clip.masks.any(0)
        grey = np.ptp(clip.frames.astype(int), axis=-1) == 0
        core = clip.frames[inside & veiled[:, None, None]]
        assert (np.abs(core.astype(int) - 128).max(-1) < 40).mean() > 0.9  # silhouettes, blended at their edges
        assert not (grey & inside)[~veiled].any()
        assert not (clip.masks.sum(0) > 1).any()  # they never touch


def test_reveal_clips_hide_who_is_who_until_late():
    for index in range(20):
        clip = generate_clip(index, split="reveal", size=64, num_frames=16)
        veiled = clip.scene.is_veiled(np.linspace(0, 1, 16))
        assert veiled[:8].all() and not veiled[-4:].any()
        inside = clip.masks.any(0)
        saturation = np.ptp(clip.frames.astype(int), axis=-1)
        assert (saturation[inside & veiled[:, None, None]] < 40).mean() > 0.9
        assert (saturation[inside & ~veiled[:, None, None]] > 40).mean() > 0.9
