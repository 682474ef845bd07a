"""Miniature trees of datasets of objects, in the layouts that their authors publish: discs and boxes by formula.

Object 1 is a disc, written as run lengths; object 2 a rectangle, written as a polygon where a format has polygons.
Both move between the two images, or frames, of each tree.
"""

from __future__ import annotations

import csv
import io
import json
import pickle
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from glus_hf.media.rle import encode_rle
from tests.data.dataset_trees import HEIGHT, TREES, WIDTH, object_masks


NAMES = {1: "hot_dog", 2: "car"}
TEXTS = {1: ["the disc on the left", "a round thing"], 2: ["the box"]}


def mask(number, time):
    return object_masks(number)[time]


def corners(number, time):
    """x0, y0, x1, y1 of what was drawn."""
    y, x = np.nonzero(mask(number, time))
    return [int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1]


def bbox(number, time):
    x0, y0, x1, y1 = corners(number, time)
    return [x0, y0, x1 - x0, y1 - y0]


def segmentation(number, time):
    if number == 1:
        return encode_rle(mask(1, time))
    x0, y0, x1, y1 = corners(2, time)
    return [[x0, y0, x1, y0, x1, y1, x0, y1]]


def put_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def put_image(path, time=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(time)).save(path)
    return path


def picture(time):
    pixels = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    pixels[mask(1, time)], pixels[mask(2, time)] = (222, 50, 44), (52, 180, 74)
    return pixels


def image_bytes(time):
    buffer = io.BytesIO()
    Image.fromarray(picture(time)).save(buffer, "JPEG")
    return buffer.getvalue()


def categories():
    return [{"id": 3, "name": NAMES[1]}, {"id": 8, "name": NAMES[2]}, {"id": 9, "name": "zebra"}]


def coco_content(file_names, masks=True, **image_fields):
    """Two images with both objects each."""
    images, annotations = [], []
    for time, name in enumerate(file_names):
        images.append({"id": 100 + time, "file_name": name, "height": HEIGHT, "width": WIDTH, **image_fields})
        for number, category in ((1, 3), (2, 8)):
            entry = {"id": 10 * time + number, "image_id": 100 + time, "category_id": category, "iscrowd": 0}
            entry |= {"bbox": bbox(number, time), "area": int(mask(number, time).sum())}
            annotations.append({**entry, **({"segmentation": segmentation(number, time)} if masks else {})})
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories()}


def coco(root, split="train"):
    names = [f"00000000000{time}.jpg" for time in range(2)]
    for time, name in enumerate(names):
        put_image(root / f"{split}2017" / name, time)
    put_json(root / "annotations" / f"instances_{split}2017.json", coco_content(names))


def lvis(root):
    """Annotations before images, addresses in place of names, images in COCO's folder beside."""
    content = coco_content(["unused", "unused"], neg_category_ids=[9], not_exhaustive_category_ids=[3])
    for time, image in enumerate(content["images"]):
        del image["file_name"]
        image["coco_url"] = f"http://images.cocodataset.org/train2017/00000000000{time}.jpg"
        put_image(root.parent / "coco" / "train2017" / f"00000000000{time}.jpg", time)
    order = ("info", "annotations", "images", "categories")
    put_json(root / "lvis_v1_train.json", {name: content[name] for name in order})


def objects365(root):
    names = [f"images/v{time + 1}/patch{time}/objects365_v{time + 1}_0000000{time}.jpg" for time in range(2)]
    for time, name in enumerate(names):
        put_image(root / "train" / name.split("/", 2)[2], time)
    put_json(root / "annotations" / "zhiyuan_objv2_train.json", coco_content(names, masks=False))


def uvo(root):
    names = [f"video{time}_{time}.png" for time in range(2)]
    for time, name in enumerate(names):
        put_image(root / "uvo_videos_sparse_frames" / name, time)
    put_json(root / "FrameSet" / "UVO_sparse_train.json", coco_content(names))


