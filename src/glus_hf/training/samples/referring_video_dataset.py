"""Training samples: eight frames of a video, a few expressions about it and their masks."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...errors import BrokenSampleError, UserError
from ...media.rle import decode_rle
from ...media.sizes import check_size
from ...models.expressions import plain_expression
from .resumable_sampler import SAMPLE_STREAM, EpochDataset
from .skip_log import SkipLog


if TYPE_CHECKING:
    import datasets

OVERLAPS = ("union", "sum")
ON_ERROR = ("raise", "skip")
INDEX_COLUMNS = ("dataset", "video_id", "frames", "masks")


@dataclass
class VideoRows:
    """Where the expressions of one video are in the table, and how many frames the video has."""

    name: str
    rows: np.ndarray
    num_frames: int


class ReferringVideoDataset(EpochDataset):
    """Videos of a table of [`load_referring_dataset`], one training sample per video.

    A sample is chosen as GLUS was trained: one random frame of each of `num_context_frames` equal segments of the
    video (they stand for the whole video), `num_query_frames` consecutive frames from a random start, and up to
    `max_expressions` different expressions of the video that share these frames. Nothing is augmented.

    Sample `i` of epoch `e` is a function of `(seed, e, i)` alone: the number of workers and processes and what was
    read before do not matter. Only the table's index is held in memory; masks are read for the frames of a sample.

    Args:
        rows: table with the columns of [`dataset_schema.FEATURES`] and masks, not streaming.
        num_context_frames, num_query_frames: frames of a sample.
        max_expressions: most expressions of a sample; a video with fewer gives all it has.
        mask_overlap: where several objects of one expression overlap, "union" is 1, "sum" their number, as in the
            original code. The processor's `overlap` must be "sum" too for the number to arrive.
        seed: 0 or more.
        on_error: "raise" stops at the first broken sample with its ids; "skip" takes the next video that can be read
            (counting from the broken one, round at the end) and lists the broken one in [`skipped`].
        prepare_expressions: lower case and without a full stop at the end, as in the prompts of GLUS; False leaves
            the text as it is in the file.
        skip_log: file that gets the list of skipped samples; by default a temporary one. Only with `on_error="skip"`.

    Raises:
        ValueError: a wrong option, a streaming table, missing columns, no ground truth, or (unless skipped, and then
            listed once) a video with fewer frames than the segments or the query frames need.
        BrokenSampleError: from `dataset[i]`; a file is missing or broken, a mask does not fit.

    `dataset[i]` is a dict that [`GLUSCollator`] and `GLUSProcessor.__call__` take:

        - `frames`: context frames, then query frames, each `[height, width, 3]` uint8 RGB
        - `frame_times`: their place in the video, 0 to 1
        - `expressions`: E strings
        - `masks`: `[E, query frames, height, width]` uint8, 0 and 1, or counts with `mask_overlap="sum"`
        - `object_ids`, `annotation_ids`: E lists of strings; equal lists mean the same objects
        - `dataset`, `video_id`, `expression_ids`, `frame_indices`, `frame_names`: where it comes from
        - `key`: numbers that the sample was made from

    Example:

        >>> rows = load_referring_dataset("mevis", "mevis", split="train")  # doctest: +SKIP
        >>> sample = ReferringVideoDataset(rows)[0]  # doctest: +SKIP
        >>> len(sample["frames"]), sample["masks"].shape  # doctest: +SKIP
        (8, (3, 4, 1080, 1920))
    """

    def __init__(
        self,
        rows: datasets.Dataset,
        num_context_frames: int = 4,
        num_query_frames: int = 4,
        max_expressions: int = 3,
        mask_overlap: str = "union",
        seed: int = 0,
        on_error: str = "raise",
        prepare_expressions: bool = True,
        skip_log: str | os.PathLike | None = None,
    ):
        super().__init__()
        for name, value, choices in (("mask_overlap", mask_overlap, OVERLAPS), ("on_error", on_error, ON_ERROR)):
            if value not in choices:
                raise UserError(f"unknown {name} {value!r}; use one of {', '.join(choices)}")
        if num_context_frames < 0 or num_query_frames < 1 or max_expressions < 1 or seed < 0:
            raise UserError("need at least 0 context frames, 1 query frame and 1 expression, and a seed of 0 or more")
        self.num_context_frames, self.num_query_frames = num_context_frames, num_query_frames
        self.max_expressions, self.mask_overlap, self.seed = max_expressions, mask_overlap, seed
        self.on_error, self.prepare_expressions = on_error, prepare_expressions
        self._log = SkipLog(skip_log) if on_error == "skip" else None
        self._videos = self._long_enough(group_by_video(rows))
        self._rows = rows.with_format("arrow")

    def __len__(self) -> int:
        return len(self._videos)

    def __getitem__(self, index: int) -> dict:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        return self.sample(int(index), (SAMPLE_STREAM, self.seed, self.epoch, int(index)))

    @property
    def total_frames(self) -> int:
        """Frames of all its videos."""
        return sum(video.num_frames for video in self._videos)

    @property
    def skipped(self) -> list[dict]:
        """What this process and its workers left out: `{"sample": ids, "reason": text}` each time it happened."""
        return [] if self._log is None else self._log.read()

    def sample(self, index: int, key: tuple[int, ...]) -> dict:
        """The sample of video `index` that the numbers `key` determine; `dataset[i]` for a key of your own."""
        attempts = len(self) if self.on_error == "skip" else 1
        for attempt in range(attempts):
            video = self._videos[(index + attempt) % len(self)]
            rng = np.random.default_rng([*key, attempt])
            chosen = rng.choice(len(video.rows), min(self.max_expressions, len(video.rows)), replace=False)
            rows = [_first_row(self._rows[int(row)]) for row in video.rows[chosen]]
            try:
                return {**self._read(video, rows, rng), "key": (*key, attempt)}
            except (UserError, OSError) as error:
                expressions = ", ".join(row["expression_id"].as_py() for row in rows)
                name, reason = f"{video.name}, expressions {expressions}", " ".join(str(error).split())
                if self.on_error == "raise":
                    remedy = "repair or remove it, or pass on_error='skip'"
                    raise BrokenSampleError(f"{name}: {reason}; {remedy}") from error
                self._log.add(name, reason)
        raise BrokenSampleError(f"none of {len(self)} videos can be read; the last, {name}: {reason}")

    # ---- one sample

    def _read(self, video: VideoRows, rows: list[dict], rng: np.random.Generator) -> dict:
        from ...data.frames import read_frame

        first = int(rng.integers(video.num_frames - self.num_query_frames, endpoint=True))
        queries = list(range(first, first + self.num_query_frames))
        indices = sample_from_segments(video.num_frames, self.num_context_frames, rng) + queries
        size = rows[0]["height"].as_py(), rows[0]["width"].as_py()
        paths = {index: rows[0]["frame_paths"].values[index].as_py() for index in indices}
        frames = {index: read_frame(path) for index, path in paths.items()}
        for index, frame in frames.items():
            check_size(paths[index], frame.shape[:2], size)
        return {
            "frames": [frames[index] for index in indices],
            "frame_times": [index / max(video.num_frames - 1, 1) for index in indices],
            "expressions": [self._expression(row) for row in rows],
            "masks": np.stack([self._masks(row, queries, size) for row in rows]),
            "object_ids": [row["object_ids"].as_py() or [] for row in rows],
            "annotation_ids": [row["annotation_ids"].as_py() or [] for row in rows],
            "dataset": rows[0]["dataset"].as_py(),
            "video_id": rows[0]["video_id"].as_py(),
            "expression_ids": [row["expression_id"].as_py() for row in rows],
            "frame_indices": indices,
            "frame_names": [rows[0]["frames"].values[index].as_py() for index in indices],
        }

    def _expression(self, row: dict) -> str:
        expression = row["expression"].as_py()
        prepared = plain_expression(expression)
        if not prepared:
            raise UserError(f"expression {row['expression_id'].as_py()} is empty ({expression!r})")
        return prepared if self.prepare_expressions else expression

    def _masks(self, row: dict, indices: list[int], size: tuple[int, int]) -> np.ndarray:
        """`[query frames, height, width]` uint8 of one expression."""
        layers = [row["masks"].values]
        if self.mask_overlap == "sum" and row["object_masks"].is_valid:
            layers = [layer.values for layer in row["object_masks"].values]
        masks = np.zeros((len(indices), *size), dtype=np.uint8)
        for layer in layers:
            for query, index in enumerate(indices):
                try:
                    masks[query] += decode_rle(layer[index].as_py(), size)
                except (ValueError, IndexError) as error:
                    name, frame = row["expression_id"].as_py(), row["frames"].values[index].as_py()
                    raise UserError(f"mask of expression {name}, frame {frame}: {error}") from None
        return masks

    # ---- the index

    def _long_enough(self, videos: list[VideoRows]) -> list[VideoRows]:
        needed = max(self.num_context_frames, self.num_query_frames)
        short = [video for video in videos if video.num_frames < needed]
        if short and self.on_error == "raise":
            others = f" and {len(short) - 1} more videos" if len(short) > 1 else ""
            raise UserError(
                f"{short[0].name}{others}: {short[0].num_frames} frames, a sample needs {needed}; "
                "remove such videos or pass on_error='skip'"
            )
        for video in short:
            self._log.add(video.name, f"{video.num_frames} frames, a sample needs {needed}")
        if len(short) == len(videos):
            raise UserError("the table has no video to sample from; check the dataset and its split")
        return [video for video in videos if video.num_frames >= needed]


def sample_from_segments(num_frames: int, num_segments: int, rng: np.random.Generator) -> list[int]:
    """One random frame of each of `num_segments` equal segments of a video: GLUS's context frames in training.

    Segment `i` is `[b[i], b[i + 1])` with `b = linspace(0, num_frames, num_segments + 1)` rounded down, so the video
    needs at least `num_segments` frames.

    Example:

        >>> sample_from_segments(40, 4, np.random.default_rng(0))
        [8, 16, 25, 32]
    """
    bounds = np.linspace(0, num_frames, num_segments + 1, dtype=int)
    return rng.integers(bounds[:-1], bounds[1:]).tolist()


def group_by_video(rows: datasets.Dataset) -> list[VideoRows]:
    """The rows of each video, in the order of the table. Masks are not read, only whether there are any.

    Raises:
        ValueError: the table is streamed, lacks columns or masks, or the rows of a video differ in frames.
    """
    import datasets

    if not isinstance(rows, datasets.Dataset):
        raise UserError("training needs a table with random access; load the dataset without streaming")
    missing = [name for name in INDEX_COLUMNS if name not in rows.column_names]
    if missing:
        raise UserError(f"the table lacks {', '.join(missing)}; load it with load_referring_dataset")
    positions, lengths, number = {}, {}, 0
    for table in rows.select_columns(list(INDEX_COLUMNS)).with_format("arrow").iter(batch_size=500):
        keys = zip(table["dataset"].to_pylist(), table["video_id"].to_pylist(), strict=True)
        for key, row in zip(keys, range(table.num_rows), strict=True):
            frames = len(table["frames"][row])
            if not table["masks"][row].is_valid:
                raise UserError(f"{'/'.join(key)}: has expressions without masks; leave them out")
            if lengths.setdefault(key, frames) != frames:
                raise UserError(f"{'/'.join(key)}: its expressions have {lengths[key]} and {frames} frames")
            positions.setdefault(key, []).append(number)
            number += 1
    return [VideoRows("/".join(key), np.array(found), lengths[key]) for key, found in positions.items()]


def _first_row(table) -> dict:
    """One row as Arrow scalars: lists stay in the file until an element is asked for."""
    return {name: table.column(name)[0] for name in table.column_names}
