"""Object contrastive loss: [SEG] embeddings of one object asked for in different words shall agree.

Of every current [SEG] embedding (an anchor) the positives are those of *other expressions of the same objects in the
same frame*, found in a first-in-first-out bank of detached embeddings; an InfoNCE over cosine similarities (paper,
section 3.4). The other losses of GLUS are in `models/recipe_losses.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from ..errors import UserError


NEGATIVES = ("other_objects", "upstream", "batch")
"""What counts as a negative, see [`ObjectContrastiveLoss`]."""

VIDEO, EXPRESSION, FRAME, OBJECTS = range(4)
NO_TOKEN = -1


def token_ids(sample: Mapping, num_query_frames: int, datasets: Sequence[str] | None = None) -> Tensor:
    """Who the [SEG] tokens of one training video are: `int64 [expressions, query frames, 4]`.

    The four numbers stand for video, expression, frame and set of objects; each is a hash of the names, so that they
    mean the same in every process and every run. A token of an expression without known objects is -1 everywhere and
    takes no part.

    Args:
        sample: as of [`ReferringVideoDataset`]: `dataset`, `video_id`, `expression_ids`, `frame_names` and
            `object_ids` (per expression a list of ids, empty where they are not known).
        num_query_frames: the last frames of `frame_names`, the ones with a [SEG].
        datasets: names of the datasets that take part; all by default.

    Example:
        >>> sample = {"dataset": "mevis", "video_id": "v", "expression_ids": ["0", "1"]}
        >>> sample |= {"object_ids": [["3", "1"], ["1", "3"]], "frame_names": ["00007", "00000"]}
        >>> ids = token_ids(sample, num_query_frames=1)
        >>> ids.shape, (ids[0, 0] == ids[1, 0]).tolist()
        (torch.Size([2, 1, 4]), [True, False, True, True])
    """
    video = (sample["dataset"], sample["video_id"])
    rows = []
    for expression, objects in zip(sample["expression_ids"], sample["object_ids"], strict=True):
        takes_part = objects and (datasets is None or sample["dataset"] in datasets)
        of_objects = _hash(*video, "objects", *sorted(str(index) for index in objects or ()))
        whole = _hash(*video), _hash(*video, "expression", expression)
        rows.append(
            [
                [*whole, _hash(*video, "frame", frame), of_objects] if takes_part else [NO_TOKEN] * 4
                for frame in sample["frame_names"][-num_query_frames:]
            ]
        )
    return torch.tensor(rows, dtype=torch.long)


def _hash(*names) -> int:
    """63 bits of a hash of names: nonnegative, and the same in every process."""
    digest = hashlib.blake2b("\0".join(map(str, names)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


class EmbeddingBank:
    """The newest `size` detached [SEG] embeddings `[n, dim]` and their ids `[n, 4]`, oldest first."""

    def __init__(self, size: int = 512):
        self.size = size
        self.embeddings: Tensor | None = None
        self.ids = torch.empty(0, 4, dtype=torch.long)

    def __len__(self) -> int:
        return len(self.ids)

    def push(self, embeddings: Tensor, ids: Tensor) -> None:
        """Add embeddings `[n, dim]` with ids `[n, 4]`; the oldest fall out."""
        embeddings, ids = embeddings.detach().float(), ids.to(embeddings.device)
        if self.embeddings is not None:
            embeddings = torch.cat([self.embeddings.to(embeddings.device), embeddings])
            ids = torch.cat([self.ids.to(embeddings.device), ids])
        self.embeddings, self.ids = embeddings[-self.size :], ids[-self.size :]


@dataclass
class ContrastiveTerm:
    """`loss`: share of this process in the mean over all anchors (the shares of all processes add up to it; without
    gathering, the mean itself). `num_anchors`: valid anchors, of all processes when gathering."""

    loss: Tensor
    num_anchors: int


class ObjectContrastiveLoss:
    """InfoNCE of [SEG] embeddings against a bank: `-log(e^(s+/t) / (e^(s+/t) + sum e^(s-/t)))`, s cosine similarities.

    All current tokens are put into the bank first. One positive is sampled for every anchor.

    Args:
        bank_size: tokens kept (a window of four frames and three expressions has 12).
        temperature: t.
        num_negatives: negatives sampled per anchor.
        negatives: what a negative is, and what happens to few of them.
            * "other_objects" (default): tokens of other objects (or of other videos), sampled without replacement, all
              of them if they are fewer than `num_negatives`. An anchor needs one.
            * "upstream": everything that is neither positive nor of the anchor's own expression. That includes the
              same objects *in other frames*, which the loss then pushes away. Sampled with replacement; an anchor
              needs as many as are sampled; and a batch in which only one anchor is valid counts nothing.
            * "batch": SimCLR's, as the paper says. There is no bank: positives and negatives are those of the current
              tokens, all of them, and the gradient goes to both sides. With several positives their mean counts.
        gather: share current tokens among processes, so that the bank holds those of all.
        seed: of the sampling. With `gather` every process samples for all anchors, so that N processes with one video
            each do what one process with N videos does.

    Example:
        >>> loss = ObjectContrastiveLoss(num_negatives=1)
        >>> embeddings = torch.eye(3)[[0, 0, 1]]
        >>> ids = torch.tensor([[1, 1, 1, 1], [1, 2, 1, 1], [1, 3, 1, 2]])  # two expressions of object 1, one of 2
        >>> term = loss(embeddings, ids)
        >>> term.num_anchors, round(term.loss.item(), 6)
        (2, 1e-06)
    """

    def __init__(
        self,
        bank_size: int = 512,
        temperature: float = 0.07,
        num_negatives: int = 128,
        negatives: str = "other_objects",
        gather: bool = False,
        seed: int = 0,
    ):
        if negatives not in NEGATIVES:
            raise UserError(f"negatives must be one of {', '.join(NEGATIVES)}, got {negatives!r}")
        self.bank = EmbeddingBank(bank_size)
        self.temperature, self.num_negatives, self.negatives = temperature, num_negatives, negatives
        self.gather = gather and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, embeddings: Tensor, ids: Tensor) -> ContrastiveTerm:
        """The loss of current tokens.

        Args:
            embeddings: `[n, dim]`, with gradient.
            ids: `[n, 4]`, see [`token_ids`].
        """
        kept = (ids[:, VIDEO] != NO_TOKEN).to(embeddings.device)
        embeddings, ids = embeddings[kept].float(), ids.to(embeddings.device)[kept]
        all_embeddings, all_ids, own = self._gather(embeddings, ids)
        if self.negatives == "batch":
            tokens = torch.cat([all_embeddings[: own.start], embeddings, all_embeddings[own.stop :]])
            return self._in_batch(tokens, all_ids, own)
        self.bank.push(all_embeddings, all_ids)
        chosen, is_sampled, valid = self._sample(all_ids.cpu())
        count = int(valid.sum())
        if count < (2 if self.negatives == "upstream" else 1):
            return ContrastiveTerm(embeddings.sum() * 0, 0)
        mine = torch.zeros_like(valid)
        mine[own] = True
        anchors = embeddings[valid[own].to(embeddings.device)]
        losses = self._info_nce(anchors, chosen[valid & mine], is_sampled[valid & mine])
        return ContrastiveTerm(losses.sum() / count, count)

    def _in_batch(self, tokens: Tensor, ids: Tensor, own: slice) -> ContrastiveTerm:
        """Every token against all current ones; those outside `own` have no gradient here, but in their process."""
        positive, negative = (part.to(tokens.device) for part in self.relations(ids.cpu(), ids.cpu()))
        valid = positive.any(-1) & negative.any(-1)
        count = int(valid.sum())
        if not count:
            return ContrastiveTerm(tokens.sum() * 0, 0)
        directions = F.normalize(tokens, dim=-1)
        scores = directions[valid] @ directions.T / self.temperature
        others = scores.masked_fill(~negative[valid], -torch.inf).logsumexp(-1, keepdim=True)
        pairs = (torch.logaddexp(scores, others) - scores) * positive[valid]
        losses = pairs.sum(-1) / positive[valid].sum(-1)
        mine = torch.zeros_like(valid)
        mine[own] = True
        share = losses[mine[valid]].sum().detach()
        # its own tokens are negatives of other processes' anchors: the value is a share, the gradient is whole
        whole = losses.sum()
        return ContrastiveTerm((whole - whole.detach() + share) / count, count)

    def _info_nce(self, anchors: Tensor, chosen: Tensor, is_sampled: Tensor) -> Tensor:
        """Loss per anchor; column 0 of `chosen [n, 1 + negatives]` is the positive, the rest counts where sampled."""
        bank = F.normalize(self.bank.embeddings.to(anchors.device), dim=-1)
        others = bank[chosen.to(anchors.device)]
        scores = torch.einsum("nd,nkd->nk", F.normalize(anchors, dim=-1), others) / self.temperature
        scores = scores.masked_fill(~is_sampled.to(anchors.device), -torch.inf)
        return scores.logsumexp(-1) - scores[:, 0]

    def _sample(self, anchors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Places in the bank of one positive and the negatives `[n, 1 + k]`, which of them count, valid anchors."""
        positive, negative = self.relations(anchors)
        keys = torch.rand(positive.shape, generator=self.generator)
        first = keys.masked_fill(~positive, -1.0).argmax(-1, keepdim=True) if len(self.bank) else positive.long()
        count = min(self.num_negatives, len(self.bank))
        if self.negatives == "upstream":
            count, enough = self.num_negatives, negative.sum(-1) >= self.num_negatives
            weights = torch.where(enough[:, None], negative, True).float()
            rest = first.new_empty(0, count)
            if len(anchors):
                rest = torch.multinomial(weights, count, replacement=True, generator=self.generator)
            is_sampled = enough[:, None].expand(-1, count)
        else:
            keys = torch.rand(negative.shape, generator=self.generator).masked_fill(~negative, -1.0)
            values, rest = keys.topk(count, dim=-1)
            is_sampled = values >= 0
        valid = positive.any(-1) & is_sampled.any(-1)
        counts = torch.cat([torch.ones_like(first, dtype=torch.bool), is_sampled], dim=-1)
        return torch.cat([first, rest], dim=-1), counts, valid

    def relations(self, anchors: Tensor, tokens: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Which tokens, by default those of the bank, are positives and negatives of anchors with ids `[n, 4]`: two
        bool `[n, tokens]`."""
        tokens = self.bank.ids.cpu() if tokens is None else tokens
        same = anchors[:, None] == tokens[None]
        positive = same[..., FRAME] & same[..., OBJECTS] & ~same[..., EXPRESSION]
        if self.negatives == "upstream":
            return positive, ~positive & ~same[..., EXPRESSION]
        return positive, ~same[..., OBJECTS]

    def _gather(self, embeddings: Tensor, ids: Tensor) -> tuple[Tensor, Tensor, slice]:
        """Detached embeddings and ids of all processes, and where ours are."""
        if not self.gather:
            return embeddings.detach(), ids, slice(0, len(ids))
        counts = [torch.zeros(1, dtype=torch.long, device=ids.device) for _ in range(dist.get_world_size())]
        dist.all_gather(counts, torch.tensor([len(ids)], device=ids.device))
        counts = [int(count) for count in counts]
        gathered = [_gather_rows(tensor, counts) for tensor in (embeddings.detach(), ids)]
        start = sum(counts[: dist.get_rank()])
        return *gathered, slice(start, start + len(ids))

    def save(self, file: str | Path) -> None:
        """Write bank and state of the sampling (safetensors)."""
        embeddings = torch.empty(0, 0) if self.bank.embeddings is None else self.bank.embeddings.cpu()
        state = {"embeddings": embeddings, "ids": self.bank.ids.cpu(), "generator": self.generator.get_state()}
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, file)

    def load(self, file: str | Path) -> None:
        """Go on where `save` was called."""
        with safe_open(file, framework="pt") as state:
            embeddings = state.get_tensor("embeddings")
            self.bank.embeddings = embeddings if len(embeddings) else None
            self.bank.ids = state.get_tensor("ids")
            self.generator.set_state(state.get_tensor("generator"))


def _gather_rows(rows: Tensor, counts: list[int]) -> Tensor:
    padded = rows.new_zeros(max(counts), *rows.shape[1:])
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


__all__ = ["ContrastiveTerm", "EmbeddingBank", "ObjectContrastiveLoss", "token_ids"]
