"""Scores of followed objects beside TrackEval's own reading of files, on random tracks of discs."""

import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from glus_hf import UserError
from glus_hf.evaluation.objects.track_scores import HOTA_SCORES, hota_data, score_hota, score_ytvis, track_iou
from glus_hf.media.rle import decode_rle, encode_rle


SIDE, FRAMES = 320, 5
NAMES = ["dog", "cat", "sheep", "kite"]


def disc(x, y, radius):
    rows, columns = np.ogrid[:SIDE, :SIDE]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def track(generator, near=None):
    """By frame a disc that moves, or None; near another one, or anywhere."""
    if near is None:
        x, y, radius = *generator.integers(20, 300, 2), generator.integers(8, 160)
    else:
        x, y, radius = (value + generator.integers(-8, 9) for value in near)
    steps = [(x + 3 * time, y + 2 * time, max(radius, 4)) for time in range(FRAMES)]
    masks = [disc(*step) for step in steps]
    seen = generator.random(FRAMES) > 0.2
    return [encode_rle(mask) if keep and mask.any() else None for mask, keep in zip(masks, seen)], (x, y, radius)


def box(mask):
    x, y, width, height = coco_mask.toBbox({"size": mask["size"], "counts": mask["counts"].encode()}).tolist()
    return [x, y, x + width, y + height]


def area(mask):
    return float(coco_mask.area({"size": mask["size"], "counts": mask["counts"].encode()}))


def uncompressed(mask):
    """Run lengths as the files of ground truth have them."""
    flat = decode_rle(mask, (SIDE, SIDE)).flatten(order="F").astype(np.int8)
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return {"size": [SIDE, SIDE], "counts": [0, *counts] if flat[0] else counts}


def random_videos(seed, num_videos=6):
    """Videos with what was found: near objects, with other names now and then, and elsewhere."""
    generator, videos = np.random.default_rng(seed), []
    for number in generator.permutation(np.arange(3, 3 + num_videos)).tolist():
        objects, found = [], []
        for index in range(generator.integers(1, 5)):
            masks, place = track(generator)
            name = NAMES[generator.integers(3)]  # no kite
            known = {"masks": masks, "areas": [each and area(each) for each in masks]}
            known["boxes"] = [each and box(each) for each in masks]
            crowd = bool(generator.random() < 0.15)
            objects.append({"track_id": str(index), "name": name, "is_crowd": crowd, **known})
            for _ in range(generator.integers(0, 3)):
                near, _ = track(generator, place)
                found.append((name if generator.random() < 0.8 else NAMES[generator.integers(4)], near))
        found += [(NAMES[generator.integers(4)], track(generator)[0]) for _ in range(2)]
        scores = generator.permutation(np.linspace(0.05, 0.95, len(found))) + number * 1e-4
        answers = [
            {
                "name": name,
                "score": float(score),
                "segmentations": masks,
                "boxes": [each and box(each) for each in masks],
            }
            for (name, masks), score in zip(found, scores)
        ]
        videos.append(({"image_id": str(number), "objects": objects}, answers))
    return videos


def without_crowds(videos):
    return [({**v, "objects": [o for o in v["objects"] if not o["is_crowd"]]}, answers) for v, answers in videos]


class Files:
    """The videos as files of YouTube-VIS, read by TrackEval's own dataset."""

    def __init__(self, folder, videos):
        ids = {name: number for number, name in enumerate(NAMES, 1)}
        self.folder, self.names = folder, NAMES
        self.content = {"categories": [{"id": number, "name": name} for name, number in ids.items()], "videos": []}
        self.content["annotations"], results = [], []
        for video, answers in videos:
            number = int(video["image_id"])
            shape = {"width": SIDE, "height": SIDE}
            names = [f"{number}/{time}.jpg" for time in range(FRAMES)]
            self.content["videos"].append({"id": number, "file_names": names, "length": FRAMES, **shape})
            for each in video["objects"]:
                entry = {"id": len(self.content["annotations"]) + 1, "video_id": number, **shape}
                entry |= {"category_id": ids[each["name"]], "iscrowd": int(each["is_crowd"])}
                entry |= {
                    "segmentations": [each and uncompressed(each) for each in each["masks"]],
                    "areas": each["areas"],
                    "bboxes": each["boxes"],
                }
                self.content["annotations"].append(entry)
            for each in answers:
                entry = {"video_id": number, "category_id": ids[each["name"]], "score": each["score"]}
                results.append({**entry, "segmentations": each["segmentations"]})
        truth, found = folder / "gt/youtube_vis/youtube_vis_val", folder / "trackers/youtube_vis_val/ours/data"
        for place, name, written in ((truth, "gt.json", self.content), (found, "results.json", results)):
            place.mkdir(parents=True)
            (place / name).write_text(json.dumps(written))

    def scores(self, metric):
        """By name and video, and of all videos by name."""
        from trackeval.datasets import YouTubeVIS

        config = {"GT_FOLDER": f"{self.folder}/gt/youtube_vis/", "SPLIT_TO_EVAL": "val", "PRINT_CONFIG": False}
        config["TRACKERS_FOLDER"] = f"{self.folder}/trackers/"
        return scores_by_name(YouTubeVIS(config | {"CLASSES_TO_EVAL": self.names}), self.names, metric)


