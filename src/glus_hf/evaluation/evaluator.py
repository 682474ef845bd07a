"""Evaluate a model on a dataset: predictions as PNG trees, resumable, over many processes, and their scores."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from ..errors import UserError
from ..inference.frame_masks import fast_modes
from ..inference.frame_selector import FrameSelector, require_selector
from ..predictions.prediction_tree import expression_folder
from .options import EvaluationOptions
from .report import EvaluationReport, write_report
from .runs.distributed import Processes
from .runs.expression_result import ExpressionResult, by_key
from .runs.fingerprint import model_settings
from .runs.jobs import light_rows, plan_jobs
from .runs.key_frame_selection import score_all_frames, selector_settings, starts_from, write_starts
from .runs.manifest import prepare_output
from .runs.resumable_run import check_run_folder, lock_output, prepare_run, run_jobs
from .runs.run_files import record_files, remove_replaced
from .runs.segmenter import Segmenter
from .scoring.incremental_scores import choose_protocol, score_all, score_finished


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
    selector: FrameSelector | None = None,
    overwrite: bool = False,
    verify: bool = False,
    num_workers: int = 1,
    processes: Processes | None = None,
    progress: bool = False,
) -> EvaluationReport | None:
    """Segment every expression of a dataset, write the masks and score them where there is a ground truth.

    Works with every model that has `propagate_in_video_iterator` and a processor with `init_video_session` and
    `post_process_masks`; see [`iterate_frame_masks`]. An interrupted call is resumed by the same call; expressions
    that are done are not done again. Under `accelerate launch` or `torchrun` every process calls this with the same
    arguments.

    Args:
        model: in eval mode, on its device.
        processor: the model's.
        rows: from `load_referring_dataset`, or a selection of it.
        output: gets the tree of predictions in the layout of the dataset's server, `results.jsonl` (one line per
            expression), `summary.json` and the folder `.glus_hf` that makes the run resumable.
        split: name of the split, one of the settings.
        data_options: what else the rows depend on, such as the seed of generated data.
        model_name: for messages; by default where the model was loaded from.
        protocol: how to score, a name in `evaluation.protocols`; by default the dataset's own.
        options: [`EvaluationOptions`].
        selector: scores all frames before anything is segmented; every expression starts from its best one, unless
            `options` name key frames. The chosen ones are written to `key_frames.json`.
        overwrite: replace an earlier run in `output`, of which only files that it recorded as its own are removed.
        verify: compare the masks of finished expressions with their recorded hashes, and segment anew what differs;
            without it, their sizes are compared.
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
    require_selector(selector, options.no_target_threshold)
    fast_modes(model, **options.modes)  # refused before the work
    processes = processes or Processes(cpu=model.device.type == "cpu")
    output, light = Path(output), light_rows(rows)
    jobs = plan_jobs(light, options.key_frame, options.key_frames)
    if not jobs:
        raise UserError("there are no expressions to evaluate; check the split and the selection of videos")
    processes.from_main(lambda: check_run_folder(output, light))
    protocol = choose_protocol(rows, protocol)
    settings = _settings(model, processor, model_name, light[0]["dataset"], split, data_options, options, selector)
    with lock_output(output, processes):
        frame_scores, refused = {}, []
        if selector is not None:
            check = lambda: prepare_output(output, settings, map(expression_folder, light), overwrite)
            processes.from_main(check)  # before the long work
            frame_scores, refused = score_all_frames(
                selector, light, plan_jobs(light), output, processes, options, overwrite=overwrite, progress=progress
            )
            if not options.names_key_frames:
                jobs = plan_jobs(light, starts=starts_from(frame_scores))
        accepted = [job for job in jobs if job.key not in by_key(refused)]
        shared, done = prepare_run(output, settings, light, jobs, processes, overwrite=overwrite, verify=verify)
        record = partial(record_files, output, processes.rank)
        segmenter = Segmenter(model, processor, light, output, options, record_files=record, frame_scores=frame_scores)
        indices = {job.key: job.index for job in jobs}

        def add_score(result: ExpressionResult) -> float | None:
            if protocol is not None:
                result.score = score_finished(rows[indices[result.key]], output, protocol)
            return None if result.score is None else result.score["record"]["J&F"]

        results, failures = run_jobs(
            segmenter, accepted, done, processes, add_score=add_score, score_name="J&F", progress=progress
        )
        if not processes.is_main:
            return None
        if frame_scores:
            write_starts(output, light, {job.key: job.key_frame or 0 for job in accepted})
        failures = [*refused, *failures]
        scored = protocol and score_all(rows, jobs, results, by_key(failures), output, protocol, num_workers, shared)
        report = write_report(output, light, jobs, results, failures, settings, scored)
        remove_replaced(output)
        return report


def _settings(
    model, processor, name: str | None, dataset: str, split: str, data_options: Mapping | None, options, selector=None
) -> dict:
    return {
        "dataset": dataset,
        "split": split,
        "data_options": dict(data_options or {}),
        "selector": selector_settings(selector),
        **model_settings(model, name, processor),
        **options.settings(),
    }


__all__ = ["EvaluationOptions", "evaluate_model"]
