"""What a job does: segment its video, and write the files that a user takes away."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..inference.corrections import Correction, takes_corrections
from ..inference.expression_notes import SAME_AS, UNKNOWN_WORDS
from ..inference.frame_masks import MISSING_FRAMES
from ..media.mask_png import save_mask_png
from ..media.rle import decode_rle
from ..media.video import Video, open_video
from ..predictions.exports.coco import write_coco
from ..predictions.exports.video_masks import masks_of_results
from ..visualization import OverlayFrames, palette, quiet_edge, save_overlay
from .corrections import read_mask
from .jobs import Job
from .limits import ServiceLimits


OVERLAY, MASKS, COCO = "overlay.mp4", "masks.zip", "coco.json"
FILES = (OVERLAY, MASKS, COCO)
"""What a finished job offers."""
THUMBNAILS = 24
THUMBNAIL_SIDE = 160
LEGEND_SIDE = 240
DEFAULT_FPS = 12.0


class Engine:
    """A pipeline that runs jobs.

    Args:
        pipe: any pipeline of the task.
        selector: of key frames, where a job names none; as the pipeline takes it.
        limits: bounds of a job.

    Example:
        >>> engine = Engine(pipeline(model="glus-tiny"), None, ServiceLimits())  # doctest: +SKIP
    """

    def __init__(self, pipe, selector=None, limits: ServiceLimits | None = None, name: str = ""):
        self.pipe, self.selector, self.limits = pipe, selector, limits or ServiceLimits()
        self.name = name

    @property
    def notice(self) -> str | None:
        """What users of this model must know of its masks."""
        return getattr(self.pipe.model, "notice", None)

    @property
    def takes_corrections(self) -> bool:
        """Whether a finished job can be corrected."""
        return takes_corrections(self.pipe.processor)

    def picture(self, job: Job, frame_idx: int, expression: int) -> tuple[np.ndarray, np.ndarray]:
        """A frame of a finished job, `uint8 [height, width, 3]`, and the mask of an expression on it, bool.

        Raises:
            UserError: the job is gone; one line.
        """
        clip = open_video(job.source, frame_idx + 1, self.limits.decode_limits())
        try:
            with zipfile.ZipFile(job.folder / MASKS) as archive:
                png = archive.read(f"{expression}/{clip.frame_names[frame_idx]}.png")
        except FileNotFoundError:
            raise UserError("the masks of that job are gone; segment the video again") from None
        return clip.frames[frame_idx], read_mask(png, (clip.height, clip.width))

    def __call__(self, job: Job) -> dict:
        """Segment and write; the result for `GET /api/jobs/ID`."""
        clip = open_video(job.source, limits=self.limits.decode_limits())
        if len(clip) > self.limits.frames:
            raise UserError(f"the video has {len(clip)} frames, this service takes {self.limits.frames}")
        if max(_starts(job)) >= len(clip):
            raise UserError(f"the video has {len(clip)} frames: there is no frame {max(_starts(job))}")
        job.total = len(clip) * len(job.texts)
        options = {} if self.selector is None or job.corrections else {"selector": self.selector}
        if job.key_frame is not None:
            options["key_frame"] = job.key_frame
        if job.corrections:
            size = clip.height, clip.width
            options["corrections"] = [Correction(*key, decode_rle(rle, size)) for key, rle in job.corrections.items()]
        results = self.pipe(clip, job.texts, output="file", on_frame=lambda frame: self.step(job, frame), **options)
        self._write(job, clip, results)
        return self._describe(clip, results, job)

    def step(self, job: Job, frame) -> None:
        """Count the masks of a frame; ends a job that is to stop."""
        job.check()
        job.done += len(frame.text_indices)

    def _write(self, job: Job, clip: Video, results: list[dict]) -> None:
        masks = [result["masks"] for result in results]
        labels = job.texts if min(clip.height, clip.width) >= LEGEND_SIDE else None  # it would hide a small picture
        frames = OverlayFrames(clip.frames, masks, labels, legend_at_top=quiet_edge(masks))
        save_overlay(job.folder / OVERLAY, _checked(frames, job), clip.fps or DEFAULT_FPS)
        _write_zip(job, clip, masks)
        folder = job.folder / "coco"
        folder.mkdir()
        write_coco(folder, [masks_of_results(results, "video", clip.frame_names, clip.fps)])
        (folder / "labels.json").replace(job.folder / COCO)
        shutil.rmtree(folder)
        _write_thumbnails(job, clip)

    def _describe(self, clip: Video, results: list[dict], job: Job) -> dict:
        expressions = [
            {
                "expression": result["label"],
                "colour": "#{:02x}{:02x}{:02x}".format(*palette(index)),
                "scores": [round(float(score), 4) for score in result["scores"]],
                "visible_frames": int(result["masks"].num_visible),
                "key_frame": int(result.get("key_frame", start)),
                "corrected_frames": sorted(frame_idx for frame_idx, number in job.corrections if number == index),
                "no_target": bool(result.get("no_target", False)),
                "missing_frames": list(map(int, result[MISSING_FRAMES])),
                "unknown_words": list(result[UNKNOWN_WORDS]),
                "same_as": list(result[SAME_AS]),
            }
            for index, (result, start) in enumerate(zip(results, _starts(job), strict=True))
        ]
        size = {"num_frames": len(clip), "fps": clip.fps, "height": clip.height, "width": clip.width}
        thumbnails = thumbnail_frames(len(clip))
        notes = {"notice": self.notice, "damage": clip.damage, "model": self.name}
        notes["takes_corrections"] = self.takes_corrections
        return {**size, "expressions": expressions, "thumbnails": thumbnails, "files": list(FILES), **notes}


def _starts(job: Job) -> list[int]:
    """The frame that each expression starts from, as far as the job says."""
    return job.key_frame if isinstance(job.key_frame, list) else [job.key_frame or 0] * len(job.texts)


def thumbnail_frames(num_frames: int) -> list[int]:
    """The frames that have a thumbnail: at most `THUMBNAILS`, evenly spread, the first and the last among them.

    Example:
        >>> thumbnail_frames(3)
        [0, 1, 2]
    """
    return sorted({int(index) for index in np.linspace(0, num_frames - 1, min(num_frames, THUMBNAILS)).round()})


def _checked(frames: Sequence[np.ndarray], job: Job) -> Iterator[np.ndarray]:
    for frame in frames:
        job.check()
        yield frame


def _write_zip(job: Job, clip: Video, masks: Sequence) -> None:
    """`<number of the expression>/<frame>.png`, and `expressions.json`."""
    with zipfile.ZipFile(job.folder / MASKS, "w") as archive:
        archive.writestr("expressions.json", json.dumps(job.texts, ensure_ascii=False, indent=1))
        png = job.folder / "mask.png"
        for index, track in enumerate(masks):
            for name, mask in zip(clip.frame_names, track, strict=True):
                job.check()
                save_mask_png(png, mask)
                archive.write(png, f"{index}/{name}.png")
        png.unlink(missing_ok=True)


def _write_thumbnails(job: Job, clip: Video) -> None:
    from PIL import Image

    for index in thumbnail_frames(len(clip)):
        image = Image.fromarray(clip.frames[index])
        image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
        image.save(thumbnail_file(job.folder, index), quality=80)


def thumbnail_file(folder: Path, index: int) -> Path:
    """Where the thumbnail of a frame is."""
    return folder / f"frame-{index:06d}.jpg"


__all__ = ["COCO", "FILES", "MASKS", "OVERLAY", "Engine", "thumbnail_file", "thumbnail_frames"]
