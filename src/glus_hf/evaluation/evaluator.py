"""Evaluate a model on a data set: predictions as PNG trees, resumable, over many processes, and their scores."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..data.predictions import expression_folder
from ..pipelines.frame_selector import FrameSelector, check_threshold
from .evaluation_report import EvaluationReport, write_report
from .key_frame_selection import score_all_frames, selector_settings, starts_from, write_starts
from .manifest import by_ids, prepare_output
from .model_digest import model_digest
from .processes import Processes
from .run_folder import only_writer, prepare_run, run_jobs
from .scores_as_they_come import choose_protocol, score_all, score_finished
from .segment_groups import ON_ERROR, Segmenter
from .work_plan import light_rows, plan_jobs


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
        no_target_threshold: with a selector: expressions whose confidence (the largest selector score x mask score of
            any frame) is below it get empty masks.
        on_error: "raise", or "skip" to report expressions that fail and go on.
    """

    texts_per_pass: int = 8
    threshold: float = 0.0
    batch_size: int | None = 8
    context_frames: str | Sequence[int] | None = None
    key_frame: int | None = None
    key_frames: Mapping[str, int] | None = field(default=None, repr=False)
    no_target_threshold: float | None = None
    on_error: str = "raise"

    def __post_init__(self):
        if self.on_error not in ON_ERROR:
            raise ValueError(f"on_error must be one of {', '.join(ON_ERROR)}, got {self.on_error!r}")
        if not math.isfinite(self.threshold):
            raise ValueError(f"threshold must be a finite number, got {self.threshold}")
        check_threshold(self.no_target_threshold)
        if self.no_target_threshold is not None:  # NumPy's numbers do not go into JSON
            object.__setattr__(self, "no_target_threshold", float(self.no_target_threshold))


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
    num_workers: int = 1,
    processes: Processes | None = None,
    progress: bool = False,
) -> EvaluationReport | None:
    """Segment every expression of a data set, write the masks and score them where there is a ground truth.

    Works with every model that has `propagate_in_video_iterator` and a processor with `init_video_session` and
    `post_process_masks`; see [`iterate_frame_masks`]. An interrupted call is resumed by the same call; expressions
    that are done are not done again. Under `accelerate launch` or `torchrun` every process calls this with the same
    arguments.

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
        selector: scores all frames before anything is segmented; every expression starts from its best one, unless
            `options` name key frames. The chosen ones are written to `key_frames.json`.
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
    if options.no_target_threshold is not None and selector is None:
        raise ValueError("no_target_threshold needs a selector, whose scores say whether anything fits")
    processes = processes or Processes(cpu=model.device.type == "cpu")
    output, light = Path(output), light_rows(rows)
    jobs = plan_jobs(light, options.key_frame, options.key_frames)
    if not jobs:
        raise ValueError("there are no expressions to evaluate; check the split and the selection of videos")
    protocol = choose_protocol(rows, protocol)
    settings = _settings(model, model_name, light[0]["dataset"], split, data_options, options, selector)
    with only_writer(output, processes):
        frame_scores, refused = {}, []
        if selector is not None:
            check = lambda: prepare_output(output, settings, map(expression_folder, light), overwrite)
            processes.from_main(check)  # before the long work
            frame_scores, refused = _select(selector, light, output, options, overwrite, processes, progress)
            if options.key_frame is None and options.key_frames is None:
                jobs = plan_jobs(light, starts=starts_from(frame_scores))
        refused_ids = by_ids(refused)
        accepted = [job for job in jobs if job.key not in refused_ids]
        shared, done = prepare_run(output, settings, light, jobs, processes, overwrite=overwrite)
        segmenter = Segmenter(
            model,
            processor,
            light,
            output,
            threshold=options.threshold,
            batch_size=options.batch_size,
            context_frames=options.context_frames,
            on_error=options.on_error,
            frame_scores=frame_scores,
            no_target_threshold=options.no_target_threshold,
        )
        indices = {job.key: job.index for job in jobs}

        def add_score(facts: dict) -> float | None:
            if protocol is None:
                return None
            row = rows[indices[facts["video_id"], facts["expression_id"]]]
            facts["score"] = score_finished(row, output, protocol)
            return None if facts["score"] is None else facts["score"]["record"]["J&F"]

        facts, failures = run_jobs(
            segmenter,
            accepted,
            done,
            options.texts_per_pass,
            processes,
            add_score=add_score,
            score_name="J&F",
            progress=progress,
        )
        if not processes.is_main:
            return None
        if frame_scores:
            write_starts(output, light, {job.key: job.key_frame or 0 for job in accepted})
        failures = [*refused, *failures]
        scored = protocol and score_all(rows, jobs, facts, by_ids(failures), output, protocol, num_workers, shared)
        return write_report(output, light, jobs, facts, failures, settings, scored)


def _select(selector, light, output: Path, options: EvaluationOptions, overwrite: bool, processes, progress) -> tuple:
    return score_all_frames(
        selector,
        light,
        plan_jobs(light),
        output,
        processes,
        texts_per_pass=options.texts_per_pass,
        batch_size=options.batch_size,
        overwrite=overwrite,
        on_error=options.on_error,
        progress=progress,
    )


def _settings(
    model, name: str | None, dataset: str, split: str, data_options: Mapping | None, options, selector=None
) -> dict:
    chosen = asdict(options)
    for key in ("on_error", "key_frames"):  # key frames are in the digest of every expression
        del chosen[key]
    name = name or str(getattr(model.config, "_name_or_path", "") or type(model).__name__)
    return {
        "dataset": dataset,
        "split": split,
        "data_options": dict(data_options or {}),
        "model": {"name": Path(name).resolve().name, "digest": model_digest(model), "dtype": str(model.dtype)},
        "selector": selector_settings(selector),
        **chosen,
    }


__all__ = ["EvaluationOptions", "evaluate_model"]
