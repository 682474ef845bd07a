"""Converter: a released GLEE file (Lite, Plus or Pro) into a folder for `from_pretrained`.

Names are in weight_names_glee.py, sizes in original_config_glee.py; files, records and the rule that every weight is
used exactly once are those of all converters.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoTokenizer

from ...conversion.download import CLIP_REPO
from ...conversion.output_folder import existing_file, write_folder
from ...conversion.plan import ConversionPlan
from ...conversion.provenance import describe_source
from ...conversion.weight_files import WeightFiles
from ...errors import CheckpointError
from ..checkpoint_loading import check_files, readable_errors
from .configuration_eva02_glee import GLEEEva02Config
from .configuration_glee import GLEEConfig
from .eva02_glee import rotary_angles
from .image_processing_glee import GLEEImageProcessor
from .modeling_glee import GLEEForVideoSegmentation
from .original_config_glee import config_values
from .processing_glee import GLEEProcessor
from .weight_names_glee import (
    IGNORED,
    ROTARY_TABLE,
    TEACHER_PREFIX,
    copies,
    copy_of,
    original_name,
    our_name,
    split_weight,
    strip_prefixes,
)


GREY = 128
TABLE_TOLERANCE = 1e-2  # of tables in half precision
FLOAT32_PARTS = ("model.pixel_decoder.", "model.decoder.", "model.prompter.")


def convert_checkpoint(
    source: str | os.PathLike,
    clip: str | os.PathLike = CLIP_REPO,
    output: str | os.PathLike = "glee",
    keep_teacher: bool = False,
    config: Mapping | None = None,
    dtype: str = "keep",
    max_shard_size: int | str = "5GB",
    progress: bool = True,
) -> Path:
    """Convert a released GLEE-Lite, GLEE-Plus or GLEE-Pro.

    Accepts the weights alone or under "model", with and without the prefixes "module." and "glee.". Left out are
    computed buffers, and the teacher.

    Args:
        source (`str`): the file, `GLEE_Lite_joint.pth` for instance.
        clip (`str`): folder or Hub name of a CLIP, for its tokenizer; all of OpenAI's have the same.
        output (`str`): folder to make.
        keep_teacher (`bool`): keep the frozen text tower, to go on with distillation.
        config (`Mapping`, *optional*): fields of [`GLEEConfig`] in place of those that the shapes tell; the numbers of
            heads and queries are those of the released models otherwise.
        dtype (`str`): "keep", "float32", "bfloat16" or "float16"; pixel decoder and decoder stay in float32.
        max_shard_size (`int` or `str`): bytes, or for instance "5GB".
        progress (`bool`): show a bar.

    Returns:
        The output folder.

    Raises:
        WeightsDoNotFit: weights are missing, unexpected or of the wrong shape; all of them in its `keys`.
        CheckpointError: the file is missing, damaged or not what it should be, its copies or rotary tables too; one
            line.

    Example:

        >>> convert_checkpoint("GLEE_Lite_joint.pth", output="glee-lite")  # doctest: +SKIP
    """
    file = existing_file(source)
    released = ReleasedWeights(str(source), [file], keep_teacher=keep_teacher)
    values = {**config_values(released.original_shapes(), str(source)), "text_teacher": released.has_teacher()}
    model_config = GLEEConfig(**{**values, **(config or {})})
    plan = GLEEConversionPlan(model_config, [released], dtype)
    released.check_copies()
    if model_config.has_pyramid:
        released.check_tables(model_config.backbone_config)
    processor = _make_processor(model_config, clip)

    def record() -> dict:
        return {
            "kind": "glee",
            "sources": {"checkpoint": describe_source(file.name, released, progress=progress)},
            "options": {"dtype": dtype, "keep_teacher": keep_teacher, "config": dict(config or {})},
            "left_out": sorted(released.left_out()),
        }

    return write_folder(output, plan, record, max_shard_size, progress, processor, [])


class ReleasedWeights(WeightFiles):
    """The weights of a released file by their names without prefixes, joined projections split."""

    def __init__(self, role: str, files: list[Path], keep_teacher: bool):
        super().__init__(role, files, rename=self._own_name)
        self.keep_teacher = keep_teacher

    def _own_name(self, name: str) -> str | None:
        name = strip_prefixes(name)
        is_teacher = name.startswith(TEACHER_PREFIX) and not self.keep_teacher
        return None if is_teacher or copy_of(name) or IGNORED.fullmatch(name) else name

    def _read_raw(self) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in super()._read_raw():
            yield from split_weight(name, tensor)

    def originals(self) -> WeightFiles:
        """All weights as they are in the file, but for the prefixes."""
        return WeightFiles(self.role, self.files, rename=strip_prefixes)

    def original_shapes(self) -> dict[str, Tensor]:
        return self.originals().shapes()

    def has_teacher(self) -> bool:
        return self.keep_teacher and any(name.startswith(TEACHER_PREFIX) for name in self.original_shapes())

    def left_out(self) -> set[str]:
        """Names in the file that make none of our weights; copies are none of these."""
        names = {name for name in self.original_shapes() if copy_of(name) is None}
        return {name for name in names if self._own_name(name) is None}

    def check_copies(self) -> None:
        """Refuse weights that are stored several times with different values.

        Raises:
            CheckpointError: there are any; one line.
        """
        pairs = {name: copy_of(name) for name in self.original_shapes() if copy_of(name) is not None}
        needed = {*pairs, *pairs.values()}
        weights = {name: tensor.clone() for name, tensor in self.originals().read() if name in needed}
        differ = sorted(
            name
            for name, target in pairs.items()
            if target in weights and not torch.equal(weights[name], weights[target])
        )
        if differ:
            raise CheckpointError(
                f"{self.role}: {', '.join(differ)}: differ from the weights that they repeat; download the file again"
            )

    def check_tables(self, config: GLEEEva02Config) -> None:
        """Refuse rotary positions that are not those that we compute.

        Raises:
            CheckpointError: there are any; one line.
        """
        stored = ((name, tensor) for name, tensor in self.originals().read() if ROTARY_TABLE.fullmatch(name))
        differ = sorted(name for name, tensor in stored if not _is_table(name, tensor.float(), config))
        if differ:
            raise CheckpointError(
                f"{self.role}: {', '.join(differ)}: are not the rotary positions of GLEE-Pro; download the file again"
            )


def _is_table(name: str, stored: Tensor, config: GLEEEva02Config) -> bool:
    layer = ROTARY_TABLE.fullmatch(name)["i"]
    is_global = "rope_glb" in name if layer is None else int(layer) in config.global_attention_indexes
    grid = config.grid if is_global else config.window_size
    angles = rotary_angles(grid * grid, grid, config, stored.device).repeat_interleave(2, 1)
    expected = angles.cos() if name.endswith("cos") else angles.sin()
    return stored.shape == expected.shape and torch.allclose(stored, expected, atol=TABLE_TOLERANCE)


class GLEEConversionPlan(ConversionPlan):
    """The way of every weight into a [`GLEEForVideoSegmentation`]. Copies must be there too."""

    def _plan_names(self, names: Iterable[str]) -> tuple[dict[str, list[str]], list[str]]:
        pairs = [(name, our_name(name)) for name in names]
        unknown = sorted(name for name, target in pairs if target is None)
        return {target: [name] for name, target in pairs if target is not None}, unknown

    def _original_names(self, target: str, rows: int) -> list[str]:
        name = original_name(target)
        return [] if name is None else [name]

    def _make_model(self):
        return GLEEForVideoSegmentation(self.config)

    def _find_misfits(self, unknown: list[str]) -> dict[str, list[str]]:
        misfits = super()._find_misfits(unknown)
        originals = self.sources[0].original_shapes()
        misfits["missing"] += [name for name in copies(self.config.decoder_layers) if name not in originals]
        return misfits

    def _cast(self, target: str, tensor: Tensor) -> Tensor:
        return tensor if target.startswith(FLOAT32_PARTS) else super()._cast(target, tensor)

    def model_dtype(self) -> torch.dtype:
        name = "model.text_encoder.projection.weight"
        return self._cast(name, self.shapes[self.targets[name][0]]).dtype


def _make_processor(config: GLEEConfig, clip: str | os.PathLike) -> GLEEProcessor:
    check_files(str(clip), {}, of_model=False)
    with readable_errors(str(clip)):
        tokenizer = AutoTokenizer.from_pretrained(clip, trust_remote_code=False)
    rows = config.text_config.vocab_size
    if len(tokenizer) > rows or tokenizer.pad_token is None:
        raise CheckpointError(
            f"{clip}: its tokenizer has {len(tokenizer)} tokens for {rows} embeddings, or none for padding; pass the "
            f"folder of {CLIP_REPO}"
        )
    length = config.text_config.max_position_embeddings
    return GLEEProcessor(_make_image_processor(config), tokenizer, max_text_tokens=length)


def _make_image_processor(config: GLEEConfig) -> GLEEImageProcessor:
    """GLEE-Pro's images are resized by their longer side and padded to a square of grey."""
    if not config.has_pyramid:
        return GLEEImageProcessor()
    side = config.backbone_config.image_size
    square = {"height": side, "width": side}
    return GLEEImageProcessor(size={"longest_edge": side}, pad_size=square, pad_value=GREY)


__all__ = ["convert_checkpoint"]
