"""Starting from the selector's frame: pipeline, evaluation and command agree, and results land on the right frames."""

import json
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import glus_hf
from glus_hf import GLUSSelector, GLUSSelectorProcessor, UserError, VideoSegmentationOutput
from glus_hf.cli.main import app
from glus_hf.data.motion_shapes import generate_clip
from glus_hf.evaluation.evaluator import evaluate_model
from glus_hf.evaluation.options import EvaluationOptions
from glus_hf.inference.frame_selector import FrameSelector, confidence, key_frames_of, load_selector
from glus_hf.media.video import write_video
from glus_hf.predictions.key_frame_file import read_key_frames
from glus_hf.predictions.prediction_tree import read_prediction
from tests.evaluation.evaluation_data import shape_rows, tree
from tests.fixed_selector import FixedSelector, one_hot_at
from tests.models.glus_selector.small_selector import small_selector


CLIP = generate_clip(0, split="test", size=64, num_frames=6)
FRAMES = CLIP.frames
TEXT, OTHER = "the red circle", "the blue square"


@pytest.fixture(scope="module")
def pipe():
    return glus_hf.pipeline(model="glus-tiny", device="cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("selector")
    model, processor = small_selector()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return shape_rows(tmp_path_factory.mktemp("cache"), num_videos=2)


def paint_masks(session, key_frame=None, batch_size=None):
    """In place of the model: forward from the key frame, then backward; a mask says which frame it was made from."""
    starts, count = np.broadcast_to(key_frame or 0, len(session.texts)), len(session.frames)
    for index, is_forward in [
        *((frame_idx, True) for frame_idx in range(count)),
        *((frame_idx, False) for frame_idx in reversed(range(count))),
    ]:
        texts = [text for text, start in enumerate(starts) if (index >= start) == is_forward]
        mask = torch.from_numpy(np.asarray(session.frames[index])[..., 0] > 128)
        logits, scores = torch.where(mask, 5.0, -5.0).expand(len(texts), -1, -1), torch.full((len(texts),), 0.5)
        if texts:
            yield VideoSegmentationOutput(index, texts, logits, scores)


@settings(max_examples=25, deadline=None)
@given(data=st.data(), length=st.integers(1, 12))
def test_results_land_on_the_right_frames_for_every_key_frame(pipe, data, length):
    """Frame i is marked by i + 1 white pixels; so is its mask, whatever the frames that the texts start from."""
    keys = data.draw(st.lists(st.integers(0, length - 1), min_size=1, max_size=3))
    frames = np.zeros((length, 16, 16, 3), dtype=np.uint8)
    for index in range(length):
        frames[index].reshape(-1, 3)[: index + 1] = 255
    selector = FixedSelector(one_hot_at(*keys)).as_selector()
    texts = [TEXT, OTHER, "the object"][: len(keys)]
    original = pipe.model.propagate_in_video_iterator
    pipe.model.propagate_in_video_iterator = paint_masks
    try:
        results = [pipe(frames, texts, key_frame=keys), pipe(frames, texts, key_frame="auto", selector=selector)]
    finally:
        pipe.model.propagate_in_video_iterator = original
    for result in [*results[0], *results[1]]:
        assert result["masks"].sum((1, 2)).tolist() == list(range(1, length + 1))
        assert result["frame_indices"].tolist() == list(range(length))
    assert [result["key_frame"] for result in results[1]] == keys


def test_auto_is_the_best_frame_of_each_text(pipe):
    selector = FixedSelector(one_hot_at(4, 2)).as_selector()
    results = pipe(FRAMES, [TEXT, OTHER], key_frame="auto", selector=selector)
    expected = pipe(FRAMES, [TEXT, OTHER], key_frame=[4, 2])
    for result, other in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result["masks"], other["masks"])
        assert "frame_scores" not in other and result["frame_scores"].shape == (6,)
    assert [result["key_frame"] for result in results] == [4, 2] and not any(result["no_target"] for result in results)
    mixed = pipe(FRAMES, [TEXT, OTHER], key_frame=[3, "auto"], selector=selector)
    assert [result["key_frame"] for result in mixed] == [3, 2]
    single = pipe({"video": FRAMES, "text": TEXT, "key_frame": "auto"}, selector=selector)
    np.testing.assert_array_equal(single["masks"], results[0]["masks"])


