import json

import numpy as np
import pytest

from glus_hf.data.load_dataset import available_datasets
from glus_hf.evaluation.scoring.aggregate import aggregate
from glus_hf.evaluation.scoring.protocols import PROTOCOLS, Protocol, default_protocol, get_protocol
from glus_hf.evaluation.scoring.score_expression import score_expression


def record(j, f, kind=None, **more):
    return {"expression_type": kind, "J": j, "F": f, "J&F": (j + f) / 2, "missing_frames": 0, **more}


def test_every_data_set_has_a_protocol():
    for name in available_datasets():
        assert default_protocol(name) == name
    assert default_protocol("mevis", [None, "no_target", None]) == "mevis_v2"
    with pytest.raises(ValueError, match="use one of mevis, mevis_v2"):
        get_protocol("davis")
    with pytest.raises(ValueError, match="use one of"):
        default_protocol("coco")


def test_policies_are_checked():
    assert get_protocol("mevis", missing="skip") == Protocol(**(vars(PROTOCOLS["mevis"]) | {"missing": "skip"}))
    with pytest.raises(ValueError, match="error, zero, skip, empty"):
        get_protocol("mevis", missing="ignore")
    with pytest.raises(ValueError, match="does not apply"):
        get_protocol("ref_davis17_official", missing="skip")


def test_the_presets_cannot_be_changed():
    with pytest.raises(TypeError):
        PROTOCOLS["mevis"] = PROTOCOLS["revos"]
    with pytest.raises(AttributeError):
        PROTOCOLS["mevis"].missing = "zero"


def test_plain_means():
    values = np.random.default_rng(0).random((7, 2))
    totals = aggregate([record(*pair, kind="ab"[index % 2]) for index, pair in enumerate(values)], PROTOCOLS["own"])
    assert totals["J"] == np.mean(values[:, 0].copy()) and totals["F"] == np.mean(values[:, 1].copy())
    assert totals["J&F"] == (totals["J"] + totals["F"]) / 2
    assert totals["by_type"]["a"]["num_expressions"] == 4
    assert totals["by_type"]["b"]["J"] == np.mean(values[1::2, 0].copy())
    assert totals["scale"] == 1
    json.dumps(totals)


def test_rounding_at_the_end():
    totals = aggregate([record(0.123456, 0.5), record(0.2, 0.654321)], PROTOCOLS["ref_davis17"])
    assert (totals["J"], totals["F"], totals["J&F"]) == (16.17, 57.72, 36.94)
    assert totals["scale"] == 100


def test_revos_rounds_first_and_weighs_types_equally():
    records = [record(0.123456, 0.5, "referring", A=1.0, R=0.5) for _ in range(3)]
    records += [record(0.777777, 0.25, "reasoning", A=0.5, R=0.0), record(1.0, 1.0, "nonexistent", A=1.0, R=1.0)]
    totals = aggregate(records, PROTOCOLS["revos"])
    assert totals["J"] == pytest.approx((12.35 + 77.78) / 2, abs=1e-12)
    assert (totals["F"], totals["A"], totals["R"]) == (37.5, 75, 25)
    assert totals["num_expressions"] == 4 and totals["by_type"]["nonexistent"]["J"] == 100
    # NumPy's rounding, as in the public code: Python's would give 0.03 here
    assert aggregate([record(1 / 4000, 0.5, "referring", A=1.0, R=1.0)], PROTOCOLS["revos"])["J"] == 0.02
    # a split may lack one of the types
    assert aggregate(records[:3], PROTOCOLS["revos"])["F"] == 50
    with pytest.raises(ValueError, match="none of the 1 expressions"):
        aggregate(records[4:], PROTOCOLS["revos"])


def test_long_rvos_adds_up_its_types_in_the_order_of_its_evaluator():
    kinds = ("static", "hybrid", "dynamic")
    values = np.random.default_rng(2).random(30)
    records = [record(value, value, kinds[n % 3], tIoU=1.0, vIoU=value) for n, value in enumerate(values)]
    in_order = np.mean([*values[2::3], *values[0::3], *values[1::3]])  # dynamic, static, hybrid
    assert in_order != np.mean(values)
    assert aggregate(records, PROTOCOLS["long_rvos"])["vIoU"] == in_order


def test_no_target_expressions_in_and_out_of_j_and_f():
    records = [record(0.5, 0.7, has_target=True, answered=True), record(1.0, 1.0, has_target=False, answered=False)]
    records.append(record(0.0, 0.0, "no_target", has_target=False, answered=True))
    everything = aggregate(records, PROTOCOLS["mevis_v2"])
    assert everything["J&F"] == pytest.approx((0.6 + 1) / 3)
    targets = aggregate(records, PROTOCOLS["mevis_v2_targets_only"])
    assert targets["J&F"] == pytest.approx(0.6)
    assert targets["N-acc"] == everything["N-acc"] == 0.5
    assert targets["Final"] == pytest.approx((0.6 + 0.5 + 1) / 3)


def test_without_any_no_target_expression_there_is_no_final():
    totals = aggregate([record(0.5, 0.7, has_target=True, answered=True)], PROTOCOLS["mevis_v2"])
    assert (totals["N-acc"], totals["T-acc"], totals["Final"]) == (None, 1, None)


def test_fused_protocols_do_not_score_single_expressions():
    with pytest.raises(ValueError, match="score_predictions"):
        score_expression({}, lambda row, frame: None, PROTOCOLS["ref_davis17_official"])
