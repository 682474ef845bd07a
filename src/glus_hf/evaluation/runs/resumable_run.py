"""One run in one folder: a lock, what is done already, and the loop that resumes over many processes.

Evaluation and pseudo-labels differ only in what they write for an expression.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ...atomic_write import acquire_lock, release_lock
from ...errors import UserError
from ...output_claim import OutputFolder, check_place
from ...predictions.prediction_tree import PRIVATE_FOLDER, check_places_apart, expression_folder
from .distributed import Processes
from .expression_result import ExpressionFailure, ExpressionRecord, ExpressionResult, by_key
from .jobs import Group, Job, assign_groups, plan_groups
from .manifest import Manifest, finished, prepare_output, refuse_others
from .run_files import PathOf, refuse_foreign
from .segmenter import Segmenter


def check_run_folder(
    output: Path, rows: Iterable[Mapping], path_of: PathOf = expression_folder, inputs: Iterable[str] | None = None
) -> None:
    """Refuse a folder that a run cannot have, and expressions that share a place, before any work.

    Args:
        rows: light rows.
        inputs: files and folders that the output has to keep away from; by default the folders of the frames.

    Raises:
        UserError: one line, see [`check_place`] and [`check_places_apart`].
    """
    check_places_apart(rows, path_of)
    if inputs is None:
        addresses = (row["frame_paths"][0] for row in rows if row["frame_paths"])
        inputs = dict.fromkeys(os.path.dirname(path) for path in addresses if "://" not in path)
    check_place(OutputFolder(output), inputs)


@contextmanager
def lock_output(output: Path, processes: Processes) -> Iterator[None]:
    """Refuse a second run in the same folder. The system lets go of the lock when its holder dies."""
    held = []

    def acquire() -> None:
        refuse_others(output)  # before anything is written there
        file = output / PRIVATE_FOLDER / "run.lock"
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            held.append(acquire_lock(file))
        except BlockingIOError:
            message = f"{output}: another evaluation is writing here; wait for it or use another --output"
            raise UserError(message) from None
        except OSError as error:
            message = f"{error.filename or file}: cannot be used ({error.strerror}); use another --output"
            raise UserError(message) from None

    processes.from_main(acquire)
    try:
        yield
    finally:
        for lock in held:  # of the first process alone
            release_lock(lock, remove=False)


def prepare_run(
    output: Path,
    settings: Mapping,
    rows: Iterable[Mapping],
    jobs: Sequence[Job],
    processes: Processes,
    *,
    overwrite: bool = False,
    path_of: PathOf = expression_folder,
    files_of: Callable[[Mapping], list[str]] | None = None,
    record_type: type[ExpressionRecord] = ExpressionResult,
    verify: bool = False,
) -> tuple[bool, dict]:
    """Whether all processes share `output`, and the records of what is done already, the same in all processes.

    Args:
        settings, rows, jobs, overwrite, path_of: as for [`prepare_output`] and [`finished`].
        files_of, record_type, verify: as for [`finished`].
    """

    def prepare() -> None:
        prepare_output(output, settings, (path_of(row) for row in rows), overwrite, path_of)

    def done_here() -> dict:
        done = finished(output, rows, jobs, files_of, record_type, verify)
        keys = ((row["video_id"], row["expression_id"]) for row in rows)
        refuse_foreign(output, [path_of(row) for key, row in zip(keys, rows, strict=True) if key not in done])
        return done

    processes.from_main(prepare)
    if processes.share_folder(output):
        return True, processes.from_main(done_here)
    problems, done = [], {}
    try:
        if not processes.is_main:
            prepare()
        done = done_here()
    except (ValueError, OSError) as error:
        problems.append(error)
    for error in processes.gather(problems):
        raise error
    return False, by_key(processes.gather(list(done.values())))


def own_share(jobs: Sequence[Job], done: Mapping, texts_per_pass: int, processes: Processes) -> list[Group]:
    """The groups that this process works on: of those in which something is not done, its share."""
    groups = plan_groups(jobs, texts_per_pass)
    unfinished = [group for group in groups if any(job.key not in done for job in group.jobs)]
    return assign_groups(unfinished, processes.size)[processes.rank]


def run_jobs(
    segmenter: Segmenter,
    jobs: Sequence[Job],
    done: dict,
    processes: Processes,
    *,
    add_score: Callable[[ExpressionResult], float | None] = lambda result: None,
    score_name: str = "",
    description: str = "segmenting",
    unit: str = "expression",
    progress: bool = False,
) -> tuple[dict, list[ExpressionFailure]]:
    """Segment what is not done, shared among the processes; a line is written for each expression as it is finished.

    Args:
        segmenter: does the work and writes the masks.
        jobs: all of them; those in `done` are left out.
        done: results by `(video_id, expression_id)`.
        add_score: may add to the result of a finished expression; what it returns is averaged in the bar.

    Returns:
        Results by `(video_id, expression_id)` and failures, of all processes.
    """
    from transformers.utils import logging

    share = own_share(jobs, done, segmenter.options.texts_per_pass, processes)
    total = sum(job.key not in done for group in share for job in group.jobs)
    hidden = not (progress and processes.is_main)
    values: list[float] = []
    with (
        Manifest(segmenter.output, processes.rank) as manifest,
        logging.tqdm(total=total, desc=description, unit=unit, disable=hidden) as bar,
    ):

        def on_finished(result: ExpressionResult) -> None:
            value = add_score(result)
            if value is not None:
                values.append(value)
                bar.set_postfix({score_name: f"{100 * sum(values) / len(values):.1f}"}, refresh=False)
            manifest.append(result)
            done[result.key] = result
            bar.update()

        failures = segmenter.run(share, done, on_finished)
    failures = processes.gather(failures)
    return by_key(processes.gather(list(done.values()))), failures


__all__ = ["check_run_folder", "lock_output", "own_share", "prepare_run", "run_jobs"]