def test_a_selector_by_name_and_in_memory(folder, monkeypatch):
    model, processor = small_selector()
    named = glus_hf.pipeline(model="glus-tiny", device="cpu", selector=str(folder))  # key_frame="auto" by itself
    loads, load = [], GLUSSelector.from_pretrained
    monkeypatch.setattr(
        GLUSSelector, "from_pretrained", lambda name, **options: loads.append(name) or load(name, **options)
    )
    by_name = named(FRAMES, [TEXT, OTHER])
    again = named(FRAMES, TEXT)
    named(FRAMES, TEXT, selector=folder, key_frame="auto")
    assert len(loads) == 1  # whether by str or by Path
    pipe = glus_hf.pipeline(model=named.model, processor=named.processor, device="cpu")
    in_memory = pipe(FRAMES, [TEXT, OTHER], key_frame="auto", selector=model, selector_processor=processor)
    session = processor.init_video_session(FRAMES, [TEXT, OTHER])
    scores = model.score_frames(session).numpy()
    for number, result in enumerate(by_name):
        np.testing.assert_allclose(result["frame_scores"], scores[number], atol=1e-5)
        np.testing.assert_array_equal(result["masks"], in_memory[number]["masks"])
        assert result["key_frame"] == model.select_key_frame(session)[number]
    chosen = pipe(FRAMES, [TEXT, OTHER], key_frame=model.select_key_frame(session))  # a tensor
    for result, other in zip(chosen, by_name, strict=True):
        np.testing.assert_array_equal(result["masks"], other["masks"])
    np.testing.assert_array_equal(again["masks"], by_name[0]["masks"])


def test_another_processor_is_another_selector(folder):
    pipe = glus_hf.pipeline(model="glus-tiny", device="cpu")
    model, processor = small_selector()
    paper = GLUSSelectorProcessor.from_pretrained(folder, context_frames="paper", num_context_frames=2)
    results = [
        pipe(FRAMES, TEXT, selector=model, selector_processor=given) for given in (processor, paper, str(folder))
    ]
    first, second, third = (result["frame_scores"] for result in results)
    assert not np.array_equal(first, second) and np.array_equal(first, third)


def test_a_selector_by_name_has_its_own_precision(folder):
    """A threshold from an evaluation, whose selector is in the precision of its file, holds in the pipeline too."""
    pipe = glus_hf.pipeline(model="glus-tiny", device="cpu", dtype=torch.bfloat16)
    found = pipe(FRAMES, TEXT, selector=folder)["frame_scores"]
    np.testing.assert_array_equal(found, load_selector(folder).score(FRAMES, [TEXT])[0])
    assert load_selector(folder).model.dtype == torch.float32


@pytest.mark.parametrize("key_frame", [np.array(2), np.int64(2), np.array([2]), torch.tensor(2), [torch.tensor(2)]])
def test_key_frames_of_numpy_and_torch(pipe, key_frame):
    selector = FixedSelector(one_hot_at(4)).as_selector()
    result = pipe(FRAMES, [TEXT], key_frame=key_frame, selector=selector, no_target_threshold=0.0)[0]
    assert result["key_frame"] == 2 and type(result["key_frame"]) is int


def test_an_index_needs_no_scores(pipe):
    selector = FixedSelector(lambda *_: 1 / 0).as_selector()
    assert "key_frame" not in pipe(FRAMES, TEXT, key_frame=2, selector=selector)


