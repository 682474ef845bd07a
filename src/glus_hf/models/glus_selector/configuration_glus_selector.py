"""Configuration of the key-frame selector."""

from huggingface_hub.dataclasses import strict

from .configuration_chat_univi import RELEASED_SIZES, ChatUniViConfig


@strict
class GLUSSelectorConfig(ChatUniViConfig):
    r"""
    Configuration of [`GLUSSelector`]: that of Chat-UniVi and a score head.

    Args:
        score_token_id (`int`, *optional*): id of `[SCORE]`.
        score_head_size (`int`, defaults to 256): width of the second layer of the head.
        ce_loss_weight (`float`, defaults to 1.0): of the cross entropy over the answers.
        score_loss_weight (`float`, defaults to 1.0): of the distance between scores and their labels.
        kwargs: as for [`ChatUniViConfig`].

    Example:

        >>> from glus_hf import GLUSSelectorConfig
        >>> GLUSSelectorConfig(score_token_id=32000).text_config.vocab_size
        32001
    """

    model_type = "glus_selector"

    score_token_id: int | None = None
    score_head_size: int = 256
    ce_loss_weight: float = 1.0
    score_loss_weight: float = 1.0

    def __post_init__(self, **kwargs):
        if self.text_config is None:
            self.text_config = {**RELEASED_SIZES["text_config"], "vocab_size": 32001}
        super().__post_init__(**kwargs)


__all__ = ["GLUSSelectorConfig"]
