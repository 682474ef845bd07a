"""Runs on miniature trees: scores beside pycocotools' own, resuming, refusals."""

import contextlib
import io
import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import glus_hf
from glus_hf import UserError, load_object_dataset
from glus_hf.data.objects.load_objects import object_names
from glus_hf.evaluation.objects.answers import ObjectFinder, inner_point
from glus_hf.evaluation.objects.evaluate_objects import ObjectRun, evaluate_objects
from glus_hf.media.rle import decode_rle
from tests.evaluation.evaluation_data import tree
from tests.evaluation.objects.object_runs import renamed_tree
from tests.models.glee.small_glee import small_model, small_processor


@pytest.fixture(scope="module")
def pipe():
    return glus_hf.pipeline("zero-shot-object-detection", model="glee-tiny", device="cpu")


@pytest.fixture(scope="module")
def coco_tree(tmp_path_factory):
    return renamed_tree("coco", tmp_path_factory.mktemp("coco"))


def load(name, root):
    rows = load_object_dataset(name, root, "train", cache_dir=str(root.parent / "cache"))
    return rows, object_names(name, root, "train")


@pytest.fixture(scope="module")
def found(pipe, coco_tree, tmp_path_factory):
    """A finished run: finder, rows, output and summary."""
    output = tmp_path_factory.mktemp("runs") / "coco"
    rows, names = load("coco", coco_tree)
    finder = ObjectFinder(pipe, "instance", names)
    return finder, rows, output, evaluate_objects(finder, rows, output, ObjectRun("coco", "train"))


def answers(output, image_id, task):
    return json.loads((output / "objects" / image_id / f"{task}.json").read_text())["objects"]


@pytest.mark.parametrize("shape", ["box", "mask"])
def test_average_precision_is_that_of_pycocotools(found, coco_tree, shape):
    _, rows, output, summary = found
    file = coco_tree / "annotations" / "instances_train2017.json"
    ids, results = {each["name"]: each["id"] for each in json.loads(file.read_text())["categories"]}, []
    for row in rows:
        for each in answers(output, row["image_id"], "instance"):
            (x0, y0, x1, y1), mask = each["box"], each["segmentation"]
            form = {"bbox": [x0, y0, x1 - x0, y1 - y0]} if shape == "box" else {"segmentation": mask}
            keys = {"image_id": int(row["image_id"]), "category_id": ids[each["name"]], "score": each["score"]}
            results.append({**keys, **form})
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO(str(file))
        official = COCOeval(known, known.loadRes(results), {"box": "bbox", "mask": "segm"}[shape])
        official.evaluate()
        official.accumulate()
        official.summarize()
    scores = [-1 if value is None else value for value in summary["totals"][shape].values()]
    assert scores == pytest.approx(official.stats.tolist(), abs=1e-12)
    assert summary["totals"][shape]["AP50"] > 0.4  # glee-tiny knows both objects


def test_files_of_a_run(found):
    _, rows, output, summary = found
    assert json.loads((output / "summary.json").read_text()) == summary
    lines = [json.loads(line) for line in (output / "results.jsonl").read_text().splitlines()]
    assert [line["image_id"] for line in lines] == ["100", "101"]
    assert lines[0]["num_found"] == len(answers(output, "100", "instance")) <= 100
    assert summary["num_images"] == 2 and summary["protocol"] == "coco"


def test_a_run_is_resumed_and_makes_the_same_files(found, tmp_path):
    finder, rows, output, _ = found
    run, before = ObjectRun("coco", "train"), tree(output)
    evaluate_objects(finder, rows.select([1]), tmp_path / "out", run)
    half = (tmp_path / "out" / "objects" / "101" / "instance.json").stat().st_mtime_ns
    evaluate_objects(finder, rows, tmp_path / "out", run)
    assert tree(tmp_path / "out") == before
    assert (tmp_path / "out" / "objects" / "101" / "instance.json").stat().st_mtime_ns == half
    (tmp_path / "out" / "objects" / "100" / "instance.json").unlink()
    evaluate_objects(finder, rows, tmp_path / "out", run)
    assert tree(tmp_path / "out") == before


def test_what_a_run_refuses(found, pipe, tmp_path, coco_tree):
    finder, rows, output, _ = found
    before = tree(output)
    with pytest.raises(UserError, match="holds a run with another names"):
        evaluate_objects(ObjectFinder(pipe, "instance", finder.names[:2]), rows, output, ObjectRun("coco", "train"))
    with pytest.raises(UserError, match="holds a run with another task"):
        evaluate_objects(ObjectFinder(pipe, "detection", finder.names), rows, output, ObjectRun("coco", "train"))
    with pytest.raises(UserError, match="lies in .*, which is read"):
        evaluate_objects(finder, rows, coco_tree / "train2017" / "out", ObjectRun("coco", "train"))
    assert tree(output) == before
    wrong = [{**rows[0], "height": 7}]
    with pytest.raises(UserError, match="image 100: .*the annotations say 7 x"):
        evaluate_objects(finder, wrong, tmp_path / "wrong", ObjectRun("coco", "train"))
    boxes = [{**row, "objects": [{**each, "mask": None} for each in row["objects"]]} for row in rows]
    with pytest.raises(UserError, match="boxes alone; use --task detection"):
        evaluate_objects(finder, boxes, tmp_path / "boxes", ObjectRun("coco", "train"))
    assert not (tmp_path / "boxes").exists()  # before any work
    with pytest.raises(UserError, match="task 'vos' is unknown"):
        ObjectFinder(pipe, "vos")
    with pytest.raises(UserError, match="score_source 'text': use confidence, or text of the task interactive"):
        ObjectFinder(pipe, "instance", finder.names, score_source="text")
    with pytest.raises(UserError, match="no names to look for"):
        ObjectFinder(pipe, "detection")
    with pytest.raises(UserError, match="protocol 'voc' is unknown"):
        ObjectRun("coco", "train", protocol="voc")
    with pytest.raises(UserError, match="no images"):
        evaluate_objects(finder, rows.select([]), tmp_path / "none", ObjectRun("coco", "train"))


