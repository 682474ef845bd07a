"""Words the model does not know, and expressions it does not tell apart: pointed out, and nothing else is."""

import logging

import numpy as np
import pytest
from transformers import CLIPTokenizer, LlamaTokenizer

import glus_hf
from glus_hf.data.motion_shapes import generate_clip
from glus_hf.inference.expression_notes import add_notes, describe_notes, unknown_words


CLIP = generate_clip(0, split="test", size=64, num_frames=4)


@pytest.fixture(scope="module")
def loaded():
    return glus_hf.pipeline("referring-video-segmentation", model="glus-tiny", device="cpu")


@pytest.fixture
def pipe(loaded):
    loaded._warned.clear()
    return loaded


def test_words_out_of_the_vocabulary(pipe):
    tokenizer = pipe.processor.tokenizer
    assert unknown_words(tokenizer, "the dog that jumps over the other dog") == ["dog", "jumps", "over", "other"]
    assert unknown_words(tokenizer, "the red circle moving left") == []
    assert unknown_words(tokenizer, "le café à côté") == ["le", "café", "à", "côté"]
    assert unknown_words(tokenizer, "the red circle, moving left!") == ["circle,", "left!"]  # one word to glus-tiny


def test_no_word_of_the_dataset_is_unknown(pipe):
    texts = {expression.text for index in range(20) for expression in generate_clip(index, split="test").expressions}
    cleaned = [pipe.processor.clean_expression(text) for text in texts]
    assert len(cleaned) > 100 and not any(unknown_words(pipe.processor.tokenizer, text) for text in cleaned)


def test_tokenizers_that_write_every_word_know_every_word():
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2, "▁": 3} | {f"<0x{byte:02X}>": 4 + byte for byte in range(256)}
    assert unknown_words(LlamaTokenizer(vocab=vocabulary, merges=[]), "the dog 🐕") == []
    assert unknown_words(CLIPTokenizer(vocab={"<|startoftext|>": 0, "<|endoftext|>": 1}, merges=[]), "") == []
    assert unknown_words(None, "the dog") == unknown_words(object(), "the dog") == []


def test_the_pipeline_points_them_out_once(pipe, caplog):
    dog, cat = pipe(CLIP.frames, ["the dog", "the cat"])
    assert dog["unknown_words"] == ["dog"] and cat["unknown_words"] == ["cat"]
    assert dog["same_as"] == ["the cat"] and cat["same_as"] == ["the dog"]
    assert [record.getMessage() for record in caplog.records] == [
        "the model does not know the word 'dog' in 'the dog': the mask may be of anything",
        "the model does not know the word 'cat' in 'the cat': the mask may be of anything",
        "'the dog' and 'the cat' got the same pixels and scores: the model does not tell them apart",
    ]
    caplog.clear()
    pipe(CLIP.frames, ["the dog", "the cat"])
    assert caplog.records == []


def test_expressions_that_are_all_the_same_are_one_line():
    labels = ["a", "b", "c"]
    same = {label: [other for other in labels if other != label] for label in labels}
    results = [{"label": label, "unknown_words": [], "same_as": same[label]} for label in labels]
    words = "'a' and 'b' and 'c' got the same pixels and scores: the model does not tell them apart"
    assert describe_notes(results) == [words]


def test_a_lower_verbosity_hides_them(pipe, caplog):
    from transformers.utils import logging as verbosity

    verbosity.set_verbosity_error()
    assert pipe(CLIP.frames, "the horse")["unknown_words"] == ["horse"]
    assert caplog.records == []
    verbosity.set_verbosity_warning()
    pipe(CLIP.frames, "the horse")
    assert len(caplog.records) == 1


def test_ordinary_expressions_give_no_alarm(pipe, caplog):
    """Also not two right descriptions of one object, nor one expression that is given twice."""
    with caplog.at_level(logging.WARNING):
        for index in range(3):
            clip = generate_clip(index, split="test", size=64, num_frames=4)
            texts = [expression.text for expression in clip.expressions[:6]]
            results = pipe(clip.frames, [*texts, texts[0]])
            assert not any(result["same_as"] or result["unknown_words"] for result in results)
    assert caplog.records == []


def result(label, masks, score):
    return {"label": label, "masks": masks, "scores": np.full(len(masks), score, np.float32)}


def test_same_means_the_same_pixels_and_scores():
    masks = np.zeros((3, 20, 20), bool)
    masks[:, 5:15, 5:15] = True
    shifted, empty = np.roll(masks, 1, axis=2), np.zeros_like(masks)
    results = [
        result("a", masks, 0.9),
        result("b", masks.copy(), 0.9004),
        result("a", masks.copy(), 0.9),
        result("other score", masks, 0.8),
        result("other pixels", shifted, 0.9),
        result("empty", empty, 0.0),
        result("empty too", empty, 0.0),
    ]
    add_notes(results, [[]] * len(results))
    assert [each["same_as"] for each in results] == [["b"], ["a", "a"], ["b"], [], [], [], []]
    assert len(describe_notes(results)) == 1
