"""Segment what an expression means in a video, and draw it.

python examples/segment_video.py glus_demo/video.mp4 "the red square not moving" --output segmented.mp4
"""

from __future__ import annotations

import argparse

import numpy as np

import glus_hf
from glus_hf.visualization import overlay_video, save_overlay


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", help="file or folder of frames")
    parser.add_argument("texts", nargs="+", help="one or more expressions; they share one pass over the video")
    parser.add_argument("--model", default="glus-tiny")
    parser.add_argument("--output", default="segmented.mp4")
    args = parser.parse_args()
    video = glus_hf.load_video(args.video)
    results = glus_hf.pipeline(model=args.model)(video, args.texts, progress=True)
    masks = np.stack([result["masks"] for result in results])
    save_overlay(args.output, overlay_video(video.frames, masks, args.texts), video.fps or 12)
    for result in results:
        print(f"{result['label']}: score {result['scores'].mean():.2f}")
    print(args.output)


if __name__ == "__main__":
    main()
