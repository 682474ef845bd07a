"""Fused masks with free ids, on sequences made here."""

import itertools

import numpy as np
import pytest
from PIL import Image

from glus_hf.errors import MissingPrediction
from glus_hf.evaluation.scoring.score_predictions import score_predictions
from glus_hf.metrics.j_and_f import contour_accuracy, region_similarity
from glus_hf.predictions.prediction_tree import write_expression


SIZE = (30, 40)


def square(y, x, side=8):
    mask = np.zeros(SIZE, dtype=bool)
    mask[y : y + side, x : x + side] = True
    return mask


OBJECTS = [[square(2, 2), square(2, 4)], [square(15, 20), square(16, 20)]]  # [objects][frames]
VOID = square(20, 30, 9)


def make_data(root, annotators=2, objects=OBJECTS):
    """Annotations with a void region, and rows."""
    frames = [f"{index:05d}" for index in range(len(objects[0]))]
    for index, frame in enumerate(frames):
        ids = np.zeros(SIZE, dtype=np.uint8)
        for number, masks in enumerate(objects, start=1):
            ids[masks[index]] = number
        ids[VOID] = 255
        path = root / "valid" / "Annotations" / "seq" / f"{frame}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(ids).save(path)
    paths = [str(root / "valid" / "JPEGImages" / "seq" / f"{frame}.jpg") for frame in frames]
    common = {"dataset": "ref_davis17", "video_id": "seq", "frames": frames, "frame_paths": paths}
    common |= {"height": SIZE[0], "width": SIZE[1], "expression_type": None, "annotation_ids": [], "masks": []}
    return [
        common | {"expression_id": str(annotators * n + k), "expression": f"{n} by {k}", "object_ids": [str(n + 1)]}
        for n in range(len(objects))
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


def random_objects(rng, count, grid=(3, 4)):
    """Masks of `count` objects in one frame, of blocks that touch each other; an object may have none."""
    ids = np.kron(rng.integers(0, count + 1, grid), np.ones((10, 10), dtype=int))
    return [[ids == number] for number in range(1, count + 1)]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("spare", [0, 1, 2])  # expressions of objects that the first frame does not show
def test_no_other_assignment_is_better(tmp_path, seed, spare):
    rng = np.random.default_rng(seed)
    truth, predicted = random_objects(rng, 3), random_objects(rng, 3 + spare)
    truth[-1][0][0, 0] = predicted[-1][0][0, 0] = True  # the highest ids are there
    for masks in (*truth[:-1], *predicted[:-1]):
        masks[0][0, 0] = False
    rows = make_data(tmp_path, annotators=1, objects=truth + [[np.zeros(SIZE, dtype=bool)]] * spare)
    write(tmp_path / "pred", rows, lambda number, _: predicted[number])
    records = score(rows, tmp_path / "pred").records
    pairs = [[(proposal[0] & ~VOID, target[0] & ~VOID) for target in truth] for proposal in predicted]
    sums = np.array([[region_similarity(*pair) + contour_accuracy(*pair) for pair in line] for line in pairs])
    columns = range(len(truth))
    best = max(sums[list(order), columns].sum() for order in itertools.permutations(range(len(sums)), len(truth)))
    assert sum(record["J"] + record["F"] for record in records) == pytest.approx(best, abs=1e-12)
    # one record per object, each of another expression
    assert sorted(record["object_id"] for record in records) == ["1", "2", "3"]
    assert len({record["expression"] for record in records}) == 3


def test_of_equally_good_assignments_that_of_scipy(tmp_path):
    # each proposal is a half of object 1 and nothing of object 2: swapping them would cost nothing
    left, right = square(2, 2, 8), square(2, 10, 8)
    rows = make_data(tmp_path, annotators=1, objects=[[left | right], [square(15, 4)]])
    write(tmp_path / "pred", rows, lambda number, _: [[left], [right]][number])
    records = score(rows, tmp_path / "pred").records
    assert [(record["expression"], record["object_id"]) for record in records] == [("0 by 0", "1"), ("1 by 0", "2")]


def test_annotators_go_by_id_not_by_place(tmp_path):
    rows = make_data(tmp_path, annotators=12)
    write(tmp_path / "pred", rows, lambda number, annotator: OBJECTS[1 - number if annotator else number])
    expected = score(rows, tmp_path / "pred")
    by_text = sorted(rows, key=lambda row: row["expression_id"])  # "10" before "2"
    assert score(by_text, tmp_path / "pred") == expected


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


def test_frames_in_a_tar_have_their_annotations_beside_it(tmp_path):
    rows = make_data(tmp_path)
    write(tmp_path / "pred", rows, lambda number, k: np.roll(OBJECTS[number], k, axis=2))
    tar = tmp_path / "valid" / "JPEGImages.tar"
    packed = [row | {"frame_paths": [f"tar://JPEGImages/seq/{f}.jpg::{tar}" for f in row["frames"]]} for row in rows]
    assert score(packed, tmp_path / "pred").totals == score(rows, tmp_path / "pred").totals


def test_unusable_data(tmp_path):
    rows = make_data(tmp_path)
    write(tmp_path / "pred", rows, lambda number, _: OBJECTS[number])
    with pytest.raises(ValueError, match="equally many expressions"):
        score(rows[:-1], tmp_path / "pred")
    with pytest.raises(ValueError, match="one object per expression"):
        score([rows[0] | {"object_ids": ["1", "2"]}], tmp_path / "pred")
    with pytest.raises(ValueError, match="unpack the dataset"):
        score([row | {"frame_paths": ["video://0::/x/JPEGImages/seq.mp4"]} for row in rows], tmp_path / "pred")
    (tmp_path / "valid" / "Annotations" / "seq" / "00001.png").unlink()
    with pytest.raises(ValueError, match="00001.png"):
        score(rows, tmp_path / "pred")
    for frame in rows[0]["frames"]:
        Image.fromarray(np.full(SIZE, 255, dtype=np.uint8)).save(tmp_path / f"valid/Annotations/seq/{frame}.png")
    with pytest.raises(ValueError, match="none of the 0 expressions"):
        score(rows, tmp_path / "pred")


def test_a_video_without_object_in_its_first_frame_does_not_count(tmp_path):
    rows = make_data(tmp_path)
    write(tmp_path / "pred", rows, lambda number, _: OBJECTS[number])
    other = [row | {"video_id": "empty"} for row in rows]
    for row in other:
        write_expression(tmp_path / "pred", row, OBJECTS[0])
    (tmp_path / "valid/Annotations/empty").mkdir()
    for frame in rows[0]["frames"]:
        Image.fromarray(np.zeros(SIZE, dtype=np.uint8)).save(tmp_path / f"valid/Annotations/empty/{frame}.png")
    assert score([*other, *rows], tmp_path / "pred").totals == score(rows, tmp_path / "pred").totals


def test_ids_above_the_highest_that_was_predicted_are_no_proposals(tmp_path):
    nothing = np.zeros(SIZE, dtype=bool)
    objects = [OBJECTS[0], [OBJECTS[1][0], nothing], [nothing, nothing]]  # the third is no object in the first frame
    rows = make_data(tmp_path, objects=objects)
    # object 2 is found too late; the empty third mask would fit it better
    write(tmp_path / "pred", rows, lambda number, _: [OBJECTS[0], [nothing, OBJECTS[1][1]], [nothing] * 2][number])
    records = score(rows, tmp_path / "pred").records
    assert [(record["expression"], record["J"]) for record in records[:2]] == [("0 by 0", 1), ("1 by 0", 0)]


def test_frames_are_added_up_as_in_the_official_code(tmp_path):
    count = 30  # NumPy adds up more than 8 values pairwise, and one after the other along a first axis
    objects = [[square(2, 2)] * count]
    rows = make_data(tmp_path, annotators=1, objects=objects)
    masks = [square(2 + index % 7, 2 + index % 5) for index in range(count)]
    write(tmp_path / "pred", rows, lambda number, _: masks)
    (record,) = score(rows, tmp_path / "pred").records
    assert record["J"] == np.mean([region_similarity(mask, objects[0][0]) for mask in masks])
    assert record["F"] == np.mean([contour_accuracy(mask, objects[0][0]) for mask in masks])
