import json
import shutil
import tempfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask
from torch.utils.data import DataLoader

from glus_hf.data.load_dataset import load_referring_dataset
from glus_hf.errors import BrokenSampleError
from glus_hf.training.samples.referring_video_dataset import (
    ReferringVideoDataset,
    group_by_video,
    sample_from_segments,
)
from tests.paths import FIXTURES
from tests.training.small_training import rows


DATASETS = FIXTURES / "datasets"
MEVIS = FIXTURES / "datasets" / "mevis" / "train"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def mevis(cache):
    return load_referring_dataset("mevis", DATASETS / "mevis", split="train", cache_dir=cache)


@pytest.fixture(scope="module")
def shapes(cache):
    """Seven videos of 12 frames with several expressions each."""
    return load_referring_dataset(
        "motion_shapes", split="train", num_videos=7, size=64, num_frames=12, cache_dir=cache
    )


def copy_of_mevis(folder, cache, videos=3):
    """A writable MeViS with several copies of the fixture's video."""
    for number in range(videos):
        shutil.copytree(MEVIS / "JPEGImages" / "0ab4afe7fb46", folder / "train" / "JPEGImages" / f"clip{number}")
    video = json.loads((MEVIS / "meta_expressions.json").read_text())["videos"]["0ab4afe7fb46"]
    meta = {"videos": {f"clip{number}": video for number in range(videos)}}
    (folder / "train" / "meta_expressions.json").write_text(json.dumps(meta))
    shutil.copy(MEVIS / "mask_dict.json", folder / "train")
    return load_referring_dataset("mevis", folder, split="train", cache_dir=cache)


def assert_equal_samples(sample, other):
    assert sample.keys() == other.keys()
    for name, value in sample.items():
        if name == "frames":
            assert all(np.array_equal(a, b) for a, b in zip(value, other[name], strict=True))
        elif name == "masks":
            np.testing.assert_array_equal(value, other[name])
        else:
            assert value == other[name], name


def names(sample):
    return sample["video_id"], sample["frame_indices"], sample["expression_ids"]


def test_a_sample_is_what_the_files_say(mevis):
    sample = ReferringVideoDataset(mevis)[0]
    video = json.loads((MEVIS / "meta_expressions.json").read_text())["videos"]["0ab4afe7fb46"]
    tracks = json.loads((MEVIS / "mask_dict.json").read_text())
    assert (sample["dataset"], sample["video_id"]) == ("mevis", "0ab4afe7fb46")
    assert sorted(sample["expression_ids"]) == ["0", "1", "2"]
    for stem, frame in zip(sample["frame_names"], sample["frames"], strict=True):
        with Image.open(MEVIS / "JPEGImages" / "0ab4afe7fb46" / f"{stem}.jpg") as image:
            np.testing.assert_array_equal(frame, np.asarray(image))
    assert sample["frame_names"] == [video["frames"][index] for index in sample["frame_indices"]]
    assert sample["frame_times"] == [index / 4 for index in sample["frame_indices"]]
    assert sample["masks"].dtype == np.uint8 and sample["masks"].shape == (3, 4, 48, 64)
    for row, number in enumerate(sample["expression_ids"]):
        raw = video["expressions"][number]
        assert sample["object_ids"][row] == [str(value) for value in raw["obj_id"]]
        assert sample["annotation_ids"][row] == [str(value) for value in raw["anno_id"]]
        assert sample["expressions"][row] == raw["exp"].lower().rstrip(".")
        for column, index in enumerate(sample["frame_indices"][4:]):
            runs = [tracks[str(anno)][index] for anno in raw["anno_id"]]
            expected = sum((coco_mask.decode(rle) for rle in runs if rle), np.zeros((48, 64), np.uint8)) > 0
            np.testing.assert_array_equal(sample["masks"][row, column], expected)
    assert sample["masks"].any(axis=(2, 3)).sum() >= 9  # objects 1 and 2 are always there


def test_expressions_can_stay_as_they_are(mevis):
    texts = ReferringVideoDataset(mevis, prepare_expressions=False)[0]["expressions"]
    assert "the two things moving toward each other." in texts


@settings(max_examples=80, deadline=None)
@given(st.integers(4, 300), st.integers(1, 4), st.integers(0, 10**6))
def test_one_frame_of_each_segment(num_frames, segments, seed):
    sampled = sample_from_segments(num_frames, segments, np.random.default_rng(seed))
    bounds = np.linspace(0, num_frames, segments + 1, dtype=int)
    assert len(sampled) == segments
    assert all(low <= index < high for index, low, high in zip(sampled, bounds[:-1], bounds[1:], strict=True))


def test_all_windows_and_context_frames_come_up(shapes):
    dataset = ReferringVideoDataset(shapes, max_expressions=1)
    starts, contexts = set(), [set() for _ in range(4)]
    for epoch in range(40):
        dataset.set_epoch(epoch)
        for index in range(len(dataset)):
            indices = dataset[index]["frame_indices"]
            assert indices[4:] == list(range(indices[4], indices[4] + 4))
            starts.add(indices[4])
            for segment, frame in zip(contexts, indices[:4], strict=True):
                segment.add(frame)
    assert starts == set(range(9))
    assert contexts == [{0, 1, 2}, {3, 4, 5}, {6, 7, 8}, {9, 10, 11}]


