"""Fused masks with free ids, on sequences made here."""

import numpy as np
import pytest
from PIL import Image

from glus_hf.data.predictions import MissingPrediction, write_expression
from glus_hf.evaluation.j_and_f import contour_accuracy, region_similarity
from glus_hf.evaluation.score import score_predictions


SIZE = (30, 40)
FRAMES = ["00000", "00001"]


def square(y, x, side=8):
    mask = np.zeros(SIZE, dtype=bool)
    mask[y : y + side, x : x + side] = True
    return mask


OBJECTS = [[square(2, 2), square(2, 4)], [square(15, 20), square(16, 20)]]  # [objects][frames]
VOID = square(20, 30, 9)


def make_data(root, annotators=2, num_objects=2):
    """Annotations with a void region, and rows."""
    for index, frame in enumerate(FRAMES):
        ids = np.zeros(SIZE, dtype=np.uint8)
        for number, masks in enumerate(OBJECTS[:num_objects], start=1):
            ids[masks[index]] = number
        ids[VOID] = 255
        path = root / "valid" / "Annotations" / "seq" / f"{frame}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(ids).save(path)
    paths = [str(root / "valid" / "JPEGImages" / "seq" / f"{frame}.jpg") for frame in FRAMES]
    common = {"dataset": "ref_davis17", "video_id": "seq", "frames": FRAMES, "frame_paths": paths}
    common |= {"height": SIZE[0], "width": SIZE[1], "expression_type": None, "annotation_ids": [], "masks": []}
    return [
        common | {"expression_id": str(annotators * n + k), "expression": f"{n} by {k}", "object_ids": [str(n + 1)]}
        for n in range(num_objects)
        for k in range(annotators)
    ]


def write(root, rows, masks_of):
    for row in rows:
        write_expression(root, row, masks_of(int(row["object_ids"][0]) - 1, int(row["expression_id"]) % 2))


def score(rows, root, **options):
    return score_predictions(rows, root, "ref_davis17_official", **options)


def test_swapped_objects_cost_nothing(tmp_path):
    rows = make_data(tmp_path)
    write(tmp_path / "pred", rows, lambda number, annotator: OBJECTS[1 - number if annotator else number])
    report = score(rows, tmp_path / "pred")
    assert report.totals["J&F"] == 1
    second = [record for record in report.records if record["annotator"] == "annotator 2"]
    assert [(record["expression"], record["object_id"]) for record in second] == [("0 by 1", "2"), ("1 by 1", "1")]


def test_annotators_are_averaged(tmp_path):
    rows = make_data(tmp_path)
    nothing = [np.zeros(SIZE, dtype=bool)] * 2
    write(tmp_path / "pred", rows, lambda number, annotator: nothing if annotator else OBJECTS[number])
    totals = score(rows, tmp_path / "pred").totals
    assert (totals["J"], totals["F"]) == (0.5, 0.5)
    assert totals["by_type"]["annotator 2"]["J"] == 0


def test_void_pixels_do_not_count(tmp_path):
    rows = make_data(tmp_path)
    write(tmp_path / "pred", rows, lambda number, _: [mask | VOID if number else mask for mask in OBJECTS[number]])
    target = OBJECTS[1][0] & ~VOID
    prediction = (OBJECTS[1][0] | VOID) & ~VOID
    expected = region_similarity(prediction, target), contour_accuracy(prediction, target)
    record = score(rows, tmp_path / "pred").records[1]
    assert expected == (1, 1) and (record["J"], record["F"]) == expected


def test_the_lower_id_wins_where_masks_overlap(tmp_path):
    rows = make_data(tmp_path)
    both = [a | b for a, b in zip(*OBJECTS)]
    write(tmp_path / "pred", rows, lambda number, _: both)
    records = score(rows, tmp_path / "pred").records
    # object 1's expression takes both squares, object 2's is left with nothing
    matched = {record["expression"]: record["J"] for record in records}
    assert matched["1 by 0"] == 0
    visible = [region_similarity(pair & ~VOID, mask & ~VOID) for pair, mask in zip(both, OBJECTS[0])]
    assert matched["0 by 0"] == pytest.approx(np.mean(visible))


def test_a_missing_object_scores_zero(tmp_path):
    rows = [row for row in make_data(tmp_path) if row["object_ids"] == ["1"]]
    write(tmp_path / "pred", rows, lambda number, _: OBJECTS[number])
    report = score(rows, tmp_path / "pred")
    assert report.totals["J"] == 0.5
    assert {record["expression"] for record in report.records} == {"0 by 0", "0 by 1", None}


def test_missing_predictions(tmp_path):
    rows = make_data(tmp_path)
    write(tmp_path / "pred", rows, lambda number, _: OBJECTS[number])
    (tmp_path / "pred" / "seq" / "3" / "00001.png").unlink()
    with pytest.raises(MissingPrediction, match="3/00001.png.*video seq, expression 3"):
        score(rows, tmp_path / "pred")
    report = score(rows, tmp_path / "pred", missing="zero")
    assert (report.totals["missing"], report.totals["missing_frames"]) == (1, 1)
    assert report.totals["J"] == pytest.approx(1 - 0.5 / 4)


def test_unusable_data(tmp_path):
    rows = make_data(tmp_path)
    write(tmp_path / "pred", rows, lambda number, _: OBJECTS[number])
    with pytest.raises(ValueError, match="equally many expressions"):
        score(rows[:-1], tmp_path / "pred")
    with pytest.raises(ValueError, match="one object per expression"):
        score([rows[0] | {"object_ids": ["1", "2"]}], tmp_path / "pred")
    with pytest.raises(ValueError, match="unpack the data set"):
        score([row | {"frame_paths": ["tar://seq/0.jpg::/x/JPEGImages.tar"]} for row in rows], tmp_path / "pred")
    (tmp_path / "valid" / "Annotations" / "seq" / "00001.png").unlink()
    with pytest.raises(ValueError, match="00001.png"):
        score(rows, tmp_path / "pred")
    Image.fromarray(np.full(SIZE, 255, dtype=np.uint8)).save(tmp_path / "valid" / "Annotations" / "seq" / "00000.png")
    Image.fromarray(np.full(SIZE, 255, dtype=np.uint8)).save(tmp_path / "valid" / "Annotations" / "seq" / "00001.png")
    with pytest.raises(ValueError, match="first annotation has no object"):
        score(rows, tmp_path / "pred")
