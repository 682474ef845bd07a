"""Groups of expressions, who does which, and key frames by name."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glus_hf.evaluation.runs.jobs import Job, assign_groups, plan_groups, plan_jobs
from glus_hf.predictions.key_frame_file import read_key_frames


def make_row(video_id="v", expression_id="0", frames=("00000", "00005", "00010"), expression="the cat"):
    ids = {"video_id": video_id, "expression_id": expression_id}
    return {**ids, "frames": list(frames), "expression": expression, "height": 4, "width": 6}


jobs_of_videos = st.lists(
    st.tuples(st.integers(1, 30), st.lists(st.sampled_from([None, 0, 2]), min_size=1, max_size=12)), max_size=12
).map(
    lambda videos: [
        Job(0, f"v{video}", str(number), "", num_frames, key_frame)
        for video, (num_frames, key_frames) in enumerate(videos)
        for number, key_frame in enumerate(key_frames)
    ]
)


@given(jobs=jobs_of_videos, texts_per_pass=st.integers(1, 9))
def test_groups_hold_every_job_once(jobs, texts_per_pass):
    groups = plan_groups(jobs, texts_per_pass)
    assert sorted(job.key for group in groups for job in group.jobs) == sorted(job.key for job in jobs)
    for group in groups:
        assert 1 <= len(group.jobs) <= texts_per_pass
        assert len({job.video_id for job in group.jobs}) == 1


@given(jobs=jobs_of_videos, texts_per_pass=st.integers(1, 9))
def test_groups_of_a_video_do_not_depend_on_the_other_videos(jobs, texts_per_pass):
    groups = plan_groups(jobs, texts_per_pass)
    for video_id in {job.video_id for job in jobs}:
        alone = plan_groups([job for job in jobs if job.video_id == video_id], texts_per_pass)
        assert alone == [group for group in groups if group.jobs[0].video_id == video_id]


@given(jobs=jobs_of_videos, texts_per_pass=st.integers(1, 9), num_processes=st.integers(1, 9))
def test_every_group_goes_to_one_process_and_loads_are_even(jobs, texts_per_pass, num_processes):
    groups = plan_groups(jobs, texts_per_pass)
    shares = assign_groups(groups, num_processes)
    assert len(shares) == num_processes and shares == assign_groups(groups, num_processes)
    assert sorted(id(group) for share in shares for group in share) == sorted(map(id, groups))
    order = {id(group): position for position, group in enumerate(groups)}
    for share in shares:  # in order, so that a video is decoded once
        assert [order[id(group)] for group in share] == sorted(order[id(group)] for group in share)
    loads = [sum(group.cost for group in share) for share in shares]
    fair = sum(loads) / num_processes
    # greedy: nobody gets more than a fair share and one bundle, which is a single group or a quarter of a share
    assert max(loads) <= fair + max([fair / 4, *(group.cost for group in groups)]) + 1e-9


def test_few_processes_keep_a_video_together():
    jobs = [Job(0, f"v{video}", str(number), "", 10, None) for video in range(20) for number in range(16)]
    shares = assign_groups(plan_groups(jobs, 8), 2)
    videos = [{group.jobs[0].video_id for group in share} for share in shares]
    assert not videos[0] & videos[1] and len(videos[0]) == 10


def test_jobs_follow_the_rows():
    rows = [make_row("a_b", "1"), make_row("a", "b_1"), make_row("a", "0")]
    jobs = plan_jobs(rows)
    assert [(job.index, *job.key) for job in jobs] == [(0, "a_b", "1"), (1, "a", "b_1"), (2, "a", "0")]
    assert all(job.num_frames == 3 and job.key_frame is None for job in jobs)


@pytest.mark.parametrize("change", [{"expression": "the dog"}, {"frames": ("00000", "00005")}])
def test_digest_depends_on_what_the_prediction_depends_on(change):
    digest = plan_jobs([make_row()])[0].digest
    assert digest == plan_jobs([make_row("other", "7")])[0].digest != plan_jobs([make_row(**change)])[0].digest
    assert digest != plan_jobs([make_row()], key_frame=1)[0].digest


def test_key_frames_are_names_not_indices(tmp_path):
    rows = [make_row("a/b", "0"), make_row("a/b", "1"), make_row("c_d", "0")]
    (tmp_path / "key.json").write_text(json.dumps({"a/b_1": 10, "c_d_0": 5, "not_here_0": 3}))
    key_frames = read_key_frames(tmp_path / "key.json")
    assert [job.key_frame for job in plan_jobs(rows, key_frames=key_frames)] == [None, 2, 1]


@pytest.mark.parametrize(
    "rows, arguments, words",
    [
        ([make_row()], {"key_frames": {"v_0": 3}}, "no frame is named 3; the video has 00000 to 00010"),
        ([make_row()], {"key_frames": {"w_0": 3}}, "no expression is among the key frames"),
        ([make_row()], {"key_frame": 3}, "video v, expression 0: there is no key frame 3, the video has 3 frames"),
        ([make_row()], {"key_frame": 1, "key_frames": {"v_0": 0}}, "not both"),
        ([make_row(), make_row()], {}, "video v, expression 0: comes twice"),
        ([make_row(frames=())], {}, "has no frames"),
    ],
)
def test_bad_plans(rows, arguments, words):
    with pytest.raises(ValueError, match=words):
        plan_jobs(rows, **arguments)


@pytest.mark.parametrize("content", ["", "[1]", '{"v_0": 1.5}', '{"v_0": true}', '{"v_0": "x"}', '{"v_0": [1]}', None])
def test_bad_files_of_key_frames(tmp_path, content):
    if content is not None:
        (tmp_path / "key.json").write_text(content)
    with pytest.raises(ValueError, match="key.json: ") as error:
        read_key_frames(tmp_path / "key.json")
    assert "\n" not in str(error.value)


def test_no_group_can_be_empty():
    with pytest.raises(ValueError, match="texts_per_pass must be at least 1"):
        plan_groups([], 0)