def test_expressions_differ_and_are_of_the_video(shapes):
    by_video = {}
    for row in shapes.select_columns(["video_id", "expression_id"]):
        by_video.setdefault(row["video_id"], set()).add(row["expression_id"])
    seen = {name: set() for name in by_video}
    dataset = ReferringVideoDataset(shapes, max_expressions=3)
    assert len(dataset) == 7
    for epoch in range(25):
        dataset.set_epoch(epoch)
        for sample in (dataset[index] for index in range(len(dataset))):
            sampled = sample["expression_ids"]
            assert len(set(sampled)) == len(sampled) == min(3, len(by_video[sample["video_id"]]))
            assert len(sample["masks"]) == len(sample["expressions"]) == len(sample["object_ids"]) == len(sampled)
            seen[sample["video_id"]].update(sampled)
    assert seen == by_video


def test_numbers_of_frames_are_options(shapes):
    sample = ReferringVideoDataset(shapes, num_context_frames=3, num_query_frames=2, max_expressions=1)[1]
    assert len(sample["frames"]) == 5 and sample["masks"].shape == (1, 2, 64, 64)


def test_videos_of_two_data_sets_with_one_name_stay_apart(mevis):
    import datasets

    other = mevis.map(lambda row: {"dataset": "other"}, load_from_cache_file=False)
    videos = group_by_video(datasets.concatenate_datasets([mevis, other]))
    assert [(video.name, video.rows.tolist(), video.num_frames) for video in videos] == [
        ("mevis/0ab4afe7fb46", [0, 1, 2], 5),
        ("other/0ab4afe7fb46", [3, 4, 5], 5),
    ]


def test_selected_and_shuffled_tables(shapes):
    """Rows are found through an index mapping too."""
    shuffled = shapes.shuffle(seed=1)
    videos = {video.name: video for video in group_by_video(shuffled)}
    assert sum(len(video.rows) for video in videos.values()) == len(shapes)
    for sample in (ReferringVideoDataset(shuffled)[index] for index in range(7)):
        rows = videos[f"motion_shapes/{sample['video_id']}"].rows
        assert {shuffled[int(row)]["video_id"] for row in rows} == {sample["video_id"]}


# --- determinism


def test_sample_depends_on_seed_epoch_and_index_alone(shapes):
    one, other = ReferringVideoDataset(shapes, seed=5), ReferringVideoDataset(shapes, seed=5)
    one.set_epoch(2)
    later = [one[index] for index in (3, 0, 6)]
    other[1], other[1]
    other.set_epoch(2)
    for expected, index in zip(later, (3, 0, 6), strict=True):
        assert_equal_samples(other[index], expected)
    sampled = {
        str(names(dataset[3]))
        for dataset in (one, ReferringVideoDataset(shapes, seed=5), ReferringVideoDataset(shapes, seed=6))
    }
    assert len(sampled) == 3  # another epoch, another seed: another sample


