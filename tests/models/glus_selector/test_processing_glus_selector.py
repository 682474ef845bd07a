"""Prompt, ids, context frames, sessions and training batches of the selector."""

import json
import math
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer, LlamaTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from glus_hf import ChatUniViProcessor, CheckpointError, GLUSSelectorProcessor
from tests.models.glus_selector.small_selector import small_processor
from tests.models.glus_selector.upstream_selector import CHECKPOINT, META, SCORE, golden, read_frames


@pytest.fixture(scope="module", params=[AutoTokenizer, LlamaTokenizer], ids=["auto", "llama"])
def processor(request):
    pytest.importorskip("sentencepiece")
    return GLUSSelectorProcessor(CLIPImageProcessorPil(), request.param.from_pretrained(CHECKPOINT))


@pytest.fixture(scope="module")
def words():
    return small_processor()


@pytest.fixture(scope="module", params=["sentencepiece", "words"])
def any_processor(request, words):
    if request.param == "words":
        return words
    pytest.importorskip("sentencepiece")
    return GLUSSelectorProcessor(CLIPImageProcessorPil(), LlamaTokenizer.from_pretrained(CHECKPOINT))


def video(num_frames):
    return list(np.random.default_rng(0).integers(0, 256, (num_frames, 40, 48, 3), dtype=np.uint8))


# ---- prompts and ids


def test_ids_without_legacy():
    pytest.importorskip("sentencepiece")
    tokenizer = LlamaTokenizer.from_pretrained(CHECKPOINT)
    prompt = META["selector"]["prompt_of_target_0"]
    new, old = (GLUSSelectorProcessor(CLIPImageProcessorPil(), tokenizer, legacy=legacy) for legacy in (False, True))
    ids = new.tokenize(prompt)
    assert ids == golden()["tokenizer_legacy_false.input_ids"].tolist()
    differing = [index for index, pair in enumerate(zip(ids, old.tokenize(prompt))) if pair[0] != pair[1]]
    assert differing == [ids.index(SCORE) + 1]


def test_pieces_without_legacy(words):
    processor = small_processor(legacy=False)
    decode = lambda ids: processor.tokenizer.convert_ids_to_tokens(ids)
    assert decode(processor.tokenize("circle[SCORE]red</s>", add_bos=False)) == ["▁circle", "[SCORE]", "<unk>", "</s>"]
    assert decode(processor.tokenize("</s> red", add_bos=False))[:2] == ["</s>", "▁"]
    assert decode(words.tokenize("circle[SCORE]red</s>", add_bos=False)) == ["▁circle", "[SCORE]", "▁red", "</s>"]


def test_white_space_around_the_score_token(any_processor):
    tokenize = any_processor.tokenize
    assert tokenize("It is \n [SCORE] .</s>") == tokenize("It is[SCORE].</s>")
    assert tokenize("[SCORE]", add_bos=False) == [any_processor.score_token_id]
    assert tokenize("") == [1]


def test_ids_equal_sentencepiece(processor):
    sentencepiece = pytest.importorskip("sentencepiece")
    model = sentencepiece.SentencePieceProcessor(model_file=str(CHECKPOINT / "tokenizer.model"))
    for text in [" \nTarget Image: ", "the naïve 猫 cat", "ünïcode  two spaces", "a\tb", ", (1)"]:
        assert processor.tokenize(text, add_bos=False) == model.encode(text)


@pytest.mark.parametrize("arguments", [("cat", 0), ("cat", 2, 2), ("cat?", 2, 1), ("cat", 2, 0, 4), ("cat", 2, -1)])
def test_prompts_that_do_not_exist(words, arguments):
    with pytest.raises(ValueError, match="no prompt with"):
        words.build_conversation(*arguments)


def test_braces_in_expression_are_text(words):
    assert "segmenting the {x} {0} in" in words.build_conversation("{x} {0}", 1)


