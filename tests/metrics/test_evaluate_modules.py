"""The metrics as modules of `evaluate`: by folder, as classes, and equal to the plain functions."""

import os
import subprocess

import evaluate
import numpy as np
import pytest
import torch

from glus_hf.media.rle import encode_rle
from glus_hf.metrics import evaluate_modules as metrics
from glus_hf.metrics.iou import giou_ciou
from glus_hf.metrics.j_and_f import j_and_f
from glus_hf.metrics.robustness import pixel_accuracy, robustness
from glus_hf.metrics.temporal_iou import temporal_iou
from tests.warm_python import warm_python


def clips(count=3, frames=4, size=(24, 37)):
    """Predictions and targets `[count][frames, height, width]`, the last target of each empty."""
    random = np.random.default_rng(0)
    targets = np.zeros((count, frames, *size), dtype=bool)
    targets[:, :-1, 5:15, 8:20] = True
    predictions = np.roll(targets, 2, axis=-1) ^ (random.random(targets.shape) < 0.01)
    return list(predictions), list(targets)


def as_runs(clip):
    return [encode_rle(mask) if mask.any() else None for mask in clip]


@pytest.fixture(params=["folder", "class"])
def load(request, tmp_path):
    """Metric by its module's name, in both ways."""
    classes = {"j_and_f": "JAndF", "revos_robustness": "RevosRobustness", "n_acc_t_acc": "NAccTAcc"}
    classes |= {"giou_ciou": "GiouCiou", "tiou_viou": "TiouViou"}

    def metric(name):
        if request.param == "folder":
            return evaluate.load(metrics.path(name), cache_dir=str(tmp_path))
        return getattr(metrics, classes[name])(cache_dir=str(tmp_path))

    return metric


def test_j_and_f(load):
    predictions, targets = clips()
    expected = [j_and_f(*pair) for pair in zip(predictions, targets)]
    scores = load("j_and_f").compute(predictions=predictions, references=targets, per_expression=True)
    assert scores["per_expression"] == {"J": [s["j"] for s in expected], "F": [s["f"] for s in expected]}
    assert scores["J"] == np.mean([s["j"] for s in expected])
    assert scores["J&F"] == (scores["J"] + scores["F"]) / 2


@pytest.mark.parametrize("name", metrics.NAMES)
def test_tensors_score_as_arrays(load, name):
    predictions, targets = clips()
    if name == "giou_ciou":
        predictions, targets = predictions[0], targets[0].astype(np.uint8)
        targets[0, :3] = 255
    inputs = {"predictions": list(predictions), "references": list(targets)}
    inputs |= {"foregrounds": targets} if name == "revos_robustness" else {}
    tensors = {key: [torch.from_numpy(value) for value in values] for key, values in inputs.items()}
    assert load(name).compute(**tensors) == load(name).compute(**inputs)


def test_runs_score_as_arrays_in_any_mixture(load):
    predictions, targets = clips()
    expected = load("j_and_f").compute(predictions=predictions, references=targets)
    metric = load("j_and_f")
    metric.add(prediction=as_runs(predictions[0]), reference=targets[0])
    metric.add_batch(predictions=predictions[1:], references=[as_runs(clip) for clip in targets[1:]])
    assert metric.compute() == expected


def test_an_absent_mask_first(load):
    """`evaluate` infers the type of its file from the first example."""
    predictions, targets = clips(count=1)
    empty = [None] * len(targets[0])
    scores = load("j_and_f").compute(predictions=[empty, as_runs(predictions[0])], references=[empty, targets[0]])
    assert scores["J"] == (1 + j_and_f(predictions[0], targets[0])["j"]) / 2


def test_revos_robustness(load):
    predictions, targets = clips()
    foregrounds = [target | np.roll(target, 5, axis=-2) for target in targets]
    inputs = {"predictions": predictions, "references": targets, "foregrounds": foregrounds}
    for mode in ("binary", "png255"):
        a, r = [], []
        for prediction, target, foreground in zip(predictions, targets, foregrounds):
            if mode == "png255":
                prediction, target = prediction * np.uint8(255), target.astype(np.uint8)
            a.append(np.mean([pixel_accuracy(*pair) for pair in zip(prediction, target)]))
            r.append(np.mean([robustness(*masks) for masks in zip(prediction, target, foreground)]))
        scores = load("revos_robustness").compute(**inputs, mode=mode)
        assert scores == {"A": pytest.approx(np.mean(a), abs=1e-15), "R": pytest.approx(np.mean(r), abs=1e-15)}
    with pytest.raises(ValueError, match="binary or png255"):
        load("revos_robustness").compute(**inputs, mode="255")


