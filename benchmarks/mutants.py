"""Mutation testing: how many small changes of the code the tests notice, and which they do not.

    make mutants               # every change: many hours
    make mutants SAMPLE=150    # a sample, the same every time

The code and the tests are named in pyproject.toml, under ``tool.mutmut``; docs/reliability.md says what was found.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

from mutmut.stats import status_by_exit_code

SEED = 18
FIRST = "jkbench.seeds.*"
"""A few changes, so that all are made and the tests of each are known."""


def codes() -> dict[str, int | None]:
    """The exit code of the tests for each change; None where it was not tried."""
    found: dict[str, int | None] = {}
    for file in sorted(Path("mutants/jkbench").rglob("*.meta")):
        found |= json.loads(file.read_text(encoding="utf-8"))["exit_code_by_key"]
    return found


def run(names: list[str]) -> None:
    """Try these changes."""
    subprocess.run([sys.executable, "-m", "mutmut", "run", "--max-children", "1", *names], check=True)


def main() -> None:
    """Try a sample, or all; print how many were killed, and the names of those that were not."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--sample", type=int, help="how many changes; all by default")
    wanted = options.parse_args().sample
    run([FIRST])
    names = sorted(codes())
    chosen = names if wanted is None else sorted(random.Random(SEED).sample(names, min(wanted, len(names))))
    run(chosen)
    found = codes()
    statuses = {name: status_by_exit_code[found[name]] for name in chosen}
    print(f"{len(chosen)} of {len(names)} changes: {dict(Counter(statuses.values()))}")
    print("\n".join(f"{status}: {name}" for name, status in statuses.items() if status != "killed"))


if __name__ == "__main__":
    main()
