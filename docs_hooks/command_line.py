"""MkDocs hook: `<!-- commands -->` becomes every command of `glus-hf` with its arguments and options, from typer."""

from __future__ import annotations

import re

import typer


MARK = "<!-- commands -->"


def on_page_markdown(markdown: str, **_) -> str:
    return markdown.replace(MARK, command_pages()) if MARK in markdown else markdown


def command_pages() -> str:
    """All commands as Markdown."""
    from glus_hf.cli.main import app

    root = typer.main.get_command(app)
    return "\n".join(_command(path, command) for path, command in _leaves("glus-hf", root))


def _leaves(path: str, command):
    subcommands = getattr(command, "commands", None)
    if subcommands is None:
        yield path, command
        return
    for name, child in subcommands.items():
        yield from _leaves(f"{path} {name}", child)


def _command(path: str, command) -> str:
    shown = [parameter for parameter in command.params if not getattr(parameter, "hidden", False)]
    usage = " ".join([path, *(_usage(parameter) for parameter in shown if parameter.param_type_name == "argument")])
    rows = [f"| {_names(parameter)} | {_text(parameter.help)} | {_default(parameter)} |" for parameter in shown]
    table = ["| argument or option | meaning | default |", "| --- | --- | --- |", *rows] if rows else []
    return "\n".join([f"## {path}", "", _help(command.help), "", f"```text\n{usage} [OPTIONS]\n```", "", *table, ""])


def _usage(parameter) -> str:
    name = (parameter.metavar or parameter.name).upper().strip("[]").removesuffix("...")
    name += "..." if parameter.nargs == -1 else ""
    return name if parameter.required else f"[{name}]"


def _names(parameter) -> str:
    if parameter.param_type_name == "argument":
        return f"`{_usage(parameter)}`"
    return ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])


def _default(parameter) -> str:
    if parameter.required:
        return "required"
    value = parameter.default
    if value is None or value is False or callable(value) or value in ([], ()):
        return ""
    if repr(value).startswith("Sentinel"):  # newer versions of click have it for "none given"
        return ""
    return f"`{getattr(value, 'value', value)}`"


def _text(text: str | None) -> str:
    """One cell of a table."""
    return re.sub(r"\s+", " ", text or "").strip().replace("|", "\\|").replace("<", "&lt;")


def _help(text: str | None) -> str:
    return re.sub(r"\n(?!\n)", " ", (text or "").replace("\b", "").replace("<", "&lt;")).strip()
