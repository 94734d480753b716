"""The application: what plan and run refuse alike, commands side by side, tasks changed by --set, records removed."""

from __future__ import annotations

import io
import subprocess
import sys
from collections import Counter
from pathlib import Path

import night
import pytest
from test_cli import jkbench
from user_folder import METHOD

from jkbench.records.claims import claimed
from jkbench.records.store import Store
from jkbench.tasks import changes
from jkbench.tasks import task as tasks


@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--seeds", "99999999999999999999"], "is too large"),
        (["--seeds", "100000000"], "is too large"),
        (["--methods", "jacobian[jac=1,jac=2]"], "jac is given twice"),
        (["--set", "student.trainig.steps=5"], "student.trainig"),
        (["--set", "student.training.steps=0"], "student.training.steps"),
        (["--set", "student.training.steps"], "not FIELD=VALUE"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(
    work: Path, capsys: pytest.CaptureFixture[str], command: str, arguments: list[str], told: str
) -> None:
    code, _, err = jkbench(capsys, command, "--task", "small.toml", *arguments)
    assert code == 2
    assert told in err
    assert len(err.splitlines()) <= 3, err
    assert not (work / "leaderboard").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--threads", "100000"], "100000 is not a number of threads"),
        (["--threads", "0"], "0 is not a number of threads"),
        (["--timeout", "nan"], "nan is not a number of seconds"),
        (["--timeout", "inf"], "inf is not a number of seconds"),
        (["--timeout", "0"], "0 is not a number of seconds"),
        (["--timeout", "-3"], "-3 is not a number of seconds"),
        (["--executor", "slrum"], "there is no executor 'slrum'"),
    ],
)
def test_resources_that_there_are_not_are_refused(
    work: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    code, _, err = jkbench(capsys, "run", "--task", "small.toml", *arguments)
    assert code == 2
    assert told in err


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("vgg:4-M-4", "timm:resnet1888", "there is no timm model 'resnet1888'"),
        ("vgg:4-M-4", "vgg:0", "neither a width nor M"),
        ("shots = [2, 4]", "shots = [2, 5000]", "5000 images per class are asked for"),
        ('name = "small"', 'name = "digits-fewshot"', "the suite already has a task"),
    ],
)
def test_plan_refuses_what_run_refuses(
    work: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, told: str
) -> None:
    name = "digits-fewshot.toml" if "name" in old else "small.toml"
    (work / name).write_text((work / "small.toml").read_text().replace(old, new))
    code, _, err = jkbench(capsys, "plan", "--task", name, "--methods", "scratch")
    assert code == 2
    assert told in err


@pytest.mark.parametrize("count", night.times((2,), (2, 4)))
def test_commands_at_once_train_nothing_twice(work: Path, count: int) -> None:
    log = work / "log"
    (work / "methods/logged.py").write_text(
        METHOD.replace(
            "        yield",
            f"        if batch.step == 1: open({str(log)!r}, 'a').write('x\\n')\n"
            "        import time; time.sleep(0.1)\n        yield",
        )
    )
    words = [sys.executable, "-m", "jkbench", "run", "--task", "small.toml", "--methods", "logged"]
    commands = [
        subprocess.Popen(
            [*words, "--seeds", "6", "--in-process"],
            cwd=work,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]
    told = [each.communicate(timeout=300)[1] for each in commands]
    assert {each.returncode for each in commands} == {0}, told
    assert len(log.read_text().splitlines()) == 12, told
    assert Counter(r.status for r in Store(work / "leaderboard").read("small").records.values()) == {"ok": 12}


def test_a_claim_is_held_as_long_as_its_command_lives(tmp_path: Path) -> None:
    with claimed(tmp_path, ["a", "b"]) as first:
        assert first.mine == {"a", "b"}
        with claimed(tmp_path, ["b", "c"]) as second:
            assert second.mine == {"c"}
            assert len(second.others) == 1
    with claimed(tmp_path, ["b"]) as third:
        assert third.mine == {"b"}
        assert third.others == ()
    dead = tmp_path / ".claims/0.claim"  # of a command that was killed: nobody holds its lock
    dead.write_text('["x"]')
    with claimed(tmp_path, ["x"]) as fourth:
        assert fourth.mine == {"x"}
    assert not dead.exists()


def test_a_changed_task_has_a_name_and_a_protocol_of_its_own(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "digits-fewshot-steps-2"
    words = ["--methods", "scratch", "--shots", "1", "--seeds", "1", "--set", "teacher.training.steps=2"]
    code, _, err = jkbench(
        capsys, "run", "--task", "digits-fewshot", *words, "--set", "student.training.steps=2", "--jobs", "1"
    )
    assert code == 0
    full = f"{name}-teacher-training-steps-2"
    assert f"another task: {full}" in err
    made = tasks.load(str(work / f"leaderboard/tasks/{full}.toml"))
    base = tasks.load("digits-fewshot")
    assert (made.student.training.steps, made.student.training.drop_at) == (2, 2 * 240 // 300 or 1)
    assert made.protocol != base.protocol
    assert made.methods == base.methods
    (record,) = Store(work / "leaderboard").read(full).records.values()
    assert (record.task, record.protocol) == (full, made.protocol)
    # the kept task is run again by its name
    code, _, err = jkbench(capsys, "plan", "--task", full, "--methods", "scratch", "--shots", "1", "--seeds", "1")
    assert code == 0


def test_names_of_changed_tasks_are_the_same_in_any_order() -> None:
    one = {"student.training.steps": 50, "target.size": 32}
    assert changes.name_of("a", one) == changes.name_of("a", dict(reversed(one.items()))) == "a-steps-50-target-size-32"
    assert changes.name_of("a", {"student.training.learning_rate": 1e-4}) == "a-learning-rate-0-0001"
    long = changes.name_of("a", {"title": "x" * 200})
    assert long != changes.name_of("a", {"title": "x" * 201})
    assert len(long) < 100


def test_records_are_removed_after_asking(
    work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--task", "small.toml", "--seeds", "1", "--jobs", "1", "--methods", "scratch,distill")
    assert jkbench(capsys, "run", *words)[0] == 0
    store = Store(work / "leaderboard")
    ids = sorted(record.id for record in store.read("small").records.values() if record.method == "scratch")
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    code, out, err = jkbench(capsys, "remove", "scratch")
    assert (code, out.splitlines()[-1].endswith("nothing was removed"), err) == (0, True, "")
    assert len(store.read("small").records) == 4
    assert jkbench(capsys, "remove", ids[0], "--yes")[0] == 0
    assert len(store.read("small").records) == 3
    assert jkbench(capsys, "remove", "scratch", "--task", "small.toml", "--yes")[0] == 0
    assert {record.method for record in store.read("small").records.values()} == {"distill"}
    assert not (work / "leaderboard/records/small/scratch.jsonl").exists()
    code, _, err = jkbench(capsys, "remove", "scratch")
    assert code == 2
    assert "there are no records of 'scratch'" in err


def test_the_earlier_spellings_of_theory_say_the_new_ones(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = jkbench(capsys, "theory", "--bound", "small.toml")
    assert code == 2
    assert "now written: jkbench theory bound small.toml" in err
    assert "small is a distillation task" in err
