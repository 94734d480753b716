"""Nothing that is read from a file runs code, and no archive writes outside its folder."""

from __future__ import annotations

import ast
import contextlib
import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jkbench.data import prepared
from jkbench.data.download import unpacked
from jkbench.errors import UserError

ROOT = Path(__file__).parent.parent
PICKLES = {"marshal", "shelve", "dill", "cloudpickle", "joblib", "_pickle"}
UNPICKLERS = {"pickle.load", "pickle.loads", "pickle.Unpickler"}
UNPACKERS = {"extract", "extractall", "unpack_archive", "extract_archive", "download_and_extract_archive"}
OWN_MEMORY = "torch.load(io.BytesIO(self.stored), weights_only=False)"
"""Bytes that the same process has written, and that never were in a file."""


def faults(text: str) -> Iterator[str]:
    """What could run code, or write anywhere, when a file is read."""
    for node in ast.walk(ast.parse(text)):
        written = ast.unparse(node)
        match node:
            case ast.Import(names=found):
                yield from (each.name for each in found if each.name.partition(".")[0] in PICKLES)
            case ast.ImportFrom(module=module, names=found):
                names = [f"{module}.{each.name}" for each in found]
                yield from (name for name in names if name in UNPICKLERS or name.partition(".")[0] in PICKLES)
            case ast.Attribute() if written in UNPICKLERS:
                yield written
            case ast.Call(func=function, keywords=keywords) if written != OWN_MEMORY:
                options = {each.arg: getattr(each.value, "value", None) for each in keywords}
                loads = ast.unparse(function) == "torch.load" and options.get("weights_only") is not True
                unpacks = ast.unparse(function).rpartition(".")[2] in UNPACKERS and "filter" not in options
                if loads or unpacks or options.get("allow_pickle", False) is not False:
                    yield written


def test_no_module_reads_a_file_that_can_run_code_or_unpacks_one_anywhere() -> None:
    files = [file for room in ("jkbench", "methods", "datasets", "benchmarks") for file in (ROOT / room).rglob("*.py")]
    assert len(files) > 100
    assert {str(file): found for file in files if (found := list(faults(file.read_text(encoding="utf-8"))))} == {}


@pytest.mark.parametrize(
    "text",
    [
        "import pickle\npickle.loads(b)", "from pickle import load", "from joblib import load", "torch.load(p)",
        "torch.load(p, weights_only=False)",
        "torch.load(p, weights_only=flag)", "np.load(p, allow_pickle=True)", "np.save(p, x, allow_pickle=some)",
        "tarfile.open(p).extractall(q)", "shutil.unpack_archive(p, q)", "zipfile.ZipFile(p).extract(n)",
    ],
)  # fmt: skip
def test_what_could_run_code_is_seen(text: str) -> None:
    assert list(faults(text))


def test_what_cannot_is_let_pass() -> None:
    text = (
        "import pickle\npickle.dumps(x)\ntorch.load(p, weights_only=True)\nnp.load(p, allow_pickle=False)\nnp.load(p)"
    )
    assert not list(faults(f"{text}\n{OWN_MEMORY}"))


def a_tar(file: Path, name: str, link: str = "") -> None:
    with tarfile.open(file, "w:gz") as archive:
        inside = tarfile.TarInfo("images/a.txt")
        inside.size = 1
        archive.addfile(inside, io.BytesIO(b"a"))
        member = tarfile.TarInfo(name)
        member.type, member.linkname, member.size = (tarfile.SYMTYPE, link, 0) if link else (tarfile.REGTYPE, "", 4)
        archive.addfile(member, io.BytesIO(b"evil"))


def a_zip(file: Path, name: str) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("images/a.txt", "a")
        archive.writestr(name, "evil")


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.tar.gz", lambda file: a_tar(file, "../evil.txt")),
        ("a.tar.gz", lambda file: a_tar(file, "images/../../../evil.txt")),
        ("a.tar.gz", lambda file: a_tar(file, "images/out", "../../..")),
        ("a.tar.gz", lambda file: a_tar(file, "images/out", "/etc")),
        ("a.zip", lambda file: a_zip(file, "../evil.txt")),
        ("a.zip", lambda file: a_zip(file, "images/../../../evil.txt")),
        ("a.zip", lambda file: a_zip(file, "/evil.txt")),
    ],
)
def test_an_archive_writes_nothing_outside_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, write: Callable[[Path], None]
) -> None:
    monkeypatch.setenv("JKBENCH_DATA", str(tmp_path / "data"))
    folder = tmp_path / "data/downloads/set"
    folder.mkdir(parents=True)
    write(folder / name)
    with contextlib.suppress(UserError):  # a tar archive is refused, of a zip archive such members are left out
        prepared.fetched("set", lambda where: {"train": unpacked(f"http://x.org/{name}", where)})  # type: ignore[dict-item]
    inside = [path for path in (folder / "a").rglob("*") if not path.is_dir()]
    assert inside == ([folder / "a/images/a.txt"] if name.endswith("zip") else [])
    assert [path for path in tmp_path.rglob("*") if path.is_symlink() or path.name == "evil.txt"] == []
    assert not Path("/evil.txt").exists()
