"""Chat-UniVi and the selector against the numbers of the public programs (tests/fixtures/selector_tiny), through the
converter. With `-rP` every test prints how far it is from them."""

import pytest
import torch

from glus_hf.models.glus_selector.weight_names_glus_selector import our_name
from tests.models.glus_selector.upstream_selector import (
    META,
    SCORE,
    TOKENS_PER_IMAGE,
    VIDEO_NOISE,
    convert,
    golden,
    load_selector,
    read_frames,
    replay,
)


pytest.importorskip("sentencepiece")
PATH_TOLERANCE = 1e-5
SCORE_TOLERANCE = 1e-4
LOSS_TOLERANCE = 1e-5  # relative
GRADIENT_TOLERANCE = 1e-5  # of the largest value of the tensor
VIDEOS = ("selector", "selector_question", "selector_long")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return load_selector(convert(tmp_path_factory.mktemp("converted") / "model"))


@pytest.fixture(scope="module")
def model(loaded):
    return loaded[0]


@pytest.fixture(scope="module")
def processor(loaded):
    return loaded[1]


def make_session(processor, name, **kwargs):
    return processor.init_video_session(read_frames(META[name]["frames"]), META[name]["expression"], **kwargs)


def assert_close(ours, expected, tolerance):
    assert ours.shape == expected.shape
    difference = (ours - expected).abs().max().item()
    print(f"max difference {difference:.1e} of {expected.abs().max().item():.1e}, limit {tolerance:.1e}")
    assert difference <= tolerance


# ---- Chat-UniVi


@torch.no_grad()
def test_images(model, processor):
    pixels = processor.clip_view([read_frames("frames")[index] for index in META["univi"]["frames"]])
    assert torch.equal(pixels[:, :, ::8, ::8], golden()["univi.pixel_values"])
    patches = model.model.patch_features(pixels)
    assert_close(patches, golden()["univi.clip_features"], PATH_TOLERANCE)
    assert_close(model.model._merge_images(patches, None), golden()["univi.merged"], PATH_TOLERANCE)
    assert_close(model.model.encode_images(pixels), golden()["univi.image_tokens"], PATH_TOLERANCE)


def read_prompt(model, processor, name, frames, group_runs, **kwargs):
    """Golden positions of the states, and the last logits, of the prompt `name` of meta.json."""
    ids = processor.tokenize(META[name]["prompt"])
    assert ids == golden()[f"{name}.input_ids"].tolist()
    expanded = torch.tensor([processor.expand_image_tokens(ids, group_runs)])
    assert expanded.shape[1] == META[name]["sequence_length"]
    with torch.no_grad():
        states = model.model(expanded, processor.clip_view(frames), **kwargs).last_hidden_state[0]
        return states[golden()[f"{name}.hidden_positions"]], model.lm_head(states[-1])


def test_prompt_with_images(model, processor):
    frames = [read_frames("frames")[index] for index in META["univi"]["frames"]]
    for group_runs in (False, True):  # no two of them are adjacent
        states, logits = read_prompt(model, processor, "univi", frames, group_runs)
        assert_close(states, golden()["univi.hidden"], SCORE_TOLERANCE)
        assert_close(logits, golden()["univi.logits_last"], SCORE_TOLERANCE)


def test_prompt_with_a_video(model, processor):
    frames = read_frames("frames_long")[:20]
    samples = [f"univi_video.noise.{name}" for name in VIDEO_NOISE]
    with torch.no_grad():
        tokens = model.model.encode_video(processor.clip_view(frames), replay(*samples))
    assert_close(tokens, golden()["univi_video.image_tokens"], PATH_TOLERANCE)
    noise = replay(*samples)
    states, logits = read_prompt(
        model, processor, "univi_video", frames, True, frames_per_group=[20], density_noise=noise
    )
    assert_close(states, golden()["univi_video.hidden"], SCORE_TOLERANCE)
    assert_close(logits, golden()["univi_video.logits_last"], SCORE_TOLERANCE)


# ---- scores


@torch.no_grad()
def test_image_tokens(model, processor):
    tokens = model.model.encode_images(processor.clip_view(read_frames("frames")))
    assert_close(tokens, golden()["selector.image_tokens"], PATH_TOLERANCE)


@pytest.mark.parametrize("name", VIDEOS)
def test_contexts_prompts_and_positions(processor, name):
    session = make_session(processor, name)
    assert session.num_frames == len(golden()[f"{name}.score"])
    for frame in range(session.num_frames):
        context = session.context_frame_indices(frame)
        assert context == golden()[f"{name}.context.{frame}"].tolist()
        prompt = processor.build_conversation(session.texts[0], len(context))
        assert frame > 0 or prompt == META[name]["prompt_of_target_0"]
        ids = golden()[f"{name}.input_ids.{frame}"].tolist()
        assert processor.tokenize(prompt) == ids
        read = session.prefix_input_ids[session.context_of_frame[frame]] + session.target_input_ids[0]
        assert read == processor.expand_image_tokens(ids[: ids.index(SCORE)])
        assert len(read) - 1 == golden()[f"{name}.score_position"][frame]


