"""Objects of images out of annotation files: boxes, masks, names, texts; and files that are malformed."""

import json

import numpy as np
import pytest

from glus_hf import UserError
from glus_hf.data.coco_instances import instance_mask, read_coco_instances
from tests.data.coco_files import one_video, two_images


def test_objects_of_images(tmp_path):
    names, images = read_coco_instances(two_images(tmp_path), tmp_path / "images")
    assert names == ["red dog", "cat", "circle"]
    wide, high = images  # the third has no object
    assert (wide.name, wide.height, wide.width) == ("0.png", 40, 60) and wide.file.endswith("images/0.png")
    dog, cat = wide.instances  # no crowd
    assert dog.box == (10, 5, 30, 25) and [names[each.category] for each in wide.instances] == ["red dog", "cat"]
    assert dog.texts == ("the dog on the left",) and cat.texts == ("a cat", "the cat")
    expected = np.zeros((40, 60), bool)
    expected[5:25, 10:30] = True
    np.testing.assert_array_equal(instance_mask(dog, (40, 60)), expected)
    assert instance_mask(cat, (40, 60)).sum() == 200 and instance_mask(cat, (40, 60))[10, 40]
    (boxed,) = high.instances  # the other box has no area
    assert boxed.segmentation is None
    with pytest.raises(UserError, match="a box alone"):
        instance_mask(boxed, (60, 40))


def test_frames_of_videos_are_images(tmp_path):
    names, frames = read_coco_instances(one_video(tmp_path), tmp_path / "frames")
    assert [frame.name for frame in frames] == ["v/0.jpg", "v/1.jpg"]
    assert [[names[each.category] for each in frame.instances] for frame in frames] == [
        ["red dog"],
        ["red dog", "circle"],
    ]
    assert frames[1].instances[0].box == (10, 0, 30, 20)
    assert instance_mask(frames[1].instances[1], (40, 60))[20:, 40:].all()


def test_several_files_share_their_categories(tmp_path):
    (tmp_path / "a").mkdir()
    first, second = (
        two_images(tmp_path),
        two_images(tmp_path / "a", categories=[{"id": 3, "name": "red dog"}, {"id": 7, "name": "cat"}]),
    )
    names, images = read_coco_instances([first, second], tmp_path / "images")
    assert names == ["red dog", "cat", "circle"] and len(images) == 4
    two_images(tmp_path / "a", categories=[{"id": 3, "name": "wolf"}, {"id": 7, "name": "cat"}])
    with pytest.raises(UserError, match="category 3 has another name"):
        read_coco_instances([first, second], tmp_path / "images")


def test_addresses_of_lvis_name_the_file(tmp_path):
    file = two_images(tmp_path)
    content = json.loads(file.read_text())
    for image in content["images"]:
        del image["file_name"]
        image["coco_url"] = f"http://images.cocodataset.org/train2017/{image['id']}.jpg"
    file.write_text(json.dumps(content))
    assert read_coco_instances(file, "coco")[1][0].name == "train2017/0.jpg"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("categories"), "has no list 'categories': it is not in the format of COCO"),
        (lambda c: c.update(images={}), "has no list 'images'"),
        (lambda c: c["images"].append(c["images"][0]), "ids of images are missing or there twice"),
        (lambda c: c["categories"][0].pop("name"), "category 3 has no name"),
        (lambda c: c["annotations"][0].update(image_id=9), "has the image_id 9, which is not there"),
        (lambda c: c["annotations"][0].update(category_id=4), "annotation 0: has the category_id 4"),
        (lambda c: c["annotations"][1].pop("bbox"), "annotation 1: has no bbox of four numbers"),
        (lambda c: c["annotations"][0].update(caption=[3]), "annotation 0: .3. is no text"),
        (lambda c: c["images"][0].update(file_name="../0.png"), "'../0.png'"),
        (lambda c: c["images"][0].update(height=0), "image 0.png has no 'height' and 'width'"),
        (lambda c: c.update(annotations=[]), "no image has objects"),
    ],
)
def test_malformed_files_are_one_line_with_the_id(tmp_path, change, message):
    file = two_images(tmp_path)
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=message) as error:
        read_coco_instances(file, tmp_path / "images")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["videos"][0].update(file_names=3), "video 5 has no list 'file_names'"),
        (lambda c: c["annotations"][0].update(bboxes=3), "annotation 0 has no bbox for every frame"),
        (lambda c: c["annotations"][0]["bboxes"].pop(), "annotation 0 has no bbox for every frame"),
        (lambda c: c["annotations"][1].update(segmentations=1e30), "annotation 1 has no bbox for every frame"),
    ],
)
def test_tracks_that_are_no_lists_are_one_line_with_the_id(tmp_path, change, message):
    file = one_video(tmp_path)
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"{message}; correct it or download the file again"):
        read_coco_instances(file, tmp_path / "frames")
