"""Word-level tokenizer of the tiny GLUS model: one id per word, same splitting rules as the Llama tokenizer."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from ..models.glus.processing_glus import (
    ANSWERS,
    BOS_TOKEN,
    CONTEXT_SENTENCE,
    EOS_TOKEN,
    IM_END_TOKEN,
    IM_START_TOKEN,
    QUESTIONS,
    SEG_TOKEN,
    SYSTEM_PROMPT,
)


UNK_TOKEN = "<unk>"
SPACE = "▁"


def template_words() -> list[str]:
    """Every word of the GLUS prompt (system prompt, roles, context sentence, questions, answers), in order, once.

    Punctuation stays glued to its word ("frame?"), as the tokenizer splits at spaces only.
    """
    texts = [SYSTEM_PROMPT, "USER: ASSISTANT:", CONTEXT_SENTENCE]
    texts += [question.replace("{x}", " ") for question in QUESTIONS]
    texts += [answer.replace(SEG_TOKEN, " ") for answer in ANSWERS]
    return list(dict.fromkeys(" ".join(texts).split()))


def build_word_tokenizer(words: Iterable[str]) -> PreTrainedTokenizerFast:
    """Make the tokenizer: `<unk>`=0 (also the pad token), `<s>`=1, `</s>`=2, "▁"=3, words, then the added tokens.

    Args:
        words (`Iterable[str]`): words or whole expressions; split at white space, kept as written (pass lower case,
            as [`GLUSProcessor`] lower-cases expressions). Words of the templates are always there.

    Returns:
        [`PreTrainedTokenizerFast`]: unknown words become id 0; `[SEG]`, `<im_start>`, `<im_end>` have the last ids.

    Example:

        >>> tokenizer = build_word_tokenizer(["red square", "circle"])
        >>> tokenizer.convert_ids_to_tokens(tokenizer.encode("red circle "))
        ['▁red', '▁circle', '▁']
    """
    known = dict.fromkeys(template_words())
    known.update(dict.fromkeys(word for text in words for word in text.split()))
    tokens = [UNK_TOKEN, BOS_TOKEN, EOS_TOKEN, SPACE] + [SPACE + word for word in known]
    backend = Tokenizer(models.WordLevel({token: index for index, token in enumerate(tokens)}, unk_token=UNK_TOKEN))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, prepend_scheme="always", split=True)
    backend.decoder = decoders.Metaspace(SPACE, prepend_scheme="always", split=True)
    backend.add_special_tokens([UNK_TOKEN, BOS_TOKEN, EOS_TOKEN, SEG_TOKEN, IM_START_TOKEN, IM_END_TOKEN])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token=UNK_TOKEN,
        pad_token=UNK_TOKEN,
        bos_token=BOS_TOKEN,
        eos_token=EOS_TOKEN,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )
