"""The wheel behaves as the checkout does: built, installed into a new environment, one real trial run from it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built with hatchling, without network: the build back end is a development dependency."""
    folder = tmp_path_factory.mktemp("dist")
    program = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", program, str(folder)], cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_carries_plugins_tasks_and_templates(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for kind in ("methods", "datasets"):
        for path in (ROOT / kind).glob("*.py"):
            assert f"jkbench/{kind}/{path.name}" in names
    for path in (ROOT / "jkbench").rglob("*"):
        if path.is_file() and path.suffix in (".py", ".toml", ".j2", ".txt", ".csv", ".css", ".js"):
            assert str(path.relative_to(ROOT)) in names
    assert not any(name.startswith(("methods/", "datasets/", "tests/", "leaderboard/")) for name in names)


def test_an_installed_wheel_lists_and_runs_as_the_checkout_does(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", symlinks=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(tmp_path / "env")}))
    # what jkbench depends on comes from this environment; its own editable install does not follow a .pth of a .pth
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    zipfile.ZipFile(wheel).extractall(packages)
    python = tmp_path / "env" / "bin" / "python"
    work = tmp_path / "work"
    work.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def jkbench(*arguments: str) -> str:
        done = subprocess.run(
            [str(python), "-m", "jkbench", *arguments], cwd=work, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    place = subprocess.run(
        [str(python), "-c", "import jkbench; print(jkbench.__file__)"], cwd=work, env=environment, capture_output=True,
        text=True, check=True,
    ).stdout  # fmt: skip
    assert place.strip().startswith(str(packages))
    listed = json.loads(jkbench("list", "--json"))
    assert len(listed["methods"]) == len(list((ROOT / "methods").glob("*.py")))
    assert all(str(packages) in entry["file"] for entry in listed["methods"])
    out = jkbench(
        "run", "--task", "digits-noise", "--methods", "scratch", "--shots", "10", "--seeds", "1", "--jobs", "1"
    )
    assert "ran 1 ok" in out
    (record,) = [json.loads(line) for line in (work / "leaderboard/records/digits-noise/scratch.jsonl").open()]
    assert record["environment"].get("commit") is None
    # the same trial as in the checkout: same id, same numbers
    here = subprocess.run(
        [sys.executable, "-m", "jkbench", "run", "--task", "digits-noise", "--methods", "scratch", "--shots", "10",
         "--seeds", "1", "--jobs", "1", "--leaderboard", str(tmp_path / "checkout")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert here.returncode == 0, here.stderr
    (other,) = [json.loads(line) for line in (tmp_path / "checkout/records/digits-noise/scratch.jsonl").open()]
    assert (other["id"], other["metrics"], other["predictions"]) == (
        record["id"],
        record["metrics"],
        record["predictions"],
    )