def test_no_target_empties_what_fits_nothing(pipe):
    texts = [expression.text for expression in CLIP.expressions if expression.kind != "no_target"][:2]
    plain = pipe(FRAMES, texts)
    scores = np.array([[0.1, 0.2, 0.9, 0.1, 0.1, 0.1], [0.5, -1.0, -1.0, -1.0, -1.0, -1.0]])
    options = {"selector": FixedSelector(lambda texts, frames: scores).as_selector(), "key_frame": 0}
    expected = [confidence(row, result["scores"]) for row, result in zip(scores, plain, strict=True)]
    kept = pipe(FRAMES, texts, no_target_threshold=-1.0, **options)
    for result, value, other in zip(kept, expected, plain, strict=True):
        assert result["confidence"] == pytest.approx(value) and not result["no_target"] and result["key_frame"] == 0
        np.testing.assert_array_equal(result["masks"], other["masks"])
    low, high = sorted(expected)
    assert low < high
    results = pipe(FRAMES, texts, no_target_threshold=(low + high) / 2, **options)
    for result, value, other in zip(results, expected, plain, strict=True):
        assert result["no_target"] == (value == low)
        assert result["masks"].any() == (other["masks"].any() and value == high)
        assert result["masks"].shape == other["masks"].shape and (result["scores"].any() == result["masks"].any())


def test_confidence():
    assert confidence([0.2, 0.8], [1.0, 0.5]) == pytest.approx(0.4)
    assert confidence([-0.5, -0.1], [1.0, 1.0]) == 0 and confidence([0.9], [0.0]) == 0
    assert key_frames_of(np.array([[1, 3, 3], [0, 0, 0]])) == [1, 0]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_that_are_no_numbers(pipe, value):
    scores = [[0.1, value, 0.9, 0.0, 0.0, 0.0]]
    model, _ = small_selector()
    for choose in (key_frames_of, lambda rows: model.select_key_frame(None, torch.tensor(rows))):
        with pytest.raises(ValueError, match="not finite"):
            choose(scores)
    with pytest.raises(ValueError, match="not finite; check its weights") as error:
        pipe(
            FRAMES, TEXT, key_frame=0, no_target_threshold=0.5, selector=FixedSelector(lambda *_: scores).as_selector()
        )
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("threshold", [np.nan, np.inf, True, "0.3", np.float32("nan")])
def test_thresholds_that_are_no_numbers(pipe, threshold):
    for use in (lambda: pipe("nowhere.mp4", TEXT, no_target_threshold=threshold),
                lambda: EvaluationOptions(no_target_threshold=threshold)):  # fmt: skip
        with pytest.raises(ValueError, match="no_target_threshold must be a finite number") as error:
            use()
        assert "\n" not in str(error.value)
    EvaluationOptions(no_target_threshold=np.float64(0.3))


@pytest.mark.parametrize(
    "options, words",
    [
        ({"key_frame": "auto"}, "need a selector"),
        ({"no_target_threshold": 0.5}, "need a selector"),
        ({"key_frame": "auto", "selector": "no-such-selector"}, "no such folder"),
        ({"selector": "no-such-selector"}, "no such folder .*or glus-selector-tiny"),
        ({"selector": 3}, "^int is no selector; pass its name"),
        ({"key_frame": "best"}, "integer in 0..5 or 'auto', got 'best'"),
        ({"key_frame": np.array([[1]])}, "must be an integer"),
        ({"key_frame": np.array(1.0)}, "must be an integer"),
        ({"key_frame": ["auto", 9]}, "key frames|key_frame"),
    ],
)
def test_errors_are_one_line(pipe, options, words):
    with pytest.raises(ValueError, match=words) as error:
        pipe(FRAMES, TEXT, **options)
    assert "\n" not in str(error.value)


def test_a_selector_without_processor():
    model, _ = small_selector()
    with pytest.raises(ValueError, match="pass selector_processor="):
        load_selector(model)


# evaluation ----------------------------------------------------------------------------------------------------------


