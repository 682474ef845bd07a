"""Visual prompts: what is cut out, which points are read, and that the object is what the prompt says."""

import pytest
import torch
from torch.nn import functional as F

from glus_hf import GLEEConfig, UserError
from glus_hf.models.glee.draws_glee import GLEEDraws
from glus_hf.models.glee.track_loss_glee import compare_pairs, track_loss
from glus_hf.models.glee.visual_prompter_glee import GLEEVisualPrompter, crop_area, enlarge
from tests.models.glee.small_glee import END, START, small_model


HEIGHT, WIDTH = 64, 96


def rectangle(rows, columns):
    mask = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    mask[rows, columns] = True
    return mask


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture(scope="module")
def batch():
    generator = torch.Generator().manual_seed(0)
    masks = torch.stack([rectangle(slice(10, 31), slice(20, 41)), rectangle(slice(40, 61), slice(60, 91))])
    pixels = torch.randn(2, 3, HEIGHT, WIDTH, generator=generator)
    return {"pixel_values": pixels, "input_ids": torch.tensor([[START, 5, END]]), "task": "category"}, masks


# ---- crops


def test_the_square_is_twice_the_box():
    assert crop_area(rectangle(slice(20, 31), slice(30, 41)), 2) == (slice(15, 35), slice(25, 45))


def test_it_starts_at_the_image_and_ends_beyond():
    rows, columns = crop_area(rectangle(slice(0, 21), slice(80, 96)), 2)
    assert (rows.start, columns.start) == (0, 70) and columns.stop > WIDTH
    assert torch.zeros(HEIGHT, WIDTH)[rows, columns].shape == (27, 26)


