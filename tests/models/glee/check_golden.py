"""Compare GLEE with golden numbers of the released modules: `python tests/models/glee/check_golden.py FOLDER`.

Prints the largest difference of every group and exits with 1 where one is past its limit. The folder is any of the
layout of `tests/fixtures/glee_tiny`. Integers must be equal. Tensors may differ by 1e-4 of the largest magnitude of
the tensor, losses by 1e-5 and norms of gradients by 1e-3 (2e-3 for expressions) relative to themselves.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers.models.grounding_dino.modeling_grounding_dino import GroundingDinoFusionLayer


sys.path.insert(0, str(Path(__file__).parents[3]))
from glus_hf.models.glee.inference_glee import link_query  # noqa: E402
from glus_hf.models.glee.modeling_glee import GLEESegmentationOutput  # noqa: E402
from glus_hf.models.glee.weight_names_glee import (  # noqa: E402
    RIGHT_MATRIX,
    copy_of,
    our_name,
    split_weight,
    strip_prefixes,
)
from tests.models.glee.original_folders import Miniature, swin_backbone  # noqa: E402


TENSOR_LIMIT, LOSS_LIMIT = 1e-4, 1e-5
GRADIENT_LIMITS = {"train_category": 1e-3, "train_referring": 2e-3, "train_prompt": 1e-3, "train_video": 1e-3}
ZERO_GRADIENT = 1e-7  # of the largest norm of a batch: what is zero but for rounding
PREDICTIONS = {
    "pred_logits": "logits",
    "pred_boxes": "pred_boxes",
    "pred_masks": "pred_masks",
    "pred_scores": "confidence_logits",
}
FUSION_TEXT_OUT = "fusion.out_text"
DENOISING = {
    "denoising_labels": "label_uniform",
    "denoising_replacements": "replacement_labels",
    "denoising_boxes": "box_uniform",
}
LINK = "link.query_index_lambda"


@dataclass
class Difference:
    """How far a tensor is from its golden one: `value` in the unit of `limit`, which is 0 for integers."""

    name: str
    value: float
    limit: float

    @property
    def kind(self) -> str:
        if self.limit == 0.0:
            return "integers"
        kinds = {"loss": "losses", "loss_weighted_total": "losses", "grad": "gradients", "grad_norm": "gradients"}
        return kinds.get(self.name.split(".")[1], "tensors")

    @property
    def is_past(self) -> bool:
        return not self.value <= self.limit


class Recorder:
    """What the parts of a model got and gave in the last pass, by hooks."""

    def __init__(self, model):
        inner = model.model
        self.values: dict[str, Tensor] = {}
        inner.pixel_decoder.fusion.register_forward_hook(self._fusion)
        inner.pixel_decoder.register_forward_hook(self._pixel_decoder)
        inner.backbone.register_forward_hook(self._backbone)
        for index, layer in enumerate(inner.pixel_decoder.layers):
            layer.register_forward_hook(self._keep(f"encoder.layer{index}"))
        for index, layer in enumerate(inner.decoder.layers):
            layer.register_forward_hook(self._keep(f"decoder.layer{index}.raw"))

    def _keep(self, name):
        return lambda module, inputs, output: self.values.update({name: output})

    def _backbone(self, module, inputs, output):
        self.values.update({f"backbone.res{index + 2}": maps for index, maps in enumerate(output.feature_maps)})

    def _fusion(self, module, inputs, output):
        """What the words read of the image is not part of the model; transformers' layer gives it too."""
        locations, words, padding = inputs
        words = words.expand(len(locations), -1, -1)
        padding = None if padding is None else padding.expand(len(locations), -1)
        (visual, _), (text, _) = GroundingDinoFusionLayer.forward(module, locations, words, None, padding)
        torch.testing.assert_close(output, visual, rtol=1e-5, atol=1e-5)
        self.values |= {"fusion.in_visual": locations, "fusion.in_text": words}
        self.values |= {"fusion.out_visual": output, FUSION_TEXT_OUT: text}

    def _pixel_decoder(self, module, inputs, output):
        levels, self.values["pixel.mask_features"] = output
        self.values |= {f"pixel.level{index}": maps for index, maps in enumerate(levels)}


