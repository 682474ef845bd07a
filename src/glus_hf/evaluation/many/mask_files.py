"""Masks of an expression as a Parquet file of one row, and many of them as one table."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from ...data.listed_video import shown_address
from ...errors import UserError
from ...media.rle import encode_rle
from ...predictions.prediction_tree import expression_folder
from ..runs.segmenter import Clip


MASKS = "masks"
ROWS_TOGETHER = 64  # in a row group of a table


def mask_file(row: Mapping) -> str:
    """Relative path of the file of an expression.

    Example:
        >>> mask_file({"dataset": "listed", "video_id": "clips/dog", "expression_id": "0"})
        'masks/clips/dog/0.parquet'
    """
    return f"{MASKS}/{expression_folder(row)}.parquet"


def mask_schema():
    """The columns; see docs/many-videos.md."""
    import pyarrow as pa

    rle = pa.struct([("size", pa.list_(pa.int32())), ("counts", pa.string())])
    return pa.schema(
        [
            ("video_id", pa.string()),
            ("expression_id", pa.string()),
            ("video", pa.string()),
            ("expression", pa.string()),
            ("num_frames", pa.int32()),
            ("height", pa.int32()),
            ("width", pa.int32()),
            ("fps", pa.float64()),
            ("key_frame", pa.int32()),
            ("frames", pa.list_(pa.string())),
            ("masks", pa.list_(rle)),
            ("scores", pa.list_(pa.float32())),
            ("missing", pa.list_(pa.int32())),
        ]
    )


class MaskWriter:
    """Takes the masks of one expression in any order of frames, as run lengths, and stores its file at once.

    Args:
        row: of a manifest.
        clip: its video.
        store: gets the relative path and the content of the file.
    """

    def __init__(self, row: Mapping, clip: Clip, store: Callable[[str, bytes], None]):
        self.row, self.clip, self.store = row, clip, store
        self.masks: dict[int, dict | None] = {}
        self.scores, self.missing = np.zeros(len(clip.names)), []

    def write(self, index: int, mask: np.ndarray) -> None:
        """Take `mask` (bool `[height, width]`) of frame number `index`."""
        self.masks[index] = encode_rle(mask) if mask.any() else None

    def add_scores(self, scores: np.ndarray, missing: list[int]) -> None:
        """Take the scores `[num_frames]` of the masks, and the indices of the frames without an answer."""
        self.scores, self.missing = scores, missing

    def commit(self, record=None) -> None:
        """Store the file; UserError where a frame is missing. The store keeps records of its own."""
        count = len(self.clip.names)
        if len(self.masks) != count:
            raise UserError(f"{mask_file(self.row)}: {count - len(self.masks)} of {count} frames have no mask")
        self.store(mask_file(self.row), self._content())

    def _content(self) -> bytes:
        import pyarrow as pa
        import pyarrow.parquet

        clip, row = self.clip, self.row
        known = {name: row[name] for name in ("video_id", "expression_id", "expression")}
        known["video"] = shown_address(row["video"])
        known |= {"num_frames": len(clip.names), "height": clip.size[0], "width": clip.size[1], "fps": clip.fps}
        known |= {"key_frame": row["key_frame"] or 0, "frames": list(clip.names), "missing": self.missing}
        known |= {"masks": [self.masks[index] for index in range(len(clip.names))], "scores": self.scores.tolist()}
        file = io.BytesIO()
        pa.parquet.write_table(pa.Table.from_pylist([known], mask_schema()), file, compression="zstd")
        return file.getvalue()

    def __enter__(self) -> MaskWriter:
        return self

    def __exit__(self, *_) -> None:
        pass


def join_mask_files(folder: Path, rows: Iterable[Mapping], path: Path) -> int:
    """Write the rows of many mask files into one Parquet file, in the order of `rows`; how many they are.

    Args:
        folder: with the files.
        rows: of the manifest, those that are done.
        path: to write.
    """
    import pyarrow as pa
    import pyarrow.parquet

    count = 0
    with pa.parquet.ParquetWriter(path, mask_schema(), compression="zstd") as writer:
        for tables in _in_parts(pa.parquet.read_table(folder / mask_file(row), partitioning=None) for row in rows):
            writer.write_table(pa.concat_tables(tables))
            count += len(tables)
    return count


def _in_parts(tables: Iterable) -> Iterator[list]:
    part = []
    for table in tables:
        part.append(table)
        if len(part) == ROWS_TOGETHER:
            yield part
            part = []
    if part:
        yield part


__all__ = ["MaskWriter", "join_mask_files", "mask_file", "mask_schema"]
