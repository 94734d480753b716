"""docs/methods.md says what the files say: a card a method, a reference a key, a reason a costly step."""

from __future__ import annotations

import json
import re
import runpy

import pytest
from conftest import ROOT

from jkbench.plugins.describe import Plugin
from jkbench.plugins.discovery import discover

CARDS = runpy.run_path(str(ROOT / "benchmarks/method_cards.py"))
METHODS = list(discover(working=ROOT / "docs").methods().values())


def test_the_page_is_the_one_that_is_generated() -> None:
    assert (ROOT / "docs/methods.md").read_text() == CARDS["page"](), "run python benchmarks/method_cards.py"


@pytest.mark.parametrize("plugin", METHODS, ids=lambda plugin: plugin.name)
def test_every_method_says_formula_published_default_identity_and_traps(plugin: Plugin) -> None:
    assert set(CARDS["sections"](plugin)) >= CARDS["REQUIRED"]


def test_every_reference_is_in_the_bibliography_and_used() -> None:
    assert set(CARDS["citations"]()) == {plugin.facts["cite"] for plugin in METHODS} - {""}


def test_a_step_of_more_than_six_of_distill_has_a_reason() -> None:
    costs = json.loads((ROOT / "docs/method-costs.json").read_text())["steps of distill"]
    assert set(costs) == {plugin.name for plugin in METHODS}
    assert [p.name for p in METHODS if costs[p.name] > 6 and "Cost" not in CARDS["sections"](p)] == []


def test_a_card_names_what_the_loss_reads() -> None:
    by_name = {plugin.name: plugin for plugin in METHODS}
    assert CARDS["reads"](by_name["kd"]) == ["batch.y", "logits", "teacher_logits"]
    assert CARDS["reads"](by_name["rkd"]) == ["batch.y", "logits", "embedding"]
    assert set(CARDS["reads"](by_name["crd"])) >= {"batch.index", "batch.noise", "embedding", "subset", "modules"}


def test_fields_of_the_contract_that_cards_show_are_public() -> None:
    names = re.findall(r"^\| reads \| (.*) \|$", CARDS["page"](), flags=re.MULTILINE)
    assert len(names) == len(METHODS)
    assert not [name for name in names if "`_" in name]
