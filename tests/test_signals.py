"""Signals: what methods read, against direct computations on the networks."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import small
import torch
from torch import Tensor
from torch.nn import functional

from jkbench.engine.context import Pair, SignalSettings
from jkbench.engine.signal_store import CHUNK
from jkbench.engine.signals import Signals
from jkbench.engine.teacher_signals import Signal, SignalCache, TeacherSignals
from jkbench.errors import UserError
from jkbench.models.network import Network, build
from jkbench.plugins.discovery import Index

SIGNALS = {
    "logits": lambda s: s.logits,
    "embedding": lambda s: s.embedding,
    "features": lambda s: torch.cat([f.flatten(1) for f in s.features()], 1),
    "features before the activation": lambda s: s.features("last", before=True)[0],
    "features by name": lambda s: s.features_of(s.layers[0]),
    "gradient": lambda s: s.gradient(lambda outputs: outputs.logits.logsumexp(1)),
    "classify": lambda s: s.classify(s.embedding),
    "another view": lambda s: s.at(torch.zeros(3, 1, 8, 8)).embedding,
    "attention": lambda s: torch.cat([a.flatten(1) for a in s.attention("all")], 1),
    "last attention": lambda s: s.attention("last")[0],
    "correct row": lambda s: s.jacobian(s.rows("correct")),
    "largest row": lambda s: s.jacobian(s.rows("largest")),
    "top three": lambda s: s.jacobian(s.rows("top:3")),
    "full": lambda s: s.jacobian(s.rows("full")),
    "attention-Jacobian": lambda s: torch.cat(s.attention_jacobian(s.peaks("all")), 1),
}


def both(index: Index, references: Path) -> tuple[TeacherSignals, Signals]:
    """The cached and the live signals of one teacher on one batch."""
    loop, *_ = small.loop_of(small.trial(index, "distill"), references)
    batch = loop.batch(1)
    assert loop.teacher is not None
    teacher, setting = loop.teacher, loop.program.setting
    cached = TeacherSignals(teacher, batch, setting, SignalCache(lambda: teacher, loop.batches.images, setting))
    return cached, Signals(teacher, batch.x, batch.y, setting, is_student=False)


@pytest.mark.parametrize("name", SIGNALS)
def test_cached_signals_equal_live_ones(index: Index, references: Path, name: str) -> None:
    cached, live = both(index, references)
    one, other = SIGNALS[name](cached), SIGNALS[name](live)
    assert one.shape == other.shape
    assert not one.requires_grad
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_each_signal_of_the_teacher_is_computed_once_per_image(
    index: Index, references: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, method, student, _ = small.loop_of(small.trial(index, "jacobian", steps=12), references)
    seen = 0
    forward = Network.forward

    def counted(self: Network, x: Tensor) -> object:
        nonlocal seen
        seen += 0 if self is student else len(x)
        return forward(self, x)

    monkeypatch.setattr(Network, "forward", counted)
    method.fit(loop)
    assert len(loop.batches.images) < CHUNK
    assert seen == 2 * CHUNK  # logits and Jacobian, one batch each; twelve steps saw each image nine times


def test_changed_inputs_reach_both_networks_and_the_teacher_is_read_live(index: Index, references: Path) -> None:
    loop, _, student, teacher = small.loop_of(small.trial(index, "noise"), references)
    assert teacher is not None
    state = loop.noise.get_state()
    batch = loop.batch(0)
    of_student, of_teacher = loop.signals(batch)
    assert of_teacher is not None
    loop.noise.set_state(state)
    x = batch.x + 0.3 * torch.randn(batch.x.shape, generator=loop.noise)
    student.train()
    assert not torch.equal(x, batch.x)
    torch.testing.assert_close(of_teacher.logits, teacher(x).logits)
    torch.testing.assert_close(of_student.logits, student(x).logits)


def test_a_signal_too_large_to_cache_is_computed_live(
    index: Index, references: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jkbench.engine.teacher_signals.CACHE_LIMIT", 1000)
    cached, live = both(index, references)
    torch.testing.assert_close(cached.jacobian(cached.rows("full")), live.jacobian(live.rows("full")))
    assert cached._cache.get(Signal("jacobian full"), slice(None)) is None
    assert cached._cache.get(Signal("logits"), slice(None)) is not None


def test_the_student_reads_the_teachers_rows_and_pixels(index: Index, references: Path) -> None:
    """Trap: the student's own largest output instead of the teacher's."""
    loop, _, student, _ = small.loop_of(small.trial(index, "distill"), references)
    of_student, of_teacher = loop.signals(loop.batch(0))
    assert of_teacher is not None
    rows, peaks = of_teacher.rows("largest"), of_teacher.peaks("all")
    assert not torch.equal(rows.index, of_student.rows("largest").index)
    x = loop.batch(0).x.requires_grad_()
    student.eval()  # a per-sample network, so that a row is the row
    outputs = student(x)
    row = torch.autograd.grad(outputs.teacher_logits.gather(1, rows.index).sum(), x, retain_graph=True)[0]
    live = Signals(student, x, loop.batch(0).y, loop.program.setting, is_student=True)
    torch.testing.assert_close(live.jacobian(rows)[:, 0], row.flatten(1))
    a_map = outputs.maps[loop.program.setting.pairs[0].student].square().sum(1).flatten(1)
    pixel = torch.autograd.grad(a_map.gather(1, peaks.pixels[0][:, None]).sum(), x)[0]
    torch.testing.assert_close(live.attention_jacobian(peaks)[0], pixel.flatten(1))


@pytest.mark.parametrize("mode", ["per-sample", "running", "constant"])
def test_a_students_jacobian_is_per_sample_in_train_mode(index: Index, references: Path, mode: str) -> None:
    """Changing another image of the batch's *gradient path* changes nothing: rows equal one-image Jacobians of the
    network with its batch norms written out as fixed affine maps."""
    loop, _, student, _ = small.loop_of(small.trial(index, "distill"), references)
    batch = loop.batch(0)
    setting = SignalSettings(loop.program.setting.pairs, True, mode)  # type: ignore[arg-type]
    student.train()
    with torch.no_grad():
        student(batch.x)  # running statistics that are not the initial ones
    signals = Signals(student, batch.x, batch.y, setting, is_student=True)
    torch.testing.assert_close(signals.logits, signals._jacobian_outputs.logits) if mode == "per-sample" else None
    ours = signals.jacobian(batch.correct)[:, 0]
    fixed: dict[str, tuple[Tensor, Tensor]] = {}

    def affine(image: Tensor, statistics: dict[str, tuple[Tensor, Tensor]] | None) -> Tensor:
        """The student written out: a pass over the batch stores statistics, a pass over one image uses them."""
        out = image
        for number, stage in enumerate(student.body.stages):
            for name, module in stage.named_children():
                key = f"{number}.{name}"
                if isinstance(module, torch.nn.BatchNorm2d):
                    if statistics is None:
                        fixed[key] = (
                            (out.mean((0, 2, 3)), out.var((0, 2, 3), correction=0))
                            if mode != "running"
                            else (module.running_mean, module.running_var)
                        )
                    mean, variance = fixed[key]
                    shape = (1, -1, 1, 1)
                    out = (out - mean.view(shape)) / (variance.view(shape) + module.eps).sqrt()
                    out = out * module.weight.view(shape) + module.bias.view(shape)
                else:
                    out = module(out)
        return student.head(out.mean((2, 3)))

    with torch.no_grad():
        affine(batch.x, None)
    for at in range(4):
        row = torch.autograd.functional.jacobian(lambda one: affine(one, fixed)[0, batch.y[at]], batch.x[at : at + 1])  # noqa: B023
        torch.testing.assert_close(ours[at], row.flatten(), rtol=1e-3, atol=1e-5)


def test_separate_head_and_transfer_compare_the_teachers_head(index: Index, references: Path) -> None:
    for name, kind in (("lwf", "distillation"), ("lwf", "transfer"), ("distill", "distillation")):
        loop, _, student, _ = small.loop_of(small.trial(index, name, kind), references)
        of_student, of_teacher = loop.signals(loop.batch(0))
        assert of_teacher is not None
        assert of_student.teacher_logits.shape == of_teacher.teacher_logits.shape
        assert (student.teacher_head is not None) == (name == "lwf")
        assert torch.equal(of_student.logits, of_student.teacher_logits) == (name == "distill")


def test_rows_that_make_no_sense_are_refused(index: Index, references: Path) -> None:
    loop, *_ = small.loop_of(small.trial(index, "lwf", "transfer"), references)
    teacher = loop.signals(loop.batch(0))[1]
    assert teacher is not None
    assert teacher.rows("auto").name == "largest"
    with pytest.raises(UserError, match="no output for the correct class"):
        teacher.rows("correct")
    with pytest.raises(UserError, match="there are no rows"):
        teacher.rows("bottom")


def by_hand(
    name: str, student: Network, teacher: Network, x: Tensor, y: Tensor, pairs: tuple[Pair, ...]
) -> dict[str, Tensor]:
    """The terms of a method written out with plain torch, for networks in evaluation mode (per-sample)."""
    x = x.detach().requires_grad_()
    mine, theirs = student(x), teacher(x)
    terms = {"ce": functional.cross_entropy(mine.logits, y)}
    if name in ("scratch", "finetune"):
        return terms
    if name == "jacobian-norm":
        picked = mine.logits[torch.arange(len(y)), y].sum()
        gradient = torch.autograd.grad(picked, x, create_graph=True)[0]
        return {**terms, "norm": 0.1 * (gradient**2).sum((1, 2, 3)).mean()}
    terms["act"] = ((mine.teacher_logits - theirs.logits) ** 2).sum(1).mean()
    if name == "jacobian":
        gradients = [
            torch.autograd.grad(out.logits[torch.arange(len(y)), y].sum(), x, retain_graph=True)[0]
            for out in (mine, theirs)
        ]
        terms["jac"] = ((gradients[0] - gradients[1]) ** 2).sum((1, 2, 3)).mean()
    if "attention" in name or name == "lwf-jacobian":
        maps, jacobians = torch.zeros(()), torch.zeros(())
        for pair in pairs:
            a_s = (mine.maps[pair.student] ** 2).sum(1).flatten(1)
            a_t = (theirs.maps[pair.teacher] ** 2).sum(1).flatten(1)
            maps = maps + (a_s / a_s.norm(dim=1, keepdim=True) - a_t / a_t.norm(dim=1, keepdim=True)).norm(dim=1).mean()
            pixel = a_t.argmax(1)
            g_s, g_t = (
                torch.autograd.grad(a[torch.arange(len(y)), pixel].sum(), x, retain_graph=True)[0].flatten(1)
                for a in (a_s, a_t)
            )
            g_s, g_t = g_s / g_s.norm(dim=1, keepdim=True), g_t / g_t.norm(dim=1, keepdim=True)
            jacobians = jacobians + (g_s - g_t).norm(dim=1).mean()
        if "attention" in name:
            terms["attention"] = maps
        if "jacobian" in name:
            terms["jac"] = jacobians
    return terms


ONES = {
    "jacobian": "jacobian[ce=1,act=1,jac=1]",
    "attention": "attention[ce=1,act=1,attention=1,layers=all]",
    "attention-jacobian": "attention-jacobian[ce=1,act=1,attention=1,jac=1,depth=all]",
    "lwf-jacobian": "lwf-jacobian[ce=1,act=1,jac=1,depth=all]",
    "jacobian-norm": "jacobian-norm[norm=0.1]",
    "noise": "noise[sigma=0]",
}


@pytest.mark.parametrize(
    "name",
    ["scratch", "distill", "jacobian", "noise", "attention", "attention-jacobian", "lwf", "lwf-jacobian", "finetune",
     "jacobian-norm"],
)  # fmt: skip
def test_every_methods_loss_equals_the_formula_written_out(index: Index, references: Path, name: str) -> None:
    loop, method, student, teacher = small.loop_of(small.trial(index, ONES.get(name, name)), references)
    assert teacher is not None
    student.eval()
    batch = loop.batch(0)
    signals = loop.signals(batch)
    ours = dict(method.loss(batch, *signals))
    expected = by_hand(name, student, teacher, batch.x, batch.y, loop.program.setting.pairs)
    assert set(ours) == set(expected)
    for term, value in ours.items():
        torch.testing.assert_close(value.detach(), expected[term].detach(), rtol=1e-4, atol=1e-6)


def test_parameters_switch_terms_off(index: Index, references: Path) -> None:
    loop, method, *_ = small.loop_of(small.trial(index, "jacobian[ce=0,act=0]"), references)
    batch = loop.batch(0)
    assert [name for name, _ in method.loss(batch, *loop.signals(batch))] == ["jac"]


def test_networks_without_a_size_in_common_are_told_both_their_layers(index: Index) -> None:
    from jkbench.engine.matching import setting

    task = small.trial(index, "attention").task
    student, teacher = build("vgg:4-4", 1, 8, 3, 0), build("vgg:4-M-4", 1, 6, 3, 0)
    smaller = partial(functional.avg_pool2d, kernel_size=2)
    teacher.body.register_forward_pre_hook(lambda module, given: (smaller(given[0]),))
    found = setting(student, teacher, task, torch.zeros(1, 1, 8, 8))
    assert not found.pairs
    with pytest.raises(UserError, match="no layer of equal size") as caught:
        found.select("last")
    assert caught.value.hint.endswith("the student has stage1 8×8; the teacher has stage1 4×4, stage2 2×2")


def test_layers_are_paired_by_size_or_as_the_task_says() -> None:
    from jkbench.engine.matching import matched_layers
    from jkbench.tasks.task import Matching

    student, teacher = build("vgg:4-M-4", 1, 8, 3, 0), build("vgg:4-4-M-8-M-8", 1, 8, 3, 0)
    image = torch.zeros(1, 1, 8, 8)
    pairs = matched_layers(student, teacher, Matching(), image)
    assert [(p.student, p.teacher, p.size) for p in pairs] == [
        ("stage1", "stage1", (8, 8)),
        ("stage2", "stage2", (4, 4)),
    ]
    (resized,) = matched_layers(student, teacher, Matching(layers=(("stage2", "stage3"),), resize=True), image)
    assert resized.size == (2, 2)
    wrong = (("stage9", "stage1"), ("stage2", "stage3"), ("stage1", "stage7"))
    with pytest.raises(UserError) as caught:
        matched_layers(student, teacher, Matching(layers=wrong), image)
    assert "student layer 'stage9'" in str(caught.value)
    assert "teacher layer 'stage7'" in str(caught.value)
    assert "resize = true" in str(caught.value)


def test_maps_of_one_pixel_are_never_matched() -> None:
    """Normalised, the attention of one pixel is always 1: such a pair would be a loss of silent zeros."""
    from jkbench.engine.matching import matched_layers
    from jkbench.tasks.task import Matching

    student, teacher = build("vgg:4-M-4", 1, 2, 3, 0), build("vgg:4-M-8", 1, 2, 3, 0)
    image = torch.zeros(1, 1, 2, 2)
    assert [pair.size for pair in matched_layers(student, teacher, Matching(), image)] == [(2, 2)]
    with pytest.raises(UserError, match="layer stage2 has a map of 1×1"):
        matched_layers(student, teacher, Matching(layers=(("stage2", "stage2"),)), image)


def test_the_middle_layer_is_the_lower_of_two() -> None:
    settings = [SignalSettings(tuple(Pair(f"{n}", f"{n}", (1, 1)) for n in range(1, count + 1)), True, "running")
                for count in range(1, 6)]  # fmt: skip
    assert [[pair.student for pair in each.select("middle")] for each in settings] == [
        ["1"],
        ["1"],
        ["2"],
        ["2"],
        ["3"],
    ]