def scores_by_name(data, names, metric):
    """Of TrackEval's own reading, of all videos."""
    by_name = {}
    for name in names:
        parts = {}
        for sequence in data.seq_list:
            raw = data.get_raw_seq_data("ours", sequence)
            parts[sequence] = metric.eval_sequence(data.get_preprocessed_seq_data(raw, name))
        by_name[name] = metric.combine_sequences(parts)
    return by_name


@pytest.mark.parametrize("seed", [0, 1])
def test_average_precision_is_that_of_trackeval(tmp_path, seed):
    metrics = pytest.importorskip("trackeval.metrics", reason="needs the extra tracking")
    videos = random_videos(seed)
    areas = {"USE_AREA_RANGES": True, "AREA_RANGES": [[0, 128**2], [128**2, 256**2], [256**2, 1e10]]}
    config = {
        **areas,
        "AREA_RANGE_LABELS": ["area_s", "area_m", "area_l"],
        "USE_TIME_RANGES": False,
        "MAX_DETECTIONS": 100,
    }
    metric = metrics.TrackMAP(config)
    theirs = metric.combine_classes_class_averaged(Files(tmp_path, videos).scores(metric))
    ours = score_ytvis(videos, NAMES)
    expected = {"AP": theirs["AP_all"].mean(), "AP50": theirs["AP_all"][0], "AP75": theirs["AP_all"][5]}
    expected |= {f"AP{kind}": theirs[f"AP_area_{kind}"].mean() for kind in "sml"}
    expected["AR100"] = theirs["AR_all"].mean()
    assert {name: -1 if ours[name] is None else ours[name] for name in expected} == pytest.approx(expected, abs=1e-9)
    assert 0.02 < ours["AP"] < ours["AP50"] < 0.98


@pytest.mark.parametrize("seed", [0, 1])
def test_hota_is_that_of_trackeval(tmp_path, seed):
    metrics = pytest.importorskip("trackeval.metrics", reason="needs the extra tracking")
    videos = without_crowds(random_videos(seed))
    metric = metrics.HOTA()
    results = Files(tmp_path, videos).scores(metric)
    ours = score_hota(videos, NAMES)
    means = metric.combine_classes_class_averaged(results, ignore_empty_classes=True)
    assert ours["names"] == pytest.approx({score: means[score].mean() for score in HOTA_SCORES}, abs=1e-12)
    means = metric.combine_classes_det_averaged(results)
    assert ours["objects"] == pytest.approx({score: means[score].mean() for score in HOTA_SCORES}, abs=1e-12)
    assert 0.05 < ours["objects"]["HOTA"] < 0.9


class TAOFiles:
    """The videos as files of TAO, with boxes, read by TrackEval's own dataset."""

    def __init__(self, folder, videos):
        ids = {name: number for number, name in enumerate(NAMES, 1)}
        self.folder, lists = folder, {"images": [], "annotations": [], "tracks": [], "videos": []}
        results, found_tracks = [], 0
        for video, answers in videos:
            number = int(video["image_id"])
            keys = {"neg_category_ids": "absent_names", "not_exhaustive_category_ids": "incomplete_names"}
            said = {key: [ids[name] for name in video[mine]] for key, mine in keys.items()}
            shape = {"width": SIDE, "height": SIDE}
            lists["videos"].append({"id": number, "name": f"val/{number}", **said, **shape})
            places = [{"video_id": number, "image_id": 100 * number + time} for time in range(FRAMES)]
            for time in range(FRAMES):
                image = {"id": 100 * number + time, "video_id": number, "frame_index": time, **shape}
                lists["images"].append({**image, "file_name": f"val/{number}/{time}.jpg"})
            for each in video["objects"]:
                track = {"id": len(lists["tracks"]) + 1, "category_id": ids[each["name"]], "video_id": number}
                lists["tracks"].append(track)
                for time, corners in enumerate(each["boxes"]):
                    if corners:
                        entry = {"track_id": track["id"], "category_id": ids[each["name"]], **places[time]}
                        entry |= {"id": len(lists["annotations"]) + 1, "bbox": sides(corners)}
                        lists["annotations"].append(entry)
            for each in answers:
                found_tracks += 1
                entry = {"category_id": ids[each["name"]], "track_id": found_tracks, "score": each["score"]}
                shown = [(time, corners) for time, corners in enumerate(each["boxes"]) if corners]
                results += [{**entry, **places[time], "bbox": sides(corners)} for time, corners in shown]
        lists["categories"] = [{"id": number, "name": name} for name, number in ids.items()]
        for path, content in (("gt/gt.json", lists), ("trackers/ours/data/results.json", results)):
            (folder / path).parent.mkdir(parents=True)
            (folder / path).write_text(json.dumps(content))

    def scores(self, metric):
        """By name, of all videos."""
        from trackeval.datasets import TAO

        places = {"GT_FOLDER": f"{self.folder}/gt/", "TRACKERS_FOLDER": f"{self.folder}/trackers/"}
        data = TAO({**places, "PRINT_CONFIG": False})
        return scores_by_name(data, data.class_list, metric)


