"""A submission, end to end on a local bare repository, with the workflow's own command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from conftest import ROOT
from test_verify import board, real

from jkbench.records.store import Store

SCRIPT = "benchmarks/submission.sh"
WHO = ["-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
METHOD = '''"""Cross-entropy with half the weight."""
from jkbench import Method, Weight
from jkbench.maths import cross_entropy


class Half(Method):
    tasks = {"distillation"}
    ce: Weight = 0.5

    def loss(self, batch, student, teacher):
        yield "ce", self.ce * cross_entropy(student.logits, batch.y)
'''


def ran(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": ""}
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, env=environment)


def must(folder: Path, *words: str) -> None:
    done = ran(folder, *words)
    assert done.returncode == 0, done.stdout + done.stderr


def jkbench(folder: Path, *words: str) -> None:
    must(folder, sys.executable, "-m", "jkbench", *words)


def commit(folder: Path, message: str) -> None:
    must(folder, "git", "add", "-A")
    must(folder, "git", *WHO, "commit", "-qm", message)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of a bare repository that has the suite with one record, on a branch with a new method and its record."""
    top = tmp_path_factory.mktemp("submission")
    origin, work = top / "origin.git", top / "work"
    must(top, "git", "init", "-q", "--bare", "-b", "main", str(origin))
    must(top, "git", "clone", "-q", str(origin), str(work))
    for name in ("jkbench", "methods", "datasets"):
        shutil.copytree(ROOT / name, work / name, ignore=shutil.ignore_patterns("__pycache__"))
    (work / "benchmarks").mkdir()
    shutil.copy2(ROOT / SCRIPT, work / SCRIPT)
    (work / ".gitignore").write_text("__pycache__/\ninflight/\n*.lock\n")
    (work / "README.md").write_text("<!-- table: digits-fewshot scratch half -->\n<!-- end of table -->\n")
    board(work / "leaderboard", real("scratch"))
    jkbench(work, "leaderboard", "--readme", "README.md")
    must(work, "git", "checkout", "-qb", "main")
    commit(work, "The suite")
    must(work, "git", "push", "-q", "origin", "main")
    must(work, "git", "checkout", "-qb", "half")
    (work / "methods/half.py").write_text(METHOD)
    commit(work, "A method")
    run = ["run", "--methods", "half", "--task", "digits-fewshot", "--shots", "1", "--seeds", "1", "--in-process"]
    jkbench(work, *run)
    jkbench(work, "leaderboard", "--readme", "README.md")
    commit(work, "Its records")
    return work


def test_an_honest_submission_passes(clone: Path) -> None:
    done = ran(clone, SCRIPT, "origin/main")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "holds  distillation: on random test labels it is at chance" in done.stdout
    assert "1 record scored again" in done.stdout
    assert "1 record trained again" in done.stdout
    assert not ran(clone, "git", "status", "--porcelain").stdout  # nothing was written


def test_an_edited_number_fails(clone: Path) -> None:
    (record,) = (r for r in Store(clone / "leaderboard").read("digits-fewshot").records.values() if r.method == "half")
    path, number = clone / "leaderboard/records/digits-fewshot/half.jsonl", f'"accuracy":{record.metrics["accuracy"]}'
    honest = path.read_text()
    path.write_text(honest.replace(number, '"accuracy":0.999'))
    assert path.read_text() != honest
    done = ran(clone, SCRIPT, "origin/main")
    path.write_text(honest)
    assert done.returncode == 1
    assert "its predictions do not give its accuracy of 0.999" in done.stdout


def test_the_workflow_calls_that_script() -> None:
    text = (ROOT / ".github/workflows/submission.yml").read_text()
    assert f'{SCRIPT} "origin/$GITHUB_BASE_REF"' in text
    assert "permissions:\n  contents: read" in text  # a submission's code runs there
    assert "pull_request_target" not in text
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"] == ">=3.11"
    assert 'python-version: "3.11"' in text
