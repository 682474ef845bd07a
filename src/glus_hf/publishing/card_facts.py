"""What a card says of a family or of a base model: tags, a snippet that runs, limits, licences of the parents."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FamilyFacts:
    """One family in a card.

    Attributes:
        pipeline_tag: of the Hub, which knows none for referring video segmentation; None: none fits.
        tags: further tags.
        summary: what the model does, one sentence.
        snippet: Python that runs with the package; `{name}` is the repository.
        limits: sentences.
    """

    pipeline_tag: str | None
    tags: tuple[str, ...]
    summary: str
    snippet: str
    limits: tuple[str, ...]


@dataclass(frozen=True)
class Parent:
    """A model that others were made of.

    Attributes:
        hub: its name on the Hub, for `base_model`; None where it has none.
        licence: the Hub's word for its licence; None where its authors state none.
        said: what a card says of the licences of it and its parts.
    """

    hub: str | None
    licence: str | None
    said: str


SEGMENT = """import glus_hf

segment = glus_hf.pipeline(model="{name}")
result = segment("video.mp4", "the dog on the left")
result["masks"], result["scores"]  # [frames, height, width] bool, [frames]"""

SCORE = """import glus_hf

segment = glus_hf.pipeline(model="glus-tiny", selector="{name}")
result = segment("video.mp4", "the dog on the left")
result["key_frame"], result["frame_scores"]"""

FAMILY_FACTS = {
    "glus": FamilyFacts(
        "image-segmentation",
        ("referring-video-segmentation", "glus", "sam2"),
        "A [GLUS](https://arxiv.org/abs/2504.07962) model: it segments what an expression means in every frame of a "
        "video.",
        SEGMENT,
        ("It answers with a mask even where nothing fits the expression, unless a selector and a threshold decide.",),
    ),
    "glee": FamilyFacts(
        "image-segmentation",
        ("referring-video-segmentation", "glee"),
        "A [GLEE](https://arxiv.org/abs/2312.09158) model: it finds objects by names, or one object by an expression, "
        "in images and videos.",
        SEGMENT,
        ("An expression is read frame by frame: what tells an object by its motion alone is not seen.",),
    ),
    "grounded": FamilyFacts(
        "image-segmentation",
        ("referring-video-segmentation", "grounding-dino", "sam2"),
        "A detector of phrases whose box SAM 2 follows through a video.",
        SEGMENT,
        ("It sees single pictures and follows one object: motion in an expression is not seen.",),
    ),
    "glus_selector": FamilyFacts(
        None,
        ("referring-video-segmentation", "key-frame-selection", "glus"),
        "A key-frame selector: it scores every frame of a video as the one to start a segmentation from.",
        SCORE,
        ("It gives no masks: it goes with a model that does.",),
    ),
    "chat_univi": FamilyFacts(
        None,
        ("video-text-to-text", "chat-univi"),
        "A Chat-UniVi model in the form that key-frame selectors start from.",
        "from glus_hf import ChatUniViForConditionalGeneration\n\n"
        'model = ChatUniViForConditionalGeneration.from_pretrained("{name}")',
        ("It is a starting point for training, not a finished selector.",),
    ),
}
"""By model type."""

_OWN = "Apache-2.0; trained from nothing on generated clips, so there are no other parents."
_GLUS = (
    "Its authors state no licence for these weights. They contain a LLaMA-type language model, whose licence terms go "
    "with it, CLIP ViT-L/14 (MIT) and SAM 2 (Apache-2.0). Ask the authors before you use them for more than research."
)
_GLEE = "MIT, as GLEE's repository states; its text encoder is CLIP (MIT)."
_GROUNDED = "Apache-2.0, both the detector and SAM 2.1."
PARENTS = {
    "glee-lite": Parent(None, "mit", _GLEE),
    "glee-plus": Parent(None, "mit", _GLEE),
    "glee-pro": Parent(None, "mit", _GLEE),
    "grounded-tiny": Parent("IDEA-Research/grounding-dino-tiny", "apache-2.0", _GROUNDED),
    "grounded-base": Parent("IDEA-Research/grounding-dino-base", "apache-2.0", _GROUNDED),
    "glus-tiny": Parent(None, "apache-2.0", _OWN),
    "glus-selector-tiny": Parent(None, "apache-2.0", _OWN),
    "glee-tiny": Parent(None, "apache-2.0", _OWN),
    "glus-7b": Parent("Swindl/GLUS-S", None, _GLUS),
    "glus-s": Parent("Swindl/GLUS-S", None, _GLUS),
    "glus-s-partial": Parent("Swindl/GLUS-S-partial", None, _GLUS),
    "glus-a": Parent("Swindl/GLUS-A", None, _GLUS),
}
"""By alias, or by name on the Hub in small letters."""
PARENTS |= {parent.hub.lower(): parent for parent in PARENTS.values() if parent.hub}


def parent_of(base_model: str | None) -> Parent | None:
    """What is known of a base model; None for one that is not in the table.

    Example:
        >>> parent_of("Swindl/GLUS-A").licence is None
        True
    """
    return PARENTS.get(str(base_model).partition("@")[0].lower())


__all__ = ["FAMILY_FACTS", "PARENTS", "FamilyFacts", "Parent", "parent_of"]
