"""Video object segmentation of miniature datasets: masks, scores by both conventions, and runs that go on."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from glus_hf import UserError
from glus_hf.cli.main import app
from glus_hf.data.vos_layouts import find_vos_videos, seen_objects
from glus_hf.evaluation.scoring.score_vos import score_vos_video, vos_totals
from glus_hf.evaluation.vos import evaluate_vos
from glus_hf.metrics.j_and_f import contour_accuracy, region_similarity
from tests.fixtures.vos_layouts import LATE, write_layout
from tests.models.glee.small_glee import small_model, small_processor


@pytest.fixture(scope="module")
def pair():
    return small_model(seed=2), small_processor()


@pytest.fixture
def davis(tmp_path):
    write_layout(tmp_path / "davis", "davis", "val", num_videos=2, size=48, num_frames=4)
    return find_vos_videos(tmp_path / "davis", "davis", "val")


def ids_of(folder, video):
    return [np.asarray(Image.open(folder / "Annotations" / video.video_id / f"{frame}.png")) for frame in video.frames]


# ---- scores


def test_both_conventions_from_their_definitions(tmp_path):
    """An object that enters later, by J and F of single frames."""
    write_layout(tmp_path, "youtube-vos", "train", num_videos=1, size=48, begin=LATE, num_frames=6)
    videos = find_vos_videos(tmp_path, "youtube-vos", "train")
    seen = set()
    for video in videos:
        true = [video.ids(frame) for frame in range(6)]
        wrong = [np.roll(values, 2, axis=1) for values in true]
        starts = video.starts()
        records = score_vos_video(video, wrong.__getitem__)
        assert [record["object_id"] for record in records] == [str(name) for name in starts]
        for record, (name, start) in zip(records, starts.items(), strict=True):
            frames = {"all": range(start, 6), "semi": range(start + 1, 5)}
            for convention, kept in frames.items():
                if not kept:
                    assert convention not in record
                    continue
                pairs = [(wrong[frame] == name, true[frame] == name) for frame in kept]
                found = record[convention]
                assert found["frames"] == len(kept)
                assert found["J"] == pytest.approx(np.mean([region_similarity(*each) for each in pairs]))
                assert found["F"] == pytest.approx(np.mean([contour_accuracy(*each) for each in pairs]))
                assert found["J&F"] == pytest.approx((found["J"] + found["F"]) / 2)
            seen.add(start)
    assert len(seen) > 1


def test_true_masks_score_one_and_void_does_not_count(davis):
    video = davis[0]
    assert vos_totals(score_vos_video(video, video.ids))["semi"]["J&F"] == 1.0
    path = video.masks[1]
    image = Image.open(path)
    marked = np.asarray(image).copy()
    marked[:4] = 255
    Image.fromarray(marked).save(path)

    def spoiled(frame):
        values = video.ids(frame).copy()
        values[:4] = 1
        return np.where(marked == 255, values, video.ids(frame)) if frame == 1 else video.ids(frame)

    assert score_vos_video(video, spoiled)[0]["semi"]["J"] == 1.0


def test_totals_are_means_over_objects():
    score = lambda j, f: {"frames": 3, "J": j, "F": f, "J&F": (j + f) / 2}
    records = [{"semi": score(0.2, 0.4), "all": score(0.3, 0.5)}, {"semi": score(0.6, 1.0)}]
    totals = vos_totals(records)
    assert totals["semi"] == {"objects": 2, "J": pytest.approx(0.4), "F": 0.7, "J&F": pytest.approx(0.55)}
    assert totals["all"]["objects"] == 1


def test_seen_and_unseen_objects():
    """G is the mean of the four, not of the objects."""
    pairs = [(True, 0.2, 0.4), (True, 0.4, 0.8), (False, 0.9, 0.7), (None, 0.0, 0.0)]
    records = [{"seen": seen, "all": {"frames": 1, "J": j, "F": f, "J&F": 0}} for seen, j, f in pairs]
    found = vos_totals(records)["all"]
    assert [found[name] for name in ("Js", "Fs", "Ju", "Fu")] == pytest.approx([0.3, 0.6, 0.9, 0.7])
    assert found["G"] == pytest.approx(0.625) and found["J"] == pytest.approx(0.375)
    assert "G" not in vos_totals(records[:2])["all"] and "Js" not in vos_totals(records[3:])["all"]


def test_seen_is_what_the_training_videos_show(tmp_path):
    def put(split, **categories):
        objects = {name: {"category": category, "frames": ["00000"]} for name, category in categories.items()}
        (tmp_path / split).mkdir(exist_ok=True)
        (tmp_path / split / "meta.json").write_text(json.dumps({"videos": {f"{split}0": {"objects": objects}}}))

    put("valid", **{"1": "dog", "2": "rabbit"})
    assert seen_objects(tmp_path, "valid") == {}
    put("train", **{"1": "dog"})
    assert seen_objects(tmp_path, "valid") == {("valid0", "1"): True, ("valid0", "2"): False}
    (tmp_path / "train" / "meta.json").write_text('{"videos": {"a": 3}}')
    with pytest.raises(UserError, match="has no videos with objects as YouTube-VOS has them"):
        seen_objects(tmp_path, "valid")


# ---- runs


def test_masks_and_results(pair, davis, tmp_path):
    summary = evaluate_vos(*pair, davis, tmp_path / "out", layout="davis", split="val")
    lines = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert summary == json.loads((tmp_path / "out" / "summary.json").read_text())
    assert len(lines) == summary["num_objects"] == sum(len(video.starts()) for video in davis)
    assert summary["totals"]["semi"]["J"] == pytest.approx(np.mean([line["semi"]["J"] for line in lines]))
    for video in davis:
        found = ids_of(tmp_path / "out", video)
        np.testing.assert_array_equal(found[0], video.ids(0))  # as it was given
        assert all(set(np.unique(values)) <= {0, *video.starts()} for values in found)


def test_a_stopped_run_goes_on(pair, davis, tmp_path):
    out = tmp_path / "out"
    whole = evaluate_vos(*pair, davis, tmp_path / "whole")
    evaluate_vos(*pair, davis[:1], out)
    first = out / "Annotations" / davis[0].video_id / "00002.png"
    before = first.stat().st_mtime_ns
    assert evaluate_vos(*pair, davis, out) == whole and first.stat().st_mtime_ns == before
    for video in davis:
        for left, right in zip(ids_of(out, video), ids_of(tmp_path / "whole", video), strict=True):
            np.testing.assert_array_equal(left, right)


def test_other_settings_and_foreign_files_are_refused(pair, davis, tmp_path):
    out = tmp_path / "out"
    evaluate_vos(*pair, davis[:1], out)
    with pytest.raises(UserError, match="another reference"):
        evaluate_vos(*pair, davis[:1], out, reference="previous")
    foreign = out / "Annotations" / davis[1].video_id / "mine.png"
    foreign.parent.mkdir()
    foreign.write_bytes(b"mine")
    with pytest.raises(UserError, match="mine.png: was not written by an evaluation"):
        evaluate_vos(*pair, davis, out)
    assert foreign.read_bytes() == b"mine"
    evaluate_vos(*pair, davis[:1], out, reference="previous", overwrite=True)


def test_objects_that_enter_later_and_masks_for_a_server(pair, tmp_path):
    write_layout(tmp_path / "ytvos", "youtube-vos", "valid", num_videos=1, size=48, begin=LATE, num_frames=5)
    videos = find_vos_videos(tmp_path / "ytvos", "youtube-vos", "valid")
    summary = evaluate_vos(*pair, videos, tmp_path / "out")
    found, starts = ids_of(tmp_path / "out", videos[0]), videos[0].starts()
    assert max(starts.values()) > 0
    for name, start in starts.items():
        assert not any((values == name).any() for values in found[:start])
        np.testing.assert_array_equal(found[start] == name, videos[0].ids(start) == name)
    assert len(found) == 5 and summary["num_objects"] == len(starts)


def test_a_run_of_youtube_vos_has_g(pair, tmp_path):
    write_layout(tmp_path, "youtube-vos", "train", num_videos=1, size=48, begin=LATE, num_frames=4)
    videos = find_vos_videos(tmp_path, "youtube-vos", "train")
    names = [str(name) for name in videos[0].starts()]
    seen = {(videos[0].video_id, name): index > 0 for index, name in enumerate(names)}
    totals = evaluate_vos(*pair, videos, tmp_path / "out", seen=seen)["totals"]["all"]
    assert totals["G"] == pytest.approx(np.mean([totals[name] for name in ("Js", "Fs", "Ju", "Fu")]))


def test_the_command(davis, tmp_path):
    small_model(seed=2).save_pretrained(tmp_path / "model")
    small_processor().save_pretrained(tmp_path / "model")
    common = ["--model", str(tmp_path / "model"), "--device", "cpu", "-o", str(tmp_path / "out"), "--max-videos", "1"]
    arguments = ["evaluate-vos", str(tmp_path / "davis"), "--layout", "davis", *common]
    done = CliRunner().invoke(app, [*arguments, "--json", "--quiet"])
    summary = json.loads(done.stdout.splitlines()[-1])
    assert done.exit_code == 0 and summary["num_videos"] == 1 and 0 < summary["totals"]["all"]["J&F"] < 1
    again = CliRunner().invoke(app, arguments)
    assert f"{100 * summary['totals']['semi']['J&F']:.1f}" in again.stdout
    wrong = CliRunner().invoke(app, ["evaluate-vos", str(tmp_path), "--layout", "coco"])
    assert wrong.exit_code == 2 and "--layout coco is unknown" in wrong.stderr
