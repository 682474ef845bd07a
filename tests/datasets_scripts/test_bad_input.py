"""Damaged downloads: one line that names the file and the id."""

import json
import pickle
import shutil

import numpy as np
import pytest
from PIL import Image

from glus_hf import load_referring_dataset
from glus_hf.errors import DatasetFileError
from tests.data.dataset_trees import TREES, copy_tree, load


def edit(file, change):
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def video_of(content):
    return next(iter(content["videos"].values()))


def first_expression(content):
    return video_of(content)["expressions"]["0"]


def refuse(name, root, split, tmp_path, *parts, **options):
    """Load in one process, as a stream and in two processes; each time one line with all of `parts`."""
    for how in ({}, {"streaming": True}, {"num_proc": 2}):
        with pytest.raises(DatasetFileError) as caught:
            list(load(name, root, split, tmp_path, **how, **options))
        message = str(caught.value)
        assert "\n" not in message
        for part in parts:
            assert str(part) in message, f"{part!r} is not in {message!r}"


RLE = {"size": [48, 64], "counts": "PPP"}
MASK_DAMAGE = {
    "other size": (lambda m: m["17"][1].update(size=[64, 48]), "[64, 48]", "[48, 64]", "mask 1"),
    "absurd size": (lambda m: m["17"][0].update(size=[1 << 40, 1]), "size"),
    "text as size": (lambda m: m["17"][0].update(size="48x64"), "size"),
    "too short a track": (lambda m: m["17"].pop(), "4 masks", "5 frames"),
    "runs end early": (lambda m: m["17"][2].update(counts="52"), "mask 2", "3072 pixels"),
    "runs go on": (lambda m: m["17"][0].update(counts=m["17"][0]["counts"] + "00"), "mask 0"),
    "number cut short": (lambda m: m["17"][0].update(counts="PPP"), "mask 0", "middle of a number"),
    "foreign character": (lambda m: m["17"][0].update(counts='"!'), "mask 0", "foreign character"),
    "not ASCII": (lambda m: m["17"][0].update(counts="é"), "mask 0", "cannot be decoded"),
    "negative run": (lambda m: m["17"][0].update(counts=[-1, 3073]), "mask 0", "cannot be decoded"),
    "more runs than pixels": (lambda m: m["17"][0].update(counts="0" * 10**5), "mask 0", "cannot be decoded"),
    "long number": (lambda m: m["17"][0].update(counts="o" * 30 + "0"), "mask 0", "too long"),
    "no counts": (lambda m: m["17"].__setitem__(3, {"size": [48, 64]}), "mask 3"),
    "a number for a mask": (lambda m: m["17"].__setitem__(3, 7), "mask 3"),
    "no list": (lambda m: m.update({"17": "x"}), "not a list"),
    "all of another size than the images": (
        lambda m: m.update({key: [{"size": [2, 2], "counts": "4"}] * 5 for key in m}),
        "mask 0", "[2, 2]", "[48, 64]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", MASK_DAMAGE)
def test_masks(damage, tmp_path):
    change, *parts = MASK_DAMAGE[damage]
    root = copy_tree("mevis", tmp_path)
    edit(root / "train" / "mask_dict.json", change)
    refuse("mevis", root, "train", tmp_path, root / "train" / "mask_dict.json", "'17'", "0ab4afe7fb46", *parts)


EXPRESSION_DAMAGE = {
    "unknown annotation": (
        lambda e: first_expression(e).update(anno_id=[99]),
        "expression '0'", "unknown annotation id '99'", "mask_dict.json",
    ),
    "annotation twice": (
        lambda e: first_expression(e).update(anno_id=[17, 17], obj_id=[0, 1]), "expression '0'", "annotation id twice",
    ),
    "ids do not match": (lambda e: first_expression(e).update(obj_id=[0, 1]), "expression '0'", "2 in 'obj_id'"),
    "no annotation": (lambda e: first_expression(e).pop("anno_id"), "expression '0'", "no 'anno_id'"),
    "no text": (lambda e: first_expression(e).pop("exp"), "expression '0'", "no 'exp'"),
    "number for a text": (lambda e: first_expression(e).update(exp=3), "expression '0'", "int"),
    "dict for an id": (lambda e: first_expression(e).update(anno_id=[{}]), "expression '0'", "anno_id"),
    "frame twice": (lambda e: video_of(e)["frames"].__setitem__(1, "00000"), "0ab4afe7fb46", "'00000' twice"),
    "no frames": (lambda e: video_of(e).update(frames=[]), "0ab4afe7fb46", "frames"),
    "parent folder in a frame": (
        lambda e: video_of(e)["frames"].__setitem__(1, "../../secret"), "0ab4afe7fb46", "'../../secret'",
    ),
    "absolute frame": (lambda e: video_of(e)["frames"].__setitem__(1, "/etc/passwd"), "0ab4afe7fb46", "/etc/passwd"),
    "number for a frame": (lambda e: video_of(e)["frames"].__setitem__(1, 1), "0ab4afe7fb46", "int"),
    "parent folder in a video": (lambda e: e["videos"].update({"../x": video_of(e)}), "'../x'"),
    "absolute expression": (lambda e: video_of(e)["expressions"].update({"/x": first_expression(e)}), "'/x'"),
    "no videos": (lambda e: e.pop("videos"), "'videos'"),
    "videos is a list": (lambda e: e.update(videos=[]), "'videos'"),
    "videos is empty": (lambda e: e.update(videos={}), "no video"),
    "half a character": (lambda e: first_expression(e).update(exp="a \ud800"), "half a character"),
    "half a character in an id": (lambda e: e["videos"].update({"\udfff": video_of(e)}), "half a character"),
    "expressions is missing": (lambda e: video_of(e).pop("expressions"), "0ab4afe7fb46", "'expressions'"),
}  # fmt: skip


@pytest.mark.parametrize("damage", EXPRESSION_DAMAGE)
def test_expressions(damage, tmp_path):
    change, *parts = EXPRESSION_DAMAGE[damage]
    root = copy_tree("mevis", tmp_path)
    edit(root / "train" / "meta_expressions.json", change)
    refuse("mevis", root, "train", tmp_path, root / "train" / "meta_expressions.json", *parts)


@pytest.mark.parametrize("file", ["meta_expressions.json", "mask_dict.json"])
def test_json_as_a_whole(file, tmp_path):
    root = copy_tree("mevis", tmp_path)
    file = root / "train" / file
    content = file.read_bytes()
    for damaged in (content[:-20], content[: len(content) // 2], b"", b"[]", content + b"x", content[1:]):
        file.write_bytes(damaged)
        refuse("mevis", root, "train", tmp_path, file)


def test_keys_twice(tmp_path):
    root = copy_tree("mevis", tmp_path)
    file = root / "train" / "mask_dict.json"
    text = file.read_text()
    file.write_text(text.replace('"18":', '"17":'))
    refuse("mevis", root, "train", tmp_path, file, "'17' appears twice")
    file.write_text(text)
    file = root / "train" / "meta_expressions.json"
    file.write_text(file.read_text().replace('"1":', '"0":'))
    refuse("mevis", root, "train", tmp_path, file, "'0' appears twice")


@pytest.mark.parametrize("file", ["meta_expressions.json", "mask_dict.json"])
def test_numbers_without_end(file, tmp_path):
    root = copy_tree("mevis", tmp_path)
    file = root / "train" / file
    file.write_text('{"17": ' + "9" * 5000 + ", " + file.read_text().lstrip()[1:])
    refuse("mevis", root, "train", tmp_path, file, "digits")


def test_what_is_quoted_is_cut(tmp_path):
    root = copy_tree("mevis", tmp_path)
    edit(root / "train" / "meta_expressions.json", lambda e: video_of(e).update(frames=["../" + "x" * 10**6]))
    with pytest.raises(DatasetFileError, match="meta_expressions.json: frame of video '0ab4afe7fb46' '../x") as caught:
        load("mevis", root, "train", tmp_path)
    assert len(str(caught.value)) < 3000


def test_videos_without_any_expression(tmp_path):
    root = copy_tree("mevis", tmp_path)
    file = root / "train" / "meta_expressions.json"
    edit(file, lambda e: video_of(e).update(expressions={}))
    with pytest.raises(DatasetFileError, match=f"{file}: holds no expression of 'train'"):
        load("mevis", root, "train", tmp_path)


@pytest.mark.parametrize(
    ("name", "folder", "split", "expressions"),
    [("refer_youtube_vos", "Refer-YouTube-VOS", "train", "meta_expressions/train/meta_expressions.json"),
     ("ref_davis17", "DAVIS17", "valid", "meta_expressions/valid/meta_expressions.json")],
)  # fmt: skip
def test_lists_of_objects(name, folder, split, expressions, tmp_path):
    root = copy_tree(folder, tmp_path)
    file = root / split / "meta.json"
    (video_id,) = json.loads(file.read_text())["videos"]
    for content in ([], {"videos": []}, {"videos": {video_id: None}}, {"videos": {video_id: {"objects": ["1", "2"]}}}):
        file.write_text(json.dumps(content))
        refuse(name, root, split, tmp_path, file, video_id, "'objects'")
    file.write_text(json.dumps({"videos": {video_id: {"objects": {"2": {}}}}}))
    refuse(name, root, split, tmp_path, root / expressions, file, video_id, "expression '0'", "object id '1'")


@pytest.mark.parametrize(
    ("name", "folder", "split", "file", "field", "value"),
    [("revos", "ReVOS", "valid", "meta_expressions_valid_.json", "type_id", 1.0),
     ("revos", "ReVOS", "valid", "meta_expressions_valid_.json", "type_id", [0]),
     ("long_rvos", "long_rvos", "valid", "valid/meta_expressions.json", "type", []),
     ("long_rvos", "long_rvos", "valid", "valid/meta_expressions.json", "type", "fast")],
)  # fmt: skip
def test_types_of_expressions(name, folder, split, file, field, value, tmp_path):
    root = copy_tree(folder, tmp_path)
    edit(root / file, lambda e: first_expression(e).update({field: value}))
    refuse(name, root, split, tmp_path, root / file, "'0'", repr(value))


@pytest.mark.parametrize(
    ("name", "folder", "split", "file"),
    [("reasonvos", "ReasonVOS", "test", "Annotations/MeViS_toy_2/00002.png"),
     ("long_rvos", "long_rvos", "valid", "valid/Annotations/toy_long/1/00002.png")],
)  # fmt: skip
def test_a_link_to_nothing_is_no_absent_object(name, folder, split, file, tmp_path):
    root = copy_tree(folder, tmp_path)
    (root / file).unlink()
    (root / file).symlink_to("on-a-disk-that-is-not-here")
    refuse(name, root, split, tmp_path, root / file, "is a link to nothing")


def test_a_file_in_place_of_a_folder(tmp_path):
    root = copy_tree("Refer-YouTube-VOS", tmp_path)
    shutil.rmtree(root / "train" / "Annotations")
    (root / "train" / "Annotations").write_text("")
    refuse("refer_youtube_vos", root, "train", tmp_path, root / "train" / "Annotations", "cannot be read")


def test_text_that_is_not_utf8(tmp_path):
    root = copy_tree("mevis", tmp_path)
    file = root / "train" / "meta_expressions.json"
    file.write_bytes(file.read_bytes().replace(b"the disc", b"the d\xefsc"))
    refuse("mevis", root, "train", tmp_path, file, "is not UTF-8")


def test_missing_files_are_listed(tmp_path):
    root = copy_tree("mevis", tmp_path)
    (root / "valid" / "meta_expressions.json").unlink()
    with pytest.raises(DatasetFileError) as caught:
        load("mevis", root, "valid", tmp_path)
    for name in ("meta_expressions.json", "meta_expressions_v2.json", "meta_expressions_v2_release.json"):
        assert str(root / "valid" / name) in str(caught.value)
    (root / "train" / "mask_dict.json").unlink()
    with pytest.raises(DatasetFileError, match=r"missing .*train/mask_dict\.json"):
        load("mevis", root, "train", tmp_path)
    shutil.rmtree(root / "valid_u" / "JPEGImages")
    with pytest.raises(DatasetFileError, match=r"looked for .*valid_u/JPEGImages, .*valid_u/JPEGImages\.tar"):
        load("mevis", root, "valid_u", tmp_path)
    shutil.rmtree(root / "train" / "JPEGImages" / "0ab4afe7fb46")
    (root / "train" / "mask_dict.json").write_text("{}")
    edit(root / "train" / "meta_expressions.json", lambda e: [x.update(anno_id=[], obj_id=[]) for x in (
        video_of(e)["expressions"].values())])  # fmt: skip
    refuse("mevis", root, "train", tmp_path, "0ab4afe7fb46/00000.jpg", "no such frame")


@pytest.mark.parametrize(
    ("name", "split"),
    [("mevis", "train"), ("refer_youtube_vos", "train"), ("ref_davis17", "valid"), ("revos", "valid"),
     ("reasonvos", "test"), ("lvvis", "train"), ("long_rvos", "valid")],
)  # fmt: skip
def test_an_empty_folder_and_none_at_all(name, split, tmp_path):
    with pytest.raises(DatasetFileError, match=rf"{name}.*(looked for|missing) {tmp_path}"):
        load(name, tmp_path, split, tmp_path)
    with pytest.raises(DatasetFileError, match=f"{name}: data_dir .*nothing: no such folder"):
        load(name, tmp_path / "nothing", split, tmp_path)
    with pytest.raises(DatasetFileError, match=f"{name}: needs data_dir"):
        load(name, None, split, tmp_path)


def test_unknown_names_list_the_known():
    with pytest.raises(ValueError, match=r"unknown dataset 'MEVIS': known are .*mevis.*revos"):
        load_referring_dataset("MEVIS", TREES)
    with pytest.raises(ValueError, match="unknown dataset '../mevis'"):
        load_referring_dataset("../mevis", TREES)
    with pytest.raises(ValueError, match="mevis: unknown split 'validation': use train, valid_u, valid"):
        load_referring_dataset("mevis", TREES, split="validation")
    with pytest.raises(ValueError, match="mevis: pass a split: it has train, valid_u, valid"):
        load_referring_dataset("mevis", TREES, split=None)
    with pytest.raises(ValueError, match="revos: unknown option 'seed': leave it out"):
        load_referring_dataset("revos", TREES, seed=3)
    with pytest.raises(ValueError, match="unknown option 'sed': use num_frames, num_videos, seed, size"):
        load_referring_dataset("motion_shapes", sed=3)
    with pytest.raises(ValueError, match="num_videos must be a number from 1 to 1000000, got 0"):
        load_referring_dataset("motion_shapes", num_videos=0)
    with pytest.raises(ValueError, match="motion_shapes: is generated and takes no data_dir"):
        load_referring_dataset("motion_shapes", TREES)


PNG_SETS = [
    ("refer_youtube_vos", "Refer-YouTube-VOS", "train", "train/Annotations/003234408d/00005.png"),
    ("ref_davis17", "DAVIS17", "valid", "valid/Annotations/toy-seq/00003.png"),
    ("reasonvos", "ReasonVOS", "test", "Annotations/MeViS_toy_2/00002.png"),
    ("long_rvos", "long_rvos", "valid", "valid/Annotations/toy_long/1/00002.png"),
]


@pytest.mark.parametrize(("name", "folder", "split", "file"), PNG_SETS)
def test_mask_images(name, folder, split, file, tmp_path):
    root = copy_tree(folder, tmp_path)
    file = root / file
    content = file.read_bytes()
    Image.fromarray(np.zeros((64, 48), np.uint8)).save(file)
    refuse(name, root, split, tmp_path, file, "[64, 48]", "[48, 64]", "video")
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(file)
    refuse(name, root, split, tmp_path, file, "mode RGB")
    file.write_bytes(content[: len(content) // 2])
    refuse(name, root, split, tmp_path, file, "cannot be read as an image")
    file.write_bytes(b"not an image")
    refuse(name, root, split, tmp_path, file, "cannot be read as an image")


@pytest.mark.parametrize(("name", "folder", "split", "file"), PNG_SETS[:2])
def test_missing_mask_image(name, folder, split, file, tmp_path):
    root = copy_tree(folder, tmp_path)
    (root / file).unlink()
    refuse(name, root, split, tmp_path, root / file, "no such mask", "video")


def test_missing_object_folders(tmp_path):
    root = copy_tree("long_rvos", tmp_path)
    shutil.rmtree(root / "valid" / "Annotations" / "toy_long" / "3")
    refuse("long_rvos", root, "valid", tmp_path, "toy_long/3", "expression '1'", "no mask of any frame")
    root = copy_tree("ReasonVOS", tmp_path)
    shutil.rmtree(root / "Annotations" / "MeViS_toy_2")
    refuse("reasonvos", root, "test", tmp_path, "MeViS_toy_2", "expression '1'", "no mask of any frame")


@pytest.mark.parametrize(("name", "folder", "split"), [row[:3] for row in PNG_SETS[:2]])
def test_unknown_object_ids(name, folder, split, tmp_path):
    root = copy_tree(folder, tmp_path)
    file = root / "meta_expressions" / split / "meta_expressions.json"
    edit(file, lambda e: first_expression(e).update(obj_id="9"))
    refuse(name, root, split, tmp_path, file, "expression '0'", "unknown object id '9'", "meta.json")
    edit(file, lambda e: first_expression(e).pop("obj_id"))
    refuse(name, root, split, tmp_path, file, "expression '0'", "no 'obj_id'")
    (root / split / "meta.json").unlink()
    edit(file, lambda e: first_expression(e).update(obj_id="255"))
    refuse(name, root, split, tmp_path, root / split / "Annotations", "object id '255' is no number from 1 to 254")


def test_reasonvos_lists(tmp_path):
    root = copy_tree("ReasonVOS", tmp_path)
    file = root / "meta_expressions.json"
    original = file.read_text()
    for change, *parts in (
        (lambda e: video_of(e)["expressions"][1].update(exp_id=0), "expression id '0' appears twice"),
        (lambda e: video_of(e)["expressions"][1].pop("exp_text"), "place 1", "exp_text"),
        (lambda e: video_of(e)["expressions"][1].update(obj_id="../x"), "place 1", "'../x'"),
        (lambda e: video_of(e).update(source="../x"), "source", "'../x'"),
        (lambda e: video_of(e).pop("source"), "source", "'toy'"),
        (lambda e: video_of(e).update(expressions={}), "must be a list"),
    ):
        file.write_text(original)
        edit(file, change)
        refuse("reasonvos", root, "test", tmp_path, file, *parts)


def test_types_and_foreground(tmp_path):
    root = copy_tree("ReVOS", tmp_path)
    file = root / "meta_expressions_valid_.json"
    edit(file, lambda e: first_expression(e).update(type_id=3))
    refuse("revos", root, "valid", tmp_path, file, "'type_id' is 3", "'0'")
    edit(root / "mask_dict_foreground.json", lambda f: f.pop("UVO/all/c791ddbb"))
    refuse("revos", root, "valid", tmp_path, "mask_dict_foreground.json", "UVO/all/c791ddbb")
    edit(file, lambda e: (first_expression(e).update(type_id=0), video_of(e).update(height=50)))
    refuse("revos", root, "valid", tmp_path, "[48, 64]", "[50, 64]", "'101'")
    root = copy_tree("long_rvos", tmp_path)
    file = root / "valid" / "meta_expressions.json"
    edit(file, lambda e: first_expression(e).update(type="sideways"))
    refuse("long_rvos", root, "valid", tmp_path, file, "'sideways'", "expression '0'")


class Attack:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return exec, (f"open({str(self.file)!r}, 'w').close()",)


def test_pickles(tmp_path):
    root = copy_tree("DAVIS17", tmp_path)
    file = root / "valid" / "mask_dict.pkl"
    masks = pickle.loads(file.read_bytes())
    traces = tmp_path / "attacked"
    for content, *parts in (
        (pickle.dumps({"0": Attack(traces)}), "refused", "builtins.exec"),
        (pickle.dumps({"0": [np.zeros(3)]}), "refused", "numpy"),
        (pickle.dumps(masks)[:-30], "cannot be read as a pickle"),
        (b"", "cannot be read as a pickle"),
        (pickle.dumps([]), "a list"),
        (pickle.dumps({key: masks[key] for key in "0123456"}), "7 masks", "8 expressions"),
        (pickle.dumps({str(int(key) + 1): track for key, track in masks.items()}), "mask 0", "missing"),
        (pickle.dumps({**masks, "3": masks["3"][:2]}), "mask 3", "expression '3'", "2 masks", "5 frames"),
        (pickle.dumps({**masks, "3": [{"size": [64, 48], "counts": "0"}] * 5}), "mask 3", "[64, 48]"),
    ):
        file.write_bytes(content)
        refuse("ref_davis17", root, "valid", tmp_path, file, *parts, ground_truth="pickle")
    assert not traces.exists()


def test_nothing_is_left_in_the_cache_after_an_error(tmp_path):
    root = copy_tree("mevis", tmp_path)
    file = root / "train" / "mask_dict.json"
    original = file.read_text()
    edit(file, lambda masks: masks["19"].pop())
    with pytest.raises(DatasetFileError, match="'19'"):
        load("mevis", root, "train", tmp_path)
    assert not list((tmp_path / "cache").rglob("*.arrow"))
    file.write_text(original)
    assert load("mevis", root, "train", tmp_path).num_rows == 3
