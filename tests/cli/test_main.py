"""The command line as a whole."""

import subprocess
import sys
from importlib.metadata import version

import pytest
from typer.testing import CliRunner

import glus_hf
from glus_hf.cli.main import app, main
from tests.cli.command import run


def test_help_is_light(tmp_path):
    code = "import sys, glus_hf.cli.main; assert not {'torch', 'av', 'cv2'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    code, out, _ = run(tmp_path, "--help")
    assert code == 0 and all(command in out for command in ("segment", "demo", "train", "info"))


def test_short_help_everywhere(tmp_path):
    for command in ([], ["segment"], ["train"], ["data"], ["data", "check"], ["evaluate"]):
        result = CliRunner().invoke(app, [*command, "-h"])
        assert result.exit_code == 0 and "Usage" in result.stdout and "-h" in result.stdout, command


@pytest.mark.parametrize(
    "arguments, line",
    [
        (["segment"], "Error: Missing argument 'VIDEO'; see glus-hf segment --help"),
        (["nope"], "Error: No such command 'nope'; see glus-hf --help"),
        (["data", "check", "--nope"], "Error: No such option: --nope; see glus-hf data check --help"),
        (["segment", "a.mp4", "dog", "--top", "\x1b[2J"], "Error: No such option: --top"),
    ],
)
def test_a_wrong_option_is_one_line(arguments, line, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    out, err = capsys.readouterr()
    assert end.value.code == 2 and out == "" and err.startswith(line) and err.count("\n") == 1


def test_nothing_shows_the_help(capsys):
    with pytest.raises(SystemExit) as end:
        main([])
    assert end.value.code == 2 and "Usage" in "".join(capsys.readouterr())


def test_version_and_what_it_runs_on():
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.stdout.startswith(f"glus-hf {glus_hf.__version__} (torch {version('torch')}")


def test_version_is_light():
    code = "import sys, glus_hf.cli.main as m\ntry: m.main(['--version'])\nexcept SystemExit: pass\n"
    subprocess.run([sys.executable, "-c", code + "assert not {'torch', 'av'} & set(sys.modules)"], check=True)


@pytest.mark.parametrize(
    "words, index, expected", [("glus-hf dem", 1, "demo"), ("glus-hf segment --thr", 2, "--threshold")]
)
def test_the_shell_completes(words, index, expected):
    environment = {"_GLUS_HF_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(index)}
    result = CliRunner().invoke(app, [], prog_name="glus-hf", env=environment)
    assert result.stdout.split() == [expected]


def test_completion_can_be_shown_and_so_installed(monkeypatch):
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    result = CliRunner().invoke(app, ["--show-completion", "bash"], prog_name="glus-hf")
    assert result.exit_code == 0 and "_GLUS_HF_COMPLETE=complete_bash" in result.stdout
