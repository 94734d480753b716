"""The examples of docs/contract.md: each holds the contract, trains, and is short."""

from __future__ import annotations

from pathlib import Path

import pytest
import small
import torch
from conftest import ROOT

from jkbench.engine import images as image_sets
from jkbench.engine.check import check
from jkbench.engine.loop import Loop
from jkbench.engine.setup import make_ready, trained_networks
from jkbench.engine.trial import run
from jkbench.plugins.discovery import discover
from jkbench.plugins.method import Method

EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_each_example_holds_the_contract(path: Path) -> None:
    assert [finding for finding in check(path) if not finding.held] == []
    assert len(path.read_text().splitlines()) <= 36


def test_the_contract_names_each_example() -> None:
    text = (ROOT / "docs" / "contract.md").read_text()
    assert [path.name for path in EXAMPLES if f"examples/{path.name}" not in text] == []


def loop_of(name: str, references: Path, **training: object) -> tuple[Loop, Method]:
    index = discover([ROOT / "docs" / "examples"])
    loop, method, *_ = small.loop_of(small.trial(index, name, **training), references)
    return loop, method


def test_the_subset_is_all_training_images_in_the_order_of_the_index(references: Path) -> None:
    loop, _ = loop_of("class-means", references)
    batch = loop.batch(2)
    student, teacher = loop.signals(batch)
    assert teacher is not None
    assert loop.teacher is not None
    subset = teacher.subset
    assert len(subset) == len(loop.batches.images)
    assert torch.equal(subset.labels[batch.index], batch.y)
    torch.testing.assert_close(subset.embedding[batch.index], loop.teacher(batch.x).embedding, rtol=1e-4, atol=1e-5)
    subset.logits.zero_()
    assert bool(subset.logits.any())  # what a method writes stays its own
    with pytest.raises(AttributeError):
        student.subset.images  # type: ignore[attr-defined] # noqa: B018


def test_mixed_images_and_what_the_loss_is_told_belong_together(references: Path) -> None:
    loop, _ = loop_of("mixup", references)
    batch = loop.batch(0)
    share, labels = batch.extra
    assert batch.shown is not None
    assert 0 <= float(share) <= 1
    other = (batch.shown - share * batch.x) / (1 - share)
    same = [(other[at] - batch.x).flatten(1).norm(dim=1).argmin() for at in range(len(other))]
    assert torch.equal(batch.y[torch.stack(same)], labels)


def test_a_twin_starts_elsewhere_and_a_nameless_one_as_the_student(references: Path) -> None:
    loop, _ = loop_of("mutual", references)
    student, _ = loop.signals(loop.batch(0))
    of = [
        torch.cat([w.flatten() for w in n.parameters()])
        for n in (student.twin("a"), student.twin("a"), student.twin("b"))
    ]
    mine = torch.cat([weight.flatten() for weight in student.weights.values()])
    assert torch.equal(of[0], of[1])
    assert not torch.equal(of[0], of[2])
    assert not torch.equal(of[0], mine)
    assert torch.equal(torch.cat([w.flatten() for w in student.twin().parameters()]), mine)


def test_the_start_stays_where_it_was_and_is_no_neighbour_of_the_weights(references: Path) -> None:
    loop, method = loop_of("l2-sp", references)
    began = {name: value.clone() for name, value in loop.student.named_parameters()}
    method.fit(loop)
    student, _ = loop.signals(loop.batch(0))
    assert all(torch.equal(student.origin.weights[name], value) for name, value in began.items())
    assert not any(torch.equal(student.weights[name], began[name]) for name in began if name.startswith("head"))
    assert not student.origin.embedding.requires_grad
    assert loop.trace.curves["near"][0] == 0 < loop.trace.curves["near"][-1]


