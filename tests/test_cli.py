"""The command line as a user meets it: exit codes, sentences instead of traces, nothing lost."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from user_folder import METHOD, TASK

from jkbench.cli import main
from jkbench.records.store import Store
from jkbench.tasks import task as tasks


def jkbench(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return int(end.value.code or 0), out, err


def run(capsys: pytest.CaptureFixture[str], *arguments: str, task: str = "small.toml") -> tuple[int, str, str]:
    return jkbench(capsys, "run", "--task", task, "--jobs", "1", *arguments)


def test_a_run_is_resumed_and_says_what_is_there(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "--methods", "scratch,distill")
    assert code == 0
    assert "small: 8 trials, 0 done, 8 to run" in err
    assert "distill" in out
    assert "ran 8 ok" in out
    before = (work / "leaderboard/records/small/distill.jsonl").read_bytes()
    code, out, err = run(capsys, "--methods", "scratch,distill", "--seeds", "3")
    assert "small: 12 trials, 8 done, 4 to run" in err
    assert before.splitlines()[0] in (work / "leaderboard/records/small/distill.jsonl").read_bytes()
    code, out, err = run(capsys, "--methods", "scratch,distill", "--seeds", "3")
    assert "12 done, 0 to run" in err
    assert code == 0


def test_plan_status_and_leaderboard_say_the_same(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = jkbench(capsys, "plan", "--task", "small.toml", "--methods", "scratch,distill", "--json")
    assert code == 0
    plan = json.loads(out)
    assert (plan["trials"], plan["to_run"], plan["estimated_seconds_one_job"]) == (8, 8, None)
    run(capsys, "--methods", "scratch")
    plan = json.loads(jkbench(capsys, "plan", "--task", "small.toml", "--methods", "scratch,distill", "--json")[1])
    assert (plan["there"], plan["to_run"]) == (4, 4)
    assert plan["estimated_seconds_one_job"] > 0
    (status,) = json.loads(jkbench(capsys, "status", "--json")[1])
    assert (status["task"], status["records"], status["status"], status["stale"]) == ("small", 4, {"ok": 4}, 0)
    code, out, _ = jkbench(capsys, "leaderboard")
    assert code == 0
    assert {Path(line).name for line in out.splitlines()} == {"README.md", "small.md"}
    written = {path.name for path in (work / "leaderboard").iterdir()}
    assert {"README.md", "small.md", "small.csv", "small.png", "tex"} <= written
    assert jkbench(capsys, "leaderboard", "--figures", "pdf")[0] == 0
    assert (work / "leaderboard/small.pdf").read_bytes().startswith(b"%PDF")
    assert "| `scratch` " in (work / "leaderboard/small.md").read_text()


def test_validation_records_never_reach_the_leaderboard(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--methods", "scratch", "--split", "validation")[0] == 0
    assert jkbench(capsys, "leaderboard")[0] == 0
    assert not (work / "leaderboard/small.md").exists()
    run(capsys, "--methods", "distill")
    jkbench(capsys, "leaderboard")
    page = (work / "leaderboard/small.md").read_text().partition("## Gain")[0]
    cells = [line.split("|") for line in page.splitlines() if line.startswith("| `")]
    rows = {cell[1].strip(): cell[2].strip() for cell in cells}
    assert rows["`scratch`"] == "–"
    assert rows["`distill`"] != "–"


def test_a_users_method_stands_beside_the_others_once_it_has_run(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (work / "methods/mine.py").write_text(METHOD)
    assert " mine " not in run(capsys, "--methods", "scratch")[1]
    jkbench(capsys, "leaderboard")
    assert "`mine`" not in (work / "leaderboard/small.md").read_text()
    out = run(capsys, "--methods", "mine")[1]
    assert " mine " in out
    assert " scratch " in out
    jkbench(capsys, "leaderboard")
    assert "`mine`" in (work / "leaderboard/small.md").read_text()


def test_a_changed_plugin_is_run_anew_and_its_old_records_leave_the_table(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = work / "methods/mine.py"
    path.write_text(METHOD)
    run(capsys, "--methods", "mine")
    path.write_text("# a comment\n" + METHOD)
    assert "4 done, 0 to run" in run(capsys, "--methods", "mine")[2]
    path.write_text(METHOD.replace('"ce", cross', '"ce", 2 * cross'))
    assert "0 done, 4 to run" in run(capsys, "--methods", "mine", "--shots", "2,4")[2]
    (status,) = json.loads(jkbench(capsys, "status", "--json")[1])
    assert (status["records"], status["stale"]) == (8, 4)
    jkbench(capsys, "leaderboard")
    assert "4 records of an earlier version of the code" in (work / "leaderboard/small.md").read_text()


def test_a_failure_is_told_with_its_line_until_the_method_is_mended(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ("--methods", "mine", "--shots", "2", "--seeds", "1")
    (work / "methods/mine.py").write_text(METHOD.replace("student.logits", "student.logit"))
    told = "mine.py:8 in loss: Signals has no 'logit': did you mean 'logits'"
    assert told in "".join(run(capsys, *few)[1:])
    assert told in jkbench(capsys, "status")[1]
    (work / "methods/mine.py").write_text(METHOD)
    run(capsys, *few)
    (status,) = json.loads(jkbench(capsys, "status", "--json")[1])
    assert (status["records"], status["stale"], status["failures"]) == (2, 1, [])


def test_all_mistakes_of_a_command_are_told_at_once(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = jkbench(
        capsys, "run", "--task", "digits-fewshots", "--methods", "jacobain,distill[akt=1]", "--device", "gpu",
        "--jobs", "many", "--seeds", "x",
    )  # fmt: skip
    assert code == 2
    for part in ("'digits-fewshot'", "'jacobian'", "'act'", "device 'gpu'", "--jobs", "--seeds"):
        assert part in err, err
    assert not (work / "leaderboard").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "--task", "digits-fewshot", "--methods", "jacobian[jac=-1]"], "greater than or equal to 0"),
        (["run", "--task", "digits-fewshot", "--methods", "jacobian[jac"], "brackets do not match"),
        (["run", "--task", "digits-transfer", "--methods", "distill"], "not defined on transfer"),
        (["run", "--task", "wrong.toml"], "did you mean 'kind'"),
        (["run", "--task", "none.toml"], "no task file"),
        (["run", "--task", "small.toml", "--leaderboard", "file/board"], "cannot be written"),
        (["run", "--task", "small.toml", "--plugins", "none"], "no such folder"),
        (["run"], "Missing option"),
        (["rnu"], "No such command"),
        (["leaderboard"], "there are no records"),
        (["check", "none.py"], "there is no file"),
        (["new", "method", "jacobian"], "already"),
        (["new", "method", "9lives"], "cannot name a method"),
        (["plan", "--task", "digits-fewshot", "--shots", "zero"], "--shots"),
        (["plan", "--task", "small.toml", "--methods", f"distill[act={'-' * 20_000}1]"], "valid number"),
        (["plan", "--task", "small.toml", "--methods", "distill[act={[]: 1}]"], "brackets do not match"),
        (["plan", "--task", "small.toml", "--set", f"shots={'[' * 5000}"], "shots"),
    ],
)
def test_a_users_mistake_is_a_sentence_and_exit_code_2(
    work: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    (work / "wrong.toml").write_text(TASK.replace("NAME", "wrong").replace("STEPS", "4").replace("kind", "knid"))
    (work / "file").write_text("")
    code, _, err = jkbench(capsys, *arguments)
    assert code == 2
    assert told in err


def test_cuda_where_there_is_none_is_told_before_training(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    code, _, err = run(capsys, "--device", "cuda")
    assert code == 2
    assert "no CUDA device" in err


def test_broken_plugins_become_failed_records_and_stop_nobody(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "methods/unparsable.py").write_text("def oops(:\n")
    (work / "methods/lacking.py").write_text("import no_such_package\n" + METHOD)
    (work / "methods/raising.py").write_text(METHOD + "        raise ValueError('my mistake')\n")
    code, out, err = run(capsys, "--methods", "unparsable,lacking,raising,scratch", "--seeds", "1")
    assert code == 1
    assert "ran 6 failed, 2 ok" in out
    failures = {
        record.method: record.message or ""
        for record in Store(work / "leaderboard").read("small").records.values()
        if record.status == "failed"
    }
    assert "unparsable.py:1: does not parse" in failures["unparsable"]
    assert "lacking.py:1: imports 'no_such_package'" in failures["lacking"]
    assert failures["raising"].endswith("ValueError: my mistake")
    assert "raising.py:9 in loss" in failures["raising"]
    assert all("Traceback" not in message and str(work) not in message for message in failures.values())
    # mended, they run: failures are tried again, results are not
    (work / "methods/raising.py").write_text(METHOD)
    code, out, err = run(capsys, "--methods", "raising,scratch", "--seeds", "1")
    assert "4 trials, 2 done, 2 to run" in err
    assert code == 0


def test_records_of_another_teacher_are_run_again(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "--methods", "distill")
    (teacher,) = (work / "leaderboard/teachers").glob("*.safetensors")
    good = teacher.read_bytes()
    assert "4 done, 0 to run" in run(capsys, "--methods", "distill")[2]
    code, _, err = run(capsys, "--methods", "distill", "--leaderboard", "other", "--seeds", "1", "--threads", "1")
    other = work / "other/teachers" / teacher.name
    import torch

    from jkbench.engine import images as image_sets
    from jkbench.engine import teacher as networks
    from jkbench.plugins.discovery import discover
    from jkbench.records import teachers

    small = tasks.load("small.toml")
    made = teachers.of_task(small, discover().datasets())
    assert made is not None
    data = image_sets.of_task(small, discover().datasets()).source
    kept = networks.load(work / "other", made, data, torch.device("cpu"))
    network = kept.copy()
    network.head.bias.data += 1.0
    changed = networks.TrainedNetwork.of(made, network, kept.accuracy)
    networks.store(changed, data, work / "other")
    teacher.write_bytes(other.read_bytes())
    assert teacher.read_bytes() != good
    code, _, err = run(capsys, "--methods", "distill")
    assert "0 done, 4 to run (4 of them from another teacher or start)" in err
    assert code == 0
    assert "4 done, 0 to run" in run(capsys, "--methods", "distill")[2]
    page = Store(work / "leaderboard").read("small").records.values()
    assert {record.teacher.weights for record in page if record.teacher} == {changed.weights}


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("vgg:4-M-4", "vgg:4-M-4-M-M-M", "too small for 4 poolings"),
        ("vgg:8-M-8", "vgg:8-X", "neither a width nor M"),
        ("vgg:8-M-8", "resnet", "there is no architecture"),
        ("shots = [2, 4]", "shots = [2, 5000]", "5000 images per class are asked for"),
        ("learning_rate = 1e-3, steps = 10", "learning_rate = 1e38, steps = 10", "cannot be trained"),
        ('kind = "distillation"', 'kind = "distillation"\nmethods = { jacobain = {} }', "did you mean 'jacobian'"),
        ('kind = "distillation"', 'kind = "distillation"\nmethods = { jacobian = [] }', "at least 1 item"),
        ('baseline = "scratch"', 'baseline = "scrach"', "did you mean 'scratch'"),
    ],
)
def test_a_task_that_cannot_run_is_refused_before_the_first_trial(
    work: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, told: str
) -> None:
    text = (work / "small.toml").read_text()
    assert old in text
    (work / "small.toml").write_text(text.replace(old, new))
    code, _, err = run(capsys, "--methods", "scratch")
    assert code == 2
    assert told in err
    assert not list((work / "leaderboard").rglob("*.jsonl"))


def test_damaged_records_are_told_and_the_others_are_used(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "--methods", "scratch,distill")
    path = work / "leaderboard/records/small/scratch.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:3], lines[3][:100]]) + "\n")
    code, _, err = run(capsys, "--methods", "scratch,distill")
    assert f"{path.relative_to(work)}:4: not a record: the JSON is truncated or damaged" in err
    assert "8 trials, 7 done, 1 to run" in err
    assert code == 0
    code, _, err = jkbench(capsys, "leaderboard")
    assert code == 0
    assert ":4: not a record" in err


def test_smoke_stores_nothing(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--methods", "all", "--smoke", "--shots", "2", "--seeds", "1")
    assert code == 0
    assert re.fullmatch(r"smoke: \d\d ok; nothing was stored\n", out)
    assert not (work / "leaderboard").exists()


def test_a_profile_counts_operations_and_compares_with_the_ceiling(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("profile", "--task", "small.toml", "--methods", "scratch,jacobian[jac=1]", "--json")
    code, out, _ = jkbench(capsys, *arguments)
    assert code == 0
    plain, scratch, jacobian = json.loads(out)["steps"]
    assert plain["operations"] == scratch["operations"]
    # one image of 8×8: 3×3 convolutions of 1→4 channels at 8×8 and 4→4 at 4×4, a 4→3 head; two operations a product
    forward = 2 * (9 * 4 * 64 + 9 * 4 * 4 * 16 + 4 * 3)
    # six images; the backward pass costs the forward's twice, but for the first convolution's input, which nobody reads
    assert scratch["operations"] == 6 * (3 * forward - 2 * 9 * 4 * 64)
    assert jacobian["operations"] > 2 * scratch["operations"]
    assert scratch["images_per_second"] == pytest.approx(6 * 1000 / scratch["milliseconds"])
    assert all(0 < step["share"] < 1 for step in (scratch, jacobian))


def test_a_new_method_runs_as_it_is_in_all_kinds_of_task(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert jkbench(capsys, "new", "method", "My-own")[0] == 0
    path = work / "methods/my_own.py"
    path.write_text(path.read_text().replace('tasks = {"distillation", "transfer"}',
                                             'tasks = {"distillation", "transfer", "robustness"}'))  # fmt: skip
    for name in (name for name in tasks.builtin() if name.startswith("digits-")):  # the others need images fetched
        code, out, _ = run(capsys, "--methods", "my-own", "--smoke", "--shots", "1", "--seeds", "1", task=name)
        assert (code, out) == (0, "smoke: 1 ok; nothing was stored\n")


def test_help_shows_an_example_of_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("run", "plan", "list", "new", "check", "leaderboard", "status", "merge", "profile", "data",
                    "remove", "teacher", "reproduce", "theory", "completion", "compare", "power"):  # fmt: skip
        code, out, _ = jkbench(capsys, command, "--help")
        assert code == 0
        assert "Example" in out
        assert f"jkbench {command}" in out


def test_completion_knows_methods_and_tasks() -> None:
    program = Path(sys.executable).with_name("jkbench")
    if program.exists():
        environment = {**os.environ, "_JKBENCH_COMPLETE": "bash_complete", "COMP_CWORD": "3"}
        for words, expected in (
            ("jkbench run --task digits-", "digits-noise"),
            ("jkbench run --methods jac", "jacobian"),
        ):
            done = subprocess.run(
                [str(program)], env={**environment, "COMP_WORDS": words}, capture_output=True, text=True, check=False
            )
            assert expected in done.stdout
    else:
        pytest.skip("jkbench is not installed as a command here")