def video_content(names, masks=True):
    """One video of two frames; the second object is in the second frame alone."""
    annotations = []
    for number, category in ((1, 3), (2, 8)):
        times = [time if time >= number - 1 else None for time in range(2)]
        entry = {"id": number, "video_id": 5, "category_id": category, "iscrowd": 0, "height": HEIGHT, "width": WIDTH}
        entry["bboxes"] = [None if time is None else bbox(number, time) for time in times]
        entry["areas"] = [None if time is None else int(mask(number, time).sum()) for time in times]
        entry["segmentations"] = [None if time is None else segmentation(number, time) for time in times]
        annotations.append(entry)
    videos = [{"id": 5, "file_names": names, "height": HEIGHT, "width": WIDTH, "length": 2}]
    content = {"videos": videos, "categories": categories()}
    return {**content, "annotations": annotations if masks else None}


def video_tree(root, file, images, names):
    for time, name in enumerate(names):
        put_image(root / images / name, time)
    put_json(root / file, video_content(names))


def uvo_dense(root):
    names = [f"abc/{time}.png" for time in range(2)]
    video_tree(root, "VideoDenseSet/UVO_video_train_dense.json", "uvo_videos_dense_frames", names)


def ytvis19(root):
    video_tree(root, "train.json", "train/JPEGImages", ["v/00000.jpg", "v/00005.jpg"])


def ytvis21(root):
    video_tree(root, "train/instances.json", "train/JPEGImages", ["v/00000.jpg", "v/00005.jpg"])


def ovis(root):
    video_tree(root, "annotations_train.json", "train", ["v/img_0000001.jpg", "v/img_0000002.jpg"])


def openimages(root):
    head = (
        "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"
    )
    rows = []
    for time in range(2):
        put_image(root / "train" / f"{time:016x}.jpg", time)
        for number in (1, 2):
            x0, y0, x1, y1 = corners(number, time)
            box = [x0 / WIDTH, x1 / WIDTH, y0 / HEIGHT, y1 / HEIGHT]
            rows.append([f"{time:016x}", "xclick", f"/m/0{number}", 1, *box, 0, 0, int(number == 2), 0, 0])
    with open(root / "oidv6-train-annotations-bbox.csv", "w", newline="") as file:
        csv.writer(file).writerows([head.split(","), *rows])
    (root / "class-descriptions-boxable.csv").write_text("/m/01,Hot dog\n/m/02,Car\n")


def scalabel(time, numbers, entry):
    labels = []
    for number in numbers:
        x1, y1, x2, y2 = corners(number, time)
        labels.append({"id": str(number), "category": "car", **entry(number, time, dict(x1=x1, y1=y1, x2=x2, y2=y2))})
    other = {"id": "9", "category": "other vehicle", "box2d": {"x1": 0, "y1": 0, "x2": 4, "y2": 4}}
    return {"name": f"0000-000{time}.jpg", "labels": [*labels, other]}


def bdd100k(root):
    for time in range(2):
        put_image(root / "images" / "100k" / "train" / f"0000-000{time}.jpg", time)
        put_image(root / "images" / "10k" / "train" / f"0000-000{time}.jpg", time)
    boxes = [scalabel(time, (1, 2), lambda number, time, box: {"box2d": box}) for time in range(2)]
    put_json(root / "labels" / "det_20" / "det_train.json", boxes)
    rles = [scalabel(time, (1, 2), lambda n, t, box: {"rle": encode_rle(mask(n, t))}) for time in range(2)]
    put_json(root / "labels" / "ins_seg" / "rles" / "ins_seg_train.json", {"frames": rles, "config": {}})


def refcoco(root, partition="unc"):
    """The second image is another split's; the third object of the first image has no expression."""
    names = [f"COCO_train2014_00000000000{time}.jpg" for time in range(2)]
    for time, name in enumerate(names):
        put_image(root.parent / "train2014" / name, time)
    put_json(root / "instances.json", coco_content(names))
    references = []
    for time, number, split in ((0, 1, "train"), (0, 2, "train"), (1, 1, "val")):
        sentences = [{"tokens": text.split(), "raw": text, "sent": text, "sent_id": 0} for text in TEXTS[number]]
        key = {"ann_id": 10 * time + number, "image_id": 100 + time, "category_id": 3, "ref_id": number}
        references.append({**key, "split": split, "sentences": sentences, "file_name": names[time], "sent_ids": [0]})
    (root / f"refs({partition}).p").write_bytes(pickle.dumps(references, protocol=0))


