"""One direction: lower floors never import higher ones, and what plans, stores, counts and reports needs no torch."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "jkbench"

# Floors from the ground up; a module may import from its own floor and from those below.
FLOORS = [
    {"errors", "files", "hashing", "seeds", "maths"},
    {"statistics", "tasks", "data"},
    {"plugins", "models"},
    {"planning"},
    {"records"},
    {"report", "engine"},
    {"execute", "papers"},
    {"api"},
    {"cli"},
]
TORCH_FREE = {
    "errors", "files", "hashing", "seeds", "statistics", "tasks", "data", "plugins", "planning", "records", "report",
}  # fmt: skip


def floor_of(name: str) -> int:
    return next(number for number, floor in enumerate(FLOORS) if name in floor)


def imports(path: Path, inside: bool = True) -> set[str]:
    """Modules imported in a file (``inside``: in its functions too), but for those that only type checkers read."""
    tree = ast.parse(path.read_text())
    if not inside:
        tree.body = [node for node in tree.body if not isinstance(node, ast.FunctionDef | ast.ClassDef)]
    guarded = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in guarded:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for inner in (f"{node.module}.{alias.name}" for alias in node.names):
                there = PACKAGE.parent / inner.replace(".", "/")
                is_module = there.is_dir() or there.with_suffix(".py").is_file()
                found.add(inner if is_module or node.module == "jkbench" else node.module)
    return found


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or not path.name.startswith("__"))


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_imports_from_a_higher_floor(path: Path) -> None:
    here = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for name in imports(path):
        if name.startswith("jkbench.") and name != "jkbench.__version__":
            there = name.split(".")[1]
            assert floor_of(there) <= floor_of(here), f"{path.name} ({here}) imports {name}"
    if here in TORCH_FREE:
        assert not any(name.split(".")[0] in ("torch", "torchvision", "timm") for name in imports(path, inside=False))


def test_what_plans_stores_counts_and_reports_runs_without_torch(tmp_path: Path) -> None:
    program = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in ('torch', 'torchvision', 'timm'):
            raise ImportError(f'{name} is not installed here')
sys.meta_path.insert(0, Blocked())
from jkbench.cli import main
board = ['leaderboard', '--leaderboard', sys.argv[1]]
for arguments in (['plan', '--task', 'digits-fewshot'], ['list'], ['status'], board):
    try:
        main(arguments)
    except SystemExit as end:
        assert end.code == 0, (arguments, end.code)
assert not any(name.partition('.')[0] == 'torch' for name in sys.modules)
"""
    from test_store import record

    from jkbench.records.store import Store
    from jkbench.tasks import task as tasks

    fewshot = tasks.load("digits-fewshot")
    store = Store(tmp_path)
    store.put(record(task=fewshot.name, protocol=fewshot.protocol, method="elsewhere", label="elsewhere"))
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "digits-fewshot.md").exists()


def arrows(rooms: bool) -> dict[str, set[str]]:
    """What each file (each room) imports of the others, in its functions too; not what only type checkers read."""
    names = {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
        for path in modules()
    }
    room = {name: name.split(".")[1] if rooms else name for name in names}
    found: dict[str, set[str]] = {each: set() for each in room.values()}
    for name, path in names.items():
        found[room[name]] |= {room[other] for other in imports(path) if other in names} - {room[name]}
    return found


@pytest.mark.parametrize("rooms", [True, False], ids=["rooms", "files"])
def test_nothing_is_imported_in_a_circle(rooms: bool) -> None:
    found = arrows(rooms)
    assert len(found) > 10
    graphlib.TopologicalSorter(found).prepare()  # raises CycleError, which names the circle


def test_contributing_states_the_floors() -> None:
    said = " → ".join("/".join(sorted(floor)) for floor in reversed(FLOORS))
    text = " ".join((PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8").split())
    assert f"Imports go one way: {said}." in text, f"write in CONTRIBUTING.md: {said}"


def test_contributing_names_files_that_exist() -> None:
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:jkbench|tests|docs|benchmarks|methods|datasets)/[\w./-]*)`", text))
    assert len(named) > 30
    assert not [name for name in named if "my_" not in name and not (PACKAGE.parent / name).exists()]


def test_no_two_classes_have_one_name() -> None:
    found: dict[str, list[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(path.name)
    del found["Workers"]  # every back end has its own
    assert {name: files for name, files in found.items() if len(files) > 1} == {}


def test_few_modules_lie_loose() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= 8


def test_files_stay_under_400_lines_and_functions_under_60() -> None:
    total, long = 0, {}
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text()
        total += (count := len(text.splitlines()))
        if count >= 400:
            long[path.name] = count
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and node.end_lineno and node.end_lineno - node.lineno >= 60:
                long[f"{path.name}: {node.name}"] = node.end_lineno - node.lineno + 1
    print(f"jkbench/*.py: {total} lines")
    assert long == {}


def test_no_code_asks_for_a_plugin_by_name() -> None:
    """No `if name == "jacobian"` anywhere: what a method needs, it says in its own file."""
    names = {path.stem.replace("_", "-") for path in (PACKAGE.parent / "methods").glob("*.py")}
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare):
                constants = {c.value for c in ast.walk(node) if isinstance(c, ast.Constant)}
                assert not constants & names, f"{path}:{node.lineno} compares with a method's name"
