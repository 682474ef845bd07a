"""The pipeline: every kind of input, and the shape of what comes out."""

import numpy as np
import pytest
import torch
from PIL import Image

import glus_hf
from glus_hf.data.motion_shapes import generate_clip
from glus_hf.errors import VideoError
from glus_hf.media.video import write_video


CLIP = generate_clip(0, split="test", size=64, num_frames=6)
FRAMES = CLIP.frames
TEXT, OTHER = "the red circle", "the object moving left"


@pytest.fixture(scope="module")
def pipe():
    return glus_hf.pipeline("referring-video-segmentation", model="glus-tiny", device="cpu")


@pytest.fixture(scope="module")
def expected(pipe):
    return pipe(FRAMES, TEXT)


def assert_same(result, expected):
    assert result["label"] == expected["label"]
    np.testing.assert_array_equal(result["frame_indices"], expected["frame_indices"])
    assert result["masks"].shape == expected["masks"].shape
    assert (result["masks"] != expected["masks"]).mean() < 1e-3  # a pixel on the edge may flip with the batch
    np.testing.assert_allclose(result["scores"], expected["scores"], atol=1e-3)
    assert result["missing_seg_frames"] == expected["missing_seg_frames"]


def test_one_text_gives_one_dict(expected):
    assert expected["label"] == TEXT
    assert expected["masks"].shape == (6, 64, 64) and expected["masks"].dtype == np.bool_
    assert expected["scores"].shape == (6,) and expected["scores"].dtype == np.float32
    assert ((expected["scores"] >= 0) & (expected["scores"] <= 1)).all()
    assert expected["frame_indices"].tolist() == list(range(6))
    has_mask = expected["masks"].any((1, 2))
    assert (expected["scores"][~has_mask] == 0).all() and (expected["scores"][has_mask] > 0).all()
    assert not has_mask[expected["missing_seg_frames"]].any()


@pytest.mark.parametrize(
    "make_video",
    [
        lambda folder: list(FRAMES),
        lambda folder: [Image.fromarray(frame) for frame in FRAMES],
        lambda folder: torch.from_numpy(FRAMES),
        lambda folder: torch.from_numpy(FRAMES).permute(0, 3, 1, 2) / 255,
        lambda folder: glus_hf.load_video(FRAMES),
        lambda folder: [save_png(folder, index) for index in range(6)],
        lambda folder: save_png(folder, 0).parent,
    ],
    ids=["arrays", "pil", "tensor", "float-tensor", "Video", "image-paths", "folder"],
)
def test_every_kind_of_video_gives_the_same(pipe, expected, make_video, tmp_path):
    for index in range(6):
        save_png(tmp_path, index)
    assert_same(pipe(make_video(tmp_path), TEXT), expected)


def save_png(folder, index):
    path = folder / f"{index:05d}.png"
    Image.fromarray(FRAMES[index]).save(path)
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mov", ".gif"])
def test_video_files(pipe, suffix, tmp_path):
    write_video(tmp_path / f"clip{suffix}", FRAMES, fps=8)
    result = pipe(str(tmp_path / f"clip{suffix}"), TEXT)
    assert result["masks"].shape == (6, 64, 64)


def test_odd_size_and_one_frame(pipe):
    result = pipe(FRAMES[:1, :37, :51], TEXT)
    assert result["masks"].shape == (1, 37, 51)


def test_many_texts_give_what_single_texts_give(pipe, expected):
    results = pipe(FRAMES, [TEXT, OTHER])
    assert [result["label"] for result in results] == [TEXT, OTHER]
    assert_same(results[0], expected)
    assert_same(results[1], pipe(FRAMES, OTHER))


def test_list_of_dicts(pipe, expected):
    samples = [{"video": FRAMES, "text": TEXT}, {"video": FRAMES, "text": [TEXT, OTHER]}]
    results = pipe(samples)
    assert_same(results[0], expected)
    assert_same(results[1][0], expected)
    assert_same(pipe(samples[0]), expected)
    assert pipe([]) == []


def test_generator_is_lazy(pipe, expected):
    seen = []

    def samples():
        for index in range(3):
            seen.append(index)
            yield {"video": FRAMES, "text": TEXT}

    results = pipe(samples())
    assert seen == []
    assert_same(next(results), expected)
    assert seen == [0]
    assert len(list(results)) == 2