@pytest.mark.parametrize("mask", [rectangle(slice(0, 0), slice(0, 0)), rectangle(slice(5, 6), slice(5, 30))])
def test_without_an_area_it_is_the_whole_image(mask):
    """An empty mask, and a line, whose box has none in the release."""
    assert torch.zeros(HEIGHT, WIDTH)[crop_area(mask, 2)].shape == (HEIGHT, WIDTH)


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_enlarged_maps_keep_their_values_in_the_middle_of_the_cells(factor):
    values = torch.randn(1, 2, 3, 4)
    large = enlarge(values, factor)
    assert large.shape == (1, 2, 3 * factor, 4 * factor)
    torch.testing.assert_close(large[..., factor // 2 :: factor, factor // 2 :: factor], values)
    padded = F.pad(values, (0, 1, 0, 1), mode="replicate")  # linear between them
    size = 3 * factor + 1, 4 * factor + 1
    other = F.interpolate(padded, size, mode="bilinear", align_corners=True)
    other = F.pad(other, (factor // 2, 0, factor // 2, 0), mode="replicate")[..., :-1, :-1]
    torch.testing.assert_close(large, other[..., : 3 * factor, : 4 * factor])


def test_only_thin_prompts_are_marked_in_the_pixels(model):
    pixels, mask = torch.zeros(1, 3, HEIGHT, WIDTH), rectangle(slice(10, 21), slice(10, 21))[None]
    cut = {kind: model.model.prompter.cut(pixels, mask, [kind]) for kind in ("mask", "box", "point", "scribble")}
    assert not cut["mask"].any() and not cut["box"].any()
    assert cut["point"].max() == cut["scribble"].max() == 1.0 and cut["point"].shape == (1, 3, 64, 64)


# ---- points


def test_all_points_of_a_small_prompt_and_some_of_a_large_one():
    prompter = GLEEVisualPrompter(GLEEConfig.tiny(), [8, 16, 24, 32])
    masks = torch.stack([rectangle(slice(4, 6), slice(8, 11)), rectangle(slice(0, 32), slice(0, 32))])
    points, padding = prompter.choose_points(masks)
    assert points.shape == (2, 16, 2) and (~padding).sum(1).tolist() == [6, 16]
    assert points[0, 0].tolist() == pytest.approx([8 / WIDTH, 4 / HEIGHT]) and points[0, 1, 0] == pytest.approx(
        9 / WIDTH
    )
    rows = (points[1, :, 1] * HEIGHT).round()
    assert rows.diff().unique().tolist() == [2.0]  # evenly over the prompt
    assert points.equal(prompter.choose_points(masks)[0])


def test_random_points_are_pixels_of_the_prompt_and_follow_the_seed():
    prompter, mask = GLEEVisualPrompter(GLEEConfig.tiny(), [8, 16, 24, 32]), rectangle(slice(0, 32), slice(0, 32))
    first, again, other = (prompter.choose_points(mask[None], GLEEDraws(seed))[0][0] for seed in (1, 1, 2))
    assert first.equal(again) and not first.equal(other)
    pixels = (first * torch.tensor([WIDTH, HEIGHT])).round().long()
    assert mask[pixels[:, 1], pixels[:, 0]].all() and len(pixels.unique(dim=0)) == 16


def test_tokens_of_padding_change_nothing(model, batch):
    """An image alone answers as beside one with a larger prompt."""
    inputs, masks = batch
    small = torch.stack([rectangle(slice(4, 6), slice(8, 11)), masks[1]])
    with torch.no_grad():
        both = model(**inputs, prompt_masks=small)
        alone = model(**{**inputs, "pixel_values": inputs["pixel_values"][:1]}, prompt_masks=small[:1])
    torch.testing.assert_close(both.pred_masks[:1], alone.pred_masks, rtol=1e-3, atol=1e-3)


# ---- the model


def test_prompts_change_the_answer_and_are_read_twice(model, batch):
    inputs, masks = batch
    with torch.no_grad():
        plain, first, other = (
            model(**inputs, **kind) for kind in ({}, *({"prompt_masks": m} for m in (masks, masks.flip(0))))
        )
        fine = small_model(visual_prompter="fine")
        fine.load_state_dict(model.state_dict(), strict=False)
        without_crop = fine(**inputs, prompt_masks=masks)
    for other_output in (plain, other, without_crop):
        assert (first.query_embeddings - other_output.query_embeddings).abs().max() > 1e-3
    assert torch.equal(without_crop.mask_features, plain.mask_features)  # fusion read no crop
    assert not torch.allclose(first.mask_features, plain.mask_features)


def test_queries_are_selected_by_confidence(model, batch):
    inputs, masks = batch
    with torch.no_grad():
        changed = {**inputs, "input_ids": torch.tensor([[START, 9, END]])}
        scores = [model(**each, prompt_masks=masks).location_scores for each in (inputs, changed)]
        names = [model(**each).location_scores for each in (inputs, changed)]
    assert (scores[0] - scores[1]).abs().max() < (names[0] - names[1]).abs().max()


def test_points_of_the_pixel_map(batch):
    """As the paper says, tokens come from the mask features."""
    inputs, masks = batch
    models = [small_model(prompt_features=features) for features in ("encoder", "pixel")]
    with torch.no_grad():
        encoder, pixel = (each(**inputs, prompt_masks=masks) for each in models)
    assert torch.equal(encoder.mask_features, pixel.mask_features)
    assert not torch.allclose(encoder.query_embeddings, pixel.query_embeddings)


def test_prompts_that_cannot_be(model, batch):
    inputs, masks = batch
    with pytest.raises(ValueError, match=r"prompt_masks must have the shape \[2, 64, 96\]"):
        model(**inputs, prompt_masks=masks[:1])
    with pytest.raises(ValueError, match="prompt_kinds must be one of"):
        model(**inputs, prompt_masks=masks, prompt_kinds="lasso")
    with pytest.raises(UserError, match="takes no visual prompts"):
        small_model(visual_prompter=None)(**inputs, prompt_masks=masks)


def test_every_weight_of_the_prompter_learns(batch):
    """But the tokens of stride 64 and the indicator of what is not meant, which the release does not use either."""
    inputs, masks = batch
    model = small_model().train()
    labels = [{"class_labels": torch.tensor([0]), "boxes": torch.tensor([[0.5, 0.5, 0.3, 0.3]])} for _ in masks]
    labels = [{**target, "masks": mask[None]} for target, mask in zip(labels, masks, strict=True)]
    output = model(**inputs, prompt_masks=masks, labels=labels, generator=0)
    output.loss.backward()
    assert {"loss_conf", "loss_conf_0"} <= output.losses.keys() and "loss_conf_interm" not in output.losses
    still = {
        name for name, each in model.model.prompter.named_parameters() if each.grad is None or not each.grad.any()
    }
    assert still == {"level_projections.3.weight"}
    assert not model.model.prompter.indicator.weight.grad[1].any()
    assert model.model.decoder.heads.confidence.layers[0].weight.grad.any()


# ---- clips


def test_one_pair_is_the_softplus_of_its_difference():
    products = torch.tensor([[1.0], [3.0]])
    assert compare_pairs(products, torch.tensor([[True], [False]])) == pytest.approx(F.softplus(torch.tensor(2.0)))
    assert compare_pairs(products, torch.zeros(2, 1, dtype=torch.bool)) == 0


def test_clips_do_not_touch_each_other():
    """Only pairs inside a clip count, divided by the objects of the later frames."""
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(4, 6, 8, generator=generator)
    labels = [{"instance_ids": torch.tensor([5, 7])}] * 4
    matches = [(torch.tensor([0, 1]), torch.tensor([0, 1]))] * 4
    config, draws = GLEEConfig.tiny(), GLEEDraws(tensors={"track_negatives": torch.tensor([[1, 2, 3]] * 4)})
    loss = lambda images, length: track_loss(embeddings[images], labels, matches, length, config, draws)
    pairs = [loss([0, 1], 2), loss([2, 3], 2)]
    assert loss([0, 1, 2, 3], 2) == pytest.approx(float(sum(pairs) / 2))
    assert loss([0, 1, 2, 3], 4) == pytest.approx(float((sum(pairs) + loss([1, 2], 2)) / 3))
