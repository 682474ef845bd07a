"""Binary PNG masks in the layout of own data (docs/own-data.md)."""

from __future__ import annotations

import json
from pathlib import Path

from ...media.mask_png import save_mask_png
from .video_masks import VideoMasks, write_frames


def write_png(folder: Path, videos: list[VideoMasks]) -> None:
    """`masks/<video>/<id>/<frame>.png` with 0 and 255, `expressions.jsonl`, and frames in `videos/`: own data. And
    `expressions.json`, `{video: {id: expression}}`."""
    texts = {video.video: dict(zip(video.ids, video.labels, strict=True)) for video in videos}
    (folder / "expressions.json").write_text(json.dumps(texts, ensure_ascii=False, indent=1), encoding="utf-8")
    with open(folder / "expressions.jsonl", "w", encoding="utf-8") as lines:
        for video in videos:
            for index, (name, label) in enumerate(zip(video.ids, video.labels, strict=True)):
                masks = f"masks/{video.video}/{name}"
                for frame, stem in enumerate(video.frame_names):
                    save_mask_png(folder / masks / f"{stem}.png", video.mask(index, frame))
                line = {"video": video.video, "expression": label, "id": name, "masks": masks}
                lines.write(json.dumps(line, ensure_ascii=False) + "\n")
            write_frames(folder / "videos", video)


__all__ = ["write_png"]