def test_data_set(pipe, expected):
    class Clips(torch.utils.data.Dataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return {"video": FRAMES, "text": TEXT}

    results = list(pipe(Clips()))
    assert len(results) == 2
    assert_same(results[1], expected)


def test_batch_size_does_not_change_the_result(pipe, expected):
    for batch_size in (1, 3):
        assert_same(pipe(FRAMES, TEXT, batch_size=batch_size), expected)
    smaller = glus_hf.pipeline(model=pipe.model, processor=pipe.processor, device="cpu", batch_size=2)
    assert_same(smaller(FRAMES, TEXT), expected)


def test_key_frame(pipe, expected):
    assert_same(pipe(FRAMES, TEXT, key_frame=0), expected)
    from_last = pipe(FRAMES, TEXT, key_frame=np.int64(5))
    assert from_last["frame_indices"].tolist() == list(range(6))
    first, second, third = pipe(FRAMES, [TEXT, OTHER, TEXT], key_frame=[5, None, 0])
    assert_same(first, from_last)
    assert second["label"] == OTHER
    assert_same(third, expected)
    assert_same(pipe({"video": FRAMES, "text": TEXT, "key_frame": 5}), from_last)


@pytest.mark.parametrize("key_frame", [6, -1, 1.0, True, "auto", "first", [0, 1]])
def test_bad_key_frame_is_a_one_line_error(pipe, key_frame):
    with pytest.raises(ValueError, match="key_frame|key frames") as error:
        pipe(FRAMES, TEXT, key_frame=key_frame)
    assert "\n" not in str(error.value)


def test_other_settings(pipe, expected, capfd):
    assert pipe(FRAMES, TEXT, max_frames=2)["masks"].shape == (2, 64, 64)
    assert not pipe(FRAMES, TEXT, threshold=1e9)["masks"].any()
    indices = pipe.processor.sample_context_frames(6)
    assert_same(pipe(FRAMES, TEXT, context_frames=indices), expected)
    capfd.readouterr()
    assert_same(pipe(FRAMES, TEXT, progress=True), expected)
    out, err = capfd.readouterr()
    assert out == "" and "segmenting" in err


@pytest.mark.parametrize("inputs", [FRAMES, list(FRAMES), "clip.mp4", None, 3], ids=lambda value: type(value).__name__)
def test_video_without_text_is_a_one_line_error(pipe, inputs):
    with pytest.raises(ValueError, match="text") as error:
        pipe(inputs)
    assert "\n" not in str(error.value)


def test_other_bad_inputs(pipe):
    with pytest.raises(ValueError, match="empty"):
        pipe(FRAMES, " ")
    with pytest.raises(ValueError, match="no expression"):
        pipe(FRAMES, [])
    with pytest.raises(ValueError, match="tokens"):
        pipe(FRAMES, "red " * 2000)
    with pytest.raises(ValueError, match="protocol token"):
        pipe(FRAMES, "the [SEG] circle")
    with pytest.raises(VideoError, match="no such file"):
        pipe("no-such-clip.mp4", TEXT)
    with pytest.raises(ValueError, match="'video' and 'text'"):
        pipe([{"video": FRAMES}])
    with pytest.raises(ValueError, match="'video' and 'text'"):
        pipe({"video": FRAMES, "text": TEXT, "keyframe": 1})
    with pytest.raises(TypeError, match="keyframe"):
        pipe(FRAMES, TEXT, keyframe=1)


def test_model_in_memory_and_defaults(pipe, expected):
    from transformers import pipeline

    in_memory = pipeline(
        "referring-video-segmentation", model=pipe.model, processor=pipe.processor, device="cpu", max_frames=6
    )
    assert_same(in_memory(FRAMES, TEXT), expected)
    assert_same(pipeline("referring-video-segmentation", device="cpu")(FRAMES, TEXT), expected)
    assert_same(glus_hf.pipeline(device="cpu", dtype=torch.float32)(FRAMES, TEXT), expected)


def test_save_and_load_again(pipe, expected, tmp_path):
    pipe.save_pretrained(tmp_path / "saved")
    again = glus_hf.pipeline("referring-video-segmentation", model=str(tmp_path / "saved"), device="cpu")
    assert type(again.processor) is type(pipe.processor)
    assert_same(again(FRAMES, TEXT), expected)


def test_wrong_model_is_a_one_line_error(tmp_path, monkeypatch):
    monkeypatch.setenv("GLUS_HF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for model in (str(tmp_path), "no-such-model", "glus-7b"):
        with pytest.raises(glus_hf.CheckpointError) as error:
            glus_hf.pipeline(model=model)
        assert "\n" not in str(error.value) and model in str(error.value)
