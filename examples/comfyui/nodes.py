"""A ComfyUI node on top of `glus-hf serve`."""

import tempfile
from pathlib import Path

import numpy as np
import torch

from glus_hf.media.video import write_video
from glus_hf.webapp.client import RemoteService


class SegmentVideoByWords:
    """IMAGE `[frames, height, width, 3]` float in 0..1 and expressions to MASK `[frames, height, width]` float."""

    CATEGORY = "mask"
    FUNCTION = "segment"
    RETURN_TYPES = ("MASK", "FLOAT")
    RETURN_NAMES = ("mask", "score")

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {
            "required": {
                "images": ("IMAGE",),
                "expressions": ("STRING", {"multiline": True, "default": "the dog on the left"}),
            },
            "optional": {
                "start_frame": ("INT", {"default": -1, "min": -1, "max": 100_000}),
                "service": ("STRING", {"default": "http://127.0.0.1:7860"}),
                "token": ("STRING", {"default": ""}),
            },
        }

    def segment(self, images, expressions, start_frame=-1, service="http://127.0.0.1:7860", token=""):
        frames = (images[..., :3].clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
        texts = [line for line in expressions.splitlines() if line.strip()]
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "frames.mp4"
            write_video(file, frames, 12)
            found = RemoteService(service, token or None).segment(
                file, texts, None if start_frame < 0 else start_frame
            )
        size = range(len(found.frame_names))
        masks = [np.any([found.mask(index, frame) for index in range(len(texts))], axis=0) for frame in size]
        return torch.from_numpy(np.stack(masks)).float(), float(np.mean(found.scores))


NODE_CLASS_MAPPINGS = {"GlusHfSegmentVideoByWords": SegmentVideoByWords}
NODE_DISPLAY_NAME_MAPPINGS = {"GlusHfSegmentVideoByWords": "Segment video by words"}
