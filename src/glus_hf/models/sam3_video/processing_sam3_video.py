"""Processor of SAM 3: phrases and frames, without torchvision."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import AutoTokenizer
from transformers.processing_utils import ProcessorMixin

from ...checkpoint_files.config_bounds import check_whole_numbers
from ...errors import UserError
from ..checkpoint_loading import CheckpointMixin
from ..expressions import as_expressions, check_expression, one_line, plain_expression
from ..mask_images import check_statistics
from ..sessions import load_frames
from .inference_sam3_video import Sam3PhraseInferenceSession


LENGTH = 32  # positions of a phrase in SAM 3


class Sam3PhraseProcessor(CheckpointMixin, ProcessorMixin):
    """Turns videos and phrases into what [`Sam3PhraseForVideoSegmentation`] reads.

    Args:
        tokenizer: of SAM 3, that of CLIP.
        mask_size (`int`): side of its square images, in pixels.
        mask_image_mean, mask_image_std (`list[float]`): of its images.

    Example:

        >>> from glus_hf import Sam3PhraseProcessor
        >>> processor = Sam3PhraseProcessor.from_pretrained("sam3")  # doctest: +SKIP
        >>> session = processor.init_video_session("clip.mp4", "dog")  # doctest: +SKIP
    """

    def __init__(
        self, tokenizer, mask_size=1008, mask_image_mean=(0.5, 0.5, 0.5), mask_image_std=(0.5, 0.5, 0.5), **kwargs
    ):
        super().__init__(tokenizer, **kwargs)
        check_whole_numbers(image_size=mask_size)
        self.mask_size = mask_size
        self.mask_image_mean, self.mask_image_std = check_statistics(mask_image_mean, mask_image_std)

    @classmethod
    def _get_arguments_from_pretrained(cls, pretrained_model_name_or_path, processor_dict=None, **kwargs):
        own = ("mask_size", "mask_image_mean", "mask_image_std")
        kwargs = {option: value for option, value in kwargs.items() if option not in own}
        trusted = bool(kwargs.pop("trust_remote_code", False))  # None would ask on the terminal
        return [AutoTokenizer.from_pretrained(pretrained_model_name_or_path, trust_remote_code=trusted, **kwargs)]

    def clean_expression(self, text: str) -> str:
        """An expression as a phrase: one line, lower case, no full stop.

        Raises:
            UserError: not a `str`, nothing left, a special token inside, or over 32 positions; one line.
        """
        count = lambda cleaned: len(self.tokenizer(cleaned)["input_ids"])
        clean = lambda raw: plain_expression(one_line(raw))
        return check_expression(text, clean, self.tokenizer.all_special_tokens, count, LENGTH)

    def init_video_session(self, video, text: str | Sequence[str], context_frames=None) -> Sam3PhraseInferenceSession:
        """Start work on one video.

        Args:
            video: what [`~glus_hf.load_video`] reads.
            text (`str` or `list[str]`): one or more phrases.
            context_frames: SAM 3 has none; nothing else than None is taken.

        Raises:
            UserError: no phrases, one that `clean_expression` refuses, or context frames; one line.
            VideoError: the video cannot be read; one line.
        """
        if context_frames is not None:
            raise UserError("SAM 3 reads frame by frame and has no context frames; leave context_frames out")
        texts = [self.clean_expression(each) for each in as_expressions(text)]
        return Sam3PhraseInferenceSession(
            frames=load_frames(video),
            texts=texts,
            text_inputs=[dict(self._tokenize(each)) for each in texts],
            mask_size=self.mask_size,
            mask_image_mean=self.mask_image_mean,
            mask_image_std=self.mask_image_std,
        )

    def _tokenize(self, text: str):
        return self.tokenizer(text, return_tensors="pt", padding="max_length", max_length=LENGTH)

    def post_process_masks(self, mask_logits: torch.Tensor, threshold: float = 0.0) -> torch.Tensor:
        """Mask logits `[..., height, width]` as masks of bool: above the threshold is foreground."""
        return mask_logits > threshold


__all__ = ["Sam3PhraseProcessor"]
