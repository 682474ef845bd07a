import pytest
from hypothesis import given
from hypothesis import strategies as st

from glus_hf.metrics.no_target import calibrate_threshold, final_score, n_acc_t_acc


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1))
def test_accuracies_are_counts(pairs):
    accuracy = n_acc_t_acc([answer for answer, _ in pairs], [target for _, target in pairs])
    for name, has_target in (("N-acc", False), ("T-acc", True)):
        chosen = [answer == has_target for answer, target in pairs if target == has_target]
        assert accuracy[name] == (pytest.approx(sum(chosen) / len(chosen)) if chosen else None)


@pytest.mark.parametrize(("j_and_f", "n_acc", "t_acc"), [(0.6233, 0.6233, 0.6233), (0.5, 0.25, 0.75), (0.0, 1.0, 0.5)])
def test_final_is_the_mean_of_three(j_and_f, n_acc, t_acc):
    assert final_score(j_and_f, n_acc, t_acc) == pytest.approx((j_and_f + n_acc + t_acc) / 3)


def test_what_does_not_exist_is_none():
    assert final_score(0.5, None, 1.0) is None
    assert n_acc_t_acc([], []) == {"N-acc": None, "T-acc": None}
    with pytest.raises(ValueError, match="2 answers to 1"):
        n_acc_t_acc([True, False], [True])


def test_calibration_finds_the_best_threshold():
    confidences = [0.1, 0.2, 0.5, 0.6, 0.7, 0.9]
    has_target = [False, False, True, False, True, True]
    found = calibrate_threshold(confidences, [True] * 6, has_target)
    assert found == {"threshold": 0.35, "N-acc": pytest.approx(2 / 3), "T-acc": 1.0}
    # what is empty anyway needs no threshold
    assert calibrate_threshold(confidences, has_target, has_target) == {"threshold": 0.0, "N-acc": 1.0, "T-acc": 1.0}
    for wrong in ([True] * 6, [False] * 6):
        with pytest.raises(ValueError, match="expressions without"):
            calibrate_threshold(confidences, [True] * 6, wrong)
    with pytest.raises(ValueError, match="6 confidences of 2"):
        calibrate_threshold(confidences, [True, True], [True, False])
