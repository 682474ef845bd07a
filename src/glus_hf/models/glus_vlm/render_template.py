"""Renders the chat template of a stranger in a process of its own, which may not take all time and memory.

    python -m glus_hf.models.glus_vlm.render_template

reads an object of JSON from stdin, `template`, `messages` and `tokens`, and writes what the template makes of them.
"""

from __future__ import annotations

import json
import subprocess
import sys

from ...errors import UserError


SECONDS, STARTING_SECONDS, MEMORY = 10, 120, 1_000_000_000
MAX_ANSWER = 1_000_000  # letters
KEPT_REASON = 200


def render_apart(tokenizer, messages: list[dict], template: str) -> str:
    """What a chat template makes of messages.

    Args:
        tokenizer: its special tokens are for the template.
        messages: of the conversation.
        template: in the language of Jinja.

    Raises:
        UserError: it fails, takes more than 10 seconds or 1 GB (on Linux), or writes more than 1,000,000 letters.

    Example:
        >>> render_apart(tokenizer, [{"role": "user"}], "{{ messages[0].role }}")  # doctest: +SKIP
        'user'
    """
    asked = json.dumps({"template": template, "messages": messages, "tokens": tokenizer.special_tokens_map})
    command = [sys.executable, "-P", "-m", __name__]  # -P: what lies in the working folder is not imported
    try:
        ended = subprocess.run(command, input=asked.encode(), capture_output=True, timeout=STARTING_SECONDS)
    except subprocess.TimeoutExpired:
        raise UserError(f"it does not end in {SECONDS} seconds") from None
    if ended.returncode < 0:
        raise UserError(f"it does not end in {SECONDS} seconds or takes more than {MEMORY // 10**9} GB")
    if ended.returncode > 0:
        raise UserError(ended.stderr.decode(errors="replace").strip().rpartition("\n")[2][:KEPT_REASON])
    return ended.stdout.decode()


def main() -> None:
    asked = json.load(sys.stdin)
    from transformers.utils.chat_template_utils import render_jinja_template

    _limit()
    rendered, _ = render_jinja_template([asked["messages"]], chat_template=asked["template"], **asked["tokens"])
    if len(rendered[0]) > MAX_ANSWER:
        raise ValueError(f"it writes more than {MAX_ANSWER} letters")
    sys.stdout.buffer.write(rendered[0].encode())


def _limit() -> None:
    """From now on; Windows has no such limits."""
    try:
        import resource
    except ImportError:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    if sys.platform == "linux":
        with open("/proc/self/statm") as file:
            mapped = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, mapped + MEMORY))


__all__ = ["render_apart"]


if __name__ == "__main__":
    main()
