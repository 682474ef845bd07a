"""Processor of the grounded engine: phrases and frames for the detector, and sessions for videos."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

import torch
from transformers.models.grounding_dino.image_processing_pil_grounding_dino import GroundingDinoImageProcessorPil
from transformers.processing_utils import ProcessorMixin

from ...checkpoint_files.config_bounds import check_whole_numbers
from ...errors import UserError
from ...media.images import check_views
from ..checkpoint_loading import CheckpointMixin
from ..expressions import as_expressions, check_expression, one_line, plain_expression
from ..mask_images import check_statistics
from ..processor_parts import ProcessorPartsMixin
from ..sessions import load_frames
from .inference_grounded import GroundedInferenceSession


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SEPARATORS = str.maketrans(".?", "  ")  # they part phrases in Grounding DINO's prompts
MAX_TOKENS = 256


class GroundedProcessor(CheckpointMixin, ProcessorPartsMixin, ProcessorMixin):
    """Turns videos and phrases into what [`GroundedForVideoSegmentation`] reads.

    Args:
        image_processor (`GroundingDinoImageProcessorPil`): of the detector; needs no torchvision.
        tokenizer: of the detector.
        mask_image_mean, mask_image_std (`list[float]`): of SAM-2's images; ImageNet's by default.
        max_expression_tokens (`int`, defaults to 256): longest expression, as the detector has it.

    Example:

        >>> from glus_hf import GroundedProcessor
        >>> processor = GroundedProcessor.from_pretrained("grounded-tiny")  # doctest: +SKIP
        >>> session = processor.init_video_session("clip.mp4", "the dog")  # doctest: +SKIP
    """

    _image_processor_class = GroundingDinoImageProcessorPil

    def __init__(
        self,
        image_processor,
        tokenizer,
        mask_image_mean=IMAGENET_MEAN,
        mask_image_std=IMAGENET_STD,
        max_expression_tokens=MAX_TOKENS,
        **kwargs,
    ):
        super().__init__(image_processor, tokenizer, **kwargs)
        check_views(image_processor)
        check_whole_numbers(max_expression_tokens=max_expression_tokens)
        self.mask_image_mean, self.mask_image_std = check_statistics(mask_image_mean, mask_image_std)
        self.max_expression_tokens = max_expression_tokens

    def clean_expression(self, text: str) -> str:
        """An expression as the detector was trained with: lower case, one phrase without full stops.

        Raises:
            UserError: not a `str`, nothing left, a special token inside, or too long; one line.
        """
        special, limit = self.tokenizer.all_special_tokens, self.max_expression_tokens
        return check_expression(text, _as_phrase, special, self._count_tokens, limit)

    def _count_tokens(self, text: str) -> int:
        return len(self.tokenizer(f"{text}.")["input_ids"])

    def tokenize(self, expression: str) -> dict[str, torch.Tensor]:
        """What the detector reads of a cleaned expression, each `[1, length]`."""
        options = {"return_token_type_ids": True, "return_attention_mask": True, "return_tensors": "pt"}
        return dict(self.tokenizer(f"{expression}.", **options))

    def init_video_session(self, video, text: str | Sequence[str], context_frames=None) -> GroundedInferenceSession:
        """Start work on one video.

        Args:
            video: what [`~glus_hf.load_video`] reads.
            text (`str` or `list[str]`): one or more expressions; they share the image features of every frame.
            context_frames (`list[int]`, *optional*): the frames on which the detector looks for them.

        Raises:
            UserError: no expressions, one that `clean_expression` refuses, or no such frames; one line.
            VideoError: the video cannot be read; one line.
        """
        texts = [self.clean_expression(each) for each in as_expressions(text)]
        frames = load_frames(video)
        return GroundedInferenceSession(
            frames=frames,
            texts=texts,
            image_processor=self.image_processor,
            text_inputs=[self.tokenize(each) for each in texts],
            mask_image_mean=self.mask_image_mean,
            mask_image_std=self.mask_image_std,
            detection_frames=_checked_frames(context_frames, len(frames)),
        )

    def post_process_masks(self, mask_logits: torch.Tensor, threshold: float = 0.0) -> torch.Tensor:
        """Mask logits `[..., height, width]` as masks of bool: above the threshold is foreground."""
        return mask_logits > threshold


def _as_phrase(text: str) -> str:
    return " ".join(plain_expression(one_line(text)).translate(SEPARATORS).split())


def _checked_frames(frames, num_frames: int) -> list[int] | None:
    frames = frames.tolist() if hasattr(frames, "tolist") else frames
    if frames is None:
        return None
    is_list = isinstance(frames, (list, tuple)) and len(frames) > 0
    if not is_list or not all(isinstance(each, Integral) and 0 <= each < num_frames for each in frames):
        raise UserError(
            f"context_frames must be a list of frame numbers in 0..{num_frames - 1} here, got {frames!r:.80}"
        )
    return sorted({int(each) for each in frames})


__all__ = ["GroundedProcessor"]