def described(model, recorder: Recorder, output) -> dict[str, Tensor]:
    """Everything of one pass, by golden names."""
    norm = model.model.decoder.heads.norm
    values = dict(recorder.values)
    for index in range(model.config.decoder_layers):
        values[f"decoder.layer{index}.normed"] = norm(values[f"decoder.layer{index}.raw"])
    values |= {f"decoder.reference{index}": reference for index, reference in enumerate(output.references)}
    values |= {"select.scores": output.location_scores, "select.topk_index": output.query_indices}
    values["out.pred_track_embed"] = output.query_embeddings
    return values | predictions_by_stage(output)


def predictions_by_stage(output) -> dict[str, Tensor]:
    stages = {"selected_init": output.auxiliary[0], "interm": output.encoder_predictions}
    stages |= {f"layer{index}": predictions for index, predictions in enumerate([*output.auxiliary[1:], output])}
    pairs = [(stage, predictions, *names) for stage, predictions in stages.items() for names in PREDICTIONS.items()]
    return {f"out.{stage}.{theirs}": getattr(predictions, ours) for stage, predictions, theirs, ours in pairs}


def compare(name: str, ours: Tensor, golden: Tensor, limit: float = TENSOR_LIMIT) -> Difference:
    """Relative to the largest magnitude of the golden tensor; integers and booleans must be equal."""
    if ours.shape != golden.shape:
        return Difference(f"{name}: shape {list(ours.shape)} instead of {list(golden.shape)}", float("inf"), limit)
    if not golden.is_floating_point():
        return Difference(name, float((ours.long() != golden.long()).sum()), 0.0)
    scale = golden.abs().max().clamp(min=1e-12)
    return Difference(name, float((ours - golden).detach().abs().max() / scale), limit)


def compare_all(group: str, golden: dict[str, Tensor], ours: dict[str, Tensor]) -> list[Difference]:
    """All golden tensors of a group; one that we do not have is past every limit."""
    missing = [Difference(f"{group}.{name}: is missing", float("inf"), 0.0) for name in golden.keys() - ours.keys()]
    found = [compare(f"{group}.{name}", ours[name], golden[name]) for name in sorted(golden.keys() & ours.keys())]
    return missing + found


# ---- inference


@torch.no_grad()
def check_category(mini: Miniature) -> list[Difference]:
    model = mini.model()
    recorder, encoder = Recorder(model), model.model.text_encoder
    names = mini.tokenize(mini.settings["category_names"])
    output = model(mini.pixels("category.frames"), **names, task="category", all_stages=True)
    ours = described(model, recorder, output)
    states = encoder.read(**names)
    text = encoder.project(states, names["attention_mask"], is_referring=False)
    ours |= {
        "text.input_ids": names["input_ids"],
        "text.attention_mask": names["attention_mask"],
        "text.last_hidden_state": states,
        "text.teacher_last_hidden_state": encoder.read_as_teacher(**names),
        "text.class_embeddings": text.embeddings,
        "fusion.in_text_mask": ~text.padding,
        "dist_loss": encoder.distill(states, **names),
    }
    return compare_all("category", mini.group("category"), ours)


@torch.no_grad()
def check_referring(mini: Miniature) -> list[Difference]:
    model = mini.model()
    recorder, encoder = Recorder(model), model.model.text_encoder
    pixels = mini.pixels("referring.frames")
    expressions = mini.tokenize([mini.settings["expression"]] * len(pixels))
    output = model(pixels, **expressions, task="referring", all_stages=True)
    ours = described(model, recorder, output)
    ours |= {f"{name}.frame0": tensor[:1] for name, tensor in ours.items() if name.startswith(("pixel.", "fusion."))}
    ours["out.pred_masks.frame0"] = output.pred_masks[0]
    states = encoder.read(**expressions)
    text = encoder.project(states, expressions["attention_mask"], is_referring=True)
    ours |= {
        "text.input_ids": expressions["input_ids"],
        "text.attention_mask": expressions["attention_mask"],
        "text.last_hidden_state": states,
        "text.grounding_tokens": text.words.transpose(0, 1),
        "text.grounding_nonzero_mask": text.padding,
        "text.grounding_class": text.embeddings,
    }
    golden = mini.group("referring")
    return compare_all("referring", golden, ours | link_frames(output, mini.settings, golden))


