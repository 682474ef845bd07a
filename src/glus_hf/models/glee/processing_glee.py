"""Processor of GLEE: images with names or expressions for the model, sessions for videos, and objects of its
predictions."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence

import torch
from transformers.feature_extraction_utils import BatchFeature
from transformers.processing_utils import ProcessorMixin

from ...checkpoint_files.config_bounds import check_whole_numbers
from ...errors import UserError
from ...media.images import as_rgb_arrays, check_views
from ..checkpoint_loading import CheckpointMixin
from ..expressions import check_expression
from ..processor_parts import ProcessorPartsMixin
from ..sessions import load_frames
from .association_glee import GLEEInstanceSession
from .image_processing_glee import GLEEImageProcessor
from .image_prompts_glee import prompt_inputs
from .inference_glee import GLEEInferenceSession
from .post_processing_glee import as_sizes, select_objects, select_prompted, with_names, without_masks


REMOVED = re.compile(r"""[.,'!?"()*#:;]""")  # from expressions, as the released code does
AS_SPACE = re.compile(r"[-/\s]+")
TOP_K = 100
PROMPTED_NAME = "object"  # what visual prompts are called


class GLEEProcessor(CheckpointMixin, ProcessorPartsMixin, ProcessorMixin):
    """Turns images, videos, names and expressions into what [`GLEEForVideoSegmentation`] reads, and its predictions
    into objects.

    Args:
        image_processor ([`GLEEImageProcessor`]): resizes, normalises and pads.
        tokenizer: CLIP's, or any fast tokenizer that puts a start and an end token around a text.
        max_text_tokens (`int`, defaults to 77): positions of the text tower; every text is padded to them.
        max_names (`int`, defaults to 2000): most names of one call.

    Example:

        >>> from glus_hf import GLEEImageProcessor, GLEEProcessor
        >>> processor = GLEEProcessor(GLEEImageProcessor(), tokenizer)  # doctest: +SKIP
        >>> inputs = processor(image, ["dog", "red car"])  # doctest: +SKIP
        >>> outputs = model(**inputs)  # doctest: +SKIP
        >>> results = processor.post_process_instance_segmentation(outputs, [(480, 640)])  # doctest: +SKIP
    """

    _image_processor_class = GLEEImageProcessor

    def __init__(self, image_processor, tokenizer, max_text_tokens=77, max_names=2000, **kwargs):
        super().__init__(image_processor, tokenizer, **kwargs)
        check_whole_numbers(
            max_text_tokens=max_text_tokens, max_names=max_names, size_divisor=image_processor.size_divisor
        )
        if image_processor.pad_value is not None:
            check_whole_numbers(pad_value=image_processor.pad_value)
        check_views(image_processor)
        self.max_text_tokens = max_text_tokens
        self.max_names = max_names

    def __call__(
        self,
        images,
        category_names: Sequence[str] | None = None,
        text: str | Sequence[str] | None = None,
        input_points=None,
        input_labels=None,
        input_boxes=None,
        segmentation_maps=None,
        is_scribble: bool = False,
        **kwargs,
    ) -> BatchFeature:
        """A batch of images with names for all of them, with one expression each, or with points, boxes or masks.

        Args:
            images: one image or a list.
            category_names: what to look for; see `check_names`.
            text: an expression for all images, or one each.
            input_points: x and y in pixels on objects, `[images, objects, points, 2]`, as of transformers' SAM
                processors; several points of an object are a scribble.
            input_labels: 1 for each point; GLEE reads no points beside the object.
            input_boxes: x0, y0, x1, y1 in pixels, `[images, objects, 4]`.
            segmentation_maps: masks of objects, `[images, height, width]` or `[images, objects, height, width]`.
            is_scribble: the maps are lines drawn on the objects.
            kwargs: for the image processor.

        Returns:
            `BatchFeature`: `pixel_values`, `input_ids`, `attention_mask` and `task`, all that the model takes; with
            prompts also `prompt_masks`, `prompt_kinds` and `prompt_images`, one per object.

        Raises:
            UserError: not one of names, expressions and prompts, or what `check_names`, `clean_expression` and
                `prompt_inputs` refuse; one line.
        """
        prompts = {"input_points": input_points, "input_boxes": input_boxes, "segmentation_maps": segmentation_maps}
        has_prompts = any(value is not None for value in prompts.values())
        if (category_names is not None) + (text is not None) + has_prompts != 1:
            raise UserError("pass either category_names or text or prompts: what to look for in the images")
        batch = self.image_processor(images, **kwargs)
        pixels = batch.pixel_values
        if has_prompts:
            options = {**prompts, "input_labels": input_labels, "is_scribble": is_scribble}
            sizes = [array.shape[:2] for array in as_rgb_arrays(images)]
            found = prompt_inputs(sizes, batch.resized_sizes, tuple(pixels.shape[-2:]), **options)
            return BatchFeature(
                {"pixel_values": pixels, **self.tokenize([PROMPTED_NAME]), "task": "category", **found}
            )
        if category_names is not None:
            return BatchFeature(
                {"pixel_values": pixels, **self.tokenize(self.check_names(category_names)), "task": "category"}
            )
        texts = [text] * len(pixels) if isinstance(text, str) else list(text)
        if len(texts) != len(pixels):
            raise UserError(
                f"there are {len(pixels)} images but {len(texts)} expressions; pass one each, or one for all"
            )
        cleaned = [self.clean_expression(each) for each in texts]
        return BatchFeature({"pixel_values": pixels, **self.tokenize(cleaned), "task": "referring"})

    # ---- texts

    def clean_expression(self, text: str) -> str:
        """An expression as the model was trained with: lower case, no punctuation, hyphens and slashes as spaces.

        Raises:
            UserError: not a `str`, nothing left, a special token inside, or more than `max_text_tokens`; one line.

        Example:

            >>> processor = GLEEProcessor(GLEEImageProcessor(), build_word_tokenizer(["man"]))
            >>> processor.clean_expression('The left-hand  man, "running".')
            'the left hand man running'
        """
        clean = lambda raw: " ".join(AS_SPACE.sub(" ", REMOVED.sub("", raw.lower())).split())
        no_limit = len(text) if isinstance(text, str) else 0
        cleaned = check_expression(text, clean, self.tokenizer.all_special_tokens, len, no_limit)
        self._check_length(cleaned, "the expression")
        return cleaned

    def check_names(self, names: Sequence[str]) -> list[str]:
        """Names as they are, without repetitions, which are warned of.

        Raises:
            UserError: no names, more than `max_names`, or one that is empty or too long; one line.
        """
        names = [names] if isinstance(names, str) else list(names)
        if not names:
            raise UserError("there are no category names; pass one or more")
        for number, name in enumerate(names):
            if not isinstance(name, str) or not name.strip():
                raise UserError(f"category name {number} is {name!r}; pass a text")
        unique = list(dict.fromkeys(names))
        if len(unique) < len(names):
            warnings.warn(f"{len(names) - len(unique)} repeated category names were merged", stacklevel=2)
        if len(unique) > self.max_names:
            raise UserError(
                f"there are {len(unique)} category names, the limit is {self.max_names}; pass them in parts"
            )
        for name in unique:
            self._check_length(name, f"the category name {name[:40]!r}")
        return unique

    def tokenize(self, texts: list[str]) -> dict[str, torch.Tensor]:
        """`input_ids` and `attention_mask` `[texts, max_text_tokens]`, padded."""
        options = {"padding": "max_length", "max_length": self.max_text_tokens, "return_tensors": "pt"}
        tokens = self.tokenizer(texts, **options)
        return {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"]}

    def _check_length(self, text: str, what: str) -> None:
        length = len(self.tokenizer(text)["input_ids"])
        if length > self.max_text_tokens:
            raise UserError(
                f"{what} has {length} tokens with start and end, the limit is {self.max_text_tokens}; shorten it"
            )

    # ---- videos

    def init_video_session(
        self, video, text: str | Sequence[str] | None = None, context_frames=None
    ) -> GLEEInferenceSession:
        """Start work on one video.

        Args:
            video: what [`~glus_hf.load_video`] reads.
            text (`str` or `list[str]`): one or more expressions; they share the backbone features of every frame.
                Without, the session takes prompts of objects: `session.add_prompt(frame_idx, object_id, mask=...)`.
            context_frames: other families' option; GLEE has no context frames.

        Raises:
            UserError: no expressions, one that `clean_expression` refuses, or `context_frames`; one line.
            VideoError: the video cannot be read; one line.
        """
        if context_frames is not None:
            raise UserError("GLEE has no context frames; leave context_frames out")
        if text is None:
            tokens = self.tokenize([PROMPTED_NAME])
            return GLEEInferenceSession(load_frames(video), [], image_processor=self.image_processor, **tokens)
        is_list = isinstance(text, Sequence) and not isinstance(text, str)
        texts = [self.clean_expression(each) for each in (text if is_list else [text])]
        if not texts:
            raise UserError("no expressions given; pass one or more")
        return GLEEInferenceSession(
            frames=load_frames(video), texts=texts, image_processor=self.image_processor, **self.tokenize(texts)
        )

    def init_instance_session(self, video, category_names: Sequence[str]) -> GLEEInstanceSession:
        """Start to look for all objects of a video that have one of several names; see
        [`GLEEForVideoSegmentation.track_instances`].

        Args:
            video: what [`~glus_hf.load_video`] reads.
            category_names: see `check_names`.

        Raises:
            UserError: names that `check_names` refuses; one line.
            VideoError: the video cannot be read; one line.
        """
        names = self.check_names(category_names)
        return GLEEInstanceSession(load_frames(video), names, self.image_processor, **self.tokenize(names))

    def post_process_masks(self, mask_logits: torch.Tensor, threshold: float = 0.0) -> torch.Tensor:
        """Mask logits `[..., height, width]` as masks of bool: above the threshold is foreground."""
        return mask_logits > threshold

    # ---- objects

    def post_process_instance_segmentation(
        self,
        outputs,
        target_sizes,
        threshold: float = 0.0,
        top_k: int = TOP_K,
        category_names: Sequence[str] | None = None,
    ) -> list[dict]:
        """Objects of each image, best first.

        Args:
            outputs ([`GLEESegmentationOutput`]): of `model(**processor(images, names))`.
            target_sizes: (height, width) of each image, a list of pairs or a tensor `[images, 2]`.
            threshold: objects whose score is not above it are left out. The score is that of the name times the mean
                probability inside the mask.
            top_k: pairs of query and name that are looked at; the paper takes 100, and 300 for LVIS, TAO and BURST.
            category_names: adds `text_labels` to the results.

        Returns:
            Per image `scores [n]`, `labels [n]`, `boxes [n, 4]` (x0, y0, x1, y1 in pixels), `masks [n, height, width]`
            of bool.
        """
        sizes = as_sizes(target_sizes)
        if len(sizes) != len(outputs.logits):
            raise UserError(f"there are {len(outputs.logits)} images but {len(sizes)} target sizes; pass one each")
        resized = [self.image_processor.resized_size(size) for size in sizes]
        results = [
            select_objects(outputs, image, *pair, threshold, top_k)
            for image, pair in enumerate(zip(resized, sizes, strict=True))
        ]
        return [with_names(result, category_names) for result in results]

    def post_process_object_detection(
        self,
        outputs,
        target_sizes,
        threshold: float = 0.0,
        top_k: int = TOP_K,
        category_names: Sequence[str] | None = None,
    ) -> list[dict]:
        """The same without masks: `scores`, `labels` and `boxes` of each image."""
        options = {"threshold": threshold, "top_k": top_k, "category_names": category_names}
        results = self.post_process_instance_segmentation(outputs, target_sizes, **options)
        return [without_masks(result) for result in results]

    def post_process_prompts(self, outputs, target_sizes, prompt_images=None, score_source: str = "confidence"):
        """The object of every visual prompt: one query answers.

        Args:
            outputs ([`GLEESegmentationOutput`]): of `model(**processor(images, input_points=...))`.
            target_sizes: (height, width) of each image.
            prompt_images: of the processor; one prompt per image by default.
            score_source: "confidence", the head that looks at the prompt alone and is the better one in the paper's
                Table 7, or "text", the logit of the name "object", as in the released demo.

        Returns:
            Per image `masks [objects, height, width]` of bool, `scores [objects]` and `boxes [objects, 4]`: x0, y0,
            x1, y1 in pixels.
        """
        sizes = as_sizes(target_sizes)
        images = range(len(outputs.logits)) if prompt_images is None else torch.as_tensor(prompt_images).tolist()
        if len(images) != len(outputs.logits) or max(images) >= len(sizes):
            raise UserError(
                f"there are {len(outputs.logits)} prompts and {len(sizes)} target sizes; pass prompt_images"
            )
        if score_source not in ("confidence", "text"):
            raise UserError(f"score_source must be confidence or text, got {score_source!r}")
        found = [
            select_prompted(
                outputs, prompt, self.image_processor.resized_size(sizes[image]), sizes[image], score_source
            )
            for prompt, image in enumerate(images)
        ]
        groups = [
            [each for each, owner in zip(found, images, strict=True) if owner == image] for image in range(len(sizes))
        ]
        return [
            {name: torch.stack([each[name] for each in group]) for name in group[0]} if group else {}
            for group in groups
        ]


__all__ = ["GLEEProcessor"]