@pytest.mark.parametrize("context", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_workers_do_not_change_samples(shapes, context):
    dataset = ReferringVideoDataset(shapes, seed=1)
    loader = DataLoader(
        dataset, batch_size=2, collate_fn=list, num_workers=2, persistent_workers=True, multiprocessing_context=context
    )
    for epoch in (0, 1):  # persistent workers must see the new epoch
        dataset.set_epoch(epoch)
        loaded = [sample for batch in loader for sample in batch]
        for sample, expected in zip(loaded, (dataset[index] for index in range(7)), strict=True):
            assert_equal_samples(sample, expected)


# --- what is wrong with a dataset


def test_broken_sample_is_reported_with_its_ids(tmp_path, cache):
    rows = copy_of_mevis(tmp_path, cache)
    for image in (tmp_path / "train" / "JPEGImages" / "clip1").iterdir():
        image.write_bytes(b"no image")
    dataset = ReferringVideoDataset(rows)
    assert dataset[0]["video_id"] == "clip0"
    with pytest.raises(BrokenSampleError) as error:
        dataset[1]
    message = str(error.value)
    assert "mevis/clip1" in message and "expressions" in message and ".jpg" in message and "skip" in message
    assert "\n" not in message and dataset.skipped == []


@pytest.mark.parametrize("workers", [0, 2])
def test_broken_samples_are_skipped_and_counted_when_asked(tmp_path, cache, workers):
    rows = copy_of_mevis(tmp_path, cache, videos=4)
    for video in ("clip1", "clip2"):
        shutil.rmtree(tmp_path / "train" / "JPEGImages" / video)
    dataset = ReferringVideoDataset(rows, on_error="skip", seed=2)
    loader = DataLoader(dataset, batch_size=1, collate_fn=list, num_workers=workers)
    loaded = [batch[0] for batch in loader]
    assert [sample["video_id"] for sample in loaded] == ["clip0", "clip3", "clip3", "clip3"]
    skipped = [entry["sample"].partition(",")[0] for entry in dataset.skipped]
    assert sorted(skipped) == ["mevis/clip1", "mevis/clip2", "mevis/clip2"]  # 1 -> 2 -> 3, 2 -> 3
    assert all(".jpg" in entry["reason"] for entry in dataset.skipped)
    again = ReferringVideoDataset(rows, on_error="skip", seed=2)
    for index, sample in enumerate(loaded):
        assert_equal_samples(again[index], sample)
    # a replacement is a sample of its own, no copy of the sample it stands beside
    assert len({str(names(sample)) for sample in loaded[1:]}) > 1


def test_skip_log_can_be_kept(tmp_path, cache):
    rows = copy_of_mevis(tmp_path / "data", cache)
    shutil.rmtree(tmp_path / "data" / "train" / "JPEGImages" / "clip0")
    dataset = ReferringVideoDataset(rows, on_error="skip", skip_log=tmp_path / "run" / "skipped.jsonl")
    dataset[0]
    (line,) = (tmp_path / "run" / "skipped.jsonl").read_text().splitlines()
    assert json.loads(line)["sample"].startswith("mevis/clip0, expressions ")


def test_temporary_skip_log_goes_with_the_dataset(shapes, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dataset = ReferringVideoDataset(shapes, on_error="skip")
    assert len(list(tmp_path.iterdir())) == 1
    del dataset
    assert not list(tmp_path.iterdir())


def test_nothing_left(tmp_path, cache):
    rows = copy_of_mevis(tmp_path, cache)
    shutil.rmtree(tmp_path / "train" / "JPEGImages")
    with pytest.raises(BrokenSampleError, match="none of 3 videos can be read"):
        ReferringVideoDataset(rows, on_error="skip")[0]


def test_frames_of_another_size(tmp_path, cache):
    rows = copy_of_mevis(tmp_path, cache, videos=1)
    for image in (tmp_path / "train" / "JPEGImages" / "clip0").iterdir():
        Image.new("RGB", (10, 10)).save(image)
    with pytest.raises(BrokenSampleError, match=r"clip0.*\[10, 10\].*\[48, 64\]"):
        ReferringVideoDataset(rows)[0]


def test_short_videos(mevis):
    with pytest.raises(ValueError, match="mevis/0ab4afe7fb46: 5 frames, a sample needs 6"):
        ReferringVideoDataset(mevis, num_query_frames=6)
    with pytest.raises(ValueError, match="a sample needs 7"):
        ReferringVideoDataset(mevis, num_context_frames=7)
    with pytest.raises(ValueError, match="no video to sample from"):
        ReferringVideoDataset(mevis, num_query_frames=6, on_error="skip")


def test_short_videos_are_listed_once_when_skipped(mevis, shapes):
    import datasets

    rows = datasets.concatenate_datasets([mevis, shapes])
    dataset = ReferringVideoDataset(rows, num_query_frames=6, on_error="skip")
    assert len(dataset) == 7 and dataset[0]["dataset"] == "motion_shapes"
    (entry,) = dataset.skipped
    assert entry == {"sample": "mevis/0ab4afe7fb46", "reason": "5 frames, a sample needs 6"}


def test_splits_without_ground_truth(cache):
    rows = load_referring_dataset("mevis", DATASETS / "mevis", split="valid", cache_dir=cache)
    with pytest.raises(ValueError, match="0ab4afe7fb46: has expressions without masks"):
        ReferringVideoDataset(rows)


def test_wrong_tables(mevis):
    with pytest.raises(ValueError, match="streaming"):
        ReferringVideoDataset(mevis.to_iterable_dataset())
    with pytest.raises(ValueError, match="lacks frames, masks"):
        ReferringVideoDataset(mevis.select_columns(["dataset", "video_id"]))


@pytest.mark.parametrize(
    "options",
    [{"mask_overlap": "xor"}, {"on_error": "ignore"}, {"num_query_frames": 0}, {"max_expressions": 0}, {"seed": -1}],
)
def test_wrong_options(mevis, options):
    with pytest.raises(ValueError):
        ReferringVideoDataset(mevis, **options)


def test_index_outside(mevis):
    with pytest.raises(IndexError):
        ReferringVideoDataset(mevis)[1]
    assert len(list(ReferringVideoDataset(mevis))) == 1


@pytest.mark.parametrize(
    "name, folder",
    [("refer_youtube_vos", "Refer-YouTube-VOS"), ("revos", "ReVOS"), ("lvvis", "LVVIS"), ("ref_davis17", "DAVIS17")],
)
def test_every_training_set(name, folder, cache):
    rows = load_referring_dataset(name, DATASETS / folder, split="train", cache_dir=cache)
    sample = ReferringVideoDataset(rows)[0]
    assert sample["dataset"] == name and len(sample["frames"]) == 8
    assert sample["masks"].shape[1:] == (4, 48, 64) and sample["masks"].any()
    assert all(sample["object_ids"]) or name == "revos"  # ReVOS has expressions about nothing


def test_fewer_frames_than_the_window():
    with pytest.raises(ValueError, match=r"8 frames, a sample needs 9; [^\n]*$"):
        ReferringVideoDataset(rows(8), num_query_frames=9)