@torch.no_grad()
def check_image_prompt(mini: Miniature, group: str) -> list[Difference]:
    """A visual prompt on one image, "mask", "point" or "box"."""
    model = mini.model()
    recorder, golden = Recorder(model), mini.group(group)
    pixels, masks = mini.pixels("video_prompt.frames")[:1], mini.inputs[f"{group}.mask"].bool()
    names, kind = mini.tokenize([mini.settings["prompt_class_name"]]), group.removeprefix("image_prompt_")
    options = {"task": "category", "all_stages": True, "prompt_masks": masks, "prompt_kinds": kind}
    output = model(pixels, **names, **options)
    ours = described(model, recorder, output)
    best = int(output.confidence_logits[0, :, 0].argmax())
    ours["out.pred_masks.top1_confidence"] = output.pred_masks[0, best]
    return compare_all(group, golden, ours | prompt_tensors(model, pixels, names, masks, kind))


@torch.no_grad()
def check_video_prompt(mini: Miniature) -> list[Difference]:
    """A mask on the first of two frames: the second is decoded with what was read of the first."""
    model = mini.model()
    recorder, encoder = Recorder(model), model.model.text_encoder
    pixels, masks = mini.pixels("video_prompt.frames"), mini.inputs["video_prompt.mask"].bool()
    names = mini.tokenize([mini.settings["prompt_class_name"]])
    states = encoder.read(**names)
    text = encoder.project(states, names["attention_mask"], is_referring=False)
    first = model.model.read_prompt(pixels[:1], model.model.encode_images(pixels[:1]), text, masks, ["mask"])
    prompt = first.expand(len(pixels))
    encoded = model.model.pixel_decoder(model.model.encode_images(pixels), text, prompt.crop)
    decoded = model.model.decoder(*encoded, text, visual=prompt, all_stages=True)
    output = as_segmentation_output(decoded, encoded[1])
    ours = described(model, recorder, output)
    ours |= {f"{name}.frame1": tensor[1:] for name, tensor in ours.items() if name.startswith(("pixel.", "fusion."))}
    ours |= named_tokens(first)
    ours |= {
        "text.input_ids": names["input_ids"],
        "text.attention_mask": names["attention_mask"],
        "text.last_hidden_state": states,
        "text.teacher_last_hidden_state": encoder.read_as_teacher(**names),
        "text.class_embeddings": text.embeddings,
    }
    return compare_all("video_prompt", mini.group("video_prompt"), ours)


def as_segmentation_output(decoded, mask_features) -> GLEESegmentationOutput:
    return GLEESegmentationOutput(
        **decoded.final,
        query_embeddings=decoded.embeddings,
        location_scores=decoded.selected.scores,
        query_indices=decoded.selected.indices,
        mask_features=mask_features,
        auxiliary=decoded.auxiliary,
        encoder_predictions=decoded.encoder,
        references=decoded.references,
    )


def prompt_tensors(model, pixels: Tensor, names: dict, masks: Tensor, kind: str) -> dict[str, Tensor]:
    """Crop and fine tokens of a prompt on one image."""
    text = model.model.encode_text(**names, is_referring=False)
    return named_tokens(model.model.read_prompt(pixels, model.model.encode_images(pixels), text, masks, [kind]))


def named_tokens(prompt) -> dict[str, Tensor]:
    fine = {f"prompt.fine_tokens{level}": tokens.transpose(0, 1) for level, tokens in enumerate(prompt.fine)}
    return {"prompt.crop_tokens": prompt.crop} | fine


def link_frames(output, settings: dict, golden: Iterable[str]) -> dict[str, Tensor]:
    """The temporal link over the frames of a batch, with every weight that the golden numbers have."""
    scores, embeddings = output.logits[..., 0].sigmoid(), output.query_embeddings
    similarity, weight = settings["temporal_similarity"], settings["temporal_similarity_weight"]
    weights = {name.removeprefix(LINK) for name in golden if name.startswith(LINK)}
    linked = {f"{LINK}{each}": follow(scores, embeddings, similarity, float(each)) for each in weights}
    frames, queries = torch.arange(len(scores)), follow(scores, embeddings, similarity, weight)
    references = embeddings[frames[:-1], queries[:-1]]
    return linked | {
        "link.cosine_to_previous": torch.cosine_similarity(embeddings[1:], references[:, None], dim=-1),
        f"link.boxes_lambda{weight:g}": output.pred_boxes[frames, queries],
        f"link.masks_lambda{weight:g}": output.pred_masks[frames, queries],
    }


