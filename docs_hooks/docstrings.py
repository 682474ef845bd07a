"""Griffe extension: the project's docstrings as the site's parser wants them."""

from __future__ import annotations

import re

import griffe


EXAMPLE = re.compile(r"^( *)Example:$", re.MULTILINE)
REFERENCE = re.compile(r"\[(`[\w.]+`)\](?![\[(])")
TYPE = re.compile(r"^( +\w+) \(`([^`]+)`(?:, defaults to [^)]*)?\):", re.MULTILINE)


class Docstrings(griffe.Extension):
    """`Example:` is the section of examples, [`Name`] a name, and a type has no back ticks of its own."""

    def on_object(self, *, obj: griffe.Object, **_) -> None:
        if obj.docstring:
            text = EXAMPLE.sub(r"\1Examples:", obj.docstring.value)
            obj.docstring.value = TYPE.sub(r"\1 (\2):", REFERENCE.sub(r"\1", text))
