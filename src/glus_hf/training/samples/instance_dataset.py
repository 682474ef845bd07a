"""Training samples of images with objects: names for all of them, or one expression about one of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...data.frames import read_frame
from ...data.objects.object_schema import ANYTHING
from ...errors import BrokenSampleError, UserError
from ...media.rle import decode_rle
from ...media.sizes import check_size
from .resumable_sampler import SAMPLE_STREAM, EpochDataset
from .skip_log import SkipLog
from .training_image import TrainingImage


LABELS = ("categories", "descriptions", "expressions", "objects")
TEXTS = ("descriptions", "expressions")
BATCH = 1024  # rows that are looked at together


class InstanceDataset(EpochDataset):
    """Rows of [`load_object_dataset`], one training sample per image that has objects; crowds are left out.

    Sample `i` of epoch `e` is a function of `(seed, e, i)` alone.

    Args:
        rows: of [`load_object_dataset`], not streamed.
        names: of the categories, as [`object_names`] gives them; by default those of the objects.
        labels: what the objects are called: "categories", their names; "descriptions", their own texts as names;
            "expressions", one of the texts of one object; "objects", all of them "object".
        num_names: least names of a batch: those of its objects and, at random, others; all by default.
        masks: False leaves the masks out, so that class and box alone are trained.
        name: of the dataset, in messages and logs; by default what its rows say.
        seed: 0 or more.
        on_error: "raise", or "skip" to take the next image instead of one that cannot be read.
        prompts: share of batches in which one object of each image is meant by a mask, a point or a box.

    Raises:
        UserError: an option is impossible, or no object has what `labels` needs; one line.

    Example:

        >>> from glus_hf import load_object_dataset
        >>> rows = load_object_dataset("motion_shapes", split="test", num_videos=1, num_frames=2, size=48)
        >>> InstanceDataset(rows, labels="objects")[0]["image"].vocabulary
        ('object',)
    """

    def __init__(
        self,
        rows,
        names: Sequence[str] = (),
        labels: str = "categories",
        num_names: int | None = None,
        masks: bool = True,
        name: str | None = None,
        seed: int = 0,
        on_error: str = "raise",
        prompts: float = 0.0,
    ):
        super().__init__()
        _check_options(labels, num_names, seed, on_error, prompts)
        if prompts and not masks:
            raise UserError("prompts need the masks of the objects; leave masks at true, or prompts at 0")
        self.labels, self.num_names, self.masks, self.seed = labels, num_names, masks, seed
        self.name = name or (rows[0]["dataset"] if len(rows) else "instances")
        self.rows, self.prompts = rows, prompts
        self._index = np.flatnonzero(_numbers_of_objects(rows, labels))
        if not len(self._index):
            raise UserError(f"{self.name}: no object has {_needed(labels)}, as labels={labels} needs; use another one")
        self.vocabulary = _vocabulary(rows, labels, names)
        self.on_error, self._log = on_error, SkipLog(None) if on_error == "skip" else None

    def __len__(self) -> int:
        return len(self._index)

    @property
    def kinds(self) -> list[str]:
        """Per sample, what must not be mixed in a batch: "landscape" or "portrait"."""
        sizes = self.rows.select_columns(["width", "height"]).with_format("numpy")[:]
        is_wide = (sizes["width"] >= sizes["height"])[self._index]
        return ["landscape" if each else "portrait" for each in is_wide]

    @property
    def extra_terms(self) -> tuple[str, ...]:
        """Terms that the loss has besides those of all data."""
        return ("loss_conf",) if self.prompts else ()

    @property
    def skipped(self) -> list[dict]:
        """What was left out: `{"sample": name, "reason": text}` each time."""
        return [] if self._log is None else self._log.read()

    def __getitem__(self, index: int) -> dict:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        return self.sample(int(index), (SAMPLE_STREAM, self.seed, self.epoch, int(index)))

    def sample(self, index: int, key: tuple[int, ...]) -> dict:
        """The sample of image `index` that the numbers `key` determine: `image` ([`TrainingImage`]), `dataset`,
        `frame_names` and `key`.

        Raises:
            BrokenSampleError: the image or a mask cannot be read; one line.
        """
        for attempt in range(len(self) if self.on_error == "skip" else 1):
            number = int(self._index[(index + attempt) % len(self)])
            try:
                made = self._make(number, np.random.default_rng([*key, attempt]))
                return {**made, "dataset": self.name, "key": (*key, attempt)}
            except (UserError, OSError) as error:
                reason, image = " ".join(str(error).split()), self.rows[number]["image_id"]
                if self.on_error == "raise":
                    remedy = "repair or remove it, or pass on_error='skip'"
                    raise BrokenSampleError(f"{self.name}, {image}: {reason}; {remedy}") from error
                self._log.add(f"{self.name}, {image}", reason)
        raise BrokenSampleError(f"{self.name}: none of {len(self)} images can be read; the last: {reason}")

    def _make(self, number: int, rng: np.random.Generator) -> dict:
        row = self.rows[number]
        return {"image": self._image(row, *self._chosen(row, rng)), "frame_names": [row["image_id"]]}

    def _image(self, row: dict, objects: Sequence[dict], texts: Sequence[str], ids=None) -> TrainingImage:
        pixels, size = read_frame(row["image_path"]), (row["height"], row["width"])
        check_size(row["image_path"], pixels.shape[:2], size, of="the annotation file")
        has_masks = self.masks and all(each["mask"] is not None for each in objects)
        masks = [decode_rle(each["mask"], size) for each in objects] if has_masks else []
        return TrainingImage(
            pixels=pixels,
            boxes=np.array([each["box"] for each in objects], dtype=np.float32).reshape(-1, 4),
            masks=np.array(masks, bool).reshape(-1, *size) if has_masks else None,
            labels=tuple(texts),
            expression=texts[0] if self.labels == "expressions" else None,
            vocabulary=self.vocabulary,
            num_names=self.num_names,
            is_free_text=self.labels in TEXTS,
            object_ids=tuple(range(len(objects))) if ids is None else ids,
            prompt_part=self.prompts,
        )

    def _chosen(self, row: dict, rng: np.random.Generator) -> tuple[Sequence[dict], list[str]]:
        """The objects of a sample, and what each is called."""
        objects = [each for each in row["objects"] or () if not each["is_crowd"]]
        if self.labels == "objects":
            return objects, [ANYTHING] * len(objects)
        if self.labels == "categories":
            named = [each for each in objects if each["name"] is not None]
            return named, [each["name"] for each in named]
        described = [each for each in objects if each["descriptions"]]
        if self.labels == "expressions":
            described = [described[int(rng.integers(len(described)))]]
        texts = (each["descriptions"] for each in described)
        return described, [each[int(rng.integers(len(each)))] for each in texts]


def _check_options(labels: str, num_names: int | None, seed: int, on_error: str, prompts: float) -> None:
    if labels not in LABELS or on_error not in ("raise", "skip"):
        raise UserError(f"labels is one of {', '.join(LABELS)} and on_error raise or skip, got {labels}, {on_error}")
    if seed < 0 or (num_names is not None and num_names < 1):
        raise UserError(f"num_names must be 1 or more and seed 0 or more, got {num_names}, {seed}")
    if not 0 <= prompts <= 1:
        raise UserError(f"prompts is a share of batches, 0 to 1, got {prompts}")
    if prompts and labels == "expressions":
        raise UserError("prompts go with names, not with expressions; use labels=objects or categories")


def _needed(labels: str) -> str:
    return {"categories": "a name", "objects": "a place"}.get(labels, "a text")


def _objects_of(rows) -> Iterator[pa.ListArray]:
    """The objects of all rows, some rows at a time; nothing is copied out of the cache."""
    for table in rows.select_columns(["objects"]).with_format("arrow").iter(BATCH):
        objects = table["objects"].combine_chunks()
        yield pc.fill_null(objects, pa.scalar([], objects.type)) if objects.null_count else objects


def _numbers_of_objects(rows, labels: str) -> np.ndarray:
    """How many objects of each row can be used."""
    counts = [np.zeros(0, np.int64)]
    for objects in _objects_of(rows):
        found = objects.flatten()
        usable = pc.invert(found.field("is_crowd"))
        if labels == "categories":
            usable = pc.and_(usable, pc.is_valid(found.field("name")))
        elif labels in TEXTS:
            usable = pc.and_(usable, pc.greater(pc.list_value_length(found.field("descriptions")), 0))
        owners = pc.list_parent_indices(objects).to_numpy(zero_copy_only=False)
        usable = pc.fill_null(usable, False).to_numpy(zero_copy_only=False)
        counts.append(np.bincount(owners[usable], minlength=len(objects)))
    return np.concatenate(counts)


def _vocabulary(rows, labels: str, names: Sequence[str]) -> Sequence[str]:
    """All names that a batch can be asked for."""
    if labels in ("objects", "expressions"):
        return (ANYTHING,) if labels == "objects" else ()
    if labels == "categories" and names:
        return tuple(dict.fromkeys(names))
    parts = []
    for objects in _objects_of(rows):
        found = objects.flatten()
        found = found.filter(pc.invert(found.field("is_crowd")))
        texts = found.field("name") if labels == "categories" else found.field("descriptions").flatten()
        parts.append(texts.drop_null())
    return _Texts(pc.unique(pa.chunked_array(parts, pa.string())))


class _Texts(Sequence):
    """Texts that stay in Arrow: those of Visual Genome are millions."""

    def __init__(self, texts: pa.Array):
        self._texts = texts

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return self._texts[index].to_pylist()
        return self._texts[int(index)].as_py()


__all__ = ["InstanceDataset"]
