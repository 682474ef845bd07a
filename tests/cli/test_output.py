"""Errors of all commands: one line for what a user can set right, a traceback for defects."""

import os
import shlex
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from glus_hf.cli.output import print_table, printable, report_errors
from glus_hf.errors import UserError


def run(error: BaseException, *arguments: str):
    """A command that raises `error`."""
    app = typer.Typer(pretty_exceptions_enable=False)

    def command(times: int = 1) -> None:
        raise error

    app.command()(report_errors(command))
    return CliRunner().invoke(app, arguments)


@pytest.mark.parametrize("error", [UserError("clip.mp4: is empty;\n take another"), OSError("disk\nis full")])
def test_what_a_user_can_set_right_is_one_line(error):
    result = run(error)
    assert result.exit_code == 2 and result.stderr == f"Error: {' '.join(str(error).split())}\n"


@pytest.mark.parametrize("error", [UserError, OSError])
def test_what_is_over_long_loses_its_middle(error):
    shown = run(error(f"{'x' * 5000}: is no number; write one")).stderr
    assert shown.startswith("Error: xxx") and shown.endswith("x: is no number; write one\n") and len(shown) < 450
    shown = run(error(f"clip.mp4: {'red ' * 5000} is too long; shorten it")).stderr
    assert shown.startswith("Error: clip.mp4: red") and shown.endswith("too long; shorten it\n") and len(shown) < 2100


def test_debug_shows_the_traceback_too():
    result = run(UserError("clip.mp4: is empty"), "--debug")
    assert result.exit_code == 2 and "Traceback" in result.stderr
    assert result.stderr.endswith("Error: clip.mp4: is empty\n")


@pytest.mark.parametrize("error", [ValueError("operands could not be broadcast"), KeyError("frames")])
def test_a_defect_is_not_the_users_mistake(error):
    result = run(error)
    assert result.exit_code == 1 and "Traceback" in result.stderr
    assert str(error) in result.stderr and result.stderr.endswith("unexpected error, please report it\n")


def test_ends_that_are_no_errors():
    result = run(typer.Exit(3))
    assert (result.exit_code, result.stderr) == (3, "")
    result = run(KeyboardInterrupt())
    assert (result.exit_code, result.stderr) == (130, "Interrupted\n")


def test_other_options_stay():
    result = run(UserError("never reached"), "--times", "many")
    assert result.exit_code == 2 and "never reached" not in result.stderr and "--times" in result.stderr


def test_every_command_has_debug():
    from glus_hf.cli.main import app

    for name in ("segment", "demo", "train", "evaluate", "score", "convert", "export", "pseudo-label", "info"):
        assert "--debug" in CliRunner().invoke(app, [name, "--help"]).stdout, name
    for name in ("check", "convert-coco"):
        assert "--debug" in CliRunner().invoke(app, ["data", name, "--help"]).stdout, name


def test_control_characters_of_a_text_are_escaped():
    assert printable("a \x1b[31mred\x07 dog\u202e") == "a \\x1b[31mred\\x07 dog\\u202e"
    assert printable("un café à\u00a0deux: 猫 👩\u200d🚀\nend") == "un café à\u00a0deux: 猫 👩\u200d🚀\nend"
    assert printable(os.fsdecode(b"caf\xe9.mp4")) == "caf\\udce9.mp4"


def test_control_characters_of_an_error_and_a_table(capsys):
    assert run(UserError("\x1b[2Jclip: is empty")).stderr == "Error: \\x1b[2Jclip: is empty\n"
    print_table(["expression"], [["a \x1b]0;title\x07dog"]])
    assert "\x1b" not in (out := capsys.readouterr().out) and "\\x1b]0;title\\x07dog" in out


@pytest.mark.skipif(os.name == "nt", reason="has no SIGPIPE")
@pytest.mark.parametrize("command", ["print(1)", "raise BrokenPipeError"])
def test_a_reader_that_leaves_is_no_error(command):
    code = "import typer\nfrom glus_hf.cli.output import report_errors\n"
    code += f"def command() -> None:\n    {command}\n"
    code += "app = typer.Typer(pretty_exceptions_enable=False)\napp.command()(report_errors(command))\napp()"
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run([sys.executable, "-c", code], stdout=write_end, stderr=subprocess.PIPE, text=True)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError(13, "Permission denied", "masks"), "masks: Permission denied; check its permissions"),
        (OSError(28, "No space left on device"), "No space left on device; make room there"),
        (
            FileNotFoundError(2, "No such file or directory"),
            "No such file or directory; check the path and the folder",
        ),
    ],
)
def test_what_the_system_refuses_has_a_remedy(error, line):
    result = run(error)
    assert result.exit_code == 2 and result.stderr.startswith(f"Error: {line}") and result.stderr.count("\n") == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
@pytest.mark.parametrize(
    ("streams", "code", "shown"),
    [
        ("--none 2>&-", 2, ""),
        ("--none >&-", 2, "Error: No such option: --none; see glus-hf --help\n"),
        ("--version >/dev/full", 2, "Error: No space left on device; make room there, or name another place\n"),
    ],
)
def test_streams_that_are_closed_or_full(streams, code, shown):
    command = shlex.join([sys.executable, "-m", "glus_hf.cli"])
    done = subprocess.run(["sh", "-c", f"{command} {streams}"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (code, shown)
