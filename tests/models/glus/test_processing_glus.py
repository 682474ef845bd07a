"""Prompt protocol, sessions and training batches against the golden ids of the public program."""

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoTokenizer, LlamaTokenizer, PreTrainedTokenizerFast

from glus_hf.models.glus.image_processing_glus import GLUSImageProcessor
from glus_hf.models.glus.processing_glus import ANSWERS, QUESTIONS, GLUSProcessor
from glus_hf.training.word_tokenizer import build_word_tokenizer
from tests.paths import FIXTURES


FIXTURE = FIXTURES / "upstream_tiny"
META = json.loads((FIXTURE / "meta.json").read_text())
CONVERSATIONS = json.loads((FIXTURE / "train_conversations.json").read_text())
SAMPLES = json.loads((FIXTURE / "train_samples.json").read_text())


def tiny_image_processor():
    square = {"height": 64, "width": 64}
    return GLUSImageProcessor(size={"shortest_edge": 64}, crop_size=square, mask_size=square)


@pytest.fixture(scope="module")
def golden():
    return load_file(FIXTURE / "golden.safetensors")


@pytest.fixture(scope="module")
def frames():
    return [np.array(Image.open(path).convert("RGB")) for path in sorted((FIXTURE / "frames").glob("*.png"))]


@pytest.fixture(scope="module", params=[AutoTokenizer, LlamaTokenizer], ids=["auto", "llama"])
def processor(request):
    pytest.importorskip("sentencepiece")
    return GLUSProcessor(tiny_image_processor(), request.param.from_pretrained(FIXTURE / "checkpoint"))


@pytest.fixture(scope="module")
def word_processor():
    return GLUSProcessor(tiny_image_processor(), build_word_tokenizer(["red square", "circle", "naïve", "猫"]))


@pytest.fixture(scope="module", params=["sentencepiece", "words"])
def any_processor(request, word_processor):
    if request.param == "words":
        return word_processor
    pytest.importorskip("sentencepiece")
    return GLUSProcessor(tiny_image_processor(), LlamaTokenizer.from_pretrained(FIXTURE / "checkpoint"))


# ---- prompts and ids


@pytest.mark.parametrize("frame", range(10))
def test_window_ids_equal_upstream(processor, golden, frame):
    prompt = processor.build_window_prompt(META["expression"], min(frame + 1, 4))
    assert processor.tokenize(prompt) == golden[f"input_ids.{frame}"].tolist()


def test_training_conversations_and_ids_equal_upstream(processor, golden):
    rows = iter(zip(CONVERSATIONS, golden["train.input_ids"], golden["train.attention_mask"]))
    for sample in SAMPLES:
        for text, (question, answer) in zip(sample["expressions"], sample["question_answer_offsets"]):
            questions = [(question + turn) % len(QUESTIONS) for turn in range(4)]
            answers = [(answer + turn) % len(ANSWERS) for turn in range(4)]
            conversation, ids, mask = next(rows)
            assert processor.build_conversation(text, 4, questions, answers) == conversation
            assert processor.tokenize(conversation) == ids[mask].tolist()


@pytest.mark.parametrize("num_query", [1, 2, 3, 4])
def test_session_parts_compose_to_the_window(any_processor, frames, num_query):
    texts = ["the small red square moving to the left", "circle"]
    session = any_processor.init_video_session(frames, texts)
    for index, text in enumerate(texts):
        whole = any_processor.expand_image_tokens(
            any_processor.tokenize(any_processor.build_window_prompt(text, num_query))
        )
        turns = session.turn_input_ids[index] * (num_query - 1)
        assert session.prefix_input_ids + turns + session.last_turn_input_ids[index] == whole
        assert whole.count(-200) == (4 + num_query) * 64


