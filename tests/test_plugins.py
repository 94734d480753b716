"""Plugins are read from source: what is broken is told with file and line, and stops nobody else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jkbench.errors import UserError
from jkbench.plugins import parameters
from jkbench.plugins.describe import Plugin, read
from jkbench.plugins.discovery import Index, discover
from jkbench.plugins.loading import load
from jkbench.report.wording import settings

GOOD = '''"""Mine."""
from typing import Annotated, Literal
from pydantic import Field
from jkbench import Method, Weight, cross_entropy


class Mine(Method):
    tasks = {"distillation"}
    ce: Weight = 1.0
    depth: Annotated[int, Field(ge=1, le=3)] = 2
    kind: Literal["a", "b"] = "a"
    flag: bool = False

    def loss(self, batch, student, teacher):
        yield "ce", self.ce * cross_entropy(student.logits, batch.y)
'''
PAPERS_OWN = {
    "attention", "attention-jacobian", "distill", "finetune", "jacobian", "jacobian-norm", "lwf", "lwf-jacobian",
    "noise", "scratch",
}  # fmt: skip


def plugin(folder: Path, text: str, name: str = "mine") -> Plugin:
    path = folder / f"{name}.py"
    path.write_text(text)
    return read(path, "method", "test")


def test_the_methods_are_there_and_sound(index: Index) -> None:
    assert set(index.methods()) > PAPERS_OWN
    assert {source.broken for source in index.methods().values()} == {None}
    assert all(source.summary and source.class_name for source in index.methods().values())


def test_source_agrees_with_the_imported_class(index: Index) -> None:
    for source in index.methods().values():
        imported = load(source)
        assert imported.tasks == source.tasks
        assert imported.reference == source.reference
        assert imported.separate_head == source.facts["separate_head"]
        assert imported().model_dump(mode="json") == parameters.validate(source, {})


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("def oops(:\n", 1, "does not parse"),
        ("x = 1\n", 1, "no class derived from Method"),
        (GOOD + "class Second(Method):\n    pass\n", 16, "Mine (line 7), Second (line 16) all derive from Method"),
        (
            GOOD.replace("import Field\n", "import Field\nimport no_such_package\n"),
            4,
            "'no_such_package', which is not installed",
        ),
        (GOOD.replace('{"distillation"}', "set(KINDS)"), 8, "written out"),
        (GOOD.replace('{"distillation"}', '{"distilation"}'), 7, "kinds of task are"),
        (GOOD.replace("ce: Weight = 1.0", "ce: Weight"), 9, "has no default"),
        (GOOD.replace('{"distillation"}', "3"), 7, "tasks is 3, where a set of kinds of task is expected"),
        (GOOD.replace('{"distillation"}', '"distillation"'), 7, "a set of kinds of task is expected"),
        (GOOD.replace("    ce: W", '    elsewhere = "no"\n    ce: W'), 7, "a dict from kinds of task to reasons"),
        (GOOD.replace('{"distillation"}', "{[]}"), 8, "written out"),
        (GOOD + "\0", 1, "null bytes"),
        (GOOD + f"x = {'-' * 20_000}1\n", 1, "nested too deeply"),
        (GOOD + f"x = 1{' + 1' * 5000}\n", 1, "nested too deeply"),
    ],
)
def test_what_is_broken_is_told_with_file_and_line(tmp_path: Path, text: str, line: int, told: str) -> None:
    source = plugin(tmp_path, text)
    assert source.broken is not None
    assert source.broken.startswith(f"{tmp_path / 'mine.py'}:{line}: ")
    assert told in source.broken


def test_a_plugin_that_raises_at_import_is_told_with_file_and_line(tmp_path: Path) -> None:
    source = plugin(tmp_path, GOOD + "\n\n1 / 0\n")
    assert source.broken is None
    with pytest.raises(UserError, match=r"mine\.py:18: cannot be imported: ZeroDivisionError"):
        load(source)


def test_comments_and_docstrings_do_not_count_but_the_loss_does(tmp_path: Path) -> None:
    code = plugin(tmp_path, GOOD).code
    commented = GOOD.replace("class Mine", "# a comment\n\n\nclass Mine").replace('"""Mine."""', '"""Other words."""')
    assert plugin(tmp_path, commented).code == code
    assert plugin(tmp_path, GOOD.replace("self.ce *", "2 * self.ce *")).code != code
    assert plugin(tmp_path, GOOD.replace("= 1.0", "= 2.0")).code != code


def test_two_plugins_of_one_name_name_both_files(tmp_path: Path) -> None:
    (tmp_path / "distill.py").write_text((Path(__file__).parent.parent / "methods/distill.py").read_text())
    discover([tmp_path], working=tmp_path / "empty")  # the same code twice is one plugin
    plugin(tmp_path, GOOD, "jacobian")
    with pytest.raises(UserError) as caught:
        discover([tmp_path], working=tmp_path / "empty")
    assert str(tmp_path / "jacobian.py") in str(caught.value)
    assert "methods/jacobian.py" in str(caught.value)


def test_plugins_are_found_in_the_working_folder_in_folders_given_and_by_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("work/methods", "given", "site/pack", "site/pack-1.dist-info"):
        (tmp_path / folder).mkdir(parents=True)
    plugin(tmp_path / "work/methods", GOOD, "in_working")
    plugin(tmp_path / "given", GOOD, "in_given")
    plugin(tmp_path / "site/pack", GOOD.replace("class Mine", "from .helper import KIND\n\n\nclass Mine"), "code")
    (tmp_path / "site/pack/helper.py").write_text("KIND = 'a'\n")
    (tmp_path / "site/pack/__init__.py").write_text(
        "import pathlib; pathlib.Path(__file__).with_name('seen').touch()\n"
    )
    (tmp_path / "site/pack-1.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: pack\nVersion: 1\n")
    (tmp_path / "site/pack-1.dist-info/entry_points.txt").write_text("[jkbench.methods]\nby-entry = pack.code:Mine\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    found = discover([tmp_path / "given"], working=tmp_path / "work").methods()
    assert {"in-working", "in-given", "by-entry"} <= set(found)
    assert [found[name].broken for name in ("in-working", "in-given", "by-entry")] == [None] * 3
    assert not (tmp_path / "site/pack/seen").exists()  # discovery imports nothing
    assert load(found["by-entry"])().depth == 2
    assert (tmp_path / "site/pack/seen").exists()


def test_a_broken_plugin_is_listed_and_the_others_stay(tmp_path: Path) -> None:
    (tmp_path / "methods").mkdir()
    plugin(tmp_path / "methods", "def oops(:\n", "oops")
    found = discover(working=tmp_path).methods()
    assert found["oops"].broken
    assert set(found) >= PAPERS_OWN


def test_listing_imports_neither_torch_nor_pydantic_nor_any_plugin(tmp_path: Path) -> None:
    (tmp_path / "methods").mkdir()
    plugin(tmp_path / "methods", GOOD + "\nopen('imported', 'w')\n")
    program = (
        "import sys, json\nfrom jkbench.cli import main\n"
        "try: main(['list', '--json'])\n"
        "except SystemExit: pass\n"
        "slow = [m for m in ('torch', 'pydantic', 'numpy', 'pandas', 'rich') if m in sys.modules]\n"
        "print(json.dumps(slow), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stderr) == []
    assert "mine" in [entry["name"] for entry in json.loads(done.stdout)["methods"]]
    assert not (tmp_path / "imported").exists()


def test_parameters_are_parsed() -> None:
    assert parameters.parse("jacobian[ce=0,jac=0.5], distill") == [("jacobian", {"ce": 0, "jac": 0.5}), ("distill", {})]
    assert parameters.parse("a[flag=true,kind=b,rows=top:3]") == [("a", {"flag": True, "kind": "b", "rows": "top:3"})]
    assert parameters.parse("") == []


def test_a_parameter_that_is_given_twice_is_refused() -> None:
    with pytest.raises(UserError, match="jac is given twice"):
        parameters.parse("jacobian[jac=1,jac=2]")


@pytest.mark.parametrize("text", ["a[", "a]", "a[x=1", "a[x=1]]", "a[x=[1]", "a[x]", "a[=1]", "a[x=1]b"])
def test_malformed_parameters_are_refused(text: str) -> None:
    with pytest.raises(UserError):
        parameters.parse(text)


def test_wrong_names_and_values_are_all_told_with_what_is_right(tmp_path: Path) -> None:
    source = plugin(tmp_path, GOOD)
    assert parameters.validate(source, {"depth": 3}) == {"ce": 1.0, "depth": 3, "kind": "a", "flag": False}
    with pytest.raises(UserError) as caught:
        parameters.validate(source, {"dept": 1, "ce": -1, "kind": "c", "depth": 4})
    told = str(caught.value)
    for part in (
        "did you mean 'depth'",
        "ce=-1",
        "greater than or equal to 0",
        "kind=c",
        "'a' or 'b'",
        "depth=4",
        "le=3",
    ):
        assert part in told
    with pytest.raises(UserError, match="finite"):
        parameters.validate(source, {"ce": float("inf")})


def test_a_wrong_default_or_type_in_the_file_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"mine\.py:10: default of 'depth'"):
        parameters.model(plugin(tmp_path, GOOD.replace("= 2", "= 9")))
    for wrong in ("my_type() = 1", "Annotated[float, Field(gee=0)] = 1", "Weight = 10**10**10"):
        with pytest.raises(UserError, match=r"mine\.py:9: parameter 'ce'.*without importing"):
            parameters.model(plugin(tmp_path, GOOD.replace("ce: Weight = 1.0", f"ce: {wrong}")))


def test_the_model_of_a_plugin_is_built_once_and_again_for_other_code(tmp_path: Path) -> None:
    built = parameters.model(plugin(tmp_path, GOOD))
    assert parameters.model(plugin(tmp_path, GOOD + "# a comment\n")) is built
    assert parameters.model(plugin(tmp_path, GOOD.replace("= 1.0", "= 2.0")))().ce == 2.0


def test_a_page_writes_parameters_as_labels_do() -> None:
    given = {"jac": 0.25, "small": 1.23456789e-5, "flag": True, "rows": "auto"}
    assert parameters.label("m", given, {}, set()) == "m[jac=0.25,small=1.23456789e-05,flag=true,rows=auto]"
    assert settings(given) == "jac = 0.25, small = 1.23456789e-05, flag = true, rows = auto"
    assert settings({}) == "none"


def test_labels_show_what_is_not_usual() -> None:
    usual = {"ce": 1.0, "jac": 1.0, "flag": False}
    assert parameters.label("m", usual, usual, set()) == "m"
    assert parameters.label("m", {**usual, "jac": 0.25, "flag": True}, usual, set()) == "m[jac=0.25,flag=true]"
    assert parameters.label("m", usual, usual, {"jac"}) == "m[jac=1]"


@pytest.mark.skipif(os.name != "posix", reason="needs another Python process with PYTHONHASHSEED")
def test_code_hashes_do_not_depend_on_hash_randomisation(tmp_path: Path) -> None:
    plugin(tmp_path, GOOD)
    program = (
        "from pathlib import Path; from jkbench.plugins.describe import read\n"
        f"print(read(Path({str(tmp_path / 'mine.py')!r}), 'method', '').code)"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True
        ).stdout
        for seed in ("0", "1")
    }
    assert len(seen) == 1
