"""GLUSSelector: Chat-UniVi that says, as a number, how well a frame shows what an expression means.

The prompt shows context frames and a target frame and is answered "It is [SCORE]."; the score is read off the state
that predicts `[SCORE]`, so nothing is generated.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.utils import ModelOutput

from ..conversation_batch import counts_per_video
from ..frame_scores import best_frames
from ..prefix_cache import PromptCache, pad_prompts, read_at, read_beginning
from .configuration_glus_selector import GLUSSelectorConfig
from .inference_glus_selector import GLUSSelectorSession, score_video
from .modeling_chat_univi import ChatUniViModel, ChatUniViPreTrainedModel, answer_loss
from .token_merger_glus_selector import DensityNoise


SAMPLES_EPS = 1e-8


@dataclass
class GLUSSelectorOutput(ModelOutput):
    """Output of [`GLUSSelector`] on a training batch. Terms are unweighted; `loss` is their weighted sum.

    Args:
        loss (`torch.FloatTensor`, *optional*): `ce + lambda * score`, with the weights of the config.
        ce_loss (`torch.FloatTensor`, *optional*): cross entropy over the supervised positions of `labels`.
        score_loss (`torch.FloatTensor`, *optional*): mean over the videos of the mean distance of their scores from
            `score_labels`.
        scores (`torch.FloatTensor [conversations]`): float32, about 0 to 1, not bounded.
        score_states (`torch.FloatTensor [conversations, hidden]`): the states that the scores are read off.
        hidden_states (`torch.FloatTensor [conversations, length, hidden]`): last states of the language model.
    """

    loss: torch.FloatTensor | None = None
    ce_loss: torch.FloatTensor | None = None
    score_loss: torch.FloatTensor | None = None
    scores: torch.FloatTensor | None = None
    score_states: torch.FloatTensor | None = None
    hidden_states: torch.FloatTensor | None = None


class GLUSSelectorPreTrainedModel(ChatUniViPreTrainedModel):
    config_class = GLUSSelectorConfig
    config: GLUSSelectorConfig
    input_modalities = ("video", "text")
    _keep_in_fp32_modules_strict = ["score_head"]


class GLUSScoreHead(nn.Sequential):
    """State -> score: linear, ReLU, linear, ReLU, linear to one. In float32, whatever the rest of the model is in."""

    def __init__(self, config: GLUSSelectorConfig):
        hidden, width = config.text_config.hidden_size, config.score_head_size
        super().__init__(
            nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, width), nn.ReLU(), nn.Linear(width, 1)
        )

    def forward(self, states: Tensor) -> Tensor:
        """`[..., hidden]` -> `[...]`."""
        with torch.autocast(states.device.type, enabled=False):
            values = states.float()
            for layer in self:
                if isinstance(layer, nn.Linear):  # a model cast as a whole has a head in half precision
                    values = F.linear(values, layer.weight.float(), layer.bias.float())
                else:
                    values = layer(values)
            return values[..., 0]


class GLUSSelector(GLUSSelectorPreTrainedModel):
    """Scores the frames of a video as starting points for segmentation; the best one is the key frame.

    All state of inference is in the session, so threads can share one model.

    Example:

        >>> selector = GLUSSelector.from_pretrained("my-selector")  # doctest: +SKIP
        >>> processor = GLUSSelectorProcessor.from_pretrained("my-selector")  # doctest: +SKIP
        >>> session = processor.init_video_session(frames, ["the red circle", "the cat"])  # doctest: +SKIP
        >>> selector.score_frames(session).shape  # doctest: +SKIP
        torch.Size([2, 10])
        >>> selector.select_key_frame(session)  # doctest: +SKIP
        tensor([3, 0])
    """

    def __init__(self, config: GLUSSelectorConfig):
        super().__init__(config)
        self.model = ChatUniViModel(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.score_head = GLUSScoreHead(config)
        self.post_init()

    def get_input_embeddings(self):
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value):
        self.model.set_input_embeddings(value)

    def get_output_embeddings(self):
        return self.lm_head

    def set_output_embeddings(self, value):
        self.lm_head = value

    def forward(
        self,
        input_ids: Tensor,
        pixel_values: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        score_labels: Tensor | None = None,
        frames_per_video: Tensor | Sequence[int] | None = None,
        expressions_per_video: Tensor | Sequence[int] | None = None,
        density_noise: DensityNoise = None,
        return_dict: bool = True,
    ) -> GLUSSelectorOutput | tuple:
        """One teacher-forced pass over a batch of conversations; each holds `[SCORE]` once.

        Args:
            input_ids: `[conversations, length]`, images expanded to `image_token_id`, right padded.
            pixel_values: `[frames of all videos, 3, h, w]`; of each video its context frames, then the target frame.
            attention_mask: `[conversations, length]`.
            labels: `[conversations, length]`, -100 where unsupervised; not shifted.
            score_labels: `[conversations]`, what the scores should be: IoU in [0, 1].
            frames_per_video: frames of each video; by default all belong to one.
            expressions_per_video: conversations of each video, in order; by default the same number each.
            density_noise: of the token merger; `None` is deterministic.

        Returns:
            [`GLUSSelectorOutput`]

        Raises:
            `ValueError`: frames, conversations and image positions do not fit together, or not one `[SCORE]` each.
        """
        frames = [len(pixel_values)] if frames_per_video is None else [int(count) for count in frames_per_video]
        even = len(input_ids) // max(len(frames), 1)
        counts = counts_per_video(expressions_per_video, len(frames), len(input_ids), default=even)
        if sum(frames) != len(pixel_values):
            raise ValueError(f"frames_per_video {frames} does not fit {len(pixel_values)} frames.")
        self._check_positions(input_ids, frames, counts)
        tokens = self.model.encode_images(pixel_values, density_noise).split(frames)
        rows = [video.flatten(0, 1) for video, count in zip(tokens, counts, strict=True) for _ in range(count)]
        embeddings = self.model.embed_prompt(input_ids, torch.cat(rows))
        states = self.model.language_model(
            inputs_embeds=embeddings, attention_mask=attention_mask, use_cache=False
        ).last_hidden_state
        score_states = self._select_score_states(input_ids, states)
        output = GLUSSelectorOutput(
            scores=self.score_head(score_states), score_states=score_states, hidden_states=states
        )
        if labels is not None:
            output.ce_loss = answer_loss(self.lm_head, states, labels)
            output.loss = self.config.ce_loss_weight * output.ce_loss
        if score_labels is not None:
            output.score_loss = score_loss(output.scores, score_labels, counts)
            weighted = self.config.score_loss_weight * output.score_loss
            output.loss = weighted if output.loss is None else output.loss + weighted.to(output.loss.device)
        return output if return_dict else output.to_tuple()

    def _check_positions(self, input_ids: Tensor, frames: list[int], counts: list[int]) -> None:
        """Every conversation must have its own frames' positions: a surplus cannot be made up for by another."""
        found = (input_ids == self.config.image_token_id).sum(1).tolist()
        wanted = [
            n * self.config.num_image_tokens for n, count in zip(frames, counts, strict=True) for _ in range(count)
        ]
        if found != wanted:
            raise ValueError(f"The conversations have {found} image positions, but their frames give {wanted} tokens.")

    def _select_score_states(self, input_ids: Tensor, states: Tensor) -> Tensor:
        """States at the positions whose next token is `[SCORE]`: `[conversations, hidden]`."""
        if self.config.score_token_id is None:
            raise ValueError("config.score_token_id is not set; take it from the processor: processor.score_token_id.")
        predicts_score = input_ids[:, 1:] == self.config.score_token_id
        found = predicts_score.sum(1)
        if (found != 1).any():
            raise ValueError(f"Every conversation needs one [SCORE] token, got {found.tolist()}.")
        return states[:, :-1][predicts_score.to(states.device)]

    # inference --------------------------------------------------------------------------------------------------

    def score_frames(
        self, session: GLUSSelectorSession, batch_size: int | None = None, density_noise: DensityNoise = None
    ) -> Tensor:
        """Score every frame of a video for every expression of a session.

        Every frame is encoded once. Frames with the same context share what comes before the target frame.

        Args:
            session: from [`GLUSSelectorProcessor.init_video_session`]; its `scores` are set.
            batch_size: prompts read at once; by default 8 on a CPU and 16 on an accelerator.
            density_noise: of the token merger, sampled once per frame; `None` is deterministic.

        Returns:
            `torch.FloatTensor [num_texts, num_frames]`, float32; higher is better.

        Raises:
            `ValueError`: the model is in training mode, or model and processor do not fit together.
        """
        scores = score_video(self, session, batch_size, density_noise)
        session.scores, session.scored_by = scores, weakref.ref(self)
        return scores

    def select_key_frame(self, session: GLUSSelectorSession, scores: Tensor | None = None) -> Tensor:
        """Index of the best frame for every expression; the first of several equally good ones.

        Args:
            session: from [`GLUSSelectorProcessor.init_video_session`].
            scores: `[num_texts, num_frames]`; by default those that `score_frames` of this model put into the
                session, computed first if need be.

        Returns:
            `torch.LongTensor [num_texts]`, on the CPU.

        Raises:
            `ValueError`: a score is no finite number.
        """
        if scores is None:
            scored = session.scored_by is not None and session.scored_by() is self
            scores = session.scores if scored else self.score_frames(session)
        return torch.from_numpy(best_frames(scores.float().cpu().numpy()))

    @torch.no_grad()
    def read_prefix(self, input_ids: list[int], image_tokens: Tensor) -> PromptCache:
        """Read what prompts of one context share, up to the target frame.

        Args:
            input_ids: of that part, images expanded.
            image_tokens: of the context frames, `[frames, tokens, hidden]`.
        """
        ids = torch.tensor([input_ids], device=image_tokens.device)
        embeddings = self.model.embed_prompt(ids, image_tokens.flatten(0, 1))
        return read_beginning(self.model.language_model, embeddings)

    @torch.no_grad()
    def read_scores(
        self, prefix: PromptCache, input_ids: list[list[int]], image_tokens: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Read prompts that end where `[SCORE]` is predicted, as one right-padded batch behind a cached prefix.

        Args:
            prefix: from `read_prefix`; not changed.
            input_ids: per prompt, its ids behind the prefix.
            image_tokens: per prompt, its target frame `[tokens, hidden]`.

        Returns:
            `scores [n]`, float32, and the states they are read off, `[n, hidden]`.
        """
        ids, ends = pad_prompts(input_ids, image_tokens[0].device)
        embeddings = self.model.embed_prompt(ids, torch.cat(image_tokens))
        states = read_at(self.model.language_model, embeddings, ends[:, None], prefix)[0][:, 0]
        return self.score_head(states), states


def score_loss(scores: Tensor, score_labels: Tensor, counts: list[int]) -> Tensor:
    """Mean over videos of the mean distance of their scores (divided by the number of videos + 1e-8)."""
    distances = (scores - score_labels.to(scores)).abs().split(counts)
    return sum(video.mean() for video in distances) / (len(counts) + SAMPLES_EPS)


__all__ = ["GLUSSelector", "GLUSSelectorOutput", "GLUSSelectorPreTrainedModel"]
