"""Rules that turn names of weights into ours and back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping


FIELDS = {"i": r"(?P<i>\d+)", "j": r"(?P<j>\d+)", "p": r"(?P<p>weight|bias)"}
ATTENTION = (*(("q_proj", "q_proj"), ("k_proj", "k_proj"), ("v_proj", "v_proj")), ("out_proj", "o_proj"))
TWO_LAYERS = (("layers.0", "proj_in"), ("layers.1", "proj_out"))
THREE_LAYERS = (("layers.0", "proj_in"), ("layers.1", "layers.0"), ("layers.2", "proj_out"))


class NameRules:
    """Patterns of whole names, the original ones -> ours; earlier rules go before later ones.

    Args:
        names: `{i}` and `{j}` stand for numbers, `{p}` for weight or bias, on both sides alike.

    Example:
        >>> rules = NameRules({"layers.{i}.fc.{p}": "blocks.{i}.linear.{p}"})
        >>> rules.our_name("layers.3.fc.bias"), rules.original_name("blocks.0.linear.weight")
        ('blocks.3.linear.bias', 'layers.0.fc.weight')
    """

    def __init__(self, names: Mapping[str, str]):
        self._rules = [(compile_pattern(original), ours) for original, ours in names.items()]
        self._reverse_rules = [(compile_pattern(ours), original) for original, ours in names.items()]

    def our_name(self, name: str) -> str | None:
        """Our name of an original weight; None for a name that is not of the layout."""
        return _translate(name, self._rules)

    def original_name(self, name: str) -> str | None:
        """The original name of one of our weights; None for a weight that is not of the layout."""
        return _translate(name, self._reverse_rules)

    def plan(self, names: Iterable[str], ignored: re.Pattern) -> tuple[dict[str, list[str]], list[str]]:
        """Which original weights make which of ours.

        Args:
            names: of the original weights.
            ignored: names that are neither used nor unknown.

        Returns:
            Our name -> original names (one, unless two have the same target), and the names that are not of the
            layout, sorted.
        """
        plan: dict[str, list[str]] = {}
        unknown = []
        for name in names:
            target = self.our_name(name)
            if target is not None:
                plan.setdefault(target, []).append(name)
            elif not ignored.fullmatch(name):
                unknown.append(name)
        return plan, sorted(unknown)


def compile_pattern(pattern: str) -> re.Pattern:
    """A pattern of [`NameRules`] as a regular expression."""
    return re.compile(re.escape(pattern).replace(r"\{", "{").replace(r"\}", "}").format(**FIELDS))


def _translate(name: str, rules: list[tuple[re.Pattern, str]]) -> str | None:
    for pattern, target in rules:
        match = pattern.fullmatch(name)
        if match:
            return target.format(**match.groupdict())
    return None


def each(original: str, ours: str, pairs: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """One rule per pair, which stands at the `@` of both patterns."""
    return {original.replace("@", theirs): ours.replace("@", name) for theirs, name in pairs}


def same(*names: str) -> tuple[tuple[str, str], ...]:
    """Pairs of equal names for [`each`]."""
    return tuple((name, name) for name in names)


def with_prefixes(names: Mapping[str, str], original: str, ours: str) -> dict[str, str]:
    """The rules with a prefix on each side."""
    return {original + name: ours + target for name, target in names.items()}


__all__ = ["NameRules", "compile_pattern", "each", "same", "with_prefixes"]
