"""Damaged and hostile datasets of objects: one line that names the file and the id, or what the documentation says."""

import json
import math
import os
import pickle

import pytest

from glus_hf import UserError, load_object_dataset
from glus_hf.data.objects.check_objects import check_object_dataset
from tests.data.object_trees import grit_content, make_tree, put_image, put_tar, sa1b_content


def edited(file, change):
    content = json.loads(file.read_text())
    changed = change(content)
    file.write_text(json.dumps(changed[0] if isinstance(changed, tuple) else content))


def test_a_file_without_images(tmp_path):
    root = make_tree("coco", tmp_path)
    edited(root / COCO, lambda content: content.update(images=[], annotations=[]))
    with pytest.raises(UserError, match="instances_train2017.json: holds no image of 'train'"):
        load_object_dataset("coco", root, "train", cache_dir=tmp_path / "cache")


def refuse(name, root, split, *words, **options):
    with pytest.raises(UserError) as caught:
        list(load_object_dataset(name, root, split, streaming=True, **options))
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, f"{word!r} is not in {message!r}"


def first(content, field="annotations"):
    return content[field][0]


COCO = "annotations/instances_train2017.json"
NO_NAME = "is not a plain name"
COCO_DAMAGE = {
    "an annotation of text": (lambda c: c["annotations"].append("x"), "'annotations' has an element that is no"),
    "annotations of numbers": (lambda c: c.update(annotations=[1, 2]), "'annotations' is no list of objects"),
    "annotations by id": (lambda c: c.update(annotations={"1": first(c)}), "'annotations' is no list of objects"),
    "a crowd of text": (lambda c: first(c).update(iscrowd="no"), "annotation 1: its 'iscrowd' is 'no', not 0 or 1"),
    "no categories": (lambda c: c.pop("categories"), "has no list 'categories'"),
    "images are no list": (lambda c: c.update(images={"a": 1}), "has no list 'images'"),
    "an image twice": (lambda c: c["images"].append(c["images"][0]), "two images have one id"),
    "an annotation twice": (lambda c: c["annotations"].append(first(c)), "two objects with the id '1'"),
    "a category twice": (lambda c: c["categories"].append(first(c, "categories")), "there twice"),
    "a category without a name": (lambda c: first(c, "categories").update(name=" "), "category 3: has no name"),
    "of no image": (lambda c: first(c).update(image_id=7), "an annotation is of image 7, which is not there"),
    "of a list": (lambda c: first(c).update(image_id=[1]), "[1] is no id"),
    "of true": (lambda c: first(c).update(image_id=True), "True is no id"),
    "of no category": (lambda c: first(c).update(category_id=5), "annotation 1: has the category_id 5"),
    "without an id": (lambda c: first(c).pop("id"), "annotation None: has no id"),
    "no box": (lambda c: first(c).pop("bbox"), "image 100, object 1: has no box of four numbers"),
    "a box of text": (lambda c: first(c).update(bbox=["0", "0", "4", "4"]), "object 1: has no box of four numbers"),
    "a box of NaN": (lambda c: first(c).update(bbox=[math.nan, 0, 4, 4]), "object 1: has no box of four numbers"),
    "a box without end": (lambda c: first(c).update(bbox=[0, 0, math.inf, 4]), "object 1: has no box of four numbers"),
    "a box far outside": (lambda c: first(c).update(bbox=[1e30, 0, 4, 4]), "object 1: has no box of four numbers"),
    "a box of 400 digits": (lambda c: first(c).update(bbox=[0, 0, 10**400, 4]), "object 1: has no box of four"),
    "an area of 400 digits": (lambda c: first(c).update(area=10**400), "object 1: its area is 1000"),
    "an area of NaN": (lambda c: first(c).update(area=math.nan), "object 1: its area is nan"),
    "a negative area": (lambda c: first(c).update(area=-1), "object 1: its area is -1"),
    "a name above": (lambda c: first(c, "images").update(file_name="../../x.jpg"), "'../../x.jpg' is", NO_NAME),
    "a whole path": (lambda c: first(c, "images").update(file_name="/etc/passwd"), "'/etc/passwd' is", NO_NAME),
    "a name that is a number": (lambda c: first(c, "images").update(file_name=3), "image 3 is a int"),
    "no size": (lambda c: first(c, "images").pop("height"), "image 100: height and width are None and 64"),
    "a size of text": (lambda c: first(c, "images").update(width="64"), "height and width are 48 and '64'"),
    "an absurd size": (lambda c: first(c, "images").update(width=1 << 40), "not pixels"),
    "run lengths of another size": (lambda c: first(c)["segmentation"].update(size=[64, 48]), "object 1", "[64, 48]"),
    "run lengths cut short": (lambda c: first(c)["segmentation"].update(counts="PPP"), "object 1", "middle of a"),
    "run lengths of lists": (lambda c: first(c)["segmentation"].update(counts=[1]), "object 1", "3072 pixels"),
    "negative runs": (lambda c: first(c)["segmentation"].update(counts=[-1, 3073]), "object 1", "cannot be decoded"),
    "a mask of text": (lambda c: first(c).update(segmentation="x"), "object 1", "'size' and 'counts'"),
    "a polygon of text": (lambda c: first(c).update(segmentation=[["a"] * 6]), "object 1", "a polygon is a list"),
    "a polygon of NaN": (lambda c: first(c).update(segmentation=[[math.nan] * 6]), "object 1", "far outside"),
    "an endless outline": (
        lambda c: first(c).update(segmentation=[[65536, 65536, -65536, 65536, -65536, -65536] * 400]),
        "object 1", "outlines of its polygons are longer than",
    ),
    "an odd polygon": (lambda c: first(c).update(segmentation=[[1] * 7]), "object 1", "a polygon is a list"),
    "a description that is a number": (lambda c: first(c).update(caption=3), "annotation 1", "is no text"),
    "descriptions of numbers": (lambda c: first(c).update(caption=[3]), "object 1", "is no text"),
    "no images at all": (lambda c: c.update(images=[]), "an annotation is of image 100, which is not there"),
    "no category": (lambda c: c.update(categories=[]), "has the category_id 3, which is not there"),
    "a list of everything": (lambda c: ([c],), "has no list 'images'"),
}  # fmt: skip