def test_some_of_the_names(found, pipe, tmp_path):
    finder, rows, _, summary = found
    one = ObjectFinder(pipe, "detection", finder.names[:1])
    with pytest.raises(UserError, match="its name 'green square' is none of the dataset"):
        evaluate_objects(one, rows, tmp_path / "out", ObjectRun("coco", "train"))
    scores = evaluate_objects(one, rows, tmp_path / "out", ObjectRun("coco", "train", some_names=True))
    assert scores["totals"]["box"]["AP50"] > 0.5


def test_without_ground_truth(pipe, found, tmp_path):
    finder, rows, _, _ = found
    secret = [{**row, "objects": None} for row in rows]
    finder = ObjectFinder(pipe, "detection", finder.names)
    summary = evaluate_objects(finder, secret, tmp_path / "out", ObjectRun("coco", "test"))
    assert summary["totals"] is None and summary["num_found"] > 0
    assert "segmentation" not in answers(tmp_path / "out", "100", "detection")[0]


def test_images_without_objects(found, pipe, tmp_path):
    finder, rows, _, _ = found
    empty = [{**row, "objects": []} for row in rows]
    summary = evaluate_objects(finder, empty, tmp_path / "out", ObjectRun("coco", "train"))
    assert summary["totals"]["mask"]["AP"] is None and summary["num_found"] > 0


def test_expressions(pipe, tmp_path):
    root = renamed_tree("refcoco", tmp_path)
    rows, _ = load("refcoco", root)
    summary = evaluate_objects(ObjectFinder(pipe, "referring"), rows, tmp_path / "out", ObjectRun("refcoco", "train"))
    totals, (row,) = summary["totals"], list(rows)
    given = answers(tmp_path / "out", "100", "referring")
    assert [each["expression"] for each in given] == ["red circle", "red circle", "green square"]
    size, meant = (row["height"], row["width"]), {each["object_id"]: each for each in row["objects"]}
    ious, boxes, sums = [], [], np.zeros(2)
    for each in given:
        one, other = (decode_rle(rle, size) for rle in (each["segmentation"], meant[each["object_id"]]["mask"]))
        sums += (one & other).sum(), (one | other).sum()
        ious.append((one & other).sum() / (one | other).sum())
        a, b = each["box"], meant[each["object_id"]]["box"]
        sides = [max(min(a[axis + 2], b[axis + 2]) - max(a[axis], b[axis]), 0) for axis in (0, 1)]
        area = lambda box: (box[2] - box[0]) * (box[3] - box[1])
        boxes.append(sides[0] * sides[1] / (area(a) + area(b) - sides[0] * sides[1]))
    assert totals["num_expressions"] == 3 and totals["P@0.5"] == np.mean(np.array(boxes) > 0.5) > 0
    assert totals["mIoU"] == pytest.approx(np.mean(ious)) and totals["mask_P@0.5"] == np.mean(np.array(ious) > 0.5)
    assert totals["oIoU"] == pytest.approx(sums[0] / sums[1])


def test_clicks_and_boxes(tmp_path):
    model, processor = small_model(seed=2), small_processor()
    pipe = glus_hf.pipeline("mask-generation", model=model, processor=processor, device="cpu")
    rows, _ = load("coco", renamed_tree("coco", tmp_path))
    summary = evaluate_objects(ObjectFinder(pipe, "interactive"), rows, tmp_path / "out", ObjectRun("coco", "train"))
    from PIL import Image

    from glus_hf.data.frames import read_frame

    for kind, prompt in (("point", "input_points"), ("box", "input_boxes")):
        ious = []
        for row in rows:
            size = row["height"], row["width"]
            masks = [decode_rle(each["mask"], size) for each in row["objects"]]
            values = [[inner_point(mask)] for mask in masks] if kind == "point" else [x["box"] for x in row["objects"]]
            told = pipe(Image.fromarray(read_frame(row["image_path"])), **{prompt: values})["masks"]
            ious += [(one & other).sum() / (one | other).sum() for one, other in zip(told, masks)]
        assert summary["totals"][kind] == {"num_objects": 4, "mIoU": pytest.approx(np.mean(ious))}


def test_the_click_is_deep_inside():
    mask = np.zeros((20, 30), bool)
    mask[:, :5] = True  # touches three edges of the image
    mask[8:15, 12:19] = True
    assert inner_point(mask) == [15, 11]
    alone = np.zeros((4, 6), bool)
    alone[3, 5] = True
    assert inner_point(alone) == [5, 3]