@pytest.mark.parametrize("batch_size", [None, 1, 5])
@pytest.mark.parametrize("name", VIDEOS)
def test_scores(model, processor, name, batch_size):
    session = make_session(processor, name)
    scores = model.score_frames(session, batch_size)
    assert scores.shape == (1, session.num_frames) and scores.dtype == torch.float32
    assert_close(scores[0], golden()[f"{name}.score"], SCORE_TOLERANCE)
    best = model.select_key_frame(session)
    assert best.tolist() == [META[name]["key_frame_index"]] == [golden()[f"{name}.key_frame_index"].item()]


@pytest.mark.parametrize("name", VIDEOS)
def test_states(model, processor, name):
    """Of whole conversations, one by one, in one forward pass each; the scores again are those of the session."""
    session = make_session(processor, name)
    states, scores = [], []
    for frame in range(session.num_frames):
        context = session.context_frame_indices(frame)
        sample = {
            "frames": [session.frames[index] for index in [*context, frame]],
            "expressions": [META[name]["expression"]],
        }
        with torch.no_grad():
            output = model(**processor(sample))
        position = golden()[f"{name}.score_position"][frame]
        assert torch.equal(output.hidden_states[0, position], output.score_states[0])
        states.append(output.score_states)
        scores.append(output.scores)
    assert_close(torch.cat(states), golden()[f"{name}.hidden"], SCORE_TOLERANCE)
    assert_close(torch.cat(scores), golden()[f"{name}.score"], SCORE_TOLERANCE)
    assert_close(model.score_frames(session)[0], torch.cat(scores), PATH_TOLERANCE)


def test_two_expressions_in_one_session(model, processor):
    texts = [META[name]["expression"] for name in VIDEOS[:2]]
    session = processor.init_video_session(read_frames("frames"), texts)
    scores = model.score_frames(session, batch_size=3)
    assert_close(scores, torch.stack([golden()[f"{name}.score"] for name in VIDEOS[:2]]), SCORE_TOLERANCE)
    assert model.select_key_frame(session).tolist() == [META[name]["key_frame_index"] for name in VIDEOS[:2]]


# ---- training


def training_batch(processor, name):
    samples, conversations = [], iter(META["train"][name]["conversations"])
    for sample in META["train"][name]["samples"]:
        prompts = [
            processor.build_conversation(text, len(sample["context"]), question, answer)
            for text, (question, answer) in zip(sample["expressions"], sample["question_answer"])
        ]
        assert prompts == [next(conversations) for _ in prompts]
        frames = [read_frames("frames")[index] for index in [*sample["context"], sample["query"]]]
        samples.append({"frames": frames, "conversations": prompts, "scores": sample["iou"]})
    return processor(samples)


@pytest.fixture(params=["train", "train_two"])
def name(request):
    return request.param


def test_training_batch(processor, name):
    batch = training_batch(processor, name)
    for row, mask in enumerate(golden()[f"{name}.attention_mask"]):
        is_image = batch.input_ids[row] == -200
        kept = ~is_image | (is_image.cumsum(0) % TOKENS_PER_IMAGE == 1)
        length = int(mask.sum())
        for key in ("input_ids", "labels"):
            assert torch.equal(batch[key][row][kept][:length], golden()[f"{name}.{key}"][row][:length])
        assert batch.attention_mask[row].sum() == length + (TOKENS_PER_IMAGE - 1) * is_image.sum() / TOKENS_PER_IMAGE
        assert not batch.attention_mask[row][kept][length:].any()
    assert torch.equal(batch.score_labels, golden()[f"{name}.iou_labels"])


def test_losses_and_gradients(model, processor, name):
    model.train()
    model.zero_grad()
    output = model(**training_batch(processor, name))
    model.eval()
    for ours, theirs in (("loss", "loss"), ("ce_loss", "ce_loss"), ("score_loss", "iou_loss")):
        value, expected = getattr(output, ours).item(), golden()[f"{name}.{theirs}"].item()
        print(f"{ours}: relative difference {abs(value / expected - 1):.1e}, limit {LOSS_TOLERANCE:.1e}")
        assert value == pytest.approx(expected, rel=LOSS_TOLERANCE)
    assert_close(output.scores, golden()[f"{name}.score"], SCORE_TOLERANCE)
    output.loss.backward()
    gradients = {key.removeprefix(f"{name}.grad."): value for key, value in golden().items() if f"{name}.grad." in key}
    assert len(gradients) == (9 if name == "train" else 0)
    for key, expected in gradients.items():
        ours = model.get_parameter(our_name(key)).grad
        assert_close(ours, expected, GRADIENT_TOLERANCE * expected.abs().max().item())
    model.zero_grad()


# ---- half precision


def test_bfloat16_scores_are_float32(model, processor, tmp_path):
    """They are up to 0.3 off: rounding flips near ties of the merger, and with random weights there are many."""
    model.save_pretrained(tmp_path)
    half = type(model).from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16
    assert {parameter.dtype for parameter in half.score_head.parameters()} == {torch.float32}
    scores = half.score_frames(make_session(processor, "selector"))[0]
    assert scores.dtype == torch.float32 and scores.unique().numel() == 10
