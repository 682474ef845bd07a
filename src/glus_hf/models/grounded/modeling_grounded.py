"""The grounded engine: a detector of transformers and SAM-2 in one checkpoint. Nothing is trained here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from transformers import AutoModelForZeroShotObjectDetection, PreTrainedModel, Sam2VideoModel
from transformers.initialization import no_init_weights

from ..checkpoint_loading import CheckpointMixin
from ..sessions import VideoSegmentationOutput
from .configuration_grounded import GroundedConfig, resized_mask_config
from .inference_grounded import GroundedInferenceSession, propagate_in_video


class GroundedForVideoSegmentation(CheckpointMixin, PreTrainedModel):
    """Masks of what a phrase names: a detector finds the best box on some frames, SAM-2 follows it both ways.

    It knows what things look like and where they are in a picture, not how they move, and it follows one object. It is
    not GLUS.

    Args:
        config ([`GroundedConfig`]): sizes and settings.
        detector, mask_model (*optional*): parts that are loaded already, of `config.detector_config` and
            `config.mask_config`; by default new ones.

    Example:

        >>> from glus_hf import pipeline
        >>> pipe = pipeline(model="grounded-tiny")  # doctest: +SKIP
        >>> pipe("clip.mp4", "the dog")["masks"].shape  # doctest: +SKIP
        (90, 720, 1280)
    """

    config_class = GroundedConfig
    config: GroundedConfig
    main_input_name = "pixel_values"
    input_modalities = ("image", "text")
    _supports_sdpa = True

    notice = (
        "This engine finds what the words say about looks and follows one object; it does not understand motion "
        '("turning left"), and it is not GLUS.'
    )
    """What a user must know of the masks; commands print it."""
    mask_size_on_cpu = 512
    """Side of SAM-2's images that is bearable without an accelerator, in pixels."""

    def __init__(self, config: GroundedConfig, detector=None, mask_model=None):
        super().__init__(config)
        if detector is None:
            detector = AutoModelForZeroShotObjectDetection.from_config(config.detector_config)
        self.detector = detector
        self.mask_model = Sam2VideoModel(config.mask_config) if mask_model is None else mask_model
        self.post_init()

    def forward(self, **inputs):
        """What the detector finds in images; `inputs` are those of its processor."""
        return self.detector(**inputs)

    def set_mask_size(self, side: int) -> None:
        """Let SAM-2 see frames at another size: smaller is faster and coarser. The weights stay the same.

        Args:
            side: of its square images, in pixels: a multiple of 32.

        Raises:
            UserError: it cannot have this side; one line.
        """
        if side == self.mask_model.image_size:
            return
        config = resized_mask_config(self.config.mask_config, side)
        with no_init_weights():
            resized = Sam2VideoModel(config)  # computes its encodings of positions for the new size
        resized.load_state_dict(self.mask_model.state_dict(), assign=True)
        resized.to(device=self.mask_model.device, dtype=self.mask_model.dtype).train(self.mask_model.training)
        self.mask_model, self.config.mask_config = resized, config

    def propagate_in_video_iterator(
        self,
        session: GroundedInferenceSession,
        key_frame: int | Sequence[int] | None = None,
        batch_size: int | None = None,
    ) -> Iterator[VideoSegmentationOutput]:
        """Segment a video, frame by frame.

        Args:
            session: from [`GroundedProcessor.init_video_session`].
            key_frame: frame on which the expression is looked for; or one per expression (list, array or tensor). By
                default the detector looks at `config.num_detection_frames` frames and takes that with the best box.
                Frames `key_frame..T-1` come first, then `key_frame-1..0`; every frame comes exactly once for every
                expression.
            batch_size: frames that the detector looks at together; 2 by default.

        Yields:
            [`VideoSegmentationOutput`] per frame, with the expressions that reach it then. `scores` are score of the
            box x probability that the object is there x mean probability inside the mask. Where no box reaches
            `config.no_target_threshold`, `mask_logits` are -100 and scores 0.
        """
        yield from propagate_in_video(self, session, key_frame=key_frame, batch_size=batch_size)


__all__ = ["GroundedForVideoSegmentation"]
