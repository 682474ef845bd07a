import shutil

import datasets
import numpy as np
import pytest

from glus_hf.data.dataset_schema import FEATURES
from glus_hf.data.frames import read_frame
from glus_hf.data.parquet_export import export_parquet
from tests.data.dataset_trees import TREES, load


ALL = [
    ("mevis", "mevis", "train"), ("mevis", "mevis_v2", "valid_u"), ("refer_youtube_vos", "Refer-YouTube-VOS", "valid"),
    ("ref_davis17", "DAVIS17", "valid"), ("revos", "ReVOS", "valid"), ("reasonvos", "ReasonVOS", "test"),
    ("lvvis", "LVVIS", "train"), ("long_rvos", "long_rvos", "valid"),
]  # fmt: skip


def read_back(path, tmp_path):
    return datasets.load_dataset(
        "parquet", data_files=str(path), split="train", cache_dir=str(tmp_path / "parquet_cache")
    )


@pytest.mark.parametrize(("name", "folder", "split"), ALL)
def test_round_trip(name, folder, split, tmp_path):
    rows = load(name, TREES / folder, split, tmp_path)
    path = export_parquet(rows, tmp_path / "out" / "rows.parquet")
    again = read_back(path, tmp_path)
    assert again.features == FEATURES
    assert list(again) == list(rows)


def test_chosen_rows_only(tmp_path):
    rows = load("mevis", TREES / "mevis", "train", tmp_path).select([2, 0])
    again = read_back(export_parquet(rows, tmp_path / "rows.parquet"), tmp_path)
    assert again["expression_id"] == ["2", "0"]


@pytest.mark.parametrize(("name", "folder", "split"), ALL)
def test_pixels_of_others_are_not_embedded(name, folder, split, tmp_path):
    path = tmp_path / "rows.parquet"
    with pytest.raises(ValueError, match=f"licence of {name} does not let") as caught:
        export_parquet(load(name, TREES / folder, split, tmp_path), path, embed_images=True)
    assert "\n" not in str(caught.value)
    assert not path.exists()


def test_one_row_of_others_is_enough_to_refuse(tmp_path):
    own = load("motion_shapes", None, "test", tmp_path, num_videos=1, size=32)
    mixed = datasets.concatenate_datasets([own, load("mevis", TREES / "mevis", "train", tmp_path)])
    with pytest.raises(ValueError, match="licence of mevis does not let"):
        export_parquet(mixed, tmp_path / "rows.parquet", embed_images=True)


def test_generated_frames_are_embedded(tmp_path):
    rows = load("motion_shapes", None, "test", tmp_path, num_videos=2, size=32, num_frames=5)
    again = read_back(export_parquet(rows, tmp_path / "rows.parquet", embed_images=True), tmp_path)
    assert list(again.remove_columns("images")) == list(rows)
    for row in again:
        for image, path in zip(row["images"], row["frame_paths"], strict=True):
            np.testing.assert_array_equal(np.asarray(image), read_frame(path))


def test_own_images_are_embedded_as_they_are(tmp_path):
    own = tmp_path / "own"
    shutil.copytree(TREES / "mevis/train/JPEGImages/0ab4afe7fb46", own / "videos" / "clip")
    (own / "expressions.jsonl").write_text('{"video": "clip", "id": "0", "expression": "the disc"}\n')
    rows = load("own", own, "train", tmp_path)
    path = export_parquet(rows, tmp_path / "rows.parquet", embed_images=True)
    again = read_back(path, tmp_path).cast_column("images", datasets.List(datasets.Image(decode=False)))
    for image, file in zip(again[0]["images"], sorted((own / "videos" / "clip").iterdir()), strict=True):
        assert image["bytes"] == file.read_bytes()
        assert image["path"] == file.name


def test_a_missing_frame_leaves_no_file(tmp_path):
    own = tmp_path / "own"
    shutil.copytree(TREES / "mevis/train/JPEGImages/0ab4afe7fb46", own / "videos" / "clip")
    (own / "expressions.jsonl").write_text('{"video": "clip", "id": "0", "expression": "the disc"}\n')
    rows = load("own", own, "train", tmp_path)
    (own / "videos" / "clip" / "00003.jpg").unlink()
    with pytest.raises(ValueError, match=r"00003\.jpg: no such file"):
        export_parquet(rows, tmp_path / "out" / "rows.parquet", embed_images=True)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("embed_images", [False, True])
def test_streams_are_refused(embed_images, tmp_path):
    rows = load("mevis", TREES, "valid_u", tmp_path, streaming=True)
    with pytest.raises(ValueError, match="IterableDataset: load the dataset without streaming"):
        export_parquet(rows, tmp_path / "rows.parquet", embed_images=embed_images)
    assert not list(tmp_path.glob("*.parquet"))
