"""What may be passed, and what it means: every row of the table in the pipeline's docstring."""

import io
import os
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from transformers.pipelines.pt_utils import KeyDataset

import glus_hf
from glus_hf.data.motion_shapes import generate_clip
from glus_hf.errors import UserError
from glus_hf.media.video import load_video, write_video
from glus_hf.pipelines.dataset_videos import torchcodec_loads
from glus_hf.pipelines.inputs import as_samples
from tests.local_files import LocalFiles


FRAMES = generate_clip(0, split="test", size=64, num_frames=3).frames
OTHER = generate_clip(1, split="test", size=48, num_frames=2).frames
TEXT, SECOND = "the red circle", "the object moving left"


@pytest.fixture(scope="module")
def pipe():
    return glus_hf.pipeline("referring-video-segmentation", model="glus-tiny", device="cpu")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    write_video(path, FRAMES, fps=8)
    return path


@pytest.fixture(scope="module")
def expected(pipe, clip):
    return pipe(load_video(clip), TEXT)


def assert_same(result, expected):
    assert result["label"] == expected["label"] and result["masks"].shape == expected["masks"].shape
    assert (result["masks"] != expected["masks"]).mean() < 1e-3
    np.testing.assert_allclose(result["scores"], expected["scores"], atol=1e-3)


def sizes(results):
    """(frames, height) of the masks, and the label, of each result."""
    return [(*result["masks"].shape[:2], result["label"]) for result in results]


# --- one video -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.read_bytes(),
        lambda path: io.BytesIO(path.read_bytes()),
        lambda path: path.open("rb"),
        lambda path: path.as_uri(),
        lambda path: {"bytes": path.read_bytes(), "path": None},
        lambda path: (frame for frame in load_video(path).frames),
        lambda path: map(Image.fromarray, load_video(path).frames),
    ],
    ids=["bytes", "BytesIO", "open-file", "file-address", "datasets-row", "generator", "iterator"],
)
def test_one_video_however_it_comes(pipe, clip, expected, make):
    assert_same(pipe(make(clip), TEXT), expected)
    assert_same(pipe({"video": make(clip), "text": TEXT}), expected)


def test_an_address(pipe, clip, expected, capfd):
    with LocalFiles({"/clip.mp4": clip.read_bytes()}) as server:
        url = f"{server.url}/clip.mp4"
        with pytest.raises(UserError, match="private address"):
            pipe(url, TEXT)
        assert server.seen == []
        assert_same(pipe(url, TEXT, allow_private_addresses=True, progress=True), expected)
        assert "downloading" in capfd.readouterr().err
        two = pipe([url, str(clip)], TEXT, allow_private_addresses=True)
        assert sizes(two) == [(3, 64, TEXT)] * 2
        with pytest.raises(UserError, match="larger than 10 bytes"):
            pipe(url, TEXT, allow_private_addresses=True, max_download_bytes=10)
    trusting = glus_hf.pipeline(model=pipe.model, processor=pipe.processor, allow_private_addresses=True, timeout=5)
    with pytest.raises(UserError, match="check the address and the network"):
        trusting(url, TEXT)


def test_addresses_of_images_are_frames(pipe):
    png = io.BytesIO()
    Image.fromarray(FRAMES[0]).save(png, format="png")
    with LocalFiles({"/0.png": png.getvalue(), "/1.png": png.getvalue()}) as server:
        result = pipe([f"{server.url}/0.png", f"{server.url}/1.png"], TEXT, allow_private_addresses=True)
    assert_same(result, pipe([FRAMES[0], FRAMES[0]], TEXT))


def test_a_single_image_is_one_frame(pipe, tmp_path):
    Image.fromarray(FRAMES[0]).save(tmp_path / "photo.png")
    expected = pipe(FRAMES[:1], TEXT)
    for image in (Image.fromarray(FRAMES[0]), FRAMES[0], torch.from_numpy(FRAMES[0]), tmp_path / "photo.png"):
        result = pipe(image, TEXT)
        assert result["masks"].shape == (1, 64, 64)
        assert_same(result, expected)
    assert_same(pipe((tmp_path / "photo.png").read_bytes(), TEXT), expected)


