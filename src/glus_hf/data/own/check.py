"""Find every problem in a folder of own data, with its file and line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from transformers.utils import logging

from ...media.rle import clean_track
from ...media.sizes import check_size
from ...media.video import IMAGE_SUFFIXES
from ..frames import read_frame
from .expressions import EXPRESSIONS, OwnExpression, scan_expressions
from .videos import VIDEO_SUFFIXES, VIDEOS, OwnVideo, find_splits, open_video, read_mask_png, track_problems


MAX_PROBLEMS = 10_000


@dataclass(frozen=True)
class Problem:
    """Something wrong. `file` is relative to the folder checked; `line` counts from 1.

    Images have no lines: there it is None, and the message ends with the line that names them.
    """

    file: str
    line: int | None
    message: str

    def __str__(self) -> str:
        return f"{self.file}{'' if self.line is None else f':{self.line}'}: {self.message}"


@dataclass
class CheckReport:
    """Result of [`check_own_data`]. With errors the data cannot be used; warnings may be meant."""

    errors: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    num_videos: int = 0
    num_expressions: int = 0
    num_frames: int = 0

    def to_dict(self) -> dict:
        """Of plain types, for JSON."""
        return asdict(self)


def check_own_data(data_dir: str | os.PathLike) -> CheckReport:
    """Read everything in a folder of own data (docs/own-data.md) and list every problem.

    Lines, fields, ids, videos and all their frames, masks and their sizes are checked. Masks that never show
    anything, videos without expressions and expressions that GLUS would refuse are warnings.

    Raises:
        DatasetFileError: there is no such folder, or no `expressions.jsonl` in it.

    Example:

        >>> check_own_data("clips").errors  # doctest: +SKIP
        [Problem(file='expressions.jsonl', line=3, message="video 'clip2': no folder videos/clip2 and ...")]
    """
    report = CheckReport()
    root = Path(data_dir)
    for folder in find_splits(root).values():
        _SplitCheck(root, folder, report).run()
    return report


class _SplitCheck:
    def __init__(self, root: Path, folder: Path, report: CheckReport):
        self.root, self.folder, self.report = root, folder, report
        self.file = folder / EXPRESSIONS
        self.checked_masks: set[tuple[str, str]] = set()

    def run(self) -> None:
        expressions, mentioned = [], set()
        for line, expression, problems in scan_expressions(self.folder):
            for problem in problems:
                self._error(self.file, line, problem)
            if len(self.report.errors) >= MAX_PROBLEMS:
                self._error(self.file, line, "too many problems: the lines behind this one were not read")
                break
            if expression is not None:
                mentioned.add(expression.video)
                expressions.append(expression)
        if not expressions and not self.report.errors:
            self._error(self.file, None, "has no expressions: write one JSON object per line")
        by_video: dict[str, list[OwnExpression]] = {}
        for expression in expressions:
            by_video.setdefault(expression.video, []).append(expression)
        for name in logging.tqdm(by_video, desc="videos", leave=False):
            self._check_video(name, by_video[name])
        self.report.num_expressions += len(expressions)
        for name in sorted(_videos_in(self.folder / VIDEOS) - mentioned):
            self._warn(self.folder / VIDEOS / name, None, "no expression is about this video")

    def _check_video(self, name: str, expressions: list[OwnExpression]) -> None:
        try:
            video = open_video(self.folder, name)
        except (ValueError, OSError) as error:
            self._error(self.file, expressions[0].line, error)
            return
        self.report.num_videos += 1
        self.report.num_frames += len(video.frames)
        self._check_frames(expressions[0].line, video)
        for expression in expressions:
            self._check_text(expression)
            for _, masks in expression.objects or ():
                self._check_masks(expression.line, masks, video)

    def _check_frames(self, line: int, video: OwnVideo) -> None:
        if video.damage is not None:
            found = f"only {len(video.frames)} frames can be decoded ({video.damage}): copy or download it again"
            self._image_error(Path(video.frame_paths[0].partition("::")[2]), line, found)
        if video.frame_paths[0].startswith("video://"):
            return  # decoded to count its frames
        first = Path(video.frame_paths[0]).name
        for path in video.frame_paths:
            try:
                found = read_frame(path).shape[:2]
            except (ValueError, OSError):
                self._image_error(Path(path), line, "cannot be read as an image")
                continue
            try:
                check_size(path, found, video.size, of=first)
            except ValueError as error:
                self._image_error(Path(path), line, str(error).removeprefix(f"{path}: "))

    def _check_text(self, expression: OwnExpression) -> None:
        from ...models.glus.processing_glus import PROTOCOL_TOKENS

        found = [token for token in PROTOCOL_TOKENS if token.lower() in expression.text.lower()]
        if found:
            self._warn(self.file, expression.line, f"GLUS refuses expressions with {found[0]}")

    def _check_masks(self, line: int, masks: str | list, video: OwnVideo) -> None:
        if isinstance(masks, str):
            if (masks, video.name) in self.checked_masks:
                return
            self.checked_masks.add((masks, video.name))
        before = len(self.report.errors)
        for problem in track_problems(self.folder, masks, video):
            self._error(self.file, line, problem)
        seen = (self._check_files if isinstance(masks, str) else self._check_runs)(line, masks, video)
        if not seen and len(self.report.errors) == before:
            name = masks if isinstance(masks, str) else "'masks'"
            self._warn(self.file, line, f"{name}: the target is in no frame")

    def _check_files(self, line: int, masks: str, video: OwnVideo) -> bool:
        """Whether a file of the folder shows the target."""
        seen = False
        for stem in video.frames:
            file = self.folder / masks / f"{stem}.png"
            if os.path.lexists(file):  # a link to nothing is there, and broken
                try:
                    seen |= bool(read_mask_png(file, video.size).any())
                except ValueError as error:
                    self._image_error(file, line, str(error).removeprefix(f"{file}: "))
        return seen

    def _check_runs(self, line: int, masks: list, video: OwnVideo) -> bool:
        """Whether a mask of the line shows the target."""
        seen = False
        for index, rle in enumerate(masks[: len(video.frames)]):  # that there are more is said already
            try:
                seen |= clean_track([rle], 1, video.size, "mask")[0][0] is not None
            except ValueError as error:
                message = str(error).removeprefix("mask, mask 0").removeprefix(": ")
                self._error(self.file, line, f"mask {index} (frame {video.frames[index]}): {message}")
        return seen

    def _image_error(self, file: Path, line: int, message: str) -> None:
        self._error(file, None, f"{message} ({EXPRESSIONS}:{line})")

    def _error(self, file: Path, line: int | None, message) -> None:
        self.report.errors.append(self._problem(file, line, message))

    def _warn(self, file: Path, line: int | None, message) -> None:
        self.report.warnings.append(self._problem(file, line, message))

    def _problem(self, file: Path, line: int | None, message) -> Problem:
        name = Path(file).absolute()
        root = self.root.absolute()
        name = name.relative_to(root) if name.is_relative_to(root) else name
        return Problem(name.as_posix(), line, " ".join(str(message).split()))


def _videos_in(folder: Path) -> set[str]:
    """Names of all videos below `folder`."""
    return set(_walk_videos(folder)) if folder.is_dir() else set()


def _walk_videos(folder: Path) -> Iterator[str]:
    for path, _, files in os.walk(folder):
        name = Path(path).relative_to(folder)
        for file in files:
            suffix = Path(file).suffix.lower()
            if suffix in VIDEO_SUFFIXES:
                yield (name / Path(file).stem).as_posix()
            elif suffix in IMAGE_SUFFIXES and path != str(folder):
                yield name.as_posix()
