"""A trial that was killed resumes in another process, and its record is that of one that never stopped."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small
from user_folder import METHOD

from jkbench.engine import checkpoint, program
from jkbench.engine.checkpoint import Checkpoint, CheckpointWarning
from jkbench.engine.trial import run
from jkbench.execute import Machine, backends
from jkbench.execute.run import make_plan
from jkbench.execute.run import run as run_plan
from jkbench.execute.session import Resources
from jkbench.files import cache_folder, checkpoint_of
from jkbench.planning import Trial
from jkbench.plugins.discovery import Index, discover
from jkbench.records.schema import Record
from jkbench.tasks.task import Augmentation


class Killed(BaseException):
    """What no trial catches."""


def killed_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the process end after so many steps, with a checkpoint of the last."""
    counted, save = itertools.count(1), Checkpoint.save

    def saved(self: Checkpoint, loop: Any) -> None:
        save(self, loop)
        if next(counted) == steps:
            raise Killed

    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)
    monkeypatch.setattr(Checkpoint, "save", saved)


def numbers(record: Record) -> dict[str, Any]:
    """All of a record but when it ran and how long it took."""
    found = record.model_dump(exclude={"created": True, "cost": {"seconds", "signals_seconds", "step_ms"}})
    found["cost"].pop("peak_memory_mb")
    return found


def stopped(made: Trial, folder: Path, cache: Path, steps: int) -> Path:
    """Run a trial until it is killed; its checkpoint."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        killed_after(steps, monkeypatch)
        with pytest.raises(Killed):
            run(made, small.where(folder, cache=cache))
    return checkpoint_of(cache, made.id)


@pytest.mark.parametrize(
    ("methods", "kind", "augment"),
    [
        ("distill", "distillation", None),
        ("jacobian", "distillation", None),
        ("jacobian[rows=projection]", "distillation", None),
        ("noise[sigma=0.3]", "robustness", None),
        ("noise[sigma=0.3]", "transfer", Augmentation(flip=True, shift=2, zoom=(0.5, 1.0))),
        ("crd[negatives=2]", "distillation", None),
        ("vid", "distillation", None),
    ],
)
def test_a_trial_that_was_killed_twice_ends_with_the_record_of_one_that_never_stopped(
    index: Index, references: Path, tmp_path: Path, methods: str, kind: str, augment: Augmentation | None
) -> None:
    made = small.trial(index, methods, kind, steps=30, batch=16, drop_at=20, augment=augment)
    whole = run(made, small.where(references))
    assert whole.status == "ok", whole.message
    stopped(made, references, tmp_path, 7)
    stopped(made, references, tmp_path, 12)  # 19 in all: another step than the first again
    seen: list[int] = []
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(Checkpoint, "save", lambda self, loop: seen.append(loop.trace.steps))
        resumed = run(made, small.where(references, cache=tmp_path))
    assert seen[0] == 20
    assert numbers(resumed) == numbers(whole)


@pytest.mark.parametrize("methods", ["jacobian", "noise[sigma=0.3]"])
def test_so_does_one_whose_steps_are_recorded(
    index: Index, references: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, methods: str
) -> None:
    """As on a GPU, by a CUDA graph's twin: killed among replayed steps."""
    monkeypatch.setitem(program.RECORDERS, "cpu", program.Tapes)
    made = small.trial(index, methods, steps=30, batch=16, drop_at=20)
    whole = run(made, small.where(references))
    stopped(made, references, tmp_path, 14)
    assert numbers(run(made, small.where(references, cache=tmp_path))) == numbers(whole)


