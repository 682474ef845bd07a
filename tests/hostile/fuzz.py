"""Fuzzes one reader of untrusted files with atheris (libFuzzer): `pip install -e ".[fuzz]"`, then

    python -m tests.hostile.fuzz TARGET --seconds 600

TARGET is video, rle, json, tar or safetensors. Ends with exit code 0 and one line if nothing was found. A finding is
written to the folder `fuzzing/TARGET` and printed with its traceback; keep it as a case with

    python -m tests.hostile.fuzz TARGET --keep NAME FILE

which adds it to tests/hostile/fuzz_findings.json; the tests read every file in there again.
"""

import argparse
import base64
import json
import logging
import os
import signal
import sys
from pathlib import Path


FINDINGS = Path(__file__).with_name("fuzz_findings.json")
MEMORY_MB, SECONDS_PER_INPUT, LONGEST_INPUT = 3000, 20, 8192


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("fuzzing"), help="corpus and findings")
    parser.add_argument("--keep", nargs=2, metavar=("NAME", "FILE"), help="add a finding to the cases")
    arguments = parser.parse_args()
    if arguments.keep:
        keep_finding(arguments.target, *arguments.keep)
    else:
        fuzz(arguments.target, arguments.seconds, arguments.seed, arguments.folder / arguments.target)


def keep_finding(target: str, name: str, file: str) -> None:
    """Add the bytes of a file to the cases."""
    findings = read_findings()
    findings.setdefault(target, {})[name] = base64.b64encode(Path(file).read_bytes()).decode()
    FINDINGS.write_text(json.dumps(findings, indent=1, sort_keys=True) + "\n")


def read_findings() -> dict[str, dict[str, str]]:
    """Base64 of every input that once was a finding, by target and name."""
    return json.loads(FINDINGS.read_text()) if FINDINGS.exists() else {}


def fuzz(name: str, seconds: int, seed: int, folder: Path) -> None:
    """Does not return: libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(
        include=["glus_hf.media", "glus_hf.data", "glus_hf.conversion", "glus_hf.checkpoint_files", "tarfile"]
    ):
        from tests.hostile.fuzz_targets import TARGETS
    logging.disable()
    target = TARGETS[name]()
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(content)
    words = folder / "dictionary.txt"
    words.write_text("".join('"{}"\n'.format(word.replace('"', '\\"')) for word in target.dictionary))
    options = [
        f"-max_total_time={seconds}",
        f"-seed={seed}",
        f"-max_len={LONGEST_INPUT}",
        f"-rss_limit_mb={MEMORY_MB}",
        "-timeout=300",  # of wall time; that of CPU time is below
        f"-artifact_prefix={folder}{os.sep}finding-",
        f"-dict={words}",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], limited(target), enable_python_coverage=True)
    atheris.Fuzz()


def limited(target):
    """The target with a limit of CPU time for each input; a reader that does not return is ended by a signal."""

    def run(data: bytes) -> None:
        signal.setitimer(signal.ITIMER_PROF, SECONDS_PER_INPUT)
        target(data)
        signal.setitimer(signal.ITIMER_PROF, 0)

    return run


if __name__ == "__main__":
    main()
