"""How the processors of all families load their image processor and tokenizer."""

from __future__ import annotations

import inspect
from typing import ClassVar

from transformers import AutoTokenizer


class ProcessorPartsMixin:
    """Loads an image processor of one class and any tokenizer; stands before transformers' `ProcessorMixin`, which
    would ask AutoImageProcessor: it may not know our class yet, and prefers classes that need torchvision."""

    _image_processor_class: ClassVar[type]

    @classmethod
    def _get_arguments_from_pretrained(cls, pretrained_model_name_or_path, processor_dict=None, **kwargs):
        own = inspect.signature(cls).parameters  # a tokenizer would save options that are not its own
        kwargs = {option: value for option, value in kwargs.items() if option not in own}
        image_processor = cls._image_processor_class.from_pretrained(pretrained_model_name_or_path, **kwargs)
        trusted = bool(kwargs.pop("trust_remote_code", False))  # None would ask on the terminal
        tokenizer = AutoTokenizer.from_pretrained(pretrained_model_name_or_path, trust_remote_code=trusted, **kwargs)
        return [image_processor, tokenizer]


__all__ = ["ProcessorPartsMixin"]