def test_seg_positions_follow_the_closed_form(any_processor):
    tokens = any_processor.tokenize(any_processor.build_conversation("circle", 4))
    expanded = any_processor.expand_image_tokens(tokens)
    hits = [p for p, token in enumerate(tokens) if token == any_processor.seg_token_id]
    assert len(hits) == 4
    assert any_processor.seg_positions(expanded) == [p - 1 + 63 * (4 + j) for j, p in enumerate(hits, start=1)]


def test_seg_positions_of_a_window_end_with_its_last(any_processor):
    ids = any_processor.expand_image_tokens(any_processor.tokenize(any_processor.build_window_prompt("circle", 3)))
    positions = any_processor.seg_positions(ids)
    assert len(positions) == 3 and positions[-1] == len(ids) - 1
    assert any_processor.tokenizer.convert_ids_to_tokens(ids[-1]) == "▁"


def test_white_space_around_tokens(any_processor):
    tokenize = any_processor.tokenize
    assert tokenize(" \n[SEG] \n . </s>USER:") == tokenize("[SEG]. </s>USER:")
    assert tokenize("[SEG].</s> USER:") != tokenize("[SEG].</s>USER:")
    assert tokenize("[SEG]", add_bos=False) == [any_processor.seg_token_id]
    assert tokenize("") == [1]


def test_leading_space_keeps_the_dummy_prefix(processor):
    # sentencepiece writes "▁▁USER"; fast tokenizers alone would write "▁USER"
    tokens = processor.tokenizer.convert_ids_to_tokens(processor.tokenize(" USER:", add_bos=False))
    assert "".join(tokens) == "▁▁USER:"


def test_ids_equal_sentencepiece_on_unicode(processor):
    sentencepiece = pytest.importorskip("sentencepiece")
    model = sentencepiece.SentencePieceProcessor(model_file=str(FIXTURE / "checkpoint" / "tokenizer.model"))
    for text in ["the naïve 猫 cat 🐈", "ünïcode  two spaces", "a\tb", "المربع الأحمر"]:
        assert processor.tokenize(text, add_bos=False) == model.encode(text)


def test_build_conversation_checks_its_turns(word_processor):
    for arguments in [("cat", 0), ("cat", 2, [0]), ("cat", 2, [0, 1], [0])]:
        with pytest.raises(ValueError, match="questions and answers"):
            word_processor.build_conversation(*arguments)


def test_braces_in_expression_are_text(word_processor):
    assert "the {x} {0} in" in word_processor.build_conversation("{x} {0}", 1)


def test_without_context_frames(frames):
    processor = GLUSProcessor(tiny_image_processor(), build_word_tokenizer([]), num_context_frames=0)
    session = processor.init_video_session(frames, "cat")
    assert session.context_frame_indices == [] and -200 not in session.prefix_input_ids


# ---- expressions


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        (" The CAT. ", "the cat"),
        ("the cat\n\n on\tthe mat .", "the cat on the mat"),
        ("the cat  on the   mat", "the cat  on the   mat"),  # several spaces are other tokens than one
        ("the cat\u00a0on \u3000 it", "the cat\u00a0on \u3000 it"),  # so are spaces of other kinds
        ("Élan vital, 猫", "élan vital, 猫"),
        ("the man who says ASSISTANT: hi USER: ho", "the man who says assistant: hi user: ho"),
        ("a < b and s > t", "a < b and s > t"),
    ],
)
def test_clean_expression(any_processor, text, cleaned):
    assert any_processor.clean_expression(text) == cleaned
    assert any_processor.clean_expression(cleaned) == cleaned


@pytest.mark.parametrize(
    "token", ["[SEG]", "[seg]", "<image>", "<IM_START>", "<im_end>", "<s>", "</S>", "＜s＞", "<unk>"]
)
def test_protocol_tokens_are_refused(any_processor, token):
    with pytest.raises(ValueError, match="remove it from the expression") as error:
        any_processor.clean_expression(f"the cat{token} left")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "  \n ", ".", " . ", None, 7, ["cat"], b"cat", "\ud800"])
