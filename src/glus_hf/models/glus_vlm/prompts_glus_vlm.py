"""Conversations of the GLUS recipe in the words of any chat template."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields

from ...errors import UserError


CONTEXT_SENTENCE = "These are frames of the whole video. "
QUESTIONS = (
    "Can you segment {x} in this frame?",
    "Please segment {x} in this frame.",
    "Where is {x} in this frame? Please respond with a segmentation mask.",
    "What is {x} in this frame? Please output a segmentation mask.",
)
ANSWERS = (
    "It is [SEG].",
    "Sure, [SEG].",
    "Sure, it is [SEG].",
    "Sure, the segmentation result is [SEG].",
    "[SEG].",
)
INFERENCE_QUESTION, INFERENCE_ANSWER = 0, 3
MAX_LETTERS = 20_000  # of a frame; the longest system prompts have some thousands
INSTEAD = "pass chat_template instead"
QUESTION_MARKS, ANSWER_MARKS = ("@question-0@", "@question-1@"), ("@answer-0@", "@answer-1@")


@dataclass(frozen=True)
class ChatFrame:
    """What a chat template writes around images, questions and answers.

    Args:
        head: up to the first image: system prompt and the role of the user.
        gap: between an image and the question.
        middle: between a question and the answer.
        between: between an answer and the next image.
    """

    head: str
    gap: str
    middle: str
    between: str

    def conversation(self, image: str, num_context: int, questions: Sequence[str], answers: Sequence[str]) -> str:
        """Images, questions and answers in this frame.

        Args:
            image: what stands for one.
            num_context: images of the whole video, at the head.
            questions, answers: one per turn.
        """
        context = image * num_context + CONTEXT_SENTENCE if num_context else ""
        turns = [
            f"{image}{self.gap}{question}{self.middle}{answer}{self.between}"
            for question, answer in zip(questions, answers, strict=True)
        ]
        return f"{self.head}{context}{''.join(turns)}"


def as_chat_frame(saved: object, marks: Sequence[str]) -> ChatFrame:
    """The frame of a processor's settings.

    Args:
        saved: object of four texts.
        marks: what none of them may hold: it stands for an image or an answer.

    Raises:
        UserError: it is none, is longer than a prompt, or holds a mark; one line.

    Example:

        >>> as_chat_frame({"head": "User: ", "gap": " ", "middle": " Bot: ", "between": ". "}, ["[SEG]"]).middle
        ' Bot: '
    """
    names = [field.name for field in fields(ChatFrame)]
    is_object = isinstance(saved, Mapping) and set(saved) == set(names)
    if not is_object or not all(isinstance(text, str) for text in saved.values()):
        raise UserError(f"chat_frame must have the texts {', '.join(names)}; {INSTEAD}")
    frame = ChatFrame(**saved)
    if not frame.middle or not frame.between or sum(map(len, saved.values())) > MAX_LETTERS:
        raise UserError(f"chat_frame must have something around answers, at most {MAX_LETTERS} letters; {INSTEAD}")
    held = next((mark for mark in marks if any(mark in text for text in saved.values())), None)
    if held:
        raise UserError(f"chat_frame holds {held!r}, which stands for an image or an answer; {INSTEAD}")
    return frame


def read_chat_template(
    tokenizer, chat_template: str | None, placeholder: str, render: Callable[..., str] | None = None
) -> ChatFrame:
    """What a chat template writes, seen from one conversation of two turns.

    Args:
        tokenizer: has the template, and renders it.
        chat_template: that of the vision-language model; by default the tokenizer's.
        placeholder: what it writes for an image.
        render: renders instead of the tokenizer, from the tokenizer, messages and the template.

    Raises:
        UserError: there is no template, or it does not write images, questions and answers one after the other.
    """
    template = chat_template or getattr(tokenizer, "chat_template", None)
    if not template:
        raise UserError("the tokenizer has no chat template; pass chat_template, as the vision-language model has it")
    messages = []
    for question, answer in zip(QUESTION_MARKS, ANSWER_MARKS, strict=True):
        messages.append({"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]})
        messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
    try:
        rendered = (render or _render)(tokenizer, messages, template)
    except Exception as error:  # a template is a small program: it raises what it likes
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        raise UserError(f"the chat template cannot be used ({reason}); take that of the model again") from error
    opening, first, rest = rendered.partition(QUESTION_MARKS[0])
    middle, answered, rest = rest.partition(ANSWER_MARKS[0])
    between, second, _ = rest.partition(QUESTION_MARKS[1])
    head, image, gap = opening.rpartition(placeholder)
    between, again, same_gap = between.rpartition(placeholder)
    if not (first and answered and second and image and again) or gap != same_gap:
        raise UserError(
            f"the chat template does not write {placeholder!r} for an image and then the question; use that of the "
            "vision-language model"
        )
    return ChatFrame(head, gap, middle, between)


def _render(tokenizer, messages: list[dict], template: str) -> str:
    return tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False)


__all__ = ["ANSWERS", "QUESTIONS", "ChatFrame", "as_chat_frame", "read_chat_template"]