@pytest.mark.parametrize("damage", COCO_DAMAGE)
def test_damaged_files_of_coco(damage, tmp_path):
    root = make_tree("coco", tmp_path)
    change, *words = COCO_DAMAGE[damage]
    edited(root / COCO, change)
    refuse("coco", root, "train", COCO, *words)


TEXT_DAMAGE = {
    "cut short": (lambda text: text[:-20], "is not valid JSON or cut short"),
    "text behind the end": (lambda text: text + "x", "text after the end"),
    "a list twice": (lambda text: text[:-1] + ', "images": []}', "'images' appears twice"),
    "a key twice": (
        lambda text: text.replace('"iscrowd": 0', '"id": 1, "id": 2', 1),
        "annotations 0",
        "appears twice",
    ),
    "half a character": (lambda text: text.replace("hot_dog", "\\ud800"), "half a character"),
    "nested without end": (lambda text: text.replace('"info": {}', '"info": ' + "[" * 100_000), "JSON"),
    "nothing": (lambda text: "", "the top level must be an object or a list"),
}


@pytest.mark.parametrize("damage", TEXT_DAMAGE)
def test_damaged_text_of_coco(damage, tmp_path):
    root = make_tree("coco", tmp_path)
    change, *words = TEXT_DAMAGE[damage]
    (root / COCO).write_text(change((root / COCO).read_text()))
    refuse("coco", root, "train", COCO, *words)


def test_what_is_let_pass(tmp_path):
    """Documented: boxes without an area and polygons of two points are left out; an empty mask is no mask."""
    root = make_tree("coco", tmp_path)

    def change(content):
        content["annotations"][0]["bbox"] = [3, 3, 0, 5]
        content["annotations"][1]["segmentation"] = [[1, 1, 5, 5]]
        content["annotations"][2]["segmentation"] = {"size": [48, 64], "counts": [48 * 64]}
        content["annotations"][3]["iscrowd"] = 1

    edited(root / COCO, change)
    rows = list(load_object_dataset("coco", root, "train", streaming=True))
    found = [(each["object_id"], each["mask"] is None, each["is_crowd"]) for row in rows for each in row["objects"]]
    assert found == [("2", True, False), ("11", True, False), ("12", False, True)]


@pytest.mark.parametrize(("name", "file", "beside"), [("coco", COCO, "videos"), ("ytvis19", "train.json", "images")])
def test_an_empty_list_beside_says_nothing(name, file, beside, tmp_path):
    root = make_tree(name, tmp_path)
    expected = list(load_object_dataset(name, root, "train", streaming=True))
    edited(root / file, lambda content: content.update({beside: []}))
    assert list(load_object_dataset(name, root, "train", streaming=True)) == expected and expected


VIDEO_DAMAGE = {
    "no frames": (lambda c: first(c, "videos").pop("file_names"), "video 5 has no list 'file_names'"),
    "too short a track": (lambda c: first(c)["bboxes"].pop(), "annotation 1: has no 'bboxes' of 2 frames"),
    "masks that are a number": (lambda c: first(c).update(segmentations=3), "has no 'segmentations' of 2 frames"),
    "areas of another length": (lambda c: first(c).update(areas=[1]), "has no 'areas' of 2 frames"),
    "a box of NaN": (lambda c: first(c)["bboxes"][1].__setitem__(0, math.nan), "image 5/1, object 1"),
    "a frame above": (lambda c: first(c, "videos").update(file_names=["../a.jpg", "b"]), "'../a.jpg'"),
    "a track twice": (lambda c: c["annotations"].append(first(c)), "two objects with the id '1'"),
}


@pytest.mark.parametrize("damage", VIDEO_DAMAGE)
def test_damaged_files_of_youtube_vis(damage, tmp_path):
    root = make_tree("ytvis19", tmp_path)
    change, *words = VIDEO_DAMAGE[damage]
    edited(root / "train.json", change)
    refuse("ytvis19", root, "train", "train.json", *words)


IMAGE_DAMAGE = {
    "an id of a list": (lambda c: c[0].update(image_id=[1]), "image_data.json: [1] is no id of an image"),
    "no id": (lambda c: c[0].pop("image_id"), "image_data.json: None is no id of an image"),
}


@pytest.mark.parametrize("damage", IMAGE_DAMAGE)
def test_damaged_images_of_visual_genome(damage, tmp_path):
    root = make_tree("visual_genome", tmp_path)
    change, word = IMAGE_DAMAGE[damage]
    edited(root / "image_data.json", change)
    refuse("visual_genome", root, "full", word)


def test_an_object_of_thousands_of_digits(tmp_path):
    root = make_tree("youtube_vos", tmp_path)
    edited(
        root / "train" / "meta.json",
        lambda c: c["videos"]["003234408d"]["objects"].update({"9" * 5000: {"category": "car"}}),
    )
    refuse("youtube_vos", root, "train", "is no number from 1 to 254")


TAO_DAMAGE = {
    "a place too far": (lambda c: first(c, "images").update(frame_index=1 << 40), "'frame_index' is 1099511627776"),
    "names of false": (lambda c: first(c, "images").update(neg_category_ids=False), "False is no list of categories"),
    "of no video": (lambda c: first(c, "images").update(video_id=8), "image 100: is of video 8, which is not there"),
    "no place": (lambda c: first(c, "images").pop("frame_index"), "image 100: its 'frame_index' is None, no number"),
    "a place of text": (lambda c: first(c, "images").update(frame_index="0"), "'frame_index' is '0', no number"),
    "an absent name": (lambda c: first(c, "videos").update(neg_category_ids=[77]), "has the category_id 77"),
    "merged with text": (lambda c: first(c, "categories").update(merged=["x"]), "'merged' is no list of categories"),
    "a video without an id": (lambda c: first(c, "videos").pop("id"), "None is no id of one of the videos"),
}


@pytest.mark.parametrize("damage", TAO_DAMAGE)
def test_damaged_files_of_tao(damage, tmp_path):
    root = make_tree("tao", tmp_path)
    change, *words = TAO_DAMAGE[damage]
    edited(root / "annotations" / "train.json", change)
    refuse("tao", root, "train", "train.json", *words)


def video(content):
    return content["sequences"][0]


def masks(content, time=0):
    return video(content)["segmentations"][time]


