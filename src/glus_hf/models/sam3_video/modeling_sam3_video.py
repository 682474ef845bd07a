"""SAM 3 of transformers behind the session contract of this package. Nothing is trained here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from transformers import PreTrainedModel, Sam3VideoModel

from ..checkpoint_loading import CheckpointMixin
from ..sessions import VideoSegmentationOutput
from .configuration_sam3_video import Sam3PhraseConfig
from .inference_sam3_video import Sam3PhraseInferenceSession, propagate_in_video


class Sam3PhraseForVideoSegmentation(CheckpointMixin, PreTrainedModel):
    """Masks of all that a phrase names, in every frame: SAM 3 finds the objects, follows them and finds new ones.

    It reads short noun phrases, frame by frame; it does not understand motion, and it is not GLUS.

    Args:
        config ([`Sam3PhraseConfig`]): of SAM 3.
        sam3 (`Sam3VideoModel`, *optional*): loaded already; by default a new one.

    Example:

        >>> from glus_hf import pipeline
        >>> pipe = pipeline(model="sam3")  # doctest: +SKIP
        >>> pipe("clip.mp4", "dog")["masks"].shape  # doctest: +SKIP
        (90, 720, 1280)
    """

    config_class = Sam3PhraseConfig
    config: Sam3PhraseConfig
    main_input_name = "pixel_values"
    input_modalities = ("image", "text")
    _supports_sdpa = True

    notice = (
        "SAM 3 finds all objects that a short phrase names, by their looks; it does not understand motion "
        '("turning left"), and it is not GLUS.'
    )
    """What a user must know of the masks; commands print it."""

    def __init__(self, config: Sam3PhraseConfig, sam3: Sam3VideoModel | None = None):
        super().__init__(config)
        self.sam3 = Sam3VideoModel(config.sam3_config) if sam3 is None else sam3
        self.post_init()

    def forward(self, **inputs):
        """One frame of a session of SAM 3; see `Sam3VideoModel`."""
        return self.sam3(**inputs)

    def propagate_in_video_iterator(
        self,
        session: Sam3PhraseInferenceSession,
        key_frame: int | Sequence[int] | None = None,
        batch_size: int | None = None,
    ) -> Iterator[VideoSegmentationOutput]:
        """Segment a video, frame by frame.

        Args:
            session: from [`Sam3PhraseProcessor.init_video_session`].
            key_frame: where SAM 3 starts, 0 by default; or one per expression. Frames `key_frame..T-1` come first,
                then `key_frame-1..0`; every frame comes exactly once for every expression. The way back starts anew
                at the key frame. Expressions with the same key frame share the features of every frame.
            batch_size: nothing is read in batches; checked only.

        Yields:
            [`VideoSegmentationOutput`] per frame, `hotstart_delay` frames late. `mask_logits` are the largest over the
            objects that the phrase found, without those that SAM 3 removed or suppressed; `scores` are the best score
            of these. Where it found nothing, -100 and 0.
        """
        yield from propagate_in_video(self, session, key_frame, batch_size)


__all__ = ["Sam3PhraseForVideoSegmentation"]