def follow(scores: Tensor, embeddings: Tensor, similarity: str, weight: float) -> Tensor:
    """The queries that answer on each frame, one after the other."""
    chosen, previous = [], None
    for frame_scores, frame_embeddings in zip(scores, embeddings, strict=True):
        chosen.append(link_query(frame_scores, frame_embeddings, previous, similarity, weight))
        previous = frame_embeddings[chosen[-1]]
    return torch.tensor(chosen)


# ---- training


def check_training(mini: Miniature, group: str) -> list[Difference]:
    """One training batch: denoising, matching, losses and gradients, with the stored random numbers."""
    golden = mini.group(group)
    model = mini.model().train()
    output = model(**training_batch(mini, group), label_table=mini.label_table(group), draws=stored_draws(golden))
    output.loss.backward()
    ours = {"select.topk_index": output.query_indices, "out.pred_track_embed": output.query_embeddings}
    ours |= predictions_by_stage(output) | denoising_tensors(output)
    ours |= matched_indices(output)
    compared = ("out.", "select.", "dn.query", "dn.attention", "dn.pad", "match.")
    expected = {
        name: value for name, value in golden.items() if name.startswith(compared) and "point_coords" not in name
    }
    return [
        *compare_all(group, expected, ours),
        *compare_losses(group, golden, output),
        *compare_gradients(group, golden, mini, model),
    ]


def training_batch(mini: Miniature, group: str) -> dict:
    """Images, texts and targets of a training batch."""
    is_referring, is_prompt, is_video = (group == f"train_{kind}" for kind in ("referring", "prompt", "video"))
    labels = mini.targets("train_video" if is_video else "train", only_first=is_referring or is_prompt)
    if is_referring:  # all expressions are the label 0
        labels = [{**target, "class_labels": torch.zeros_like(target["class_labels"])} for target in labels]
    return {
        "pixel_values": mini.pixels("train_video.frames" if is_video else "train.frames"),
        **mini.tokenize(mini.settings["training_expressions" if is_referring else "category_names"]),
        "task": "referring" if is_referring else "category",
        "labels": labels,
        **({"prompt_masks": torch.stack([target["masks"][0].bool() for target in labels])} if is_prompt else {}),
        **({"clip_length": len(labels)} if is_video else {}),
    }


def stored_draws(golden: dict[str, Tensor]) -> dict[str, Tensor]:
    """The random numbers of a training batch, by the names that the model takes."""
    draws = {ours: golden[f"dn.{theirs}"] for ours, theirs in DENOISING.items() if f"dn.{theirs}" in golden}
    if "track.sampled" in golden:
        draws["track_negatives"] = golden["track.sampled"]
    stored = {tuple(name.split(".")): points for name, points in golden.items() if "point_coords" in name}
    for (kind, stage, last), points in stored.items():
        image = last.removeprefix("point_coords")
        draws[f"matching.{stage}.{image}" if kind == "match" else f"mask_loss.{stage}"] = points
    return draws


def denoising_tensors(output) -> dict[str, Tensor]:
    """Denoising queries, and who of all queries is hidden from whom."""
    denoising = output.denoising
    if denoising is None:
        return {}
    count = denoising.groups * denoising.size
    total = count + output.logits.shape[1]
    return {
        "dn.query_content": denoising.content,
        "dn.query_box_logits": denoising.box_logits,
        "dn.attention_mask": denoising.hidden_from(total),
        "dn.pad_size_groups": torch.tensor([count, denoising.groups]),
    }


def matched_indices(output) -> dict[str, Tensor]:
    """Queries and their targets by stage and image."""
    pairs = {(stage, image): pair for stage, pairs in output.matches.items() for image, pair in enumerate(pairs)}
    queries = {f"match.{stage}.src{image}": pair[0] for (stage, image), pair in pairs.items()}
    return queries | {f"match.{stage}.tgt{image}": pair[1] for (stage, image), pair in pairs.items()}