def test_a_checkpoint_is_due_by_the_clock_not_by_the_step(
    index: Index, references: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a clock that moves by 25 s a look, every third step is a minute after the last checkpoint."""
    ticks = itertools.count(0, 25)
    monkeypatch.setattr(checkpoint, "clock", lambda: next(ticks))
    written: list[object] = []
    monkeypatch.setattr(checkpoint, "write_atomically", lambda path, content: written.append(content))
    run(small.trial(index, "distill", steps=12), small.where(references, cache=tmp_path))
    assert len(written) == 4  # of 12 steps


def test_short_trials_write_none(index: Index, references: Path, tmp_path: Path) -> None:
    assert run(small.trial(index, "distill"), small.where(references, cache=tmp_path)).status == "ok"
    assert not (tmp_path / "checkpoints").exists()


def test_the_checkpoint_goes_when_the_record_is_stored(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = make_plan("small.toml", "scratch", [2], [0], folder=work / "board")
    file = checkpoint_of(cache_folder(), planned.plan.trials[0].id)
    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)
    there: list[bool] = []
    save = Checkpoint.save

    def saved(self: Checkpoint, loop: Any) -> None:
        save(self, loop)
        there.append(file.is_file())

    monkeypatch.setattr(Checkpoint, "save", saved)
    assert run_plan(planned, Resources(jobs=1), show=False) == {"ok": 1}
    assert any(there)
    assert not file.exists()


KILLS_ITSELF = """
    def loss(self, batch, student, teacher):
        if batch.step == 9 and not Path("killed").exists():
            Path("killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        with Path("steps").open("a") as seen:
            seen.write(f"{batch.step} ")
"""


@pytest.mark.processes
def test_a_worker_that_is_killed_goes_on_where_its_last_checkpoint_was(work: Path) -> None:
    """The same command gives the trial to a new worker: no step is taken twice."""
    imports = "import os\nimport signal\nfrom pathlib import Path\nfrom jkbench.engine import checkpoint\n"
    loss = "    def loss(self, batch, student, teacher):\n"
    text = f"{imports}{METHOD.replace(f'{loss}', KILLS_ITSELF)}\n\ncheckpoint.SECONDS = 0.0\n"
    (work / "methods/mine.py").write_text(text)
    made = small.trial(discover(working=work), "mine", steps=20)
    (record,) = backends.run([made], Machine(work / "board", work / "cache"))
    assert record.status == "ok", record.message
    assert (work / "steps").read_text().split() == [str(step) for step in range(20)]
    assert record.cost is not None
    assert record.cost.steps == 20


def half(content: bytes, other: bytes) -> bytes:
    return content[: len(content) // 2]


def of_another(content: bytes, other: bytes) -> bytes:
    return other


def one_bit(content: bytes, other: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize(
    ("spoilt", "told"),
    [
        (half, "it is damaged"),
        (one_bit, "it is damaged"),
        (lambda content, other: b"", "it is damaged"),
        (of_another, r"it belongs to another training \(trial '[0-9a-f]{16}', not '[0-9a-f]{16}'\)"),
    ],
)
def test_a_checkpoint_that_cannot_be_used_is_told_in_one_line_and_the_trial_begins_again(
    index: Index, references: Path, tmp_path: Path, spoilt: Callable[[bytes, bytes], bytes], told: str
) -> None:
    made, beside = (small.trial(index, name, steps=12) for name in ("distill", "scratch"))
    whole = run(made, small.where(references))
    file, other = (stopped(each, references, tmp_path, 5) for each in (made, beside))
    file.write_bytes(spoilt(file.read_bytes(), other.read_bytes()))
    with pytest.warns(CheckpointWarning, match=rf"^ignoring checkpoint .*: {told}; restarting$"):
        again = run(made, small.where(references, cache=tmp_path))
    assert numbers(again) == numbers(whole)


def test_a_checkpoint_of_another_torch_is_not_resumed(
    index: Index, references: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = small.trial(index, "distill", steps=12)
    with monkeypatch.context() as before:
        before.setattr(checkpoint.torch, "__version__", "2.0.0")
        stopped(made, references, tmp_path, 5)
    with pytest.warns(CheckpointWarning, match=r"another training \(torch '2.0.0', not '.*'\); restarting"):
        again = run(made, small.where(references, cache=tmp_path))
    assert numbers(again) == numbers(run(made, small.where(references)))


STATEFUL = {
    "(SEEN)": METHOD.replace("class ", "SEEN = []\n\n\nclass ").replace(
        "        yield", "        SEEN.append(1)\n        yield"
    ),
    "(Mine.seen)": METHOD.replace("    def loss", "    seen: ClassVar[list] = []\n\n    def loss").replace(
        "        yield", "        self.seen.append(1)\n        yield"
    ),
    "(self._seen)": METHOD.replace(
        "    def loss", "    _seen: list = PrivateAttr(default_factory=list)\n\n    def loss"
    ).replace("        yield", "        self._seen.append(1)\n        yield"),
    "(own.steps)": METHOD.replace(
        "    def loss",
        "    def modules(self, student, teacher):\n        own = torch.nn.Linear(2, 2)\n        own.steps = 0\n"
        '        return {"own": own}\n\n    def loss',
    ).replace("        yield", '        student.modules["own"].steps += 1\n        yield'),
    "(fit)": METHOD.replace(
        "    def loss",
        "    def fit(self, loop):\n        for batch, student, teacher in loop:\n"
        "            loop.step(self.loss(batch, student, teacher))\n\n    def loss",
    ),
}


@pytest.mark.parametrize("what", STATEFUL)
def test_a_method_with_state_that_no_checkpoint_holds_has_none_and_says_so(
    work: Path, references: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    imports = "from typing import ClassVar\n\nimport torch\nfrom pydantic import PrivateAttr\n"
    (work / "methods/mine.py").write_text(imports + STATEFUL[what])
    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)
    made = small.trial(discover(working=work), "mine")
    with pytest.warns(CheckpointWarning, match=r"^no checkpoints: Mine .*; a kill restarts this trial$") as told:
        record = run(made, small.where(references, cache=work / "cache"))
    assert record.status == "ok", record.message
    assert [what in str(each.message) for each in told] == [True]
    assert not checkpoint_of(work / "cache", made.id).exists()
