"""How closely a student mimics its teacher, against the definitions written out with plain torch."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import small
import torch
from torch.nn import functional

from jkbench.engine import fidelity
from jkbench.engine import images as image_sets
from jkbench.engine.setup import Ready, make_ready, trained_networks
from jkbench.engine.trial import run, train_and_score
from jkbench.plugins.discovery import Index


def ready(index: Index, folder: Path, method: str, kind: str = "distillation") -> Ready:
    made = small.trial(index, method, kind)
    data = image_sets.of_task(made.task, made.datasets)
    return make_ready(made, small.CPU, data, trained_networks(made, small.where(folder), data))


@pytest.mark.parametrize("method", ["distill", "lwf"])
def test_the_metrics_are_their_definitions(
    index: Index, references: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(fidelity, "JACOBIANS", 50)
    made = ready(index, references, method)
    assert made.teaching is not None
    assert made.loop.teacher is not None
    made.method.fit(made.loop)
    student, teacher, images = made.student.eval(), made.loop.teacher, made.scored
    x, y = images.read(slice(None)), images.labels
    with torch.no_grad():
        mine, theirs = student(x), teacher(x)
        predicted = mine.logits.argmax(1)
    found = fidelity.fidelity(student, predicted, mine.teacher_logits, made.teaching)
    assert found["agreement"] == pytest.approx(float((predicted == theirs.logits.argmax(1)).double().mean()))
    squares = ((mine.teacher_logits - theirs.logits).double() ** 2).sum(1)
    assert found["logit_distance"] == pytest.approx(float(squares.mean()), rel=1e-5)
    some = [at * len(images) // 50 for at in range(50)]
    assert set(y[some].tolist()) == set(y.tolist())  # every class is among them
    distances, cosines = [], []
    for at in some:
        gradients = []
        for network in (student, teacher):
            one = x[at : at + 1].clone().requires_grad_()
            gradients.append(torch.autograd.grad(network(one).teacher_logits[0, y[at]], one)[0].flatten().double())
        distances.append(float((gradients[0] - gradients[1]).square().sum()))
        cosines.append(float(functional.cosine_similarity(*gradients, dim=0)))
    assert found["jacobian_distance"] == pytest.approx(sum(distances) / 50, rel=1e-4)
    assert found["jacobian_cosine"] == pytest.approx(sum(cosines) / 50, rel=1e-4)


def test_the_teacher_is_faithful_to_itself(index: Index, references: Path) -> None:
    made = ready(index, references, "distill")
    assert made.loop.teacher is not None
    assert made.teaching is not None
    network = made.loop.teacher
    with torch.no_grad():
        logits = network(made.scored.read(slice(None))).logits
    found = fidelity.fidelity(network, logits.argmax(1), logits, made.teaching)
    assert found["agreement"] == 1
    assert found["logit_distance"] == pytest.approx(0, abs=1e-8)
    assert found["jacobian_distance"] == pytest.approx(0, abs=1e-8)
    assert found["jacobian_cosine"] == pytest.approx(1)


def test_records_carry_it_where_labels_are_shared(index: Index, references: Path, tmp_path: Path) -> None:
    names = {"agreement", "logit_distance", "jacobian_distance", "jacobian_cosine"}
    of_source = {"source_distance", "source_agreement"}
    for kind, method, expected in (("distillation", "jacobian", names), ("transfer", "lwf", of_source)):
        record = run(small.trial(index, method, kind), small.where(references, cache=tmp_path))
        assert record.status == "ok", record.message
        assert (names | of_source) & set(record.metrics) == expected


@pytest.mark.parametrize("method", ["lwf", "scratch"])
def test_the_source_heads_drift_is_its_definition(index: Index, references: Path, tmp_path: Path, method: str) -> None:
    made = ready(index, references, method, "transfer")
    assert made.loop.teacher is not None
    metrics, _ = train_and_score(made)
    student, teacher, images = made.student.eval(), made.loop.teacher, made.scored
    distances, same = [], []
    with torch.no_grad():
        for at in range(len(images)):
            x = images.read(slice(at, at + 1))
            mine, theirs = student(x).teacher_logits[0].double(), teacher(x).logits[0].double()
            distances.append(sum((float(t) - float(s)) ** 2 for t, s in zip(theirs, mine, strict=True)))
            same.append(int(mine.argmax()) == int(theirs.argmax()))
    assert metrics["source_distance"] == pytest.approx(sum(distances) / len(distances), rel=1e-4)
    assert metrics["source_agreement"] == pytest.approx(sum(same) / len(same))
    for cache in (tmp_path, tmp_path):  # computed, then read back
        record = run(small.trial(index, method, "transfer"), small.where(references, cache=cache))
        assert record.metrics == metrics


def test_measuring_the_drift_leaves_every_other_metric_as_it_was(index: Index, references: Path) -> None:
    made = ready(index, references, "lwf", "transfer")
    metrics, predicted = train_and_score(made)
    without, same = train_and_score(dataclasses.replace(ready(index, references, "lwf", "transfer"), teaching=None))
    assert {name: value for name, value in metrics.items() if not name.startswith("source_")} == without
    assert predicted == same