def test_images_in_a_list_are_frames_whatever_their_kind(pipe, tmp_path):
    Image.fromarray(FRAMES[0]).save(tmp_path / "0.png")
    Image.fromarray(FRAMES[1]).save(tmp_path / "1.png")
    os.replace(tmp_path / "1.png", tmp_path / "without_suffix")
    frames = [(tmp_path / "0.png").read_bytes(), tmp_path / "without_suffix", Image.fromarray(FRAMES[2])]
    assert_same(pipe(frames, TEXT), pipe(FRAMES, TEXT))


# --- many videos -----------------------------------------------------------------------------------------------------


def test_files_folders_and_arrays_in_a_list_are_videos(pipe, clip, expected, tmp_path):
    for index, frame in enumerate(OTHER):
        Image.fromarray(frame).save(tmp_path / f"{index}.png")
    results = pipe([clip, str(tmp_path), OTHER, torch.from_numpy(OTHER), list(OTHER), load_video(OTHER)], TEXT)
    assert sizes(results) == [(3, 64, TEXT)] + [(2, 48, TEXT)] * 5
    assert_same(results[0], expected)
    assert sizes(pipe([FRAMES], TEXT)) == [(3, 64, TEXT)]
    assert sizes(pipe([clip.read_bytes(), clip.open("rb")], TEXT)) == [(3, 64, TEXT)] * 2


def test_expressions_go_to_every_video_or_each_to_its_own(pipe):
    both = pipe([FRAMES, OTHER], [TEXT, SECOND])
    assert [sizes(results) for results in both] == [
        [(3, 64, TEXT), (3, 64, SECOND)],
        [(2, 48, TEXT), (2, 48, SECOND)],
    ]
    own = pipe([FRAMES, OTHER], [[TEXT], [SECOND, TEXT]])
    assert [sizes(results) for results in own] == [[(3, 64, TEXT)], [(2, 48, SECOND), (2, 48, TEXT)]]
    for texts in ([[TEXT]], [[TEXT]] * 3):
        with pytest.raises(UserError, match="2 videos but"):
            pipe([FRAMES, OTHER], texts)
    with pytest.raises(UserError, match="there is one video"):
        pipe(FRAMES, [[TEXT], [SECOND]])


def test_frames_and_videos_do_not_mix(clip):
    with pytest.raises(UserError, match=r"image \(element 1\) and a video \(element 0\)"):
        as_samples([str(clip), FRAMES[0]], TEXT)


# --- data sets -------------------------------------------------------------------------------------------------------


def test_undecoded_columns_of_datasets(pipe, clip, expected):
    rows = datasets.Dataset.from_dict({"video": [str(clip)] * 2, "text": [TEXT, SECOND]})
    rows = rows.cast_column("video", datasets.Video(decode=False))
    assert set(rows[0]["video"]) == {"bytes", "path"}
    assert_same(pipe(rows[0]), expected)
    assert_same(pipe(rows[0]["video"], TEXT), expected)
    lazy = pipe(KeyDataset(rows, "video"), TEXT)
    assert not isinstance(lazy, list)
    assert sizes(lazy) == sizes(pipe(rows["video"], text=TEXT)) == [(3, 64, TEXT)] * 2
    assert sizes(pipe(rows)) == [(3, 64, TEXT), (3, 64, SECOND)]
    assert sizes(pipe(rows.to_iterable_dataset())) == [(3, 64, TEXT), (3, 64, SECOND)]
    own = pipe(KeyDataset(rows, "video"), [[SECOND], [TEXT]])
    assert [sizes(results) for results in own] == [[(3, 64, SECOND)], [(3, 64, TEXT)]]
    with pytest.raises(UserError, match="text= is given too"):
        list(pipe(rows, TEXT))


def test_decoded_columns_of_datasets_need_no_torchcodec(pipe, clip):
    rows = datasets.Dataset.from_dict({"video": [str(clip)] * 2, "text": [TEXT, SECOND]})
    rows = rows.cast_column("video", datasets.Video())
    assert sizes(pipe(rows)) == sizes(pipe(rows.to_iterable_dataset())) == [(3, 64, TEXT), (3, 64, SECOND)]
    for column in (rows["video"], KeyDataset(rows, "video"), rows.to_iterable_dataset()["video"]):
        assert sizes(pipe(column, TEXT)) == [(3, 64, TEXT)] * 2