def test_bad_expressions_are_refused(any_processor, text):
    with pytest.raises(ValueError, match="expression") as error:
        any_processor.clean_expression(text)
    assert "\n" not in str(error.value)


def test_long_expression_is_refused_with_its_length(word_processor):
    with pytest.raises(ValueError, match="2000 tokens, the limit is 256; shorten"):
        word_processor.clean_expression("circle " * 2000)
    assert word_processor.clean_expression("circle " * 256).count("circle") == 256


# ---- context frames


@pytest.mark.parametrize(
    ("num_frames", "expected"),
    [
        (1, [0, 0, 0, 0]),
        (2, [0, 0, 0, 1]),
        (3, [0, 0, 1, 2]),
        (5, [0, 1, 2, 4]),
        (10, [1, 3, 6, 8]),
        (36, [4, 13, 22, 31]),
        (108, [13, 40, 67, 94]),
    ],
)
def test_middle_context(word_processor, num_frames, expected):
    assert word_processor.sample_context_frames(num_frames) == expected


def test_context_equals_upstream(word_processor, golden):
    assert word_processor.sample_context_frames(10) == golden["context_indices"].tolist()


def test_uniform_context(word_processor):
    assert word_processor.sample_context_frames(10, strategy="uniform") == [0, 3, 6, 9]
    assert word_processor.sample_context_frames(1, 2, "uniform") == [0, 0]


@pytest.mark.parametrize("num_frames", [1, 2, 3, 4, 7, 50])
def test_random_context_stays_in_its_segments(word_processor, num_frames):
    bounds = np.linspace(0, num_frames, 5, dtype=int)
    for seed in range(20):
        indices = word_processor.sample_context_frames(
            num_frames, strategy="random", generator=np.random.default_rng(seed)
        )
        for index, low, high in zip(indices, bounds, bounds[1:]):
            assert 0 <= index < num_frames and low <= index <= max(low, high - 1)


def test_random_context_leaves_the_global_generators_alone(word_processor):
    np.random.seed(0)
    torch.manual_seed(0)
    before = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    word_processor.sample_context_frames(50, strategy="random")
    assert before == (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())


@pytest.mark.parametrize("arguments", [(0,), (-1,), (5, -1), (5, 4, "best")])
def test_bad_context_requests(word_processor, arguments):
    with pytest.raises(ValueError, match="context"):
        word_processor.sample_context_frames(*arguments)


# ---- sessions


def test_session(word_processor, frames):
    session = word_processor.init_video_session(frames, "The Red square.")
    assert session.texts == ["the red square"]
    assert session.context_frame_indices == [1, 3, 6, 8]
    assert (session.num_frames, session.height, session.width) == (10, 96, 128)
    assert np.array_equal(session.frames[3], frames[3])


def test_session_of_a_short_video(word_processor, frames):
    assert word_processor.init_video_session(frames[:1], "circle").context_frame_indices == [0, 0, 0, 0]
    assert word_processor.init_video_session(frames[:3], "circle").context_frame_indices == [0, 0, 1, 2]


def test_session_context_choices(word_processor, frames):
    assert word_processor.init_video_session(frames, "circle", "uniform").context_frame_indices == [0, 3, 6, 9]
    assert word_processor.init_video_session(frames, "circle", [9, 0, 0, 1]).context_frame_indices == [9, 0, 0, 1]
    for wrong in ([0, 1], [0, 1, 2, 10], [-1, 0, 1, 2]):
        with pytest.raises(ValueError, match="context_frames must be 4 indices in 0..9"):
            word_processor.init_video_session(frames, "circle", wrong)


