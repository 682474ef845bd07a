"""The smallest family of models: what `glus_hf` needs of any family, and nothing of GLUS.

Its model finds the bright pixels of a frame, or the dark ones where the expression says so: no language model, no
[SEG], no memory. It goes through the pipeline, the evaluation and the command line as any other.
"""

from contextlib import contextmanager

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoProcessor, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
from transformers.processing_utils import ProcessorMixin

from glus_hf.models.auto import AutoModelForReferringVideoSegmentation
from glus_hf.models.checkpoint_loading import CheckpointMixin
from glus_hf.models.sessions import (
    VideoSegmentationOutput,
    VideoSession,
    check_inference,
    key_frame_per_text,
    load_frames,
)


class TinyConfig(CheckpointMixin, PreTrainedConfig):
    model_type = "tiny_family"
    brightness: int = 128


class TinyProcessor(CheckpointMixin, ProcessorMixin):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)

    def init_video_session(self, video, text, context_frames=None):
        return VideoSession(load_frames(video), [text] if isinstance(text, str) else list(text))

    def post_process_masks(self, mask_logits, threshold=0.0):
        return mask_logits > threshold


class TinyForVideoSegmentation(CheckpointMixin, PreTrainedModel):
    config_class = TinyConfig

    def __init__(self, config):
        super().__init__(config)
        self.scale = nn.Parameter(torch.ones(()))
        self.post_init()

    def _init_weights(self, module):
        pass

    @torch.no_grad()
    def propagate_in_video_iterator(self, session, key_frame=None, batch_size=None):
        check_inference(self, batch_size, {})
        starts = key_frame_per_text(key_frame, len(session.texts), session.num_frames)
        starts = [start or 0 for start in starts]
        for start in sorted(set(starts)):
            texts = [text for text, own in enumerate(starts) if own == start]
            for frame in [*range(start, session.num_frames), *range(start - 1, -1, -1)]:
                yield self.segment_frame(session, frame, texts)

    def segment_frame(self, session, frame, texts):
        light = torch.tensor(session.frames[frame]).float().mean(-1) - self.config.brightness
        signs = torch.tensor([-1.0 if "dark" in session.texts[text] else 1.0 for text in texts])
        logits = self.scale * signs[:, None, None] * light
        scores = (logits > 0).flatten(1).any(1).float()
        everything = None if len(texts) == len(session.texts) else texts
        return VideoSegmentationOutput(frame, everything, logits, scores)


@contextmanager
def registered():
    """Let the Auto classes know the family, as those of another package do, and forget it again."""
    AutoConfig.register(TinyConfig.model_type, TinyConfig)
    families = (
        (AutoModelForReferringVideoSegmentation, TinyForVideoSegmentation),
        (AutoModel, TinyForVideoSegmentation),
    )
    for auto_class, own_class in (*families, (AutoProcessor, TinyProcessor)):
        auto_class.register(TinyConfig, own_class)
    try:
        yield
    finally:
        forget()


def forget():
    """transformers has no public way back."""
    CONFIG_MAPPING._extra_content.pop(TinyConfig.model_type)
    models = (auto_class._model_mapping for auto_class in (AutoModelForReferringVideoSegmentation, AutoModel))
    for mapping in (*models, PROCESSOR_MAPPING):
        mapping._extra_content.pop(TinyConfig)