def visual_genome(root):
    images, regions, objects = [], [], []
    for time in range(2):
        folder = "VG_100K" if time else "VG_100K_2"
        put_image(root / folder / f"{time}.jpg", time)
        url = f"https://cs.stanford.edu/people/rak248/{folder}/{time}.jpg"
        images.append({"image_id": time, "url": url, "width": WIDTH, "height": HEIGHT, "coco_id": None})
        boxes = [dict(zip(("x", "y", "width", "height"), bbox(number, time))) for number in (1, 2)]
        rows = [{"region_id": n, "image_id": time, "phrase": TEXTS[n][0], **boxes[n - 1]} for n in (1, 2)]
        regions.append({"id": time, "regions": rows})
        rows = [dict(zip(("x", "y", "w", "h"), bbox(n, time)), object_id=n, names=[NAMES[n]]) for n in (1, 2)]
        objects.append({"image_id": time, "objects": rows, "image_url": url})
    put_json(root / "image_data.json", images)
    put_json(root / "region_descriptions.json", regions)
    put_json(root / "objects.json", objects)
    put_json(root / "densecap_splits.json", {"train": [0], "val": [1], "test": []})


def put_tar(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def part_of(number, time):
    """The lower half of an object."""
    part = mask(number, time).copy()
    part[: int(np.nonzero(part)[0].mean())] = False
    return part


def sa1b_content(image_id, time):
    found = [mask(1, time), mask(2, time), part_of(1, time), part_of(2, time)]
    annotations = []
    for number, each in enumerate(found, start=1):
        y, x = np.nonzero(each)
        box = [int(x.min()), int(y.min()), int(np.ptp(x)) + 1, int(np.ptp(y)) + 1]
        more = {"predicted_iou": 0.9, "stability_score": 0.9, "crop_box": [0, 0, WIDTH, HEIGHT], "point_coords": []}
        annotations.append(
            {"id": number, "segmentation": encode_rle(each), "bbox": box, "area": int(each.sum()), **more}
        )
    image = {"image_id": image_id, "width": WIDTH, "height": HEIGHT, "file_name": f"sa_{image_id}.jpg"}
    return {"image": image, "annotations": annotations}


def sa1b(root, shards=1):
    for shard in range(shards):
        members = {}
        for time in range(2):
            number = 2 * shard + time
            members[f"sa_{number}.jpg"] = image_bytes(time)
            members[f"sa_{number}.json"] = json.dumps(sa1b_content(number, time)).encode()
        put_tar(root / f"sa_{shard:06d}.tar", members)


def grit_content(time):
    caption = "a hot dog beside the box"
    share = lambda n: [value / side for value, side in zip(corners(n, time), (WIDTH, HEIGHT) * 2)]
    chunks = [[0, 9, *share(1), 0.9], [17, 24, *share(2), 0.8]]
    content = {"caption": caption, "noun_chunks": chunks, "ref_exps": [[0, 24, *share(1), 0.9]], "status": "success"}
    return {**content, "url": "http://x/y.jpg", "key": f"{time:09d}", "width": WIDTH, "height": HEIGHT}


def grit(root):
    members = {}
    for time in range(2):
        members[f"{time:09d}.jpg"] = image_bytes(time)
        members[f"{time:09d}.json"] = json.dumps(grit_content(time)).encode()
        members[f"{time:09d}.txt"] = b"a hot dog beside the box"
    put_tar(root / "00000.tar", members)


def tao(root):
    """Frames are images; the outlines are those of boxes."""
    names = [f"train/LaSOT/dog-1/{time:08d}.jpg" for time in (1, 31)]
    content = coco_content(names, masks=False)
    for time, (image, name) in enumerate(zip(content["images"], names)):
        put_image(root / "frames" / name, time)
        image |= {"video_id": 7, "frame_index": 30 * time, "video": "train/LaSOT/dog-1"}
    content["annotations"] = [each for each in content["annotations"] if each["id"] != 2]
    for each in content["annotations"]:
        x0, y0, x1, y1 = each["bbox"][0], each["bbox"][1], *np.add(each["bbox"][:2], each["bbox"][2:]).tolist()
        each |= {"track_id": each["id"] % 10, "video_id": 7, "segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]]}
    lists = {"neg_category_ids": [9], "not_exhaustive_category_ids": [3]}
    video = {"id": 7, "name": "train/LaSOT/dog-1", "width": WIDTH, "height": HEIGHT, "metadata": {}, **lists}
    tracks = [{"id": number, "category_id": category, "video_id": 7} for number, category in ((1, 3), (2, 8))]
    put_json(root / "annotations" / "train.json", {**content, "videos": [video], "tracks": tracks})


def burst(root):
    names = [f"{time:08d}.jpg" for time in (1, 31)]
    for time, name in enumerate(names):
        put_image(root / "images" / "train" / "LaSOT" / "dog-1" / name, time)
    mask_of = lambda number, time: {"rle": encode_rle(mask(number, time))["counts"], "is_gt": True, "score": 1.0}
    video = {"id": 7, "seq_name": "dog-1", "dataset": "LaSOT", "width": WIDTH, "height": HEIGHT, "fps": 30}
    video |= {"annotated_image_paths": names, "all_image_paths": names, "neg_category_ids": [9]}
    video |= {"not_exhaustive_category_ids": [3], "track_category_ids": {"1": 3, "2": 8}}
    video["segmentations"] = [{"1": mask_of(1, 0)}, {"1": mask_of(1, 1), "2": mask_of(2, 1)}]
    content = {"sequences": [video], "categories": categories(), "split": "train"}
    put_json(root / "train" / "all_classes.json", content)


def youtube_vos(root):
    for time in range(2):
        put_image(root / "train" / "JPEGImages" / "003234408d" / f"{5 * time:05d}.jpg", time)
        values = mask(1, time).astype(np.uint8)
        values[mask(2, time)] = 2
        path = root / "train" / "Annotations" / "003234408d" / f"{5 * time:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(path)
    objects = {str(number): {"category": NAMES[number], "frames": ["00000", "00005"]} for number in (1, 2)}
    put_json(root / "train" / "meta.json", {"videos": {"003234408d": {"objects": objects}}})


MAKERS = {
    "coco": coco,
    "lvis": lvis,
    "objects365": objects365,
    "openimages": openimages,
    "bdd100k": bdd100k,
    "refcoco": refcoco,
    "refcoco_plus": refcoco,
    "refcocog": lambda root: refcoco(root, "umd"),
    "visual_genome": visual_genome,
    "sa1b": sa1b,
    "grit": grit,
    "uvo": uvo,
    "uvo_dense": uvo_dense,
    "ytvis19": ytvis19,
    "ytvis21": ytvis21,
    "ovis": ovis,
    "tao": tao,
    "burst": burst,
    "youtube_vos": youtube_vos,
}


def make_tree(name, folder) -> Path:
    """The tree of a dataset below `folder`; the folder to pass as `data_dir`."""
    root = Path(folder) / name
    if name == "refer_youtube_vos":
        return TREES / "Refer-YouTube-VOS"
    root.mkdir(parents=True)
    MAKERS[name](root)
    return root


def glee_trees(folder) -> Path:
    """All trees in one folder, by names that the builders look for."""
    folder = Path(folder)
    coco(folder / "coco")
    for name in MAKERS.keys() - {"coco", "uvo_dense"}:
        make_tree(name, folder)
    uvo_dense(folder / "uvo")
    (folder / "Refer-YouTube-VOS").symlink_to(TREES / "Refer-YouTube-VOS")
    return folder
