"""What a term does in training: its curve, and its gradient by depth, against plain autograd."""

from __future__ import annotations

from pathlib import Path

import pytest
import small
import torch
from torch import nn

from jkbench.engine import images as image_sets
from jkbench.engine.setup import make_ready, trained_networks
from jkbench.papers.theory.terms import Curve, Reach, conclusions, gradients, measure, verdict
from jkbench.papers.theory.terms_page import document
from jkbench.plugins.discovery import Index
from jkbench.report.render import write


def test_gradients_by_depth_are_autograds_and_leave_no_trace(index: Index, references: Path) -> None:
    made = small.trial(index, "lwf-jacobian", "transfer")
    data = image_sets.of_task(made.task, made.datasets)
    where = small.where(references)
    ready = make_ready(made, small.CPU, data, trained_networks(made, where, data))
    before = {name: value.clone() for name, value in ready.student.state_dict().items()}
    noise = ready.loop.noise.get_state()
    found = gradients(ready)
    assert all(torch.equal(value, before[name]) for name, value in ready.student.state_dict().items())
    assert torch.equal(noise, ready.loop.noise.get_state())
    ready.student.train()
    batch = ready.loop.batch(0)
    terms = dict(ready.method.loss(batch, *ready.loop.signals(batch)))
    convolutions = [module for module in ready.student.body.modules() if isinstance(module, nn.Conv2d)]
    assert set(found) == set(terms) == {"ce", "act", "jac"}
    ready.student.zero_grad()
    terms["jac"].backward()
    for at, module in ((0, convolutions[0]), (2, convolutions[-1])):
        assert module.weight.grad is not None
        assert found["jac"][at] == pytest.approx(float(module.weight.grad.norm()), rel=1e-5)


def test_rows_are_trained_as_their_trials_are(index: Index, references: Path, tmp_path: Path) -> None:
    trials = [small.trial(index, "lwf-jacobian", "transfer", seed=seed, steps=6) for seed in (0, 1)]
    curves, reaches = measure(trials, small.where(references))
    assert [(curve.row, curve.term) for curve in curves] == [("lwf-jacobian", term) for term in ("ce", "act", "jac")]
    expected = []
    for trial in trials:
        data = image_sets.of_task(trial.task, trial.datasets)
        ready = make_ready(trial, small.CPU, data, trained_networks(trial, small.where(references), data))
        ready.method.fit(ready.loop)
        values = ready.loop.trace.curves["ce"]
        expected.append([value / values[0] for value in values])
    assert curves[2].first > 0
    assert curves[0].values == pytest.approx([(a + b) / 2 for a, b in zip(*expected, strict=True)])
    page = document(trials[0].task, "3 per class", 2, curves, reaches, ["Of a test."])
    pages = write(tmp_path, page)
    again = [path.read_bytes() for path in pages]
    write(tmp_path, page)
    assert [path.read_bytes() for path in pages] == again
    lines = [line.split("|")[1:3] for line in pages[0].read_text().splitlines() if line.startswith("| `lwf")]
    assert [[cell.strip() for cell in line] for line in lines].count(["`lwf-jacobian`", "`jac`"]) == 2


def test_sentences_say_what_the_numbers_say() -> None:
    curves = [
        Curve("a", "jac", (0, 1), (1.0, 0.25)),
        Curve("b", "jac", (0, 1), (1.0, 1.06)),
        Curve("c", "jac", (0, 1), (1.0, 0.996)),
        Curve("d", "jac", (0, 1), (1.0, 1.06), ends=(0.76, 1.27, 1.15)),
        Curve("e", "jac", (0, 1), (1.0, 0.94), ends=(0.93, 0.95)),
        Curve("a", "ce", (0,), (1.0,)),
    ]
    reaches = [Reach("a", "jac", (2.0, 1.0, 4.0), (0.0, 0.0, 0.0)), Reach("b", "jac", (2.0, 1.0, 0.0), (0.0, 0.0, 0.0))]
    assert list(conclusions(curves, reaches)) == [
        "The term `jac` of `a` falls to 25 % of its first value.",
        "The term `jac` of `b` rises to 106 % of its first value.",
        "The term `jac` of `c` ends at 100 % of its first value.",
        "The term `jac` of `d` ends at 106 % of its first value (76 to 127 % over seeds).",
        "The term `jac` of `e` falls to 94 % of its first value (93 to 95 % over seeds).",
        "`a`, before the first step: the gradient of `jac` at the first convolution is 0.5 times that at the last.",
        "`b`, before the first step: the gradient of `jac` does not reach the last convolution.",
    ]


def test_a_term_is_reduced_where_every_seed_says_so() -> None:
    ends = {"a": (0.2, 0.9), "b": (0.76, 1.27), "c": (0.96, 1.0), "d": (1.1, 1.2), "e": (0.9499, 0.3)}
    curves = [Curve(row, "jac", (0, 1), (1.0, sum(of) / 2), of) for row, of in ends.items()]
    told = "Training reduces the term `jac` below 95 % of its first value "
    assert verdict(curves) == told + "in every seed for `a`, `e`; in no seed for `c`, `d`; in some seeds for `b`."
    assert verdict([Curve("a", "ce", (0, 1), (1.0, 0.5))]) == ""


def test_the_command_writes_a_page(nowhere: Path, references: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On a task file of a few steps; wrong combinations are refused."""
    from jkbench.cli import cli

    text = (Path(small.__file__).parents[1] / "jkbench/tasks/digits-transfer.toml").read_text()
    short = text.replace("steps = 600, drop_at = 480", "steps = 4").replace("steps = 300, drop_at = 240", "steps = 4")
    (nowhere / "few.toml").write_text(short.replace('name = "digits-transfer"', 'name = "few"'))
    arguments = ["theory", "--terms", "few.toml", "--methods", "jacobian,lwf-jacobian,jacobian[ce=0,act=0]"]
    arguments += ["--shots", "1,5"]
    assert cli.main(arguments, standalone_mode=False) == 0
    out = capsys.readouterr().out
    assert "The term jac of jacobian" in out
    page = (nowhere / "docs/terms-few.md").read_text()
    assert "5 per class, mean over 1 seed." in page
    assert "`jacobian` has several rows: how far a term falls depends on its weight" in page
    assert "- `jacobian`: ce = 1, act = 1, jac = " in page
    assert (nowhere / "docs/terms-few.png").read_bytes().startswith(b"\x89PNG")
    for words, told in (
        (["--quick"], "No such option"),
        (["--source", "x"], "No such option"),
    ):
        with pytest.raises(Exception, match=told):
            cli.main([*arguments, *words], standalone_mode=False)