def compare_losses(group: str, golden: dict[str, Tensor], output) -> list[Difference]:
    """Relative to themselves. Losses that we do not have, as that of the confidence without visual prompts, are
    zero."""
    ours = {f"loss.{name}": loss for name, loss in output.losses.items()} | {"loss_weighted_total": output.loss}
    expected = {name: value for name, value in golden.items() if name.startswith("loss")}
    surplus = [Difference(f"{group}.{name}: is no loss", float("inf"), 0.0) for name in ours.keys() - expected.keys()]
    zero = torch.zeros(())
    return surplus + [
        compare(f"{group}.{name}", ours.get(name, zero), value.reshape(()), LOSS_LIMIT)
        for name, value in expected.items()
    ]


def compare_gradients(group: str, golden: dict[str, Tensor], mini: Miniature, model) -> list[Difference]:
    """Norms of all gradients, relative to themselves, and some gradients as a whole, relative to their largest
    value."""
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    norms = {
        name.removeprefix(f"{group}."): norm for name, norm in mini.grad_norms.items() if name.startswith(f"{group}.")
    }
    weights = {strip_prefixes(name): tensor for name, tensor in mini.weights.items()}
    floor = ZERO_GRADIENT * max(norms.values())
    limit, found = GRADIENT_LIMITS[group], []
    stored = {name.removeprefix("grad."): tensor for name, tensor in golden.items() if name.startswith("grad.")}
    ours = {name: original_gradient(name, weights[name], gradients) for name in norms.keys() | stored.keys()}
    for name, norm in norms.items():
        difference = abs(float(ours[name].norm()) - norm) / max(norm, floor / limit)
        found.append(Difference(f"{group}.grad_norm.{name}", difference, limit))
    return found + [compare(f"{group}.grad.{name}", ours[name], tensor, limit) for name, tensor in stored.items()]


def original_gradient(name: str, weight: Tensor, gradients: dict[str, Tensor | None]) -> Tensor:
    """Our gradient in the layout of an original weight; zero where the weight has no part in the batch."""
    parts = [our_name(part) for part, _ in split_weight(copy_of(name) or name, weight)]
    found = [gradients.get(part) for part in parts]
    if all(gradient is None for gradient in found):
        return torch.zeros_like(weight)
    joined = torch.cat(found)
    return joined.T if RIGHT_MATRIX.fullmatch(name) else joined


# ---- the program


GROUPS = {
    "category": check_category,
    "referring": check_referring,
    "video_prompt": check_video_prompt,
    **{
        f"image_prompt_{kind}": lambda mini, kind=kind: check_image_prompt(mini, f"image_prompt_{kind}")
        for kind in ("mask", "point", "box")
    },
    **{
        f"train_{kind}": lambda mini, kind=kind: check_training(mini, f"train_{kind}")
        for kind in ("category", "referring", "prompt", "video")
    },
}


@torch.no_grad()
def check_swin(mini: Miniature) -> list[Difference]:
    """The Swin beside the checkpoint."""
    backbone = swin_backbone(mini)
    maps = backbone(mini.pixels("category.frames")).feature_maps
    return compare_all("swin", mini.group("swin"), {f"res{index + 2}": values for index, values in enumerate(maps)})


def check_folder(folder) -> dict[str, list[Difference]]:
    """All differences by group."""
    mini = Miniature(folder)
    found = {group: check(mini) for group, check in GROUPS.items()}
    if (mini.folder / "swin_backbone.safetensors").is_file():
        found["swin"] = check_swin(mini)
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="folder with config.yaml, checkpoint, inputs and golden numbers")
    torch.manual_seed(0)
    failed = False
    for group, differences in check_folder(parser.parse_args(arguments).folder).items():
        past = [difference for difference in differences if difference.is_past]
        failed |= bool(past)
        for kind in sorted({difference.kind for difference in differences}):
            own = [difference for difference in differences if difference.kind == kind]
            worst = max(own, key=lambda difference: difference.value)
            print(
                f"{group:16} {kind:10} {len(own):4}  largest {worst.value:.1e}, limit {worst.limit:.0e}  {worst.name}"
            )
        for difference in past:
            print(f"  PAST ITS LIMIT: {difference.name} {difference.value:.2e} > {difference.limit:.0e}")
    print("differs" if failed else "equal within the limits")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
