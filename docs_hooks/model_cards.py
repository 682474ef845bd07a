"""MkDocs hook: the cards of the bundled models become pages, and links to them point there."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.structure.files import File


CARDS = Path(__file__).parents[1] / "src" / "glus_hf" / "checkpoints"
LINK = re.compile(r"\]\(\.\./src/glus_hf/checkpoints/([a-z-]+)/README\.md\)")


def on_files(files, config):
    for card in sorted(CARDS.glob("*/README.md")):
        text = card.read_text(encoding="utf-8").split("---\n", 2)[-1]  # without the metadata for the Hub
        files.append(File.generated(config, f"reference/{card.parent.name}.md", content=text))
    return files


def on_page_markdown(markdown: str, **_) -> str:
    return LINK.sub(r"](reference/\1.md)", markdown)
