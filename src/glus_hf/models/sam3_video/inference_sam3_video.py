"""SAM 3 on one video: objects that phrases name, found and followed by its own loop, in bounded memory.

SAM 3 gives objects; an expression gets all of those that its phrase found, as one mask. It answers some frames late
(`hotstart_delay`) and then knows which objects were none: these are left out of the frames before, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.models.sam3_video.modeling_sam3_video import Sam3VideoInferenceSession

from ..mask_images import mask_images
from ..mask_scores import EMPTY_LOGIT
from ..sessions import VideoSegmentationOutput, VideoSession, check_inference, key_frame_per_text


OF_MEMORY = ("maskmem_features", "maskmem_pos_enc")
NOT_READ_AGAIN = ("pred_masks", "high_res_masks")
WHOLE = (*NOT_READ_AGAIN, *OF_MEMORY)


@dataclass
class Sam3PhraseInferenceSession(VideoSession):
    """One video and its expressions, made by [`Sam3PhraseProcessor.init_video_session`].

    Args:
        frames (`Sequence[np.ndarray]`): T frames, each `uint8 [height, width, 3]` RGB.
        texts (`list[str]`): the cleaned expressions.
        text_inputs (`list[dict]`): per expression, `input_ids` and `attention_mask`, `[1, length]`.
        mask_size, mask_image_mean, mask_image_std: of SAM 3's images.
    """

    text_inputs: list[dict]
    mask_size: int
    mask_image_mean: list[float]
    mask_image_std: list[float]

    def mask_view(self, frame_idx: int) -> Tensor:
        """A frame as SAM 3 sees it, `[3, S, S]`."""
        sides = self.mask_size, self.mask_size
        return mask_images([self.frames[frame_idx]], sides, self.mask_image_mean, self.mask_image_std)[0]


class FramesOnDemand(Mapping):
    """In the place of the frames that a session of SAM 3 keeps: each is made when it is asked for."""

    def __init__(self, session: Sam3PhraseInferenceSession, device, dtype):
        self.session, self.device, self.dtype = session, device, dtype

    def __getitem__(self, frame_idx: int) -> Tensor:
        return self.session.mask_view(frame_idx).to(self.device, self.dtype)

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self)))

    def __len__(self) -> int:
        return self.session.num_frames


def propagate_in_video(
    model,
    session: Sam3PhraseInferenceSession,
    key_frame: int | Sequence[int] | None = None,
    batch_size: int | None = None,
) -> Iterator[VideoSegmentationOutput]:
    """The loop behind [`Sam3PhraseForVideoSegmentation.propagate_in_video_iterator`].

    Expressions with one key frame share everything; each key frame has its own way forward and its own way back.
    """
    side = model.config.sam3_config.image_size
    check_inference(model, batch_size, {"mask_size": (session.mask_size, side)})
    starts = [int(start or 0) for start in key_frame_per_text(key_frame, len(session.texts), session.num_frames)]
    for start in sorted(set(starts)):
        texts = [text for text, own in enumerate(starts) if own == start]
        yield from _follow(model, session, texts, start, reverse=False)
        if start > 0:
            yield from _follow(model, session, texts, start, reverse=True)


def _follow(model, session: Sam3PhraseInferenceSession, texts: list[int], start: int, reverse: bool):
    """One way through the video. The way back begins at the key frame again, whose masks are known already."""
    sam = start_session(model.sam3, session, texts)
    first = start + 1 if reverse else start  # SAM 3's loop begins its way back before the frame that it is given
    for output in model.sam3.propagate_in_video_iterator(sam, start_frame_idx=first, reverse=reverse):
        if not (reverse and output.frame_idx == start):
            phrases = [session.texts[text] for text in texts]
            yield join_objects(sam, output, texts, phrases, (session.height, session.width))
        forget(model.sam3.tracker_model.config, sam, output.frame_idx, reverse)


def start_session(sam3, session: Sam3PhraseInferenceSession, texts: Sequence[int]) -> Sam3VideoInferenceSession:
    """A session of SAM 3 for some expressions; equal ones are one prompt."""
    device = sam3.device
    places = dict.fromkeys(("inference_device", "inference_state_device", "video_storage_device"), device)
    sam = Sam3VideoInferenceSession(None, session.height, session.width, **places, dtype=sam3.dtype)
    sam.processed_frames = FramesOnDemand(session, device, sam3.dtype)
    for text in texts:
        prompt = sam.add_prompt(session.texts[text])
        inputs = {name: values.to(device) for name, values in session.text_inputs[text].items()}
        sam.prompt_input_ids[prompt] = inputs["input_ids"]
        sam.prompt_attention_masks[prompt] = inputs["attention_mask"]
    return sam


def join_objects(
    sam: Sam3VideoInferenceSession, output, texts: Sequence[int], phrases: Sequence[str], size: tuple[int, int]
) -> VideoSegmentationOutput:
    """Masks of expressions from those of the objects that their phrases found; those removed or suppressed are none.

    Logits are the largest of the objects; the score is that of the best one. Nothing found: -100, and 0.
    """
    hidden = set(sam.hotstart_removed_obj_ids) | set(output.suppressed_obj_ids or ())
    logits = torch.full((len(texts), *size), EMPTY_LOGIT, device=sam.inference_device)
    scores = torch.zeros(len(texts), device=sam.inference_device)
    for row, phrase in enumerate(phrases):
        prompt = next(prompt for prompt, text in sam.prompts.items() if text == phrase)
        own = [
            obj_id
            for obj_id in sorted(output.obj_id_to_mask)
            if obj_id not in hidden and sam.obj_id_to_prompt_id.get(obj_id) == prompt
        ]
        if own:
            low = torch.cat([output.obj_id_to_mask[obj_id] for obj_id in own]).float().amax(0)
            logits[row] = F.interpolate(low[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
            found = max(float(output.obj_id_to_score[obj_id]) for obj_id in own)
            scores[row] = found if (logits[row] > 0).any() else 0.0
    return VideoSegmentationOutput(
        frame_idx=output.frame_idx, text_indices=list(texts), mask_logits=logits, scores=scores
    )


def forget(config, sam: Sam3VideoInferenceSession, frame_idx: int, reverse: bool) -> None:
    """Drop what SAM 3 does not read after a frame: memories but those of the newest frames, and masks.

    It reads the memories of `num_maskmem - 1` frames and of the `max_cond_frame_num` newest frames that a detection
    confirmed, and the pointers of `max_object_pointers_in_encoder - 1` frames and of all confirmed ones.
    """
    sam.cache.clear_all()
    age = (lambda index: index - frame_idx) if reverse else (lambda index: frame_idx - index)
    for outputs in sam.output_dict_per_obj.values():
        confirmed, others = outputs["cond_frame_outputs"], outputs["non_cond_frame_outputs"]
        newest = sorted(confirmed, key=age)[: max(config.max_cond_frame_num, 0)] or list(confirmed)
        for index, kept in confirmed.items():
            _drop(kept, NOT_READ_AGAIN if index in newest or age(index) < config.num_maskmem else WHOLE)
        for index in list(others):
            if age(index) >= max(config.num_maskmem, config.max_object_pointers_in_encoder):
                del others[index]
            else:
                _drop(others[index], NOT_READ_AGAIN if age(index) < config.num_maskmem else WHOLE)


def _drop(output: dict, names: tuple[str, ...]) -> None:
    for name in names:
        output.pop(name, None)


__all__ = ["Sam3PhraseInferenceSession", "forget", "join_objects", "propagate_in_video", "start_session"]