def sides(corners):
    return [corners[0], corners[1], corners[2] - corners[0], corners[3] - corners[1]]


@pytest.mark.parametrize("seed", [0, 1])
def test_hota_of_tao_is_that_of_trackeval(tmp_path, seed):
    """Names are looked for in some of the videos alone, and not every object of them is marked."""
    metrics = pytest.importorskip("trackeval.metrics", reason="needs the extra tracking")
    videos, generator = without_crowds(random_videos(seed)), np.random.default_rng(seed)
    for video, _ in videos:
        shown = {each["name"] for each in video["objects"]}
        video["absent_names"] = [name for name in NAMES if name not in shown and generator.random() < 0.5]
        video["incomplete_names"] = [name for name in NAMES if generator.random() < 0.3]
    metric = metrics.HOTA()
    results = TAOFiles(tmp_path, videos).scores(metric)
    ours = score_hota(videos, NAMES, "box", federated=True)
    means = metric.combine_classes_class_averaged(results, ignore_empty_classes=True)
    assert ours["names"] == pytest.approx({score: means[score].mean() for score in HOTA_SCORES}, abs=1e-12)
    means = metric.combine_classes_det_averaged(results)
    assert ours["objects"] == pytest.approx({score: means[score].mean() for score in HOTA_SCORES}, abs=1e-12)
    assert abs(ours["objects"]["HOTA"] - score_hota(videos, NAMES, "box")["objects"]["HOTA"]) > 0.01


def perfect(videos):
    return [
        (video, [{**each, "score": 0.9, "segmentations": each["masks"]} for each in video["objects"]])
        for video, _ in without_crowds(videos)
    ]


@pytest.mark.parametrize("shape", ["mask", "box"])
def test_the_truth_itself_has_all_points(shape):
    pytest.importorskip("trackeval", reason="needs the extra tracking")
    videos = perfect(random_videos(2))
    assert score_hota(videos, NAMES, shape)["names"] == pytest.approx(dict.fromkeys(HOTA_SCORES, 1.0))
    assert score_ytvis(videos, NAMES)["AP"] == pytest.approx(1.0)


def test_a_track_that_breaks_in_two_loses_association_alone():
    pytest.importorskip("trackeval", reason="needs the extra tracking")
    mask = encode_rle(disc(100, 100, 30))
    whole = {"track_id": "1", "name": "dog", "is_crowd": False, "boxes": [box(mask)] * 4}
    whole |= {"masks": [mask] * 4, "areas": [area(mask)] * 4}
    parts = [[mask, mask, None, None], [None, None, mask, mask]]
    answers = [{"name": "dog", "score": 0.9, "segmentations": part, "boxes": []} for part in parts]
    scores = score_hota([({"image_id": "1", "objects": [whole]}, answers)], ["dog"])["names"]
    assert (scores["DetA"], scores["AssA"]) == pytest.approx((1.0, 0.5))
    assert scores["HOTA"] == pytest.approx(np.sqrt(0.5))


def test_the_overlap_of_tracks():
    big, small = encode_rle(disc(100, 100, 30)), encode_rle(disc(100, 100, 15))
    expected = area(small) / (area(big) * 2)
    assert track_iou([big, big, None], [small, None, None]) == pytest.approx(expected)
    assert track_iou([None], [None]) == 0


def test_nothing_found_and_wrong_names():
    video, answers = max(without_crowds(random_videos(0)), key=lambda pair: len(pair[0]["objects"]))
    assert score_ytvis([(video, [])], NAMES)["AP"] == 0
    assert score_ytvis([({**video, "objects": []}, answers)], NAMES)["AP"] is None
    with pytest.raises(UserError, match="its name .* is none of the dataset"):
        score_ytvis([(video, answers)], ["unicorn"])


def test_trackeval_is_given_the_tracks_of_every_frame_and_their_overlaps():
    """A track that is nowhere is none."""
    full, half = [0, 0, 10, 10], [0, 0, 10, 5]
    truth, found = [{"boxes": [full, full, None]}], [{"boxes": [None, half, half]}, {"boxes": [None] * 3}]
    data = hota_data(truth, found, "box")
    assert [ids.tolist() for ids in data["gt_ids"]] == [[0], [0], []]
    assert [ids.tolist() for ids in data["tracker_ids"]] == [[], [0], [0]]
    assert [overlaps.shape for overlaps in data["similarity_scores"]] == [(1, 0), (1, 1), (0, 1)]
    assert data["similarity_scores"][1] == 0.5
    assert [data[f"num_{side}"] for side in ("gt_ids", "tracker_ids", "gt_dets", "tracker_dets")] == [1, 1, 2, 2]


def test_without_trackeval_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "trackeval.metrics", None)
    with pytest.raises(UserError, match=r"pip install glus-hf\[tracking\]"):
        score_hota([], NAMES)
