"""The pipeline: a video and one or more expressions in, their masks in every frame out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
from transformers.pipelines.base import Pipeline
from transformers.utils import logging

from ..errors import UserError
from ..inference.corrections import add_corrections
from ..inference.expression_notes import add_notes, describe_notes, unknown_words
from ..inference.frame_masks import MISSING_FRAMES, add_missing, iterate_frame_masks
from ..inference.frame_selector import (
    FrameSelector,
    flag_no_target,
    key_frames_of,
    load_selector,
    require_selector,
)
from ..inference.kept_masks import OUTPUTS
from ..inference.live_session import LiveSession
from ..media.download import MAX_BYTES, TIMEOUT, DownloadOptions
from ..models.compiled_stages import compile_model
from ..models.expressions import as_expressions
from ..models.sessions import AUTO, key_frame_per_text
from .inputs import as_samples, checked_sample, load_input
from .parameters import FORWARD_PARAMETERS, PREPROCESS_PARAMETERS, check_parameters


logger = logging.get_logger(__name__)


class ReferringVideoSegmentationPipeline(Pipeline):
    """Masks of what an expression means, in every frame of a video.

    Works with every model that has `propagate_in_video_iterator` and a processor with `init_video_session` and
    `post_process_masks`; see [`iterate_frame_masks`]. Made by `pipeline("referring-video-segmentation")`.

    Example:

        >>> import glus_hf
        >>> pipe = glus_hf.pipeline("referring-video-segmentation", model="glus-tiny")
        >>> result = pipe("clip.mp4", "the red circle moving left")  # doctest: +SKIP
        >>> result["masks"].shape, float(result["scores"].mean())  # doctest: +SKIP
        ((16, 128, 128), 0.93)
    """

    _load_processor = True
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False

    def __init__(self, *args, **kwargs):
        # the base class takes batch_size for its data loader; here it belongs to the language model
        batch_size, compiles = kwargs.pop("batch_size", None), kwargs.pop("compile", False)
        check_parameters({"batch_size": batch_size})
        self._selector: tuple[tuple, FrameSelector] | None = None
        self._warned: set[str] = set()
        super().__init__(*args, **kwargs)
        if self.processor is None:
            raise UserError("the pipeline needs the model's processor: pass processor=")
        self._forward_params.update({"batch_size": batch_size} if batch_size is not None else {})
        if compiles:
            compile_model(self.model)

    def __call__(self, video, text: str | Sequence[str] | None = None, **kwargs):
        """Segment one video, or many.

        | `video` | `text` | means |
        | --- | --- | --- |
        | file, folder, http(s) or `file://` address | given | one video; an image file is a video of one frame |
        | PIL image, array `[height, width, 3]` | given | one video of one frame |
        | array or tensor `[frames, height, width, 3]`, [`Video`] | given | one video |
        | `bytes`, an open file, `{"bytes", "path"}` of `datasets.Video`, a torchcodec decoder | given | one video |
        | list of images (PIL, arrays, image files) | given | the frames of one video |
        | list of files, folders, addresses, 4-D arrays or lists of images | given | one video each |
        | generator | given | the frames of one clip that ends |
        | dataset, column, `KeyDataset`, data loader | given | one video per element, lazily |
        | dict `{"video", "text"}`, or with a row's `frame_paths` and `expression` | none | one video |
        | list of such dicts | none | one video each |
        | generator or dataset of such dicts, as of `load_referring_dataset` | none | one video each, lazily |

        One expression, or a list of expressions, goes to every video; a list of lists has a list for each video.

        Args:
            video: see the table; files, arrays and images are as for [`~glus_hf.load_video`]. A dict may also hold its
                own `key_frame`, `context_frames` or `corrections`.
            text (`str`, `list[str]` or `list[list[str]]`): the expression(s). Many share the video's features.
            key_frame (`int`, `"auto"` or a list of them, *optional*): frame to start from, 0..T-1; forward to the end,
                then backward to the start. "auto" is the frame that the selector likes best. A list, array or tensor
                has one per expression. Default: "auto" with a selector, else the first frame.
            context_frames (`str` or `list[int]`, *optional*): how the frames that stand for the whole video are
                chosen; see the processor's `init_video_session`.
            corrections (`list[tuple]`, *optional*): masks of yours, each `(frame, number of the text, mask)`; the
                mask is bool `[height, width]`. They take the place of the model's own, and the frames after them
                follow. For models whose processor has `takes_corrections`; docs/memory-and-windows.md.
            max_frames (`int`, *optional*): read only this many frames, from the start.
            limits ([`~glus_hf.media.decode_limits.DecodeLimits`], *optional*): what a video may ask for: memory of its
                frames, pixels of a frame, duration, size of the file.
            selector (`str` or [`GLUSSelector`], *optional*): alias, folder, Hub name or a loaded model that scores
                frames; for `key_frame="auto"` and `no_target_threshold`. One that is given by name is loaded once, in
                the precision of its file.
            selector_processor (`str` or [`GLUSSelectorProcessor`], *optional*): of the selector; by default that of
                the folder it was loaded from.
            no_target_threshold (`float`, *optional*): an expression whose `confidence` is below it fits nothing: all
                its masks are empty. Which number is right depends on both models; examples/calibrate_no_target.py.
            timeout (`float`, defaults to 600): seconds for the download of an address.
            max_download_bytes (`int`, defaults to 1 GiB): largest file to download or to read from an open file.
            allow_private_addresses (`bool`, defaults to `False`): also download from loopback, private and link-local
                addresses. Redirects are followed up to 5 times; each is checked.
            threshold (`float`, defaults to 0): mask logits above it are foreground; 0 is probability 0.5.
            progress (`bool`, defaults to `False`): show bars over downloaded bytes and over frames, on stderr.
            output (`str`, defaults to "mask"): what is kept of the masks, see `masks` below: "mask", "rle", "logits"
                or "file".
            on_frame (`Callable`, *optional*): gets a [`~glus_hf.inference.frame_masks.FrameMasks`] for every frame as
                it comes: from the key frame to the end, then back to the start. Such as the `write` of
                [`~glus_hf.inference.mask_sinks.PngSink`].
            window (`str`, defaults to "sliding"): "whole" is faster and not the same: the language model answers for
                all frames of a window in one pass, as in training. What it gains and costs: docs/benchmarks.md.
            frame_stride (`int`, defaults to 1): let the language model read every so many frames only; the memories
                of the mask branch carry the masks between. Faster and not the same.
            batch_size (`int`, *optional*): windows the language model reads at once. By default the model chooses by
                the free memory. Videos are segmented one after the other.

        Returns:
            `dict`, or for a list of texts a list of dicts, one per text:

            - `label` (`str`): the text.
            - `masks` (`np.ndarray [T, height, width]` of bool): at the video's own size, frame by frame. They take a
              byte per pixel and frame. With `output="rle"` instead `rle`, a list of T run lengths as of COCO (None for
              an empty mask); with "logits" instead `logits`, `float32 [T, height, width]`; with "file" `masks` is a
              [`~glus_hf.inference.kept_masks.StoredMasks`], whose masks are read from a temporary file one by one.
            - `scores` (`np.ndarray [T]` of float32): in `[0, 1]`: probability of [SEG] on that frame x mean
              probability of the pixels inside its mask; 0 where the mask is empty. Their mean scores the expression.
            - `frame_indices` (`np.ndarray [T]` of int64): 0..T-1.
            - `missing_seg_frames` (`list[int]`): frames on which the model emitted no [SEG]; masks there are empty.
            - `unknown_words` (`list[str]`): words of the text that the model's vocabulary does not have.
            - `same_as` (`list[str]`): other texts of this call that got the same pixels and the same scores, which the
              model does not tell apart. Of these and of unknown words a warning tells once.
            - where a selector was used: `key_frame` (`int`), `frame_scores` (`np.ndarray [T]` of float32, its scores),
              `confidence` (`float`, the largest selector score x mask score of any frame) and `no_target` (`bool`).

            For several videos in a list, a list of these; for a dataset, or a generator of dicts, a generator that
            segments lazily.

        Raises:
            UserError: no text, a text the processor refuses, a frame index outside the video, a parameter of the wrong
                kind; one line. It is a `ValueError`.
            VideoError: the video cannot be read or downloaded; one line.
        """
        settings = [self._preprocess_params, self._forward_params, self._postprocess_params]
        settings = [{**old, **new} for old, new in zip(settings, self._sanitize_parameters(**kwargs), strict=True)]
        samples = as_samples(video, text)
        if isinstance(samples, Mapping):
            return self.run_single(samples, *settings)
        results = (self.run_single(sample, *settings) for sample in samples)
        return list(results) if isinstance(samples, list) else results

    def _sanitize_parameters(self, **kwargs):
        check_parameters(kwargs)
        preprocess = {key: kwargs[key] for key in PREPROCESS_PARAMETERS if key in kwargs}
        forward = {key: kwargs[key] for key in FORWARD_PARAMETERS if key in kwargs}
        return preprocess, forward, {}

    def preprocess(
        self,
        sample: Mapping,
        key_frame=None,
        context_frames=None,
        corrections=None,
        max_frames=None,
        limits=None,
        selector=None,
        selector_processor=None,
        no_target_threshold=None,
        timeout=TIMEOUT,
        max_download_bytes=MAX_BYTES,
        allow_private_addresses=False,
        progress=False,
    ) -> dict:
        """Read the video, let the selector score it, and open a session. `frame_scores` are those of the selector, or
        None; `starts` has a frame per text."""
        settings = {"key_frame": key_frame, "context_frames": context_frames, "corrections": corrections}
        sample = {**settings, **checked_sample(sample)}
        texts = sample["text"]
        is_single = isinstance(texts, str)
        texts = as_expressions(texts)
        download = DownloadOptions(max_download_bytes, timeout, allow_private_addresses, progress)
        video = load_input(sample["video"], max_frames, download, limits)
        key_frame = AUTO if sample["key_frame"] is None and selector is not None else sample["key_frame"]
        starts = key_frame_per_text(key_frame, len(texts), len(video), names=(None, AUTO))
        require_selector(selector, no_target_threshold, starts)
        frame_scores = None
        if texts and (AUTO in starts or no_target_threshold is not None):
            frame_scores = self._frame_selector(selector, selector_processor).score(video, texts)
            best = key_frames_of(frame_scores)
            starts = [best[row] if start == AUTO else start for row, start in enumerate(starts)]
        context = {} if sample["context_frames"] is None else {"context_frames": sample["context_frames"]}
        session = self.processor.init_video_session(video, texts, **context)
        corrected = add_corrections(self.processor, session, sample["corrections"] or ())
        return {
            "texts": texts,
            "is_single": is_single,
            "num_frames": len(video),
            "session": session,
            "unknown_words": [
                unknown_words(getattr(self.processor, "tokenizer", None), text) for text in session.texts
            ],
            "starts": [start or 0 for start in starts],
            "frame_scores": frame_scores,
            "no_target_threshold": no_target_threshold,
            "corrected": corrected,
        }

    def _frame_selector(self, selector, processor) -> FrameSelector:
        """The selector, loaded on first use and kept."""
        key = _identity(selector), _identity(processor)
        if self._selector is None or self._selector[0] != key:
            self._selector = key, load_selector(selector, processor, self.device)
        return self._selector[1]

    def _forward(
        self,
        inputs: dict,
        threshold: float = 0.0,
        progress: bool = False,
        batch_size=None,
        output: str = "mask",
        on_frame=None,
        window: str = "sliding",
        frame_stride: int = 1,
    ) -> dict:
        """Segment all texts; masks leave the model's device as they come and are kept as `output` says."""
        session, num_texts, num_frames = inputs["session"], len(inputs["texts"]), inputs["num_frames"]
        kept = OUTPUTS[output](num_texts, num_frames, (session.height, session.width), threshold)
        scores = np.zeros((num_texts, num_frames), np.float32)
        missing: list[list[int]] = [[] for _ in range(num_texts)]
        settings = {"threshold": threshold, "batch_size": batch_size, "keep_logits": kept.needs_logits}
        settings |= {"window": window, "frame_stride": frame_stride}
        total = num_frames * num_texts
        with logging.tqdm(total=total, desc="segmenting", unit="mask", disable=not progress) as bar:
            for frame in iterate_frame_masks(self.model, self.processor, session, inputs["starts"], **settings):
                kept.write(frame)
                scores[frame.text_indices, frame.frame_idx] = frame.scores
                add_missing(missing, frame)
                if on_frame is not None:
                    on_frame(frame)
                bar.update(len(frame.text_indices))
        return {**inputs, "session": None, "kept": kept, "scores": scores, "missing": missing}

    def postprocess(self, outputs: dict) -> dict | list[dict]:
        """One dict per text, or the dict itself for a single text."""
        texts, kept = outputs["texts"], outputs["kept"]
        results = [_result(text, outputs, index) for index, text in enumerate(texts)]
        add_notes(results, outputs["unknown_words"], [kept.masks(index) for index in range(len(texts))])
        self._warn(results)
        if outputs["frame_scores"] is not None:
            columns = zip(results, outputs["starts"], outputs["frame_scores"], strict=True)
            for index, (result, start, scores) in enumerate(columns):
                threshold = None if index in outputs["corrected"] else outputs["no_target_threshold"]
                _add_selector_result(result, start, scores, threshold)
                if result["no_target"]:
                    kept.clear(index)
                    result |= {**kept.result(index), "scores": np.zeros_like(result["scores"])}
        return results[0] if outputs["is_single"] else results

    def _warn(self, results: list[dict]) -> None:
        """Say each note of the results once, unless transformers' verbosity is below warnings."""
        for note in describe_notes(results):
            if note not in self._warned and logging.get_verbosity() <= logging.WARNING:
                self._warned.add(note)
                logger.warning(note)

    def open_live(self, text: str | Sequence[str], **options) -> LiveSession:
        """A session for frames that come one by one: `push(frame)` gives a frame's masks before the next is there.

        Args:
            text (`str` or `list[str]`): the expression(s).
            options: `threshold`, `batch_size` and `frame_stride`, as in a call; `context_frames`, the strategy or the
                images of a fixed context; `num_frames`, how many will come, if that is known.

        Raises:
            UserError: a model that takes no frames one by one, or what the processor refuses.

        Example:

            >>> live = pipe.open_live("the red circle")  # doctest: +SKIP
            >>> for frame in camera:  # doctest: +SKIP
            ...     masks = live.push(frame).masks
        """
        names = ("threshold", "batch_size", "frame_stride")
        check_parameters({key: options[key] for key in names if key in options})
        return LiveSession(self.model, self.processor, text, **options)

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs) -> None:
        """Save model and processor; `pipeline(task, model=save_directory)` loads them again."""
        # the base class forgets the processor, and marks the model as one that needs remote code
        self.model.save_pretrained(save_directory, **kwargs)
        self.processor.save_pretrained(save_directory)

    def push_to_hub(self, repo_id: str, **options):
        """Push model and processor as one repository; see the model's `push_to_hub`."""
        return self.model.push_to_hub(repo_id, processor=self.processor, **options)


def _identity(source) -> str | int:
    """What tells two selectors or processors apart: the name or folder, or which object it is."""
    return os.fspath(source) if isinstance(source, (str, os.PathLike)) else id(source)


def _add_selector_result(result: dict, start: int, frame_scores: np.ndarray, threshold: float | None) -> None:
    """Add what the selector found."""
    flags = flag_no_target(frame_scores, result["scores"], threshold)
    result |= {"key_frame": start, "frame_scores": frame_scores, **flags}


def _result(text: str, outputs: dict, index: int) -> dict:
    """Results of one text, in frame order."""
    return {
        "label": text,
        **outputs["kept"].result(index),
        "scores": outputs["scores"][index],
        "frame_indices": np.arange(outputs["num_frames"], dtype=np.int64),
        MISSING_FRAMES: sorted(outputs["missing"][index]),
    }


__all__ = ["ReferringVideoSegmentationPipeline"]
