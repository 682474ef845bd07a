"""Many videos: the model's masks, resumed to the same bytes, failures apart, files of others left alone."""

import json
import os
import sys

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from glus_hf.data.motion_shapes import generate_clip
from glus_hf.data.video_list import read_video_list
from glus_hf.errors import UserError
from glus_hf.evaluation.many.ray_engine import RayEngine, RayOptions
from glus_hf.evaluation.many.segment_many import LocalEngine, plan_listed, segment_many
from glus_hf.evaluation.options import EvaluationOptions
from glus_hf.inference.frame_masks import iterate_frame_masks
from glus_hf.media.rle import decode_rle
from glus_hf.media.video import load_video, write_video
from tests.evaluation.evaluation_data import tree
from tests.evaluation.many.many_videos import OPTIONS, TEXTS, load_small, segment_here, write_manifest


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return write_manifest(tmp_path_factory.mktemp("many"))


@pytest.fixture(scope="module")
def whole(manifest):
    output = manifest.parent / "whole"
    report = segment_here(manifest, output, table=manifest.parent / "table.parquet")
    assert report.counts == {
        "num_expressions": 9,
        "num_frames": 3 * (4 + 5 + 6),
        "missing_seg_frames": 0,
        "expressions_missing_seg": 0,
        "failed": 0,
    }
    return output


def test_the_masks_are_those_of_the_model(manifest, whole):
    model, processor = load_small()
    clip = load_video(manifest.parent / "clips" / "1.mp4")
    rows = [pq.read_table(whole / "masks" / "clips" / "1" / f"{index}.parquet").to_pylist()[0] for index in range(2)]
    session = processor.init_video_session(clip.frames, TEXTS[:2])
    num_pixels = 0
    for frame in iterate_frame_masks(model, processor, session, batch_size=8):
        for text, mask, score in zip(frame.text_indices, frame.masks, frame.scores, strict=True):
            row = rows[text]
            assert np.array_equal(decode_rle(row["masks"][frame.frame_idx], (48, 48)), mask)
            assert row["scores"][frame.frame_idx] == score
            num_pixels += mask.sum()
    assert num_pixels > 0
    assert rows[0] | {"masks": 0, "scores": 0} == {
        "video_id": "clips/1",
        "expression_id": "0",
        "video": str(manifest.parent / "clips" / "1.mp4"),
        "expression": TEXTS[0],
        "num_frames": 5,
        "height": 48,
        "width": 48,
        "fps": 6.0,
        "key_frame": 0,
        "frames": [f"{index:05d}" for index in range(5)],
        "masks": 0,
        "scores": 0,
        "missing": [],
    }


def test_the_table_has_all_rows_in_the_order_of_the_manifest(manifest, whole):
    table = pq.read_table(manifest.parent / "table.parquet")
    listed = [(row["video_id"], row["expression_id"]) for row in read_video_list(manifest)]
    assert list(zip(table["video_id"].to_pylist(), table["expression_id"].to_pylist(), strict=True)) == listed
    single = pq.read_table(whole / "masks" / "clips" / "2" / "1.parquet")
    assert table.slice(7, 1).to_pylist() == single.to_pylist()


def test_what_is_left_is_done_and_the_end_is_the_same(manifest, whole, tmp_path):
    output = tmp_path / "out"
    segment_here(manifest, output)
    first = tree(output)
    manifest_of_run = output / ".glus_hf" / "rank-00000.jsonl"
    lines = manifest_of_run.read_text().splitlines(keepends=True)
    manifest_of_run.write_text("".join(lines[:4]) + lines[4][:10])  # a kill while a line was written
    (output / "masks" / "clips" / "0" / "1.parquet").unlink()
    (output / "masks" / "clips" / "0" / "0.parquet").write_bytes(b"")
    segment_here(manifest, output)
    assert tree(output) == first == tree(whole)
    done = [json.loads(line) for line in manifest_of_run.read_text().splitlines()]
    assert len({(line["video_id"], line["expression_id"]) for line in done}) == 9 and len(done) == 4 + 7


def test_more_videos_join_and_other_settings_do_not(manifest, tmp_path):
    rows, engine = read_video_list(manifest), LocalEngine(*load_small())
    segment_many(rows[:3], tmp_path / "out", engine, options=OPTIONS)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.parquet")}
    report = segment_many(rows[:6], tmp_path / "out", engine, options=OPTIONS)
    assert report.counts["num_expressions"] == 6
    assert len(times) == 3 and all(path.stat().st_mtime_ns == time for path, time in times.items())
    changed = [{**rows[0], "expression": "another"}, *rows[1:3]]
    with pytest.raises(UserError, match="had another text"):
        segment_many(changed, tmp_path / "out", engine, options=OPTIONS)


