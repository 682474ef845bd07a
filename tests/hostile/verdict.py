"""Whether a case ended as it must."""

from __future__ import annotations

import json
import re

from glus_hf.errors import MAX_MESSAGE
from tests.hostile.cases import ONE_LINE, PROBLEMS, USAGE, WORKS, Case
from tests.hostile.ingredients import last_json
from tests.hostile.watch import differences


PEAK_MB = 3000
LONGEST_LINE = MAX_MESSAGE + 100  # letters
REMEDY = re.compile(
    r"\b(add|check|choose|choices|convert|copy|correct|cut|decode|delete|did you mean|do not|download|draw|evaluate"
    r"|export|follow|free|get|give|install|is for|invalid value|keep|known are|leave|limit|load|lower|make|move"
    r"|must be|name|needs?|open|pass|pick|point|put|raise|re-export|read|record|reduce|remove|rename|repair"
    r"|replace|resize|run|save|scale|see|segment|set|shorten|split|start|store|take|there is no|try|unpack|upgrade|use"
    r"|valid keys|change|select|wait|write)\b",
    re.IGNORECASE,
)
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
BARS = re.compile(r"\r|\x1b\[A")  # how progress bars go back to their line


def problems_of(case: Case, result: dict, before: dict, after: dict) -> list[str]:
    """Everything that is not as it must be; empty if all is well."""
    problems = []
    if result["hung"]:
        problems.append(f"hung: killed after {result['seconds']} s")
    if result["peak_mb"] > PEAK_MB:
        problems.append(f"memory: {result['peak_mb']} MB resident")
    if "Traceback" in result["err"]:
        problems.append("traceback")
    if result["opened_outside"] and not case.reads_outside:
        problems.append(f"foreign files opened: {result['opened_outside']}")
    events = [event for event in result["events"] if not (case.connects and event.startswith("socket"))]
    if events:
        problems.append(f"started or connected to: {events}")
    writes = tuple(f"work/{place}" for place in case.writes)
    problems += differences(before, after, writes)
    if CONTROL.search(BARS.sub("", result["err"]) + result["out"]):
        problems.append("control characters on the terminal")
    return problems + {ONE_LINE: _one_line, WORKS: _works, PROBLEMS: _listed, USAGE: _usage}[case.expect](case, result)


def _lines(result: dict) -> list[str]:
    """Lines on stderr, without the progress bars."""
    return [line for line in result["err"].split("\n") if line.strip() and "\r" not in line and "%|" not in line]


def _one_line(case: Case, result: dict) -> list[str]:
    lines = _lines(result)
    problems = [] if result["code"] == 2 else [f"exit code {result['code']}, not 2"]
    if not lines or not lines[-1].startswith("Error: "):
        return [*problems, "no line that starts with 'Error: ' at the end of stderr"]
    message = lines[-1]
    if len(lines) > 1 and not case.warns:
        problems.append(f"{len(lines)} lines on stderr")
    if len(message) > LONGEST_LINE:
        problems.append(f"the line has {len(message)} letters")
    problems += [f"the line does not name {word!r}" for word in case.words if word not in message]
    if not REMEDY.search(message):
        problems.append("the line has no remedy")
    return problems


def _works(case: Case, result: dict) -> list[str]:
    problems = [] if result["code"] == 0 else [f"exit code {result['code']}, not 0"]
    if _lines(result) and not case.warns:
        problems.append("something on stderr")
    problems += _json_problems(case, result)
    return problems + [f"stdout does not hold {word!r}" for word in case.words if word not in result["out"]]


def _json_problems(case: Case, result: dict) -> list[str]:
    """Whether the last line is JSON for every reader, where it was asked for: no NaN, no infinity."""
    if callable(case.call) or "--json" not in case.call:
        return []
    try:
        last_json(result["out"])
    except (ValueError, LookupError) as error:
        return [f"no JSON at the end of stdout: {error}"]
    return []


def _usage(case: Case, result: dict) -> list[str]:
    return _one_line(case, result) + ([] if "Invalid value for" in result["err"] else ["no invalid value is named"])


def _listed(case: Case, result: dict) -> list[str]:
    problems = [] if result["code"] == 2 else [f"exit code {result['code']}, not 2"]
    try:
        errors = last_json(result["out"])["errors"]
    except (ValueError, LookupError):
        return [*problems, "no JSON with errors at the end of stdout"]
    if not errors:
        problems.append("no error is listed")
    return problems + [f"no error names {word!r}" for word in case.words if word not in json.dumps(errors)]