def test_the_mean_teacher_is_the_average_that_its_paper_says(references: Path) -> None:
    loop, method = loop_of("mean-teacher", references)
    mean = [w.clone() for w in loop.student.parameters()]
    for batch, student, teacher in loop:
        now = [w.detach().clone() for w in loop.student.parameters()]
        loop.step(method.loss(batch, student, teacher))
        mean = [0.99 * old + 0.01 * new for old, new in zip(mean, now, strict=True)]
    for expected, found in zip(mean, loop.program.modules["mean"].parameters(), strict=True):
        torch.testing.assert_close(found, expected)


def test_a_frozen_stage_leaves_the_body_alone(references: Path) -> None:
    """The head learns in the second stage; the body has no gradient then."""
    loop, method = loop_of("staged", references)
    for batch, student, teacher in loop:
        loop.step(method.loss(batch, student, teacher))
        body = [p.grad for p in loop.student.body.parameters()]
        frozen = 1 / 3 < batch.progress <= 2 / 3
        assert all(gradient is None or not gradient.any() for gradient in body) == frozen


def test_the_deployed_network_is_scored_and_counted(references: Path) -> None:
    index = discover([ROOT / "docs" / "examples"])
    record = run(small.trial(index, "simkd"), small.where(references))
    assert record.status == "ok", record.message
    data = image_sets.of_task(small.task(), small.trial(index, "simkd").datasets)
    made = small.trial(index, "simkd")
    ready = make_ready(made, small.CPU, data, trained_networks(made, small.where(references), data))
    ready.method.fit(ready.loop)
    assert ready.loop.teacher is not None
    student, project = ready.student.eval(), ready.loop.program.modules["projector"]
    with torch.no_grad():
        embedding = student(ready.scored.read(slice(None))).embedding
        right = ready.loop.teacher.head(project(embedding)).argmax(1) == ready.scored.labels
    assert record.metrics["accuracy"] == pytest.approx(float(right.double().mean()))
    counted = sum(p.numel() for part in (student.body, project, ready.loop.teacher.head) for p in part.parameters())
    assert record.deployed_parameters == counted


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        ("modules['projector']", "deployed() returns a Linear, which is not a network"),
        ("Network(student.body, modules['projector'])", "logits of the shape (1, 16) for one image; the task has 5"),
    ],
)
def test_a_wrong_deployed_network_is_refused(tmp_path: Path, references: Path, returned: str, told: str) -> None:
    text = (ROOT / "docs" / "examples" / "simkd.py").read_text()
    before = 'Network(student.body, nn.Sequential(modules["projector"], teacher.head))'
    (tmp_path / "mine.py").write_text(text.replace(before, returned))
    record = run(small.trial(discover([tmp_path]), "mine"), small.where(references))
    assert told in (record.message or "")


def test_check_knows_terms_that_train_a_module_or_start_at_zero(tmp_path: Path) -> None:
    """Without the class fact, each is seen; with it, an auxiliary term still has to train a module."""
    for name, fact in (("mutual", 'auxiliary = {"peer"}'), ("mean_teacher", None)):
        text = (ROOT / "docs" / "examples" / f"{name}.py").read_text()
        if fact is None:
            text = text.replace("self.agree * squared", "0 * self.agree * squared")
            (tmp_path / "mine.py").write_text(text)
            assert [f.what for f in check(tmp_path / "mine.py") if not f.held] == []
            fact = 'delayed = {"agree"}'
        (tmp_path / "mine.py").write_text(text.replace(fact, ""))
        assert f"write {fact}" in " ".join(f.seen for f in check(tmp_path / "mine.py") if not f.held)
    text = (
        (ROOT / "docs" / "examples" / "mutual.py")
        .read_text()
        .replace("divergence(peer.logits, student", "0 * divergence(peer.logits, student")
    )
    text = text.replace("cross_entropy(peer.logits, batch.y)", "0 * cross_entropy(peer.logits, batch.y)")
    (tmp_path / "mine.py").write_text(text)
    assert "peer trains nothing" in " ".join(f.seen for f in check(tmp_path / "mine.py") if not f.held)