def test_a_video_that_fails_leaves_the_others_alone(manifest, whole, tmp_path):
    rows = read_video_list(manifest)
    rows[0:3] = [{**row, "video": str(tmp_path / "none.mp4")} for row in rows[0:3]]
    rows[3] = {**rows[3], "key_frame": 99}
    engine = LocalEngine(*load_small())
    report = segment_many(rows, tmp_path / "out", engine, options=OPTIONS)
    errors = [record.get("error", "") for record in report.records]
    assert report.counts["failed"] == 4 and all("none.mp4: no such file" in error for error in errors[:3])
    assert "there is no key frame 99, the video has 5 frames" in errors[3] and not any(errors[4:])
    again = segment_many(read_video_list(manifest), tmp_path / "out", engine, options=OPTIONS)
    assert again.counts["failed"] == 0
    with pytest.raises(UserError, match="clips/0, expressions 0, 1: .*no such file"):
        segment_many(rows, tmp_path / "raise", engine, options=EvaluationOptions(texts_per_pass=2))


def test_what_signs_an_address_is_in_no_output(manifest, tmp_path):
    signed = "memory://many/0.mp4?sig=s3cret"
    with fsspec.open(signed, "wb") as file:
        file.write((manifest.parent / "clips" / "0.mp4").read_bytes())
    videos = [signed, "memory://many/none.mp4?sig=s3cret", "unknown://me:s3cret@many/1.mp4"]
    lines = [json.dumps({"video": video, "expression": TEXTS[0]}) for video in videos]
    (tmp_path / "videos.jsonl").write_text("\n".join(lines))
    report = segment_here(tmp_path / "videos.jsonl", tmp_path / "out", table=tmp_path / "table.parquet")
    assert report.counts["failed"] == 2
    (row,) = pq.read_table(tmp_path / "table.parquet").to_pylist()
    assert row["video"] == "memory://many/0.mp4" and row["video_id"] == "0"
    written = [json.dumps(pq.read_table(file).to_pylist()) for file in tmp_path.glob("out/**/*.parquet")]
    written += [file.read_text() for file in tmp_path.glob("out/**/*.json*")]
    assert "many/none.mp4: cannot be read" in "".join(written) and "s3cret" not in "".join(written)


def test_a_link_in_the_place_of_masks_is_not_followed(manifest, tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    segment_here(manifest, tmp_path / "out")
    link = tmp_path / "out" / "masks" / "clips" / "2" / "0.parquet"
    link.unlink()
    link.symlink_to(tmp_path / "note.txt")
    with pytest.raises(UserError, match="0.parquet: is a link"):
        segment_here(manifest, tmp_path / "out")
    assert (tmp_path / "note.txt").read_text() == "mine"


def test_the_output_keeps_away_from_the_videos_and_from_other_files(manifest, tmp_path):
    with pytest.raises(UserError, match="holds .*mp4, which is read"):
        segment_here(manifest, manifest.parent / "clips")
    frames = [{**row, "video": str(manifest.parent / "clips")} for row in read_video_list(manifest)]
    with pytest.raises(UserError, match="lies in .*clips, which is read"):
        segment_many(frames, manifest.parent / "clips" / "out", LocalEngine(*load_small()), options=OPTIONS)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("mine")
    with pytest.raises(UserError, match="holds diary.txt"):
        segment_here(manifest, tmp_path / "mine")
    assert os.listdir(tmp_path / "mine") == ["diary.txt"]


def test_the_output_may_be_beside_the_videos(tmp_path):
    clip = generate_clip(0, split="test", size=48, num_frames=2)
    write_video(tmp_path / "a.mp4", clip.frames, fps=6)
    (tmp_path / "videos.jsonl").write_text(json.dumps({"video": "a.mp4", "expression": TEXTS[0]}))
    assert segment_here(tmp_path / "videos.jsonl", tmp_path / "masks").counts["failed"] == 0
    assert (tmp_path / "masks" / "masks" / "a" / "0.parquet").is_file()


def test_jobs_know_how_long_files_are(manifest):
    jobs = plan_listed(read_video_list(manifest))
    sizes = [(manifest.parent / "clips" / f"{index}.mp4").stat().st_size for index in range(3)]
    assert [job.length for job in jobs[::3]] == sizes
    moved = plan_listed([{**row, "video": f"/moved/{row['video_id']}.mp4"} for row in read_video_list(manifest)])
    assert [job.digest for job in moved] == [job.digest for job in jobs]
    row = read_video_list(manifest)[0]
    folders = plan_listed([{**row, "video": f"/frames/{name}"} for name in ("a", "a/", "b/")])
    assert folders[0].digest == folders[1].digest != folders[2].digest


def test_ray_options_and_a_missing_ray_are_one_line(manifest, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="num_gpus must be at least 0, got -1"):
        RayOptions(num_gpus=-1)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install 'glus-hf\[ray\]'"):
        segment_many(read_video_list(manifest), tmp_path / "out", RayEngine(load_small), options=OPTIONS)
