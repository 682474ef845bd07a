import json
import os
import shutil
import subprocess
from pathlib import Path

import datasets
import pytest

import glus_hf
from glus_hf import load_referring_dataset
from glus_hf.data.load_dataset import builder_class
from glus_hf.errors import DatasetFileError
from tests.data.dataset_trees import TREES, copy_tree, load
from tests.warm_python import warm_python


ROOT = Path(glus_hf.__file__).parents[2]


def many_videos(tmp_path, count=5):
    """The tree of MeViS with `count` videos that share frames and masks."""
    root = copy_tree("mevis", tmp_path)
    file = root / "train" / "meta_expressions.json"
    (video,) = json.loads(file.read_text())["videos"].values()
    file.write_text(json.dumps({"videos": {f"video_{index}": video for index in range(count)}}))
    for index in range(count):
        shutil.copytree(root / "train/JPEGImages/0ab4afe7fb46", root / f"train/JPEGImages/video_{index}")
    return root


def touch_later(file, text):
    """Write a file so that only its time of change tells (the size stays)."""
    status = file.stat()
    file.write_text(text)
    assert file.stat().st_size == status.st_size
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000))


def test_two_processes_give_the_same_rows_in_the_same_order(tmp_path):
    root = many_videos(tmp_path)
    alone = load("mevis", root, "train", tmp_path / "alone")
    shared = load("mevis", root, "train", tmp_path / "shared", num_proc=2)
    assert len(alone) == 15 and list(alone) == list(shared)
    assert len(list((tmp_path / "shared").rglob("*.arrow"))) == 2  # both processes wrote
    more = load("mevis", root, "train", tmp_path / "more", num_proc=9)  # more processes than videos
    assert list(alone) == list(more)


def test_an_error_in_another_process_is_one_line(tmp_path):
    root = many_videos(tmp_path)
    file = root / "train" / "meta_expressions.json"
    content = json.loads(file.read_text())
    content["videos"]["video_4"]["expressions"]["0"]["anno_id"] = [99]
    file.write_text(json.dumps(content))
    with pytest.raises(DatasetFileError, match="'video_4', expression '0': unknown annotation id '99'") as caught:
        load("mevis", root, "train", tmp_path, num_proc=2)
    assert "\n" not in str(caught.value)


def test_the_second_load_maps_the_cache(tmp_path, monkeypatch):
    root = many_videos(tmp_path)
    first = load("mevis", root, "train", tmp_path)
    monkeypatch.setattr(builder_class("mevis"), "video_rows", lambda *_: pytest.fail("the rows were made again"))
    second = load("mevis", root, "train", tmp_path)
    assert list(first) == list(second)
    assert first.cache_files == second.cache_files


@pytest.mark.parametrize("file", ["meta_expressions.json", "mask_dict.json"])
def test_edited_files_are_read_again(file, tmp_path):
    root = copy_tree("mevis", tmp_path)
    before = load("mevis", root, "train", tmp_path)
    file = root / "train" / file
    content = json.loads(file.read_text())
    if "videos" in content:
        (video,) = content["videos"].values()
        video["expressions"]["0"]["exp"] = video["expressions"]["0"]["exp"][::-1]
    else:
        content["17"][0], content["17"][1] = content["17"][1], content["17"][0]
    touch_later(file, json.dumps(content, indent=1))
    after = load("mevis", root, "train", tmp_path)
    assert before[0] != after[0] and before[2] == after[2]
    assert load("mevis", root, "train", tmp_path).cache_files == after.cache_files


def test_edited_and_added_mask_images_are_read_again(tmp_path):
    root = copy_tree("long_rvos", tmp_path)
    assert load("long_rvos", root, "valid", tmp_path)[1]["masks"][4] is None
    folder = root / "valid" / "Annotations" / "toy_long" / "3"
    shutil.copy(folder / "00000.png", folder / "00004.png")
    assert load("long_rvos", root, "valid", tmp_path)[1]["masks"][4] is not None
    (folder / "00004.png").unlink()
    assert load("long_rvos", root, "valid", tmp_path)[1]["masks"][4] is None


