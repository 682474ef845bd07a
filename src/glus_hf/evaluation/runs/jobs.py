"""What an evaluation has to do: expressions in groups that share a video's features, and who does which group.

Groups depend on the dataset and the settings alone, never on what is done already or on the number of processes.
The expressions of a group go through the model together, so a resumed run computes the same numbers, bit for bit.
(An expression that a selector cannot score is left out of its group; the run that repairs it groups anew.)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ...errors import UserError
from ...predictions.key_frame_file import key_frame_index, key_frame_name
from ...rows import only_columns


PLAN_COLUMNS = [
    "dataset",
    "video_id",
    "expression_id",
    "expression",
    "expression_type",
    "frames",
    "frame_paths",
    "height",
    "width",
    "object_ids",
    "source",
]
"""Columns of a row that inference needs; those of the masks are slow to decode."""


@dataclass(frozen=True)
class Job:
    """One expression to segment.

    Attributes:
        index: its row.
        video_id, expression_id: unchanged from the dataset.
        digest: of everything in the row that the prediction depends on.
        num_frames: of the video; 0 where it is not known before the video is read.
        key_frame: index of the frame to start from, or None for the first.
        length: relative length of the video, where `num_frames` is not known.
    """

    index: int
    video_id: str
    expression_id: str
    digest: str
    num_frames: int
    key_frame: int | None
    length: int = 1

    @property
    def key(self) -> tuple[str, str]:
        """What tells expressions of one dataset apart."""
        return self.video_id, self.expression_id


@dataclass(frozen=True)
class Group:
    """Expressions of one video that go through the model together."""

    jobs: tuple[Job, ...]

    @property
    def cost(self) -> int:
        """Relative time: every frame is encoded once, and read and decoded once per expression."""
        return (self.jobs[0].num_frames or self.jobs[0].length) * (1 + len(self.jobs))


def light_rows(rows):
    """Rows without masks: a cheap view of a `datasets.Dataset`, or the list itself."""
    return only_columns(rows, PLAN_COLUMNS)


def plan_jobs(
    rows: Iterable[Mapping],
    key_frame: int | None = None,
    key_frames: Mapping | None = None,
    starts: Mapping[tuple[str, str], int] | None = None,
) -> list[Job]:
    """One [`Job`] per row.

    Args:
        rows: from `load_referring_dataset`.
        key_frame: index of the frame to start from, for all videos.
        key_frames: instead, `{"<video>_<expression>": name of the frame as a number}`, as
            [`data.key_frames.read_key_frames`] reads it; an expression that is not in it starts from the first frame.
        starts: instead, `{(video_id, expression_id): index of the frame}`; others start from the first frame.

    Raises:
        ValueError: an expression comes twice, a video has no such frame, or no expression is in `key_frames`.
    """
    if sum(given is not None for given in (key_frame, key_frames, starts)) > 1:
        raise UserError("give either one key frame for all videos or a file of key frames, not both")
    jobs, seen, num_found = [], set(), 0
    for index, row in enumerate(rows):
        name = f"video {row['video_id']}, expression {row['expression_id']}"
        if not row["frames"]:
            raise UserError(f"{name}: the video has no frames; remove it from the dataset")
        start = key_frame
        if starts is not None:
            start = starts.get((row["video_id"], row["expression_id"]))
        if key_frames is not None and key_frame_name(row["video_id"], row["expression_id"]) in key_frames:
            start = key_frame_index(key_frames, row["video_id"], row["expression_id"], row["frames"])
            num_found += 1
        if start is not None and not 0 <= start < len(row["frames"]):
            raise UserError(f"{name}: there is no key frame {start}, the video has {len(row['frames'])} frames")
        job = Job(index, row["video_id"], row["expression_id"], _digest(row, start), len(row["frames"]), start)
        if job.key in seen:
            raise UserError(f"{name}: comes twice; expression ids must be unique within a video")
        seen.add(job.key)
        jobs.append(job)
    if key_frames is not None and jobs and not num_found:
        raise UserError("no expression is among the key frames; use names as '<video>_<expression>'")
    return jobs


def plan_groups(jobs: Sequence[Job], texts_per_pass: int = 8) -> list[Group]:
    """Put the jobs of each video, in their order, into groups of at most `texts_per_pass`.

    Example:
        >>> jobs = [Job(index, "v", str(index), "", 10, None) for index in range(5)]
        >>> [len(group.jobs) for group in plan_groups(jobs, texts_per_pass=2)]
        [2, 2, 1]
    """
    if texts_per_pass < 1:
        raise UserError(f"texts_per_pass must be at least 1, got {texts_per_pass}")
    together: dict[str, list[Job]] = {}
    for job in jobs:
        together.setdefault(job.video_id, []).append(job)
    return [
        Group(tuple(members[at : at + texts_per_pass]))
        for members in together.values()
        for at in range(0, len(members), texts_per_pass)
    ]


def assign_groups(groups: Sequence[Group], num_processes: int) -> list[list[Group]]:
    """Spread groups over processes so that all take about as long: the longest first, each to the least loaded.

    Groups of one video stay together where that costs little, because each process decodes a video once. The same
    arguments give the same answer everywhere, and every group is given to exactly one process.

    Returns:
        One list of groups per process, each in the order of `groups`.
    """
    order = {id(group): position for position, group in enumerate(groups)}
    loads, shares = [0] * num_processes, [[] for _ in range(num_processes)]
    fair = sum(group.cost for group in groups) / num_processes
    for bundle in _bundles(groups, fair / 4):
        process = min(range(num_processes), key=lambda index: (loads[index], index))
        loads[process] += sum(group.cost for group in bundle)
        shares[process].extend(bundle)
    return [sorted(share, key=lambda group: order[id(group)]) for share in shares]


def _bundles(groups: Sequence[Group], limit: float) -> list[list[Group]]:
    """Runs of groups of one video of at most `limit` cost each (a single group may be dearer), the dearest first."""
    bundles: list[list[Group]] = []
    cost = 0
    for group in groups:
        same_video = bundles and bundles[-1][-1].jobs[0].video_id == group.jobs[0].video_id
        if same_video and cost + group.cost <= limit:
            bundles[-1].append(group)
            cost += group.cost
        else:
            bundles.append([group])
            cost = group.cost
    return sorted(bundles, key=lambda bundle: -sum(group.cost for group in bundle))


def _digest(row: Mapping, key_frame: int | None) -> str:
    content = [row["expression"], list(row["frames"]), row["height"], row["width"], key_frame]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


__all__ = ["Group", "Job", "assign_groups", "light_rows", "plan_groups", "plan_jobs"]
