"""CVAT for video 1.1: XML with a mask per frame."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from .video_masks import VideoMasks


MAX_LABEL = 64  # letters in the name of a label of CVAT
EXPRESSION = "expression"


def write_cvat(folder: Path, videos: list[VideoMasks]) -> None:
    """`<video>/annotations.xml`, to upload into a task of that video as "CVAT 1.1", and `<video>/labels.json`, the
    labels that the task needs (Raw in CVAT's editor of labels).

    CVAT has no tracks of masks: it reads one track per mask, which ends on the next frame, and so it writes them. The
    masks of one expression share `group_id`. A label has at most 64 letters: a longer expression is also the
    attribute `expression`.
    """
    for video in videos:
        place = folder / video.video
        place.mkdir(parents=True)
        labels = label_names(video.labels)
        (place / "labels.json").write_text(
            json.dumps([_raw_label(*pair) for pair in zip(labels, video.labels, strict=True)], ensure_ascii=False),
            encoding="utf-8",
        )
        root = _annotations(video, labels)
        ElementTree.indent(root)
        ElementTree.ElementTree(root).write(place / "annotations.xml", encoding="utf-8", xml_declaration=True)


def label_names(expressions: list[str]) -> list[str]:
    """A different name of at most 64 letters for each expression.

    Example:
        >>> [len(name) for name in label_names(["x" * 70, "x" * 71, "a dog"])]
        [64, 64, 5]
    """
    names: list[str] = []
    for number, text in enumerate(expressions):
        name = text if len(text) <= MAX_LABEL else text[: MAX_LABEL - 3] + "..."
        if name in names:
            mark = f" ({number})"
            name = name[: MAX_LABEL - len(mark)] + mark
        names.append(name)
    return names


def _raw_label(name: str, expression: str) -> dict:
    attribute = {"name": EXPRESSION, "input_type": "text", "mutable": False, "values": [""]}
    return {"name": name, "type": "any", "attributes": [] if name == expression else [attribute]}


def _annotations(video: VideoMasks, labels: list[str]) -> ElementTree.Element:
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    for name, text in (("name", video.video), ("size", len(video.frame_names)), ("mode", "interpolation")):
        ElementTree.SubElement(task, name).text = str(text)
    entries = ElementTree.SubElement(task, "labels")
    for name, expression in zip(labels, video.labels, strict=True):
        entry = ElementTree.SubElement(entries, "label")
        ElementTree.SubElement(entry, "name").text = name
        attributes = ElementTree.SubElement(entry, "attributes")
        if name != expression:
            attribute = ElementTree.SubElement(attributes, "attribute")
            for field, text in (("name", EXPRESSION), ("mutable", "False"), ("input_type", "text")):
                ElementTree.SubElement(attribute, field).text = text
    size = ElementTree.SubElement(task, "original_size")
    for name, side in (("width", video.size[1]), ("height", video.size[0])):
        ElementTree.SubElement(size, name).text = str(side)
    _add_tracks(root, video, labels)
    return root


def _add_tracks(root: ElementTree.Element, video: VideoMasks, labels: list[str]) -> None:
    number, last = 0, len(video.frame_names) - 1
    for index, label in enumerate(labels):
        for frame, rle in enumerate(video.tracks[index]):
            if rle is None:
                continue
            about = {"id": str(number), "label": label, "group_id": str(index + 1), "source": "auto"}
            track = ElementTree.SubElement(root, "track", about)
            shape = _shape(video.mask(index, frame))
            ends = ((frame, "0"), (frame + 1, "1")) if frame < last else ((frame, "0"),)
            for at, outside in ends:
                state = {"frame": str(at), "keyframe": "1", "outside": outside, "occluded": "0"}
                mask = ElementTree.SubElement(track, "mask", {**state, **shape, "z_order": "0"})
                if label != video.labels[index]:
                    ElementTree.SubElement(mask, "attribute", {"name": EXPRESSION}).text = video.labels[index]
            number += 1


def _shape(mask: np.ndarray) -> dict[str, str]:
    """Box of a mask, and its runs in the box, row by row, from a run of background."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    inside = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    flat = np.concatenate([[False], inside.ravel()])  # the first run is of background, maybe of length 0
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    runs = np.diff(np.concatenate([[0], changes, [inside.size]]))
    return {
        "rle": ", ".join(map(str, runs)),
        "left": str(columns[0]),
        "top": str(rows[0]),
        "width": str(inside.shape[1]),
        "height": str(inside.shape[0]),
    }


__all__ = ["EXPRESSION", "MAX_LABEL", "label_names", "write_cvat"]