def test_options_splits_and_folders_have_caches_of_their_own(tmp_path, monkeypatch):
    first = load("motion_shapes", None, "test", tmp_path, num_videos=2, size=32)
    for options in ({"num_videos": 3}, {"seed": 1}, {"size": 40}, {"num_frames": 9}):
        other = load("motion_shapes", None, "test", tmp_path, **{"num_videos": 2, "size": 32, **options})
        assert list(other) != list(first), options
    assert list(load("motion_shapes", None, "train", tmp_path, num_videos=2, size=32)) != list(first)
    for name in ("one", "two"):  # the same relative folder in two places
        (tmp_path / name).mkdir()
        shutil.copytree(TREES / "mevis", tmp_path / name / "mevis")
        monkeypatch.chdir(tmp_path / name)
        row = load("mevis", "mevis", "train", tmp_path)[0]
        assert row["frame_paths"][0].startswith(str(tmp_path / name / "mevis"))


def test_the_cache_path_names_data_set_split_and_version(tmp_path):
    file = Path(load("mevis", TREES / "mevis", "train", tmp_path).cache_files[0]["filename"])
    name, config, version = file.relative_to(tmp_path / "cache").parts[:3]
    assert (name, version) == ("mevis", "1.0.0")
    assert config.startswith("train-")


def test_builders_work_directly_with_all_splits(tmp_path):
    builder = builder_class("mevis")(str(tmp_path / "cache"), data_dir=TREES / "mevis")
    builder.download_and_prepare()
    rows = builder.as_dataset()
    assert isinstance(rows, datasets.DatasetDict)
    assert {split: len(part) for split, part in rows.items()} == {"train": 3, "valid_u": 3, "valid": 3}


def test_streaming_divides_videos_among_workers(tmp_path):
    root = many_videos(tmp_path)
    stream = load("mevis", root, "train", tmp_path, streaming=True)
    assert isinstance(stream, datasets.IterableDataset)
    assert stream.num_shards == 5
    parts = [list(stream.shard(2, index)) for index in (0, 1)]
    rows = list(load("mevis", root, "train", tmp_path))
    assert sorted(row["video_id"] for part in parts for row in part) == sorted(row["video_id"] for row in rows)
    assert not list((tmp_path / "cache").rglob("*.incomplete"))


def test_a_clone_on_the_path_finds_its_builders(tmp_path):
    code = (
        "import sys\n"
        "sys.meta_path = [f for f in sys.meta_path if 'glus_hf' not in getattr(f, '__module__', '')]\n"
        "sys.path_hooks = [h for h in sys.path_hooks if 'glus_hf' not in getattr(h, '__module__', '')]\n"
        "import glus_hf, importlib.util\n"
        "assert importlib.util.find_spec('glus_hf.datasets_scripts') is None\n"
        f"rows = glus_hf.load_referring_dataset('mevis', {str(many_videos(tmp_path))!r}, split='train', "
        f"cache_dir={str(tmp_path / 'cache')!r}, num_proc=2)\n"
        "print(len(rows))"
    )
    clone = tmp_path / "clone"
    shutil.copytree(ROOT / "src", clone / "src", ignore=shutil.ignore_patterns("checkpoints", "__pycache__"))
    shutil.copytree(ROOT / "datasets_scripts", clone / "datasets_scripts")
    environment = {**os.environ, "PYTHONPATH": str(clone / "src"), "HF_HUB_OFFLINE": "1"}
    result = subprocess.run(
        [*warm_python(), "-c", code], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "15"


def test_any_cache_dir_and_path_type(tmp_path):
    rows = load_referring_dataset("mevis", str(TREES / "mevis") + "/", "valid_u", cache_dir=tmp_path / "c")
    again = load_referring_dataset("mevis", TREES / "mevis", split="valid_u", cache_dir=str(tmp_path / "c"))
    assert rows.cache_files == again.cache_files
