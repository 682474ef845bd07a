"""Which parts of a model of the GLUS recipe may train, by the names of its modules."""

from __future__ import annotations

from dataclasses import dataclass


LLAMA_LORA = r"model\.language_model\.layers\.\d+\.self_attn\.({names})"
"""`lora` of models whose language model is a Llama."""


@dataclass(frozen=True)
class TrainableParts:
    """Names of modules, whatever backbones the model has.

    Args:
        language_model: the decoder, with its embeddings.
        embeddings, head: of words.
        projections: from images to the language model, and from [SEG] to the mask model.
        mask_model: the mask model.
        vision: what sees frames, without the projection.
        lora: regular expression of the linear layers in the language model's attention, with `{names}` for theirs.
        are_tied: embeddings and head are one weight.
    """

    language_model: str
    embeddings: str
    head: str
    projections: tuple[str, ...]
    mask_model: str
    vision: tuple[str, ...]
    lora: str
    are_tied: bool = False


__all__ = ["LLAMA_LORA", "TrainableParts"]