BURST_DAMAGE = {
    "no sequences": (lambda c: c.pop("sequences"), "has not the list 'sequences'"),
    "no categories": (lambda c: c.pop("categories"), "has not the list 'categories'"),
    "a category twice": (lambda c: c["categories"].append(first(c, "categories")), "is missing or there twice"),
    "no name": (lambda c: video(c).pop("seq_name"), "a sequence has no 'seq_name'"),
    "a sequence above": (lambda c: video(c).update(seq_name="../.."), "is not a plain name"),
    "no frames": (lambda c: video(c).pop("annotated_image_paths"), "has no list 'annotated_image_paths'"),
    "a frame that is a number": (lambda c: video(c).update(annotated_image_paths=[1, 2]), "image 1 is a"),
    "too few masks": (lambda c: video(c)["segmentations"].pop(), "has no 'segmentations' of 2 frames"),
    "masks that are a number": (lambda c: video(c).update(segmentations=3), "has no list 'segmentations'"),
    "masks of a list": (lambda c: video(c)["segmentations"].__setitem__(0, []), "frame 0: has no masks"),
    "tracks of a list": (lambda c: video(c).update(track_category_ids=[3]), "no categories by track"),
    "a track without a name": (lambda c: video(c)["track_category_ids"].pop("1"), "the category None"),
    "no run lengths": (lambda c: masks(c).update({"1": {}}), "frame 0, object 1: has no run lengths"),
    "run lengths cut short": (lambda c: masks(c)["1"].update(rle="PPP"), "frame 0, object 1", "middle of a"),
    "an absent name": (lambda c: video(c).update(neg_category_ids=["x"]), "the category 'x' is not there"),
    "absent names of a number": (lambda c: video(c).update(neg_category_ids=5), "no list of categories"),
    "no size": (lambda c: video(c).pop("width"), "height and width are 48 and None"),
}


@pytest.mark.parametrize("damage", BURST_DAMAGE)
def test_damaged_files_of_burst(damage, tmp_path):
    root = make_tree("burst", tmp_path)
    change, *words = BURST_DAMAGE[damage]
    edited(root / "train" / "all_classes.json", change)
    refuse("burst", root, "train", "all_classes.json", *words)


def replaced_line(root, number, change):
    path = root / "oidv6-train-annotations-bbox.csv"
    lines = path.read_text().splitlines()
    lines[number - 1] = change(lines[number - 1])
    path.write_text("\n".join(lines) + "\n")


TABLE_DAMAGE = {
    "a line cut short": (2, lambda line: line[:40], "line 2 has"),
    "a box of text": (3, lambda line: line.replace("0.", "x.", 1), "line 3: has no box of four numbers"),
    "a box of NaN": (3, lambda line: ",".join([*line.split(",")[:4], "nan", *line.split(",")[5:]]), "has no box"),
    "an unknown category": (2, lambda line: line.replace("/m/01", "/m/77"), "line 2: '/m/77' is no known category"),
    "an image twice": (5, lambda line: f"{0:016x}" + line[16:], "line 5: image 0000000000000000 comes twice"),
    "an image above": (2, lambda line: "../x" + line[16:], "'../x.jpg' is not a plain name"),
    "no head": (1, lambda line: line.replace("XMin", "x"), "has no column 'XMin'"),
    "a quote without end": (5, lambda line: '"' + line, "is no table"),
}


@pytest.mark.parametrize("damage", TABLE_DAMAGE)
def test_damaged_tables_of_openimages(damage, tmp_path):
    root = make_tree("openimages", tmp_path)
    number, change, *words = TABLE_DAMAGE[damage]
    replaced_line(root, number, change)
    refuse("openimages", root, "train", "oidv6-train-annotations-bbox.csv", *words)


