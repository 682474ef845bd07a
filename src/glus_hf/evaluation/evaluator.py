"""Evaluate a model on a data set: predictions as PNG trees, resumable, over many processes, and their scores."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..data.predictions import PRIVATE_FOLDER, expression_folder
from .evaluation_report import EvaluationReport, write_report
from .manifest import Manifest, finished, prepare_output
from .model_digest import model_digest
from .processes import Processes
from .protocols import Protocol
from .scores_as_they_come import choose_protocol, score_all, score_finished
from .segment_groups import ON_ERROR, Segmenter
from .work_plan import Group, Job, assign_groups, light_rows, plan_groups, plan_jobs


@dataclass(frozen=True)
class EvaluationOptions:
    """How to segment. All but `on_error` belong to the settings that a resumed run must share.

    Attributes:
        texts_per_pass: expressions of a video that go through the model together, and so share its features.
        threshold: mask logits above it are foreground; 0 is probability 0.5.
        batch_size: windows the language model reads at once. A fixed number makes an interrupted run equal an
            uninterrupted one on accelerators too, where None chooses by the free memory.
        context_frames: strategy or indices for the processor's `init_video_session`; None is its own.
        key_frame: index of the frame to start from, for all videos.
        key_frames: instead, `{"<video>_<expression>": name of the frame as a number}`; others start from the first.
        on_error: "raise", or "skip" to report expressions that fail and go on.
    """

    texts_per_pass: int = 8
    threshold: float = 0.0
    batch_size: int | None = 8
    context_frames: str | Sequence[int] | None = None
    key_frame: int | None = None
    key_frames: Mapping[str, int] | None = field(default=None, repr=False)
    on_error: str = "raise"

    def __post_init__(self):
        if self.on_error not in ON_ERROR:
            raise ValueError(f"on_error must be one of {', '.join(ON_ERROR)}, got {self.on_error!r}")


def evaluate_model(
    model,
    processor,
    rows: Sequence[Mapping],
    output: str | os.PathLike,
    *,
    split: str = "",
    data_options: Mapping | None = None,
    model_name: str | None = None,
    protocol: str | None = None,
    options: EvaluationOptions | None = None,
    overwrite: bool = False,
    num_workers: int = 1,
    processes: Processes | None = None,
    progress: bool = False,
) -> EvaluationReport | None:
    """Segment every expression of a data set, write the masks and score them where there is a ground truth.

    Works with every model that has `propagate_in_video_iterator` and a processor with `init_video_session` and
    `post_process_masks`. An interrupted call is resumed by the same call; expressions that are done are not done
    again. Under `accelerate launch` or `torchrun` every process calls this with the same arguments.

    Args:
        model: in eval mode, on its device.
        processor: the model's.
        rows: from `load_referring_dataset`, or a selection of it.
        output: gets the tree of predictions in the layout of the data set's server, `results.jsonl` (one line per
            expression), `summary.json` and the folder `.glus_hf` that makes the run resumable.
        split: name of the split, one of the settings.
        data_options: what else the rows depend on, such as the seed of generated data.
        model_name: for messages; by default where the model was loaded from.
        protocol: how to score, a name in `evaluation.protocols`; by default the data set's own.
        options: [`EvaluationOptions`].
        overwrite: remove an earlier run in `output` first.
        num_workers: processes that score what was not scored right after its segmentation.
        processes: [`Processes`] to share with the caller; made if needed.
        progress: show a bar, on stderr.

    Returns:
        [`EvaluationReport`] on the first process, None on the others.

    Raises:
        ValueError: no rows, `output` holds a run with other settings or is in use, or an expression fails while
            `on_error` is "raise"; one line. What was done before stays done.

    Example:
        >>> rows = load_referring_dataset("mevis", "data/mevis", "valid_u")  # doctest: +SKIP
        >>> evaluate_model(model, processor, rows, "preds", split="valid_u").totals["J&F"]  # doctest: +SKIP
        0.513
    """
    options = options or EvaluationOptions()
    processes = processes or Processes(cpu=model.device.type == "cpu")
    output, light = Path(output), light_rows(rows)
    jobs = plan_jobs(light, options.key_frame, options.key_frames)
    if not jobs:
        raise ValueError("there are no expressions to evaluate; check the split and the selection of videos")
    protocol = choose_protocol(rows, protocol)
    settings = _settings(model, model_name, light[0]["dataset"], split, data_options, options)
    with _only_writer(output, processes):
        shared, done = _prepare(output, settings, light, jobs, overwrite, processes)
        groups = plan_groups(jobs, options.texts_per_pass)
        groups = [group for group in groups if any(job.key not in done for job in group.jobs)]
        share = assign_groups(groups, processes.size)[processes.rank]
        segmenter = _segmenter(model, processor, light, output, options)
        failures = _segment_share(segmenter, share, rows, jobs, done, protocol, processes, progress)
        failures = processes.gather(failures)
        facts = {(one["video_id"], one["expression_id"]): one for one in processes.gather(list(done.values()))}
        if not processes.is_main:
            return None
        failed = [(one["video_id"], one["expression_id"]) for one in failures]
        scored = protocol and score_all(rows, jobs, facts, failed, output, protocol, num_workers, shared)
        return write_report(output, light, jobs, facts, failures, settings, scored)


def _settings(model, name: str | None, dataset: str, split: str, data_options: Mapping | None, options) -> dict:
    chosen = asdict(options)
    for key in ("on_error", "key_frames"):  # key frames are in the digest of every expression
        del chosen[key]
    name = name or str(getattr(model.config, "_name_or_path", "") or type(model).__name__)
    return {
        "dataset": dataset,
        "split": split,
        "data_options": dict(data_options or {}),
        "model": {"name": Path(name).resolve().name, "digest": model_digest(model), "dtype": str(model.dtype)},
        **chosen,
    }


def _segmenter(model, processor, light, output: Path, options: EvaluationOptions) -> Segmenter:
    return Segmenter(
        model,
        processor,
        light,
        output,
        threshold=options.threshold,
        batch_size=options.batch_size,
        context_frames=options.context_frames,
        on_error=options.on_error,
    )


@contextmanager
def _only_writer(output: Path, processes: Processes) -> Iterator[None]:
    """Refuse a second evaluation in the same folder. The system lets go of the lock when its holder dies."""
    from filelock import FileLock, Timeout

    lock = FileLock(str(output / PRIVATE_FOLDER / "run.lock"), timeout=0)

    def acquire() -> None:
        Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout:
            message = f"{output}: another evaluation is writing here; wait for it or use another --output"
            raise ValueError(message) from None

    processes.from_main(acquire)
    try:
        yield
    finally:
        lock.release()  # does nothing where it is not held


def _prepare(
    output: Path, settings: dict, light, jobs: list[Job], overwrite: bool, processes: Processes
) -> tuple[bool, dict]:
    """Whether all processes share `output`, and the facts of what is done already, the same in all processes."""

    def prepare() -> None:
        prepare_output(output, settings, (expression_folder(row) for row in light), overwrite)

    processes.from_main(prepare)
    if processes.share_folder(output):
        return True, processes.from_main(lambda: finished(output, light, jobs))
    problems, done = [], {}
    try:
        if not processes.is_main:
            prepare()
        done = finished(output, light, jobs)
    except (ValueError, OSError) as error:
        problems.append(error)
    for error in processes.gather(problems):
        raise error
    return False, {(one["video_id"], one["expression_id"]): one for one in processes.gather(list(done.values()))}


def _segment_share(
    segmenter: Segmenter,
    share: list[Group],
    rows: Sequence[Mapping],
    jobs: list[Job],
    done: dict,
    protocol: Protocol | None,
    processes: Processes,
    progress: bool,
) -> list[dict]:
    """Segment and score what falls to this process; `done` grows. Returns the failures."""
    from transformers.utils import logging

    indices = {job.key: job.index for job in jobs}
    total = sum(job.key not in done for group in share for job in group.jobs)
    hidden = not (progress and processes.is_main)
    values: list[float] = []
    with (
        Manifest(segmenter.output, processes.rank) as manifest,
        logging.tqdm(total=total, desc="segmenting", unit="expression", disable=hidden) as bar,
    ):

        def on_finished(facts: dict) -> None:
            key = facts["video_id"], facts["expression_id"]
            if protocol is not None:
                facts["score"] = score_finished(rows[indices[key]], segmenter.output, protocol)
                if facts["score"] is not None:
                    values.append(facts["score"]["record"]["J&F"])
                    bar.set_postfix({"J&F": f"{100 * sum(values) / len(values):.1f}"}, refresh=False)
            manifest.append(facts)
            done[key] = facts
            bar.update()

        return segmenter.run(share, done, on_finished)


__all__ = ["EvaluationOptions", "evaluate_model"]
