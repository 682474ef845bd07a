"""What goes into GLEE and comes out: texts, names, images, objects."""

import numpy as np
import pytest
import torch

from glus_hf import GLEEConfig, GLEEImageProcessor, GLEEProcessor, UserError
from glus_hf.models.glee.modeling_glee import GLEESegmentationOutput
from tests.models.glee.small_glee import END, LENGTH, small_model, small_processor, word_tokenizer


IMAGE = np.random.default_rng(1).integers(0, 256, (40, 60, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def processor():
    return small_processor()


# ---- texts


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("The red circle.", "the red circle"),
        ("left-moving dog/cat (large)!", "left moving dog cat large"),
        (' the "dog": #1; \n\t it*s?', "the dog 1 its"),
    ],
)
def test_expressions_are_cleaned_as_in_the_release(processor, text, cleaned):
    assert processor.clean_expression(text) == cleaned


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("?!", "is empty"),
        (3, "must be a str"),
        ("the <s> dog", "protocol token <s>"),
        ("dog " * (LENGTH - 1), f"has {LENGTH + 1} tokens with start and end, the limit is {LENGTH}"),
    ],
)
def test_expressions_that_no_tower_reads_are_refused(processor, text, message):
    with pytest.raises(UserError, match=message) as error:
        processor.init_video_session([IMAGE], text)
    assert "\n" not in str(error.value)


def test_the_longest_expression_fits(processor):
    session = processor.init_video_session([IMAGE], "dog " * (LENGTH - 2))
    assert session.attention_mask.sum() == LENGTH


def test_texts_are_padded_with_the_end_token(processor):
    tokens = processor.tokenize(["red dog", "cat"])
    assert tokens["input_ids"].shape == (2, LENGTH)
    assert tokens["attention_mask"].sum(1).tolist() == [4, 3]
    assert (tokens["input_ids"][1, 2:] == END).all()


# ---- names


def test_bad_names_are_refused_in_one_line(processor):
    for names, message in (
        ([], "there are no category names"),
        ([f"name {number}" for number in range(10_000)], "10000 category names, the limit is 2000"),
        (["dog", " "], "category name 1 is ' '"),
        (["dog", None], "category name 1 is None"),
        (["dog " * 77], "the category name 'dog dog"),
    ):
        with pytest.raises(UserError, match=message) as error:
            processor(IMAGE, names)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="either category_names or text"):
        processor(IMAGE)


def test_repeated_names_are_merged_with_a_warning(processor):
    with pytest.warns(UserWarning, match="1 repeated category names were merged"):
        inputs = processor(IMAGE, ["dog", "cat", "dog"])
    assert len(inputs["input_ids"]) == 2


def test_context_frames_are_of_other_families(processor):
    with pytest.raises(UserError, match="no context frames"):
        processor.init_video_session([IMAGE], "dog", context_frames="uniform")


# ---- images


@pytest.mark.parametrize(
    ("size", "resized"),
    [((480, 640), (800, 1067)), ((720, 1280), (750, 1333)), ((1, 1), (800, 800)), ((10_000, 50), (1333, 7))],
)
def test_sizes_are_those_of_the_release(size, resized):
    assert GLEEImageProcessor().resized_size(size) == resized


def test_padding_is_zero_after_normalisation():
    processor = GLEEImageProcessor(size={"shortest_edge": 40, "longest_edge": 60})
    white = np.full((40, 60, 3), 255, np.uint8)
    pixels = processor(white).pixel_values[0]
    assert pixels.shape == (3, 64, 64) and (pixels[:, 40:] == 0).all() and (pixels[:, :, 60:] == 0).all()
    expected = (255 - torch.tensor([123.675, 116.28, 103.53])) / torch.tensor([58.395, 57.12, 57.375])
    torch.testing.assert_close(pixels[:, 39, 59], expected)


def test_images_of_different_sizes_make_one_batch():
    processor = GLEEImageProcessor(size={"shortest_edge": 40, "longest_edge": 100})
    batch = processor([IMAGE, IMAGE.transpose(1, 0, 2), IMAGE[:20]])
    assert batch.pixel_values.shape == (3, 3, 64, 128)
    assert batch.resized_sizes == [(40, 60), (60, 40), (33, 100)]