def test_n_acc_t_acc(load):
    predictions, targets = clips(count=2)
    nothing = np.zeros_like(targets[0])
    scores = load("n_acc_t_acc").compute(
        predictions=[*predictions, nothing, predictions[0], nothing], references=[*targets, nothing, nothing, nothing]
    )
    assert (scores["N-acc"], scores["T-acc"]) == (pytest.approx(2 / 3), 1)
    assert scores["Final"] == pytest.approx((scores["J&F"] + 2 / 3 + 1) / 3)
    only_targets = load("n_acc_t_acc").compute(
        predictions=[*predictions, nothing], references=[*targets, nothing], j_and_f_without_no_target=True
    )
    assert only_targets["J"] == np.mean([j_and_f(*pair)["j"] for pair in zip(predictions, targets)])
    nobody = load("n_acc_t_acc").compute(predictions=[nothing], references=[nothing], j_and_f_without_no_target=True)
    assert nobody == {"J": None, "F": None, "J&F": None, "N-acc": 1.0, "T-acc": None, "Final": None}


@pytest.mark.parametrize("convention", ["lisa", "gres"])
def test_giou_ciou_with_ignored_pixels(load, convention):
    predictions, targets = clips()
    predictions, targets = [clip[-1] for clip in predictions], [clip[0].astype(np.uint8) for clip in targets]
    targets[1][:, 10:14] = 255
    targets[2][:] = 0
    expected = giou_ciou(predictions, targets, convention)
    metric = load("giou_ciou")
    assert metric.compute(predictions=predictions, references=targets, convention=convention) == expected
    with pytest.raises(ValueError, match="target 0 has values"):
        load("giou_ciou").compute(predictions=predictions[:1], references=[targets[0] * 9])


def test_tiou_viou(load):
    predictions, targets = clips()
    predictions[1][0] = False
    expected = []
    for prediction, target in zip(predictions, targets):
        j = [j_and_f(p[None], t[None])["j"] for p, t in zip(prediction, target)]
        expected.append(temporal_iou(prediction.any((1, 2)), target.any((1, 2)), j))
    scores = load("tiou_viou").compute(predictions=predictions, references=targets)
    assert scores == {
        name: np.mean([scores_of_video[name] for scores_of_video in expected]) for name in ("tIoU", "vIoU")
    }


def test_clips_must_fit(load):
    predictions, targets = clips(count=1)
    with pytest.raises(ValueError, match="same frames, got 4 and 3"):
        load("j_and_f").compute(predictions=predictions, references=[targets[0][:3]])
    with pytest.raises(ValueError, match="but the video is"):
        load("j_and_f").compute(predictions=predictions, references=[targets[0][:, :, :30]])
    with pytest.raises(ValueError, match="boolean"):
        load("j_and_f").compute(predictions=predictions, references=[targets[0].astype(float)])


def test_nothing_to_score(load):
    for name in metrics.NAMES:
        inputs = {"predictions": [], "references": []} | ({"foregrounds": []} if name == "revos_robustness" else {})
        with pytest.raises(ValueError, match="there is nothing to score"):
            load(name).compute(**inputs)


def test_giou_ciou_takes_masks_not_clips(load):
    predictions, targets = clips(count=1)
    with pytest.raises(ValueError, match="must be one mask"):
        load("giou_ciou").compute(predictions=predictions, references=targets)


def test_unknown_names():
    with pytest.raises(ValueError, match="use one of giou_ciou, j_and_f"):
        metrics.path("iou")
    with pytest.raises(AttributeError):
        metrics.IoU  # noqa: B018


def test_loads_offline_in_a_fresh_process(tmp_path):
    code = (
        "import sys, evaluate; from glus_hf.metrics import evaluate_modules as metrics\n"
        "loaded = [evaluate.load(metrics.path(name)) for name in metrics.NAMES]\n"
        "print(*[metric.name for metric in loaded])"
    )
    # no proxy leads anywhere: a request would fail
    environment = os.environ | {"HF_HOME": str(tmp_path), "HF_MODULES_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    environment |= {
        "HF_EVALUATE_OFFLINE": "1",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "HTTP_PROXY": "http://127.0.0.1:9",
    }
    result = subprocess.run([*warm_python(), "-c", code], capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == list(metrics.NAMES)
