"""docs/tasks.md says what the tasks' files say."""

from __future__ import annotations

import re
import runpy
import tomllib

import pytest
from conftest import ROOT

from jkbench.tasks import builtin

CARDS = runpy.run_path(str(ROOT / "benchmarks/task_cards.py"))
PAGE = (ROOT / "docs/tasks.md").read_text()


def test_the_page_is_the_one_that_is_generated() -> None:
    assert CARDS["page"]() == PAGE, "run python benchmarks/task_cards.py"


@pytest.mark.parametrize("name", builtin())
def test_a_card_has_its_files_networks_regimes_and_reasons(name: str) -> None:
    """Read from the TOML itself."""
    text = builtin()[name].read_text()
    content = tomllib.loads(text)
    (card,) = re.findall(rf"^## {name}\n(.*?)(?=^## |\Z)", PAGE, flags=re.MULTILINE | re.DOTALL)
    regimes = re.search(r"^\| regimes \| (.*) \|$", card, flags=re.MULTILINE)
    assert regimes is not None
    told = [int(number.replace(",", "")) for number in re.findall(r"[\d,]*\d", regimes[1])]
    assert told == [shots for shots in content["shots"] if shots != "full"]
    for network in ("teacher", "student"):
        assert network not in content or f"`{content[network]['architecture']}`" in card
    assert f"learning rate {content['student']['training']['learning_rate']:g}" in card
    reasons = [line[2:] for line in text.partition("\nname =")[0].splitlines() if line.startswith("# - ")]
    assert [reason for reason in reasons if reason not in card] == []


def test_a_list_in_a_comment_is_a_list_on_the_page() -> None:
    assert CARDS["prose"]("# Why:\n# - one\n#   more\n# - two\nname = 1\n# not this\n") == (
        "Why:\n\n- one\n  more\n- two"
    )