@pytest.mark.parametrize("package", [True, False], ids=["reader", "no-reader"])
def test_session_video_kinds(word_processor, frames, package, monkeypatch):
    if package:
        pytest.importorskip("glus_hf.media.video")
    else:
        monkeypatch.setitem(sys.modules, "glus_hf", None)  # makes the import fail
        with pytest.raises(ValueError, match="needs the package"):
            word_processor.init_video_session("clip.mp4", "circle")
    for video in [frames, [Image.fromarray(frame) for frame in frames], np.stack(frames)]:
        session = word_processor.init_video_session(video, "circle")
        assert session.num_frames == 10 and np.array_equal(session.frames[9], frames[9])
    for wrong in [[], [frames[0], frames[1][:50]]]:
        with pytest.raises(ValueError):
            word_processor.init_video_session(wrong, "circle")


@pytest.mark.parametrize("text", [[], "", ["circle", ""]])
def test_session_needs_expressions(word_processor, frames, text):
    with pytest.raises(ValueError, match="expression"):
        word_processor.init_video_session(frames, text)


def test_post_process_masks(word_processor):
    logits = torch.tensor([[[-1.0, 0.0], [0.1, 5.0]]])
    assert word_processor.post_process_masks(logits).tolist() == [[[False, False], [True, True]]]
    assert word_processor.post_process_masks(logits, threshold=1.0).sum() == 1
    masks = word_processor.post_process_masks(logits.bfloat16(), size=(4, 6))
    assert masks.shape == (1, 4, 6) and masks.dtype == torch.bool and masks[0, 3, 5] and not masks[0, 0, 0]
    assert word_processor.post_process_masks(logits[0], size=(4, 6)).shape == (4, 6)


# ---- training batches


def training_samples(frames, golden, **changes):
    samples = []
    for index, sample in enumerate(SAMPLES):
        numbers = sample["context"] + list(range(sample["query_start"], sample["query_start"] + 4))
        masks = golden[f"train.masks.{index}"].numpy()
        samples.append({"frames": [frames[n] for n in numbers], "masks": masks, "expressions": sample["expressions"]})
    return [{**sample, **changes} for sample in samples]


def unexpand(rows, input_ids):
    """Undo expand_image_tokens: keep one of every 64 image positions of each row, drop padding."""
    kept = []
    for row, ids in zip(rows, input_ids):
        images = (ids == -200).cumsum(0)
        kept.append(row[(ids != -200) | (images % 64 == 1)])
    return kept


@pytest.mark.parametrize("labels", ["seg", "answer"])
def test_batch_equals_upstream(processor, frames, golden, labels):
    samples = training_samples(frames, golden)
    samples[0]["conversations"], samples[1]["conversations"] = CONVERSATIONS[:2], CONVERSATIONS[2:]
    batch = processor(samples, labels=labels)
    expected = golden["train.labels"]
    if labels == "seg":
        expected = torch.where(expected == META["seg_token_idx"], expected, -100)
    for row, length in enumerate(golden["train.attention_mask"].sum(1).tolist()):
        for name, want in [
            ("input_ids", golden["train.input_ids"]),
            ("labels", expected),
            ("attention_mask", golden["train.attention_mask"].long()),
        ]:
            got = unexpand(batch[name], batch.input_ids)[row]
            assert torch.equal(got[:length], want[row, :length])
            assert set(got[length:].tolist()) <= {-100 if name == "labels" else 0}
    assert batch.expressions_per_video.tolist() == [2, 1]
    assert batch.pixel_values.shape == (2, 8, 3, 64, 64) and batch.mask_pixel_values.shape == (2, 4, 3, 64, 64)
    query = processor.image_processor.mask_view(samples[1]["frames"][4:])
    assert torch.equal(batch.mask_pixel_values[1], query)
    for index, masks in enumerate(batch.mask_labels):
        assert torch.equal(masks, golden[f"train.masks.{index}"].float())