def test_an_evaluation_starts_from_the_selectors_frames(pipe, rows, tmp_path):
    selector = FixedSelector(one_hot_at(4, 2, 0)).as_selector()
    options = EvaluationOptions(texts_per_pass=3)
    run = lambda folder, **more: evaluate_model(pipe.model, pipe.processor, rows, tmp_path / folder, **more)
    report = run("auto", options=options, selector=selector)
    chosen = read_key_frames(tmp_path / "auto" / "key_frames.json")
    assert len(chosen) == len(rows) and {4, 2, 0} == set(chosen.values())
    assert [record["key_frame"] for record in report.records][:3] == ["00004", "00002", "00000"]
    # the original code's file, read again, gives the same masks
    named = EvaluationOptions(texts_per_pass=3, key_frames=chosen)
    run("named", options=named)
    for row in rows:
        for frame in row["frames"]:
            masks = [read_prediction(tmp_path / name, row, frame) for name in ("auto", "named")]
            np.testing.assert_array_equal(*masks)
    # resumed without doing anything again; another selector is refused
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "auto").rglob("*.png")}
    again = run("auto", options=options, selector=FixedSelector(lambda *_: 1 / 0 and None).as_selector())
    assert again.totals == report.totals
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "auto").rglob("*.png")} == before
    with pytest.raises(ValueError, match="another selector"):
        run("auto", options=options, selector=FrameSelector(selector.model, selector.processor, "other"))
    with pytest.raises(ValueError, match="another selector"):
        run("named", options=named, selector=selector)
    fewer = FixedSelector(selector.model.scores)
    fewer.max_images = 8
    with pytest.raises(ValueError, match="another selector"):
        run("auto", options=options, selector=fewer.as_selector())
    run("auto", options=options, selector=FrameSelector(selector.model, selector.processor, "other"), overwrite=True)


