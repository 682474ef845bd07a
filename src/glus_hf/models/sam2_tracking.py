"""A box or a mask followed by SAM-2, frame by frame, with no more memory than the next frame reads.

Frames of a session of SAM-2 are numbered from the key frame, in the order in which they are followed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession


OBJECT = 1
BOX_LABELS = (2, 3)  # SAM-2's labels of the first and second corner of a box
AS_MEMORY = ("maskmem_features", "maskmem_pos_enc")


@dataclass
class MaskTrack:
    """An expression on its way through the video, from its key frame on: `step` is 1, or -1 on the way back.
    `sam` is None where there is nothing to follow; `score` is that of the key frame."""

    text: int
    start: int
    step: int
    score: float
    sam: object | None

    def position(self, frame_idx: int) -> int:
        """Where on the way a frame is; 0 is the key frame."""
        return (frame_idx - self.start) * self.step

    def covers(self, frame_idx: int) -> bool:
        """Whether the frame lies ahead; the key frame belongs to the way forward."""
        return self.position(frame_idx) >= (0 if self.step == 1 else 1)


def mask_view(frame: np.ndarray, side: int, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """A frame as SAM-2 sees it.

    Args:
        frame: `uint8 [height, width, 3]` RGB.
        side: of its square images, in pixels.
        mean, std: per RGB channel, for values in 0..1.

    Returns:
        `float32 [1, 3, side, side]`.
    """
    values = torch.tensor(frame).permute(2, 0, 1)[None].float() / 255
    resized = F.interpolate(values, (side, side), mode="bilinear", align_corners=False, antialias=True)
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (mean, std))
    return (resized - mean) / std


def start_tracking(mask_model, size: tuple[int, int], box: Tensor) -> Sam2VideoInferenceSession:
    """A session that follows a box.

    Args:
        mask_model (`Sam2VideoModel`): follows it.
        size: height and width of the video.
        box: `[4]`, x0, y0, x1, y1 on the first frame, as parts of its width and height.
    """
    sam = _new_session(mask_model, size)
    prompt = {
        "point_coords": (box * mask_model.image_size).view(1, 1, 2, 2).to(mask_model.dtype),
        "point_labels": torch.tensor([[BOX_LABELS]], dtype=torch.int32),
    }
    sam.add_point_inputs(0, 0, prompt)
    sam.obj_with_new_inputs = [OBJECT]
    return sam


def start_tracking_mask(mask_model, mask: Tensor) -> Sam2VideoInferenceSession:
    """A session that follows a mask.

    Args:
        mask_model (`Sam2VideoModel`): follows it.
        mask: `[height, width]` of bool, on the first frame, at the video's own size.
    """
    sam = _new_session(mask_model, tuple(mask.shape))
    sides = (mask_model.image_size, mask_model.image_size)
    values = mask[None, None].to(mask_model.device, torch.float32)
    resized = F.interpolate(values, sides, mode="bilinear", align_corners=False, antialias=True)
    sam.add_mask_inputs(0, 0, (resized >= 0.5).to(mask_model.dtype))
    sam.obj_with_new_inputs = [OBJECT]
    return sam


def turned_back(mask_model, size: tuple[int, int], sam: Sam2VideoInferenceSession) -> Sam2VideoInferenceSession:
    """A session for the way back: it knows the key frame, as `sam` segmented it, and nothing else."""
    back = _new_session(mask_model, size)
    back.output_dict_per_obj[0]["cond_frame_outputs"] = dict(sam.output_dict_per_obj[0]["cond_frame_outputs"])
    return back


def encode_frame(mask_model, pixels: Tensor) -> dict[str, list[Tensor]]:
    """What a session keeps of an image `[1, 3, side, side]`; serves every object."""
    features = mask_model.get_image_features(pixels, return_dict=True)
    return {"vision_feats": features.fpn_hidden_states, "vision_pos_embeds": features.fpn_position_encoding}


def track_frame(
    mask_model, sam: Sam2VideoInferenceSession, features: dict, pixels: Tensor, position: int, prune: bool = True
) -> tuple[Tensor, Tensor]:
    """Segment the next frame.

    Args:
        features: of `encode_frame`.
        pixels: the image itself, `[1, 3, side, side]`.
        position: frames from the key frame.
        prune: forget what no later frame reads.

    Returns:
        Logits `[height, width]` at the resolution of the mask decoder, and the logit that the object is there.
    """
    sam.cache.cache_vision_features(position, features)
    output = mask_model(inference_session=sam, frame=pixels[0], frame_idx=position)
    if prune:
        forget(mask_model.config, sam, position)
    return output.pred_masks[0, 0].float(), output.object_score_logits.float().reshape(())


def forget(config, sam: Sam2VideoInferenceSession, position: int) -> None:
    """Drop what the frame after `position` and all later ones do not read. They read the key frame, the memories of
    `num_maskmem - 1` frames and the pointers of `max_object_pointers_in_encoder - 1`."""
    sam.processed_frames.clear()
    sam.cache.clear_all()
    sam.frames_tracked_per_obj[0].clear()
    outputs = sam.output_dict_per_obj[0]
    for kept in outputs.values():
        for output in kept.values():
            output.pop("high_res_masks", None)
    recent = outputs["non_cond_frame_outputs"]
    for old in [index for index in recent if index <= position + 1 - config.num_maskmem]:
        for name in AS_MEMORY:
            recent[old].pop(name, None)
        recent[old].pop("pred_masks", None)
    longest = max(config.num_maskmem, config.max_object_pointers_in_encoder)
    for old in [index for index in recent if index <= position + 1 - longest]:
        del recent[old]


def _new_session(mask_model, size: tuple[int, int]) -> Sam2VideoInferenceSession:
    device = mask_model.device
    places = dict.fromkeys(("inference_device", "inference_state_device", "video_storage_device"), device)
    sam = Sam2VideoInferenceSession(None, *size, **places, dtype=mask_model.dtype)
    sam.obj_id_to_idx(OBJECT)
    return sam


__all__ = [
    "MaskTrack",
    "encode_frame",
    "forget",
    "mask_view",
    "start_tracking",
    "start_tracking_mask",
    "track_frame",
    "turned_back",
]