def test_batch_sampled_templates(word_processor, frames, golden):
    samples = training_samples(frames, golden, masks=None)
    first, again = (word_processor(samples, rng=np.random.default_rng(3)) for _ in range(2))
    assert torch.equal(first.input_ids, again.input_ids) and "mask_labels" not in first
    other = word_processor(samples, rng=np.random.default_rng(4))
    assert first.input_ids.shape != other.input_ids.shape or not torch.equal(first.input_ids, other.input_ids)
    assert (first.labels == word_processor.seg_token_id).sum(1).tolist() == [4, 4, 4]
    fixed = word_processor(samples[1])
    expected = word_processor.tokenize(word_processor.build_conversation(SAMPLES[1]["expressions"][0], 4))
    assert fixed.input_ids[0].tolist() == word_processor.expand_image_tokens(expected)


def test_batch_masks_become_zero_and_one(word_processor, frames, golden):
    sample = training_samples(frames, golden)[1]
    for masks in (sample["masks"].astype(bool), sample["masks"] * 255, sample["masks"] * 2):
        assert torch.equal(word_processor({**sample, "masks": masks}).mask_labels[0], golden["train.masks.1"].float())


def test_batch_refuses_wrong_samples(word_processor, frames, golden):
    first, second = training_samples(frames, golden)
    for samples, message in [
        ([], "at least one sample"),
        ([{**first, "frames": first["frames"][:7]}], "needs 8 frames"),
        ([{**first, "expressions": []}], "at least one expression"),
        ([{**first, "masks": first["masks"][:1]}], "masks must be"),
        ([first, {**second, "masks": None}], "either all samples have masks"),
        ([{**first, "expressions": ["a [SEG] b"]}], "remove it"),
    ]:
        with pytest.raises(ValueError, match=message):
            word_processor(samples)
    with pytest.raises(ValueError, match="labels"):
        word_processor([first], labels="all")


# ---- files and tokenizers


def test_round_trip(any_processor, tmp_path, golden):
    changed = GLUSProcessor(
        any_processor.image_processor, any_processor.tokenizer, num_query_frames=3, context_frames="uniform"
    )
    changed.save_pretrained(tmp_path)
    again = GLUSProcessor.from_pretrained(tmp_path)
    assert again.to_dict() == changed.to_dict()
    assert (again.num_query_frames, again.context_frames, again.image_token_id) == (3, "uniform", -200)
    assert type(again.image_processor) is GLUSImageProcessor
    for text in ["red square", "the small red square moving to the left", "naïve 猫"]:
        prompt = changed.build_window_prompt(text, 4)
        assert again.tokenize(prompt) == changed.tokenize(prompt)


def test_word_tokenizer(word_processor):
    tokenizer = word_processor.tokenizer
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    assert tokenizer.convert_tokens_to_ids(["<unk>", "<s>", "</s>", "▁"]) == [0, 1, 2, 3]
    assert tokenizer.convert_tokens_to_ids(["[SEG]", "<im_start>", "<im_end>"]) == [
        len(tokenizer) - 3,
        len(tokenizer) - 2,
        len(tokenizer) - 1,
    ]
    assert (tokenizer.pad_token_id, tokenizer.unk_token_id) == (0, 0)
    ids = word_processor.tokenize(word_processor.build_window_prompt("the red square naïve 猫", 2))
    assert 0 not in ids and ids[-1] == 3
    assert word_processor.tokenize("zebra", add_bos=False) == [0]


def test_word_tokenizer_knows_every_template(word_processor):
    for question in range(len(QUESTIONS)):
        for answer in range(len(ANSWERS)):
            assert 0 not in word_processor.tokenize(
                word_processor.build_conversation("circle", 1, [question], [answer])
            )


def test_tokenizer_without_protocol_tokens_is_refused():
    tokenizer = build_word_tokenizer([])
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    backend["added_tokens"] = [token for token in backend["added_tokens"] if token["content"] != "[SEG]"]
    bare = PreTrainedTokenizerFast(tokenizer_object=type(tokenizer.backend_tokenizer).from_str(json.dumps(backend)))
    with pytest.raises(ValueError, match=r"lacks \[SEG\]"):
        GLUSProcessor(tiny_image_processor(), bare)