def test_no_target_in_an_evaluation(pipe, rows, tmp_path):
    selector = FixedSelector(lambda texts, frames: np.linspace(0, 1, len(texts))[:, None] * np.ones(frames))
    run = lambda folder, **options: evaluate_model(
        pipe.model, pipe.processor, rows, tmp_path / folder, protocol="mevis_v2",
        options=EvaluationOptions(**options), selector=selector.as_selector(),
    )  # fmt: skip
    plain = run("plain")
    levels = sorted(record["confidence"] for record in plain.records)
    threshold = (levels[len(levels) // 2 - 1] + levels[len(levels) // 2]) / 2
    report = run("judged", no_target_threshold=threshold)
    for row, record, old in zip(rows, report.records, plain.records, strict=True):
        masks = [read_prediction(tmp_path / "judged", row, frame) for frame in row["frames"]]
        assert record["confidence"] == old["confidence"]
        assert record["no_target"] == (old["confidence"] < threshold) and not old["no_target"]
        assert record["mean_score"] == (0 if record["no_target"] else old["mean_score"])
        assert record["answered"] == np.any(masks) == (old["answered"] and not record["no_target"])
    with pytest.raises(ValueError, match="another no_target_threshold"):
        run("judged", no_target_threshold=threshold / 2)
    with pytest.raises(ValueError, match="need a selector"):
        evaluate_model(pipe.model, pipe.processor, rows, tmp_path, options=EvaluationOptions(no_target_threshold=0.1))


def test_an_expression_that_the_selector_refuses(pipe, rows, tmp_path):
    """With "skip" it fails like one that cannot be segmented, and the next run does it."""
    dislikes = ["red"]

    def scores(texts, num_frames):
        if any(word in text for text in texts for word in dislikes):
            raise UserError("the selector does not like red")
        return np.eye(num_frames)[[2] * len(texts)]

    rows = [{**row, "expression": TEXT if number == 1 else OTHER} for number, row in enumerate(rows)][:3]
    selector = FixedSelector(scores).as_selector()
    with pytest.raises(ValueError, match="expressions 0, 1, 2: selector: the selector does not like red") as error:
        evaluate_model(pipe.model, pipe.processor, rows, tmp_path, selector=selector)
    assert "\n" not in str(error.value)
    options = EvaluationOptions(on_error="skip", no_target_threshold=-1.0)
    run = lambda: evaluate_model(pipe.model, pipe.processor, rows, tmp_path, selector=selector, options=options)
    report = run()
    assert report.counts["failed"] == 1 and [record.get("error") for record in report.records] == [
        None, "selector: the selector does not like red", None]  # fmt: skip
    assert [record.get("key_frame") for record in report.records] == ["00002", None, "00002"]
    assert ["confidence" in record for record in report.records] == [True, False, True]
    assert report.records[1]["J&F"] == 0 and not (tmp_path / rows[1]["video_id"] / "1").exists()
    assert len(read_key_frames(tmp_path / "key_frames.json")) == 2
    dislikes.clear()
    report = run()
    assert report.counts["failed"] == 0 and [record["key_frame"] for record in report.records] == ["00002"] * 3
    assert len(read_key_frames(tmp_path / "key_frames.json")) == 3


@pytest.mark.parametrize("error", [RuntimeError("shapes do not fit"), torch.OutOfMemoryError("a long story")])
def test_a_selector_that_breaks_is_skipped_too(pipe, rows, tmp_path, error):
    def scores(texts, num_frames):
        raise error

    selector, shown = FixedSelector(scores).as_selector(), "not enough memory|shapes do not fit"
    with pytest.raises(Exception, match=shown):
        evaluate_model(pipe.model, pipe.processor, rows, tmp_path / "raise", selector=selector)
    options = EvaluationOptions(on_error="skip", no_target_threshold=np.float32(0.5))
    report = evaluate_model(pipe.model, pipe.processor, rows, tmp_path / "skip", selector=selector, options=options)
    assert report.counts["failed"] == len(rows) and re.search(shown, report.records[0]["error"])


# the commands --------------------------------------------------------------------------------------------------------


def run_command(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def test_segment(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "clip.mp4", FRAMES, fps=8)
    command = ["segment", "clip.mp4", TEXT, "--device", "cpu", "--json", "--overwrite"]
    code, out, _ = run_command(*command, "--key-frame", "auto", "--selector", folder)
    (found,) = json.loads(out.splitlines()[-1])["expressions"]
    assert code == 0 and 0 <= found["key_frame"] < 6 and found["no_target"] is False and "confidence" in found
    code, out, _ = run_command(*command, "--selector", folder)
    assert code == 0 and json.loads(out.splitlines()[-1])["expressions"] == [found]
    code, out, _ = run_command(*command, "--selector", folder, "--no-target-threshold", "1000")
    (found,) = json.loads(out.splitlines()[-1])["expressions"]
    assert code == 0 and found["no_target"] and found["frames_with_mask"] == 0
    code, out, _ = run_command("segment", "clip.mp4", TEXT, "--overwrite", "--device", "cpu", "--selector", folder,
                               "--no-target-threshold", "1000", "--key-frame", "auto")  # fmt: skip
    assert code == 0 and "Nothing fits 'the red circle'" in out and "Started 'the red circle' from frame" in out
    code, _, err = run_command(*command, "--selector", "nonsense")
    assert code == 2 and "Error: nonsense: no such folder" in err and "or glus-selector-tiny" in err
    for wrong in (["--key-frame", "auto"], ["--no-target-threshold", "0.5"], ["--key-frame", "last"]):
        code, out, err = run_command(*command, *wrong)
        assert code == 2 and len(err.strip().splitlines()) == 1 and ("--selector" in err or "--key-frame" in err)


def test_evaluate(folder, tmp_path, monkeypatch):
    import datasets.config

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    command = ["evaluate", "--dataset", "motion_shapes", "--split", "test", "--num-videos", "1", "--device", "cpu"]
    command += ["--data-option", "size=48", "--data-option", "num_frames=4", "--json", "-o", "preds"]
    code, out, err = run_command(*command, "--selector", folder)
    assert code == 0, err
    lines = [json.loads(line) for line in (tmp_path / "preds" / "results.jsonl").read_text().splitlines()]
    chosen = read_key_frames(tmp_path / "preds" / "key_frames.json")
    assert [int(line["key_frame"]) for line in lines] == list(chosen.values())
    code, out, err = run_command(*command)
    assert code == 2 and "another selector" in err
    code, out, err = run_command(*command, "--selector", folder, "--dtype", "bfloat16", "-o", "half")
    settings = json.loads((tmp_path / "half" / "summary.json").read_text())["settings"]
    assert (settings["model"]["dtype"], settings["selector"]["dtype"]) == ("torch.bfloat16", "torch.float32")
    code, _, err = run_command(*command, "--no-target-threshold", "0.1")
    assert code == 2 and "need a selector (--selector)" in err
    assert "key_frames.json" in tree(tmp_path / "preds")