@pytest.mark.parametrize("size", [(1, 1), (10_000, 50)])
def test_extreme_images_work(size):
    model, processor = small_model(), small_processor(short=64, long=320)
    inputs = processor(np.zeros((*size, 3), np.uint8), ["dog", "cat"])
    with torch.no_grad():
        found = processor.post_process_instance_segmentation(model(**inputs), [size], threshold=-1.0, top_k=3)[0]
    assert found["masks"].shape == (3, *size) and found["boxes"].isfinite().all()


def test_saved_and_loaded(tmp_path, processor):
    processor.save_pretrained(tmp_path)
    loaded = GLEEProcessor.from_pretrained(tmp_path)
    assert loaded.max_text_tokens == LENGTH and loaded.image_processor.size == processor.image_processor.size
    first, second = processor([IMAGE], text="the red dog"), loaded([IMAGE], text="the red dog")
    assert all(torch.equal(first[name], second[name]) for name in ("pixel_values", "input_ids", "attention_mask"))


# ---- objects


def known_predictions():
    """Two queries of an image of 32x64, which fills the batch: a sure square of name 1, and a weak one of name 0."""
    masks = torch.full((1, 2, 8, 16), -20.0)
    masks[0, 0, :4, :4], masks[0, 1, 4:, 8:] = 20.0, 1.0
    return GLEESegmentationOutput(
        logits=torch.tensor([[[-9.0, 3.0], [0.0, -9.0]]]),
        pred_boxes=torch.tensor([[[0.125, 0.25, 0.25, 0.5], [0.75, 0.75, 0.5, 0.5]]]),
        pred_masks=masks,
    )


def test_objects_of_known_predictions():
    processor = small_processor(short=32, long=64)
    (found,) = processor.post_process_instance_segmentation(
        known_predictions(), [(16, 32)], threshold=0.1, category_names=["dog", "cat"]
    )
    assert found["labels"].tolist() == [1, 0] and found["text_labels"] == ["cat", "dog"]
    assert found["boxes"].tolist() == [[0.0, 0.0, 8.0, 8.0], [16.0, 8.0, 32.0, 16.0]]
    first, second = found["scores"].tolist()
    assert first == pytest.approx(torch.tensor(3.0).sigmoid().item(), abs=0.01)
    assert 0.3 < second < 0.5 * torch.tensor(1.0).sigmoid().item() + 1e-3  # half sure of the name, less of the mask
    assert found["masks"][0].sum() == 64 and found["masks"][0, :8, :8].all()


def test_detection_is_segmentation_without_masks():
    processor, outputs = small_processor(short=32, long=64), known_predictions()
    (boxes,), (masks,) = (
        processor.post_process_object_detection(outputs, [(16, 32)], threshold=0.4),
        processor.post_process_instance_segmentation(outputs, torch.tensor([[16, 32]]), threshold=0.4),
    )
    assert boxes.keys() == {"scores", "labels", "boxes"} and len(boxes["scores"]) == 1
    assert torch.equal(boxes["boxes"], masks["boxes"])
    with pytest.raises(UserError, match="1 images but 2 target sizes"):
        processor.post_process_object_detection(outputs, [(16, 32)] * 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_std": [0.0, 1.0, 1.0]}, "the image processor makes"),
        ({"image_mean": [1.0]}, "the image processor makes"),
        ({"size_divisor": 0}, "size_divisor"),
        ({"size_divisor": 10**9}, "size_divisor"),
    ],
)
def test_image_settings_that_make_no_image_are_refused(settings, message):
    with pytest.raises(UserError, match=message) as error:
        GLEEProcessor(GLEEImageProcessor(**settings), word_tokenizer())
    assert "\n" not in str(error.value)


def test_the_end_token_is_one_number():
    with pytest.raises(UserError, match="text_config.eos_token_id is .1, 2.; it must be one number"):
        GLEEConfig(text_config={"eos_token_id": [1, 2]})
