"""Runs cases by name or group outside of pytest and prints what became of them.

    python -m tests.hostile.run_cases [WORDS ...] [--all]

WORDS pick the cases whose names hold one of them; `--all` takes the slow ones too. Ends with a table of the groups, as
docs/security.md has it.
"""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.hostile.cases import all_cases
from tests.hostile.sandbox import Sandbox


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--lines", action="store_true", help="what each case said last on stderr")
    arguments = parser.parse_args()
    totals, good, peaks, seconds = Counter(), Counter(), Counter(), 0.0
    with tempfile.TemporaryDirectory() as folder, Sandbox(Path(folder)) as sandbox:
        for name, case in all_cases().items():
            wanted = not arguments.words or any(word in name for word in arguments.words)
            if not wanted or (case.slow and not arguments.all):
                continue
            result, group = sandbox.run(name), name.partition(":")[0]
            totals[group] += 1
            good[group] += not result["problems"]
            peaks[group] = max(peaks[group], result["peak_mb"])
            seconds += result["cpu"]
            state = "ok" if not result["problems"] else "BAD"
            print(f"{state:4}{result['cpu']:6.2f} s{result['peak_mb']:6} MB  {name}", flush=True)
            if arguments.lines:
                print(f"      {(result['err'].strip().splitlines() or [''])[-1]}")
            if result["problems"]:
                for text in (result["problems"], result["err"][-900:].strip(), result["out"][-300:].strip()):
                    print(f"      {text}")
    print("\n| group | cases | as they must | largest resident size |\n| --- | --- | --- | --- |")
    for group, total in totals.items():
        print(f"| {group} | {total} | {good[group]} | {peaks[group]} MB |")
    print(f"| all | {sum(totals.values())} | {sum(good.values())} | {max(peaks.values(), default=0)} MB |")
    print(f"\n{seconds:.0f} s of CPU time in the children")
    sys.exit(totals != good)


if __name__ == "__main__":
    main()