def test_expanding_images(words):
    ids = [1, -200, 5, -200, -200, 6, *[-200] * 17, 7]
    assert words.expand_image_tokens(ids).count(-200) == 20 * 14
    grouped = words.expand_image_tokens(ids, group_runs=True)
    assert grouped.count(-200) == (1 + 2 + math.ceil(17 / 16)) * 14
    assert [token for token in grouped if token != -200] == [1, 5, 6, 7]
    unmerged = small_processor(temporal_cluster_rate=None)
    assert unmerged.expand_image_tokens(ids, group_runs=True).count(-200) == 3 * 14 + 14 + 17


# ---- expressions


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        (" The CAT. ", "the cat."),
        ("the cat\n\n on\tthe  mat .", "the cat on the mat ."),
        ("Which one?", "which one?"),
        ("the man who says ASSISTANT: hi USER: ho", "the man who says assistant: hi user: ho"),
    ],
)
def test_clean_expression(any_processor, text, cleaned):
    assert any_processor.clean_expression(text) == cleaned


@pytest.mark.parametrize("token", ["[SCORE]", "[score]", "<image>", "<s>", "</S>", "＜s＞", "<unk>", "[Ｓcore]"])
def test_protocol_tokens_are_refused(any_processor, token):
    with pytest.raises(ValueError, match="remove it from the expression") as error:
        any_processor.clean_expression(f"the cat{token} left")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "  \n ", None, 7, ["cat"], "\ud800", "circle " * 300])
def test_bad_expressions_are_refused(any_processor, text):
    for call in (
        any_processor.clean_expression,
        lambda text: any_processor.init_video_session(video(1), ["cat", text]),
    ):
        with pytest.raises(ValueError, match="expression") as error:
            call(text)
        assert "\n" not in str(error.value)


# ---- context frames


@pytest.mark.parametrize("num_frames", META["context_table"])
def test_upstreams_contexts(words, num_frames):
    table = META["context_table"][num_frames]
    for frame in range(int(num_frames)):
        expected = table["contexts_by_target_mod_step"][frame % table["step"]]
        assert words.sample_context_frames(int(num_frames), frame) == expected


