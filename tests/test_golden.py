"""Golden numbers: when a change to engine or mathematics moves them, `REVISION` in tasks/task.py must be raised.

They are the losses after six steps of the paper's methods on tiny networks, and were checked against the formulas
written out (tests/test_signals.py); the others are held by their identities (tests/test_zoo_*.py). To renew them after
raising the revision: ``python tests/test_golden.py``.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import small

from jkbench.engine.trial import run
from jkbench.plugins.discovery import Index, discover
from jkbench.tasks.task import REVISION

FILE = Path(__file__).parent / "golden.json"
GOLDEN = json.loads(FILE.read_text())
KINDS = ("distillation", "transfer", "robustness")
KEEP = {"noise": "noise[sigma=0.3]", "jacobian-norm": "jacobian-norm[norm=0.1]"}


def measured(index: Index, folder: Path, kind: str) -> dict[str, dict[str, float]]:
    """The loss terms of the last step, by method."""
    found = {}
    for name in index.methods():
        if name in GOLDEN["losses"][kind]:
            got = run(small.trial(index, KEEP.get(name, name), kind), small.where(folder))
            assert got.status == "ok", got.message
            found[name] = {term: values[-1] for term, values in got.curves.items()}
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_the_numbers_are_those_of_this_revision(index: Index, references: Path, kind: str) -> None:
    now = measured(index, references, kind)
    same = {name: pytest.approx(terms, rel=2e-3, abs=1e-5) for name, terms in GOLDEN["losses"][kind].items()}
    if GOLDEN["revision"] == REVISION:
        assert now == same, "the numbers have moved: raise REVISION in tasks/task.py, then renew tests/golden.json"
    else:
        pytest.fail("REVISION was raised: renew tests/golden.json (python tests/test_golden.py)")


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        losses = {kind: measured(discover(), Path(folder), kind) for kind in KINDS}
    FILE.write_text(json.dumps({"revision": REVISION, "losses": losses}, indent=1) + "\n")
