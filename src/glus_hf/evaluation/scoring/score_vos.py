"""J and F of semi-supervised video object segmentation, per object.

Two conventions. `all`: every frame with a mask, from that on which the object is given. `semi`: the one of the DAVIS
evaluation, without the frame on which the object is given and without the last one of the video.
(Pont-Tuset et al., "The 2017 DAVIS Challenge on Video Object Segmentation".)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from ...data.vos_layouts import VOID, VosVideo
from ...metrics.j_and_f import ScoredMask


CONVENTIONS = ("semi", "all")


def score_vos_video(video: VosVideo, read_ids: Callable[[int], np.ndarray]) -> list[dict]:
    """One record per object.

    Args:
        video: with masks of more frames than those on which objects are given; otherwise there is nothing to score.
        read_ids: the predicted ids `[height, width]` of a frame. Void pixels do not count.

    Returns:
        `video_id`, `object_id`, and per convention that has a frame `{"frames", "J", "F", "J&F"}`, in `[0, 1]`.
    """
    starts, scores = video.starts(), {}
    for frame_idx in sorted(video.masks):
        present = [name for name, start in starts.items() if start <= frame_idx]
        if not present:
            continue
        true, predicted = video.ids(frame_idx), read_ids(frame_idx)
        valid = true != VOID
        for name in present:
            pair = ScoredMask((predicted == name) & valid), ScoredMask(true == name)
            scores.setdefault(name, {})[frame_idx] = pair[0].j_and_f(pair[1])
    last = len(video.frames) - 1
    return [_record(video.video_id, name, starts[name], last, scores[name]) for name in starts]


def _record(video_id: str, name: int, start: int, last: int, scores: Mapping[int, tuple[float, float]]) -> dict:
    kept = {
        "semi": [pair for frame, pair in scores.items() if frame not in (start, last)],
        "all": list(scores.values()),
    }
    record = {"video_id": video_id, "object_id": str(name)}
    # where only given masks are there, nothing was predicted
    return record | {each: _means(pairs) for each, pairs in kept.items() if pairs and len(scores) > 1}


def _means(pairs: list[tuple[float, float]]) -> dict:
    j, f = (float(np.mean(values)) for values in zip(*pairs, strict=True))
    return {"frames": len(pairs), "J": j, "F": f, "J&F": (j + f) / 2}


def vos_totals(records: Iterable[Mapping]) -> dict[str, dict]:
    """Means over objects, as in the DAVIS evaluation, per convention.

    Where records say whether the category of an object was `seen` in training, there are also `Js` and `Fs` of seen
    and `Ju` and `Fu` of unseen objects, and their mean `G`, as in YouTube-VOS. (Xu et al., "YouTube-VOS", 2018.)

    Example:
        >>> records = [{"all": {"frames": 1, "J": 0.5, "F": 1.0, "J&F": 0.75}}]
        >>> vos_totals(records)
        {'all': {'objects': 1, 'J': 0.5, 'F': 1.0, 'J&F': 0.75}}
    """
    records, totals = list(records), {}
    for convention in CONVENTIONS:
        rows = [record[convention] for record in records if convention in record]
        if rows:
            means = {name: float(np.mean([row[name] for row in rows])) for name in ("J", "F")}
            both = {"objects": len(rows), **means, "J&F": (means["J"] + means["F"]) / 2}
            totals[convention] = both | _by_category([each for each in records if convention in each], convention)
    return totals


def _by_category(records: list[Mapping], convention: str) -> dict[str, float]:
    groups = {"s": [], "u": []}
    for record in records:
        if record.get("seen") is not None:
            groups["s" if record["seen"] else "u"].append(record[convention])
    kinds = {kind: rows for kind, rows in groups.items() if rows}
    scores = {
        name + kind: float(np.mean([row[name] for row in rows])) for kind, rows in kinds.items() for name in "JF"
    }
    return scores | ({"G": float(np.mean(list(scores.values())))} if len(kinds) == 2 else {})


__all__ = ["CONVENTIONS", "score_vos_video", "vos_totals"]
