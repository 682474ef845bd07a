"""What the tests of segment_many share: clips in files, a manifest, and readers that kill their worker."""

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from glus_hf.data.listed_video import VideoReader
from glus_hf.data.motion_shapes import generate_clip
from glus_hf.data.video_list import read_video_list
from glus_hf.evaluation.many.segment_many import LocalEngine, segment_many
from glus_hf.evaluation.options import EvaluationOptions
from glus_hf.media.video import write_video
from tests.models.glus.small_glus import small_model, small_processor


TEXTS = ["the red circle", "the green square", "the blue cross"]
OPTIONS = EvaluationOptions(texts_per_pass=2, on_error="skip")


def write_manifest(folder, num_videos=3):
    """Clips of different lengths with three expressions each."""
    lines = []
    for index in range(num_videos):
        clip = generate_clip(index, split="test", size=48, num_frames=4 + index)
        write_video(folder / "clips" / f"{index}.mp4", clip.frames, fps=6)
        lines.append(json.dumps({"video": f"clips/{index}.mp4", "expressions": TEXTS}))
    (folder / "videos.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "videos.jsonl"


def load_small():
    """Model and processor, as a worker loads them."""
    import torch

    torch.set_num_threads(1)
    return small_model(), small_processor()


def segment_here(manifest, output, **arguments):
    arguments = {"options": OPTIONS, **arguments}
    return segment_many(read_video_list(manifest), output, LocalEngine(*load_small()), **arguments)


@dataclass(frozen=True)
class DeadlyReader(VideoReader):
    """Kills its process when it opens a video: the first time only, if there is a file that remembers."""

    deadly: str = ""
    memory: Path | None = None

    def open(self, address):
        if address.endswith(self.deadly) and not (self.memory is not None and self.memory.exists()):
            if self.memory is not None:
                self.memory.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return super().open(address)