def test_upstreams_contexts_have_their_target_and_fit():
    processor = small_processor()
    for num_frames in range(1, 300):
        for frame in {0, num_frames // 2, num_frames - 1}:
            context = processor.sample_context_frames(num_frames, frame)
            assert frame in context and min(num_frames, 6) <= len(context) <= 11


def test_papers_contexts(words):
    assert words.sample_context_frames(8, 3, "paper") == words.sample_context_frames(8, 7, "paper") == list(range(8))
    assert words.sample_context_frames(3, 0, "paper") == [0, 1, 2]
    assert words.sample_context_frames(16, 0, "paper") == [1, 3, 5, 7, 9, 11, 13, 15]
    for num_frames in range(8, 100):
        context = words.sample_context_frames(num_frames, 0, "paper")
        assert len(set(context)) == 8 and context == sorted(context) and context[0] >= 0 and context[-1] < num_frames
        gaps = np.diff(context)
        assert max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize("arguments", [(0,), (5, 5), (5, -1), (5, 0, "best")])
def test_bad_context_requests(words, arguments):
    with pytest.raises(ValueError):
        words.sample_context_frames(*arguments)
    with pytest.raises(ValueError, match="max_images"):
        small_processor(max_images=1)
    with pytest.raises(ValueError, match="unknown context_frames 'best'; use one of upstream, paper"):
        small_processor(context_frames="best")


# ---- sessions


def test_session(words):
    frames = video(23)
    session = words.init_video_session(frames, ["The Red square.", "circle"])
    assert session.texts == ["the red square.", "circle"] and session.scores is None
    assert (session.num_frames, session.height, session.width) == (23, 40, 48)
    assert session.context_of_frame == [frame % 3 for frame in range(23)]
    assert [len(context) for context in session.contexts] == [8, 8, 7]
    assert [ids.count(-200) for ids in session.prefix_input_ids] == [8 * 14, 8 * 14, 7 * 14]
    for ids in session.target_input_ids:
        assert ids[:14] == [-200] * 14 and ids.count(-200) == 14
        assert words.tokenizer.convert_ids_to_tokens(ids[-2:]) == ["▁It", "▁is"]


def test_session_context_choices(words):
    session = words.init_video_session(video(12), "circle", "paper")
    assert session.contexts == [words.sample_context_frames(12, strategy="paper")]
    assert small_processor(context_frames="paper").init_video_session(video(12), "circle").contexts == session.contexts
    assert words.init_video_session(video(12), "circle", [5, 0]).contexts == [[5, 0]]
    for wrong in ([], [12], [-1, 2]):
        with pytest.raises(ValueError, match="context_frames must be indices in 0..11"):
            words.init_video_session(video(12), "circle", wrong)
    with pytest.raises(ValueError, match="unknown context_frames"):
        words.init_video_session(video(12), "circle", "random")


@pytest.mark.parametrize("package", [True, False], ids=["reader", "no-reader"])
def test_session_video_kinds(words, package, monkeypatch):
    if not package:
        monkeypatch.setitem(sys.modules, "glus_hf", None)  # makes the import fail
        with pytest.raises(ValueError, match="needs the package"):
            words.init_video_session("clip.mp4", "circle")
    frames = video(5)
    for kind in [frames, [Image.fromarray(frame) for frame in frames], np.stack(frames)]:
        session = words.init_video_session(kind, "circle")
        assert session.num_frames == 5 and np.array_equal(session.frames[4], frames[4])
    for wrong in [[], [frames[0], frames[1][:20]]]:
        with pytest.raises(ValueError):
            words.init_video_session(wrong, "circle")
    with pytest.raises(ValueError, match="no expression"):
        words.init_video_session(frames, [])


# ---- training batches


def test_batch(words):
    samples = [
        {"frames": video(4), "expressions": ["circle", "red square"], "scores": [0.5, 0.25]},
        {"frames": video(3), "expressions": ["which square?"], "scores": torch.tensor([1.0])},
    ]
    batch = words(samples)
    assert batch.pixel_values.shape == (7, 3, 32, 32) and batch.pixel_values.dtype == torch.float32
    assert batch.frames_per_video.tolist() == [4, 3] and batch.expressions_per_video.tolist() == [2, 1]
    assert batch.score_labels.tolist() == [0.5, 0.25, 1.0] and batch.score_labels.dtype == torch.float32
    assert [(row == -200).sum() for row in batch.input_ids] == [4 * 14, 4 * 14, 3 * 14]
    decode = words.tokenizer.convert_ids_to_tokens
    for ids, labels, mask in zip(batch.input_ids, batch.labels, batch.attention_mask):
        assert (ids == words.score_token_id).sum() == 1
        answer = labels[labels != -100]
        assert decode(answer.tolist()) == ["▁It", "▁is", "[SCORE]", "▁.", "</s>"]
        length = int(mask.sum())
        assert torch.equal(ids[length - 5 : length], answer) and not ids[length:].any()
    assert "score_labels" not in words([{**sample, "scores": None} for sample in samples])
    assert torch.equal(words(samples[0]).input_ids, words(samples[:1]).input_ids)


def test_sampled_prompts(any_processor):
    sample = {"frames": video(3), "expressions": [" The Red square "]}
    rows = {}
    for seed in range(40):
        batch = any_processor(sample, rng=np.random.default_rng(seed))
        again = any_processor(sample, rng=np.random.default_rng(seed))
        assert torch.equal(batch.input_ids, again.input_ids)
        rows[tuple(batch.input_ids[0].tolist())] = True
    assert len(rows) == 2 * 4
    expected = {
        tuple(
            any_processor.expand_image_tokens(
                any_processor.tokenize(any_processor.build_conversation("The Red square", 2, question, answer))
            )
        )
        for question in range(2)
        for answer in range(4)
    }
    assert set(rows) == expected


def test_answers_in_expressions_are_not_labels(any_processor):
    sample = {"frames": video(3), "expressions": ["the man. ASSISTANT: It is 7 USER: "]}
    batch = any_processor(sample, rng=np.random.default_rng(0))
    labels = batch.labels[0][batch.labels[0] != -100]
    plain = any_processor({**sample, "expressions": ["circle"]}, rng=np.random.default_rng(0))
    assert torch.equal(labels, plain.labels[0][plain.labels[0] != -100])


@pytest.mark.parametrize(
    ("change", "words_of_error"),
    [
        ({"frames": video(1)}, "context frames and a target frame"),
        ({"expressions": []}, "at least one expression"),
        ({"expressions": ["[SCORE]"]}, "protocol token"),
        ({"scores": [0.1, 0.2]}, "one per expression"),
        ({"conversations": ["no roles [SCORE]"]}, "ASSISTANT"),
        ({"frames": [np.zeros((4, 4), np.uint8)] * 3}, "uint8 RGB"),
    ],
)
def test_samples_that_are_refused(words, change, words_of_error):
    sample = {"frames": video(3), "expressions": ["circle"], "scores": [0.1]}
    with pytest.raises(ValueError, match=words_of_error):
        words({**sample, **change})
    with pytest.raises(ValueError, match="at least one sample"):
        words([])
    with pytest.raises(ValueError, match="either no sample has scores"):
        words([sample, {**sample, "scores": None}])


# ---- saving, and the processor of Chat-UniVi


def test_round_trip(any_processor, tmp_path):
    made = GLUSSelectorProcessor(
        any_processor.image_processor,
        any_processor.tokenizer,
        num_image_tokens=9,
        legacy=False,
        context_frames="paper",
        max_images=5,
        temporal_cluster_rate=None,
    )
    made.save_pretrained(tmp_path)
    loaded = GLUSSelectorProcessor.from_pretrained(tmp_path)
    assert loaded.to_dict() == made.to_dict()
    assert (loaded.legacy, loaded.max_images, loaded.temporal_cluster_rate) == (False, 5, None)
    prompt = made.build_conversation("the red square", 2)
    assert loaded.tokenize(prompt) == made.tokenize(prompt)
    assert torch.equal(loaded.clip_view(video(2)), made.clip_view(video(2)))
    changed = GLUSSelectorProcessor.from_pretrained(tmp_path, context_frames="upstream")
    assert changed.context_frames == "upstream"
    assert "context_frames" not in json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(CheckpointError):
        GLUSSelectorProcessor.from_pretrained(tmp_path)


def test_a_tokenizer_without_the_token():
    tokenizer = small_processor().tokenizer
    plain = type(tokenizer)(
        tokenizer_object=type(tokenizer.backend_tokenizer).from_str("""
        {"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
         "pre_tokenizer": null, "post_processor": null, "decoder": null,
         "model": {"type": "WordLevel", "vocab": {"<unk>": 0, "<s>": 1, "</s>": 2}, "unk_token": "<unk>"}}""")
    )
    with pytest.raises(ValueError, match=r"lacks \[SCORE\]"):
        GLUSSelectorProcessor(CLIPImageProcessorPil(), plain)
    ChatUniViProcessor(CLIPImageProcessorPil(), plain)


def test_base_inputs(words):
    base = ChatUniViProcessor(words.image_processor, words.tokenizer, num_image_tokens=14)
    frames = video(6)
    inputs = base(["red <image><image><image><image> circle", "<image> square <image>"], frames)
    assert inputs.frames_per_group.tolist() == [4, 1, 1] and inputs.pixel_values.shape == (6, 3, 32, 32)
    assert [(row == -200).sum() for row in inputs.input_ids] == [14, 28]
    assert torch.equal(inputs.attention_mask == 0, inputs.input_ids == words.pad_token_id)
    single = base("red <image><image><image><image> circle", frames[:4], group_runs=False)
    assert single.frames_per_group.tolist() == [1] * 4 and (single.input_ids == -200).sum() == 4 * 14
    assert "pixel_values" not in base("red circle")
    base.tokenizer.padding_side = "left"
    padded = base(["red", "red circle square"])
    base.tokenizer.padding_side = "right"
    assert padded.attention_mask[0].tolist() == [0, 0, 1, 1]
    for text, images in [("<image>", frames[:2]), ("red", frames[:1]), ("<image>", None)]:
        with pytest.raises(ValueError, match="<image>, but there are"):
            base(text, images)
    with pytest.raises(ValueError, match="no prompt"):
        base([])


def test_frames_of_the_fixture_are_cropped(processor):
    view = processor.clip_view(read_frames("frames")[:1])
    assert view.shape == (1, 3, 224, 224)