def test_what_decodes_by_itself_says_what_it_needs(pipe, clip):
    if torchcodec_loads():
        pytest.skip("torchcodec is installed")
    rows = datasets.Dataset.from_dict({"video": [str(clip)], "text": [TEXT]}).cast_column("video", datasets.Video())
    loader = torch.utils.data.DataLoader(rows, batch_size=None)
    for call in ((loader,), ((row for row in rows),), ((row["video"] for row in rows), TEXT)):
        with pytest.raises(UserError, match=r"datasets.Video\(decode=False\)") as error:
            list(pipe(*call))
        assert "\n" not in str(error.value)


def test_rows_of_a_referring_dataset(pipe):
    options = {"split": "test", "num_videos": 1, "size": 48, "streaming": True}
    rows = glus_hf.load_referring_dataset("motion_shapes", **options)
    first = next(iter(rows))
    result = pipe(first, max_frames=2)
    assert sizes([result]) == [(2, 48, first["expression"])]
    assert_same(result, pipe(generate_clip(0, split="test", size=48).frames[:2], first["expression"]))
    assert sizes(pipe([first], max_frames=1)) == [(1, 48, first["expression"])]
    lazy = pipe(rows, max_frames=1)
    assert sizes([next(lazy)]) == [(1, 48, first["expression"])]
    table = datasets.Dataset.from_list([first, first], features=rows.features)
    assert sizes(pipe(table, max_frames=1)) == [(1, 48, first["expression"])] * 2
    with pytest.raises(UserError, match="rows one by one"):
        pipe(table[:2])


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "video, text, words",
    [
        (FRAMES, 5, "text must be an expression .* got a int: 5"),
        (FRAMES, {"text": TEXT}, "text must be an expression"),
        (FRAMES, [TEXT, 5], "must be a str, got a int: 5"),
        (FRAMES, [[TEXT], 5], "must be a str, got a int: 5"),
        (FRAMES, b"the dog", "got a bytes"),
        (FRAMES, iter([TEXT]), "or a list of them"),
        (3, TEXT, "a video cannot be a int"),
        (None, TEXT, "has no 'video'"),
        ([1, 2], TEXT, "frame 0 is a int"),
        ([None], TEXT, "frame 0 is a NoneType"),
        ([], TEXT, "no frames"),
        ({"video": FRAMES, "text": SECOND}, TEXT, "holds its own text"),
        ({"bytes": b"", "path": None}, None, "no text given"),
        (b"junk", None, "no text given"),
        (Image.new("RGB", (4, 4)), None, "no text given"),
        (["a.mp4", "b.mp4"], None, "no text given"),
        ({"video": FRAMES, "text": TEXT, "id": 7}, None, "unknown key 'id': pass a dict with"),
        ({"clip": FRAMES}, None, "has no 'video' and no 'text'"),
        ({"video": [FRAMES, OTHER], "text": TEXT}, None, "a dict for each"),
        ({"video": FRAMES, "text": 5}, None, "got a int: 5"),
        ((frames for frames in [FRAMES, OTHER]), TEXT, "frames of one clip"),
        ((name for name in ["a.mp4"]), TEXT, "frames of one clip"),
        (["no-such-1.mp4", "no-such-2.mp4"], TEXT, "no-such-1.mp4: no such file"),
        ([Path("no-such.png")], TEXT, "no-such.png: no such file"),
    ],
)
def test_other_input_is_one_line(pipe, video, text, words):
    with pytest.raises(UserError, match=words) as error:
        pipe(video, text)
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


@pytest.mark.parametrize("sample", [5, FRAMES, "clip.mp4"], ids=lambda value: type(value).__name__)
def test_a_generator_of_no_dicts_is_one_line(pipe, sample):
    with pytest.raises(UserError, match="pass a text with the video"):
        next(pipe(iter([sample])))
