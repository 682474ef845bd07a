"""Average precision against pycocotools on the annotation file itself, and against the library of LVIS."""

import contextlib
import io
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from glus_hf import UserError, load_object_dataset
from glus_hf.data.objects.load_objects import name_frequencies, object_names
from glus_hf.evaluation.objects.coco_scores import COCO_SCORES, ObjectTruth, image_numbers, score_coco, score_lvis
from tests.evaluation.objects.random_objects import SIDE, random_answers, write_random_objects


KINDS = {"box": "bbox", "mask": "segm"}


@pytest.fixture
def case(tmp_path):
    content = write_random_objects(tmp_path / "train.json")
    (tmp_path / "train").mkdir()
    Image.new("RGB", (SIDE, SIDE)).save(tmp_path / "train" / "0.jpg")
    return tmp_path, content


def load(folder):
    options = {"annotations": "{split}.json", "cache_dir": str(folder / "cache")}
    rows = load_object_dataset("coco_format", folder, "train", **options)
    return rows, object_names("coco_format", folder, "train", annotations="{split}.json")


def file_results(content, answers, kind):
    """As they are handed in: the ids of the file."""
    ids, results = {each["name"]: each["id"] for each in content["categories"]}, []
    for image_id, found in answers.items():
        for each in found:
            x0, y0, x1, y1 = each["box"]
            shape = {"bbox": [x0, y0, x1 - x0, y1 - y0]} if kind == "box" else {"segmentation": each["segmentation"]}
            keys = {"image_id": int(image_id), "category_id": ids[each["name"]], "score": each["score"]}
            results.append({**keys, **shape})
    return results


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_are_those_of_pycocotools(case, kind):
    folder, content = case
    answers = random_answers(content)
    rows, names = load(folder)
    truth = ObjectTruth(rows, names)
    scores = score_coco(truth, truth.results(answers.items(), kind), kind)
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO(str(folder / "train.json"))
        official = COCOeval(known, known.loadRes(file_results(content, answers, kind)), KINDS[kind])
        official.evaluate()
        official.accumulate()
        official.summarize()
    assert list(scores.values()) == pytest.approx(official.stats.tolist(), abs=1e-12)
    assert 0.1 < scores["AP"] < 0.9 and list(scores) == list(COCO_SCORES)


# `python tests/evaluation/objects/test_coco_scores.py` prints them: lvis 0.5.3 with numpy.float put back
LVIS = {
    "box": {
        "AP": 0.25111268578177065,
        "AP50": 0.37234637223256384,
        "AP75": 0.2588019962710557,
        "APs": 0.25999999999999995,
        "APm": 0.14348422541854652,
        "APl": 0.50453871770497,
        "APr": 0.7019801980198019,
        "APc": 0.04565590402659667,
        "APf": 0.00570195529891335,
        "AR300": 0.47,
        "ARs": 0.41111111111111115,
        "ARm": 0.3821428571428572,
        "ARl": 0.6535714285714285,
    },
    "mask": {
        "AP": 0.2543197179171842,
        "AP50": 0.37829095116331324,
        "AP75": 0.2639330120900289,
        "APs": 0.249619935397795,
        "APm": 0.15123237789297983,
        "APl": 0.508964327798356,
        "APr": 0.7019801980198019,
        "APc": 0.04926854510735476,
        "APf": 0.011710410624395774,
        "AR300": 0.5261904761904762,
        "ARs": 0.41111111111111115,
        "ARm": 0.47023809523809523,
        "ARl": 0.6964285714285714,
    },
}


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_are_those_of_the_library_of_lvis(tmp_path, kind):
    content = write_random_objects(tmp_path / "train.json", seed=4, num_images=5, lvis=True)
    answers = random_answers(content, extra=310)  # more than count
    (tmp_path / "train").mkdir()
    Image.new("RGB", (SIDE, SIDE)).save(tmp_path / "train" / "0.jpg")
    rows, names = load(tmp_path)
    frequencies = name_frequencies("coco_format", tmp_path, "train", annotations="{split}.json")
    assert frequencies == {"dog": "r", "cat": "c", "sheep": "f", "kite": "f"}
    truth = ObjectTruth(rows, names)
    scores = score_lvis(truth, truth.results(answers.items(), kind), kind, frequencies)
    assert scores == pytest.approx(LVIS[kind], abs=1e-9)


def test_without_answers_and_without_objects(case):
    folder, _ = case
    rows, names = load(folder)
    truth = ObjectTruth(rows, names)
    assert score_coco(truth, [], "mask")["AP"] == 0 and score_lvis(truth, [], "box")["AP"] == 0
    empty = ObjectTruth([{**row, "objects": [], "absent_names": [], "incomplete_names": []} for row in rows], names)
    assert set(score_coco(empty, [], "box").values()) == {None} and score_lvis(empty, [], "box")["AP"] is None


def test_what_is_refused(case):
    folder, _ = case
    rows, names = load(folder)
    with pytest.raises(UserError, match="its name 'dog' is none of the dataset"):
        ObjectTruth(rows, names[1:])
    with pytest.raises(UserError, match="has no ground truth"):
        ObjectTruth([{**rows[0], "objects": None}], names)
    with pytest.raises(UserError, match="two images"):
        image_numbers(["1", "01"])


def print_lvis_scores():  # pragma: no cover - run by hand
    import tempfile
    from pathlib import Path

    np.float = float  # what lvis 0.5.3 asks NumPy for
    from lvis import LVIS as Truth
    from lvis import LVISEval, LVISResults

    with tempfile.TemporaryDirectory() as folder:
        content = write_random_objects(Path(folder) / "train.json", seed=4, num_images=5, lvis=True)
        answers = random_answers(content, extra=310)
        found = {}
        for kind, name in KINDS.items():
            truth = Truth(f"{folder}/train.json")
            evaluation = LVISEval(truth, LVISResults(truth, file_results(content, answers, kind)), name)
            evaluation.run()
            found[kind] = {key: float(value) for key, value in evaluation.get_results().items()}
        print(json.dumps(found, indent=4))


if __name__ == "__main__":
    print_lvis_scores()