OTHER_DAMAGE = {
    "bdd100k, labels that are text": (
        "bdd100k", "train", {}, "labels/det_20/det_train.json", lambda c: first({"x": c}, "x").update(labels="x"),
        "image 0000-0000.jpg: 'labels' is no list",
    ),
    "bdd100k, no category": (
        "bdd100k", "train", {}, "labels/det_20/det_train.json",
        lambda c: c[0]["labels"][0].update(category=5), "has no 'category'",
    ),
    "bdd100k, a row of text": (
        "bdd100k", "train", {}, "labels/det_20/det_train.json", lambda c: c.append("x"), "element that is no object",
    ),
    "bdd100k, no id": (
        "bdd100k", "train", {}, "labels/det_20/det_train.json", lambda c: c[0]["labels"][0].pop("id"), "has no id",
    ),
    "bdd100k, no box": (
        "bdd100k", "train", {}, "labels/det_20/det_train.json", lambda c: c[0]["labels"][0].update(box2d={}),
        "object 1: has no box of four numbers",
    ),
    "bdd100k, run lengths": (
        "bdd100k", "train", {"task": "ins_seg"}, "labels/ins_seg/rles/ins_seg_train.json",
        lambda c: c["frames"][0]["labels"][0]["rle"].update(counts="PPP"), "object 1", "middle of a number",
    ),
    "bdd100k, an image above": (
        "bdd100k", "train", {}, "labels/det_20/det_train.json", lambda c: c[0].update(name="../x.jpg"), "'../x.jpg'",
    ),
    "visual_genome, an image that is not there": (
        "visual_genome", "full", {}, "region_descriptions.json", lambda c: c[0].update(id=9), "the image 9 is not in",
    ),
    "visual_genome, no regions": (
        "visual_genome", "full", {}, "region_descriptions.json", lambda c: c[0].pop("regions"),
        "image 0: has no list 'regions'",
    ),
    "visual_genome, a region without an id": (
        "visual_genome", "full", {}, "region_descriptions.json", lambda c: c[0]["regions"][0].pop("region_id"),
        "image 0: has no 'region_id'",
    ),
    "visual_genome, an image twice": (
        "visual_genome", "full", {}, "image_data.json", lambda c: c.append(c[0]), "two images have the id 0",
    ),
    "visual_genome, an address above": (
        "visual_genome", "full", {}, "image_data.json", lambda c: c[0].update(url="http://x/../.."), NO_NAME,
    ),
    "visual_genome, splits": (
        "visual_genome", "val", {}, "densecap_splits.json", lambda c: c.update(val=[[]]), "no list of ids 'val'",
    ),
    "refcoco, an object that is gone": (
        "refcoco", "train", {}, "instances.json", lambda c: c["annotations"].pop(0), "annotation 1, which has",
    ),
    "youtube_vos, no objects": (
        "youtube_vos", "train", {}, "train/meta.json", lambda c: c["videos"]["003234408d"].pop("objects"),
        "video '003234408d' has no 'objects'",
    ),
    "youtube_vos, no videos": ("youtube_vos", "train", {}, "train/meta.json", lambda c: ([],), "has no 'videos'"),
    "youtube_vos, a video above": (
        "youtube_vos", "train", {}, "train/meta.json", lambda c: c["videos"].update({"../x": {}}), "'../x'",
    ),
    "youtube_vos, an object that is no number": (
        "youtube_vos", "train", {}, "train/meta.json",
        lambda c: c["videos"]["003234408d"]["objects"].update(cat={"category": "cat"}), "'cat' is no number",
    ),
    "lvis, categories that are no list": (
        "lvis", "train", {}, "lvis_v1_train.json", lambda c: first(c, "images").update(neg_category_ids=4),
        "image 100: 4 is no list of categories",
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", OTHER_DAMAGE)
def test_damaged_files_of_the_others(damage, tmp_path):
    name, split, options, file, change, *words = OTHER_DAMAGE[damage]
    root = make_tree(name, tmp_path)
    edited(root / file, change)
    refuse(name, root, split, *words, **options)


class Malicious:
    def __reduce__(self):
        return os.system, ("touch OWNED",)


REFERENCES = {
    "no split": (lambda refs: [{**refs[0], "split": None}], "reference 1: has no 'split'"),
    "half a character": (
        lambda refs: [{**refs[0], "sentences": [{"sent": "a \ud800"}]}],
        "reference 1: a text of its 'sentences' holds half a character",
    ),
    "a program": (lambda refs: [Malicious()], "refused: the pickle wants to load"),
    "no list": (lambda refs: {"a": 1}, "is no list of references"),
    "no sentences": (lambda refs: [{**refs[0], "sentences": [{}]}], "reference 1: has no 'sentences'"),
    "no image": (lambda refs: [{**refs[0], "image_id": "x"}], "reference 1: has no 'image_id'"),
}


@pytest.mark.parametrize("damage", REFERENCES)
def test_damaged_references(damage, tmp_path):
    root = make_tree("refcoco", tmp_path)
    path = root / "refs(unc).p"
    change, *words = REFERENCES[damage]
    path.write_bytes(pickle.dumps(change(pickle.loads(path.read_bytes()))))
    refuse("refcoco", root, "train", "refs(unc).p", *words)
    assert not os.path.exists("OWNED")


BAD_RLE = {**sa1b_content(0, 0)["annotations"][0], "segmentation": {"size": [48, 64], "counts": "PPP"}}
SHARD_DAMAGE = {
    "sa1b, no image": ("sa1b", {"sa_0.json": sa1b_content(0, 0)}, "sa_0.jpg: no such image beside its JSON"),
    "sa1b, a list": ("sa1b", {"sa_0.json": [], "sa_0.jpg": b""}, "sa_0.json: is no object"),
    "sa1b, no annotations": ("sa1b", {"sa_0.json": {"image": {}}}, "sa_0.json: has no 'image' and 'annotations'"),
    "sa1b, run lengths": (
        "sa1b",
        {"sa_0.json": {**sa1b_content(0, 0), "annotations": [BAD_RLE]}, "sa_0.jpg": None},
        "sa_0.json, 1: 'counts' ends in the middle",
    ),
    "grit, no caption": ("grit", {"0.json": {"noun_chunks": []}, "0.jpg": None}, "0.json: has no 'caption'"),
    "grit, letters that are not there": (
        "grit", {"0.json": {**grit_content(0), "caption": "hot"}, "0.jpg": None}, "letters 0 to 9 are not in",
    ),
    "grit, a box of NaN": (
        "grit", {"0.json": {**grit_content(0), "ref_exps": [[0, 3, math.nan, 0, 1, 1, 1]]}, "0.jpg": None},
        "is no share of the image",
    ),
    "grit, an image that is none": ("grit", {"0.json": grit_content(0), "0.jpg": b"x"}, "cannot be read as an image"),
}  # fmt: skip


@pytest.mark.parametrize("damage", SHARD_DAMAGE)
def test_damaged_shards(damage, tmp_path):
    name, members, *words = SHARD_DAMAGE[damage]
    image = put_image(tmp_path / "a.jpg").read_bytes()
    data = {key: image if value is None else value for key, value in members.items()}
    data = {key: value if isinstance(value, bytes) else json.dumps(value).encode() for key, value in data.items()}
    put_tar(tmp_path / name / "sa_000000.tar", data)
    refuse(name, tmp_path / name, "train", "sa_000000.tar", *words)


def test_a_shard_cut_short(tmp_path):
    root = make_tree("sa1b", tmp_path)
    shard = root / "sa_000000.tar"
    shard.write_bytes(shard.read_bytes()[:3000])
    refuse("sa1b", root, "train", "sa_000000.tar", "download it again")


def test_what_is_not_there(tmp_path):
    root = make_tree("coco", tmp_path)
    refuse("coco", root, "val", "coco val: no annotations: looked for", "instances_val2017.json")
    refuse("coco", root, "test", "coco: unknown split 'test': use train, val")
    refuse("coco", tmp_path / "nowhere", "train", "no such folder")
    refuse("bdd100k", root, "train", "unknown task 'pose'", task="pose")
    refuse("coco", root, "train", "unknown option 'colour'", colour=1)
    refuse("../coco", root, "train", "unknown dataset of objects '../coco'")
    (root / "train2017" / "000000000000.jpg").unlink()
    refuse("coco", root, "train", "the image 000000000000.jpg is in none of", "train2017")


def test_a_named_pipe_for_a_file(tmp_path):
    root = make_tree("coco", tmp_path)
    (root / COCO).unlink()
    os.mkfifo(root / COCO)
    refuse("coco", root, "train", "a named pipe")


def test_check_lists_every_image_that_cannot_be_used(tmp_path):
    root = make_tree("coco", tmp_path)
    put_image(root / "train2017" / "000000000000.jpg")
    (root / "train2017" / "000000000001.jpg").write_bytes(b"no image")
    edited(root / COCO, lambda c: first(c, "images").update(height=24))
    edited(root / COCO, lambda c: [each.pop("segmentation") for each in c["annotations"]])
    report = check_object_dataset("coco", root, "train")
    assert report.num_errors == 2 and report.counts["images"] == 2 and report.counts["objects"] == 4
    assert "000000000000.jpg" in report.errors[0] and "[48, 64]" in report.errors[0]
    assert "cannot be read as an image" in report.errors[1]
    edited(root / COCO, lambda c: c["annotations"][2].update(bbox=None))
    report = check_object_dataset("coco", root, "train")
    assert report.num_errors == 2 and "object 11" in report.errors[1] and report.counts["images"] == 1
