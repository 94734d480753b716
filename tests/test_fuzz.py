"""Files and command lines that nobody would write: no traceback, no hang, no wrong number.

Some 200 cases in the suite, always the same; more than 2,000 new ones in the night setting (`make night`).
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import shutil
import signal
import struct
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import night
import pytest
import small
import tomlkit
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from user_folder import METHOD, make_folder

from jkbench import planning
from jkbench.cli import cli, main
from jkbench.engine import images as image_sets
from jkbench.engine import teacher as networks
from jkbench.errors import UserError
from jkbench.plugins import describe, parameters, review
from jkbench.plugins.describe import PluginType
from jkbench.plugins.discovery import Index
from jkbench.plugins.loading import load
from jkbench.records import teachers, weights
from jkbench.records.schema import Record
from jkbench.records.select import choose
from jkbench.records.store import Store, decode, encode
from jkbench.report.leaderboard import document
from jkbench.report.page import compose
from jkbench.report.render import files
from jkbench.tasks import task as tasks

ROOT = Path(__file__).parent.parent
SECONDS = 60.0
"""Of this process, after which a case hangs."""
TOKENS = [
    "", " ", "\n", "\t", "\0", "\\", "é", "\u2028", "\x1b[31m", "'", '"', '"""', "#", "=", ",", ":", ".", "..", "/",
    "[", "]", "{", "}", "(", ")", "-", "0", "-1", "1e999", "nan", "-inf", "2**63", "10**10**10", "1" * 5000, "true",
    "null", "None", "self", "return", "yield", "lambda: 0", "**{}", "*()", "{[]: 1}", "[" * 3000, "(" * 150,
    "-" * 20_000, "1" + " + 1" * 3000, "import x\n",
]  # fmt: skip
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(TOKENS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
EDITS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 12), st.sampled_from(TOKENS)), min_size=1, max_size=3)
PATHS = st.lists(st.integers(0, 30), min_size=1, max_size=4)


def tried(by_day: int) -> Any:
    """So many cases, the same every day; fifteen times as many at night."""
    return settings(
        max_examples=night.times(by_day, 15 * by_day), derandomize=not night.NIGHT, deadline=None, database=None,
        phases=night.times([Phase.explicit, Phase.generate], [Phase.explicit, Phase.generate, Phase.shrink]),
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip


@contextlib.contextmanager
def case(folder: Path | None = None) -> Iterator[Path]:
    """An empty working folder, or a copy of one; an error where it takes too long."""

    def hang(*_: object) -> None:
        raise AssertionError("hangs")

    before, handler = Path.cwd(), signal.signal(signal.SIGPROF, hang)
    with tempfile.TemporaryDirectory() as made:
        working = Path(made, "work")
        shutil.copytree(folder, working) if folder else working.mkdir()
        os.chdir(working)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            yield working
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, handler)
            os.chdir(before)


def edited(text: str, edits: list[tuple[float, int, str]]) -> str:
    """A text with some places replaced."""
    for share, removed, token in edits:
        at = round(share * len(text))
        text = text[:at] + token + text[at + removed :]
    return text


def replaced(content: Any, path: list[int], value: Any) -> None:
    """Replace one field, however deep, of what JSON or TOML holds."""
    while True:
        keys = list(content) if isinstance(content, dict) else list(range(len(content)))
        key = keys[path[0] % len(keys)]
        if len(path) == 1 or not isinstance(content[key], (dict, list)) or not content[key]:
            content[key] = value
            return
        content, path = content[key], path[1:]


LINES = [
    (ROOT / f"leaderboard/records/{name}.jsonl").read_text(encoding="utf-8").split("\n")[:2]
    for name in ("digits-fewshot/jacobian", "digits-noise/scratch", "digits-transfer/lwf")
]


def line_with_a_field(line: str, path: list[int], value: Any) -> str:
    content = json.loads(line)
    replaced(content, path, value)
    return json.dumps(content)


@tried(70)
@given(st.sampled_from(LINES), EDITS, PATHS, VALUES, st.booleans())
def test_any_line_among_records_is_read_or_refused_and_the_others_stay(
    index: Index, lines: list[str], edits: list[tuple[float, int, str]], path: list[int], value: Any, whole: bool
) -> None:
    good = decode(lines[1], Record)
    line = line_with_a_field(lines[0], path, value) if whole else edited(lines[0], edits)
    with case() as folder:
        file = folder / f"records/{good.task}/{good.method}.jsonl"
        file.parent.mkdir(parents=True)
        file.write_bytes(line.encode("utf-8", "surrogatepass") + b"\n" + lines[1].encode() + b"\n")
        store = Store(folder)
        loaded, outlines = store.read(good.task), store.outlines(good.task)
        if loaded.unreadable and "utf-8" in loaded.complaints()[0]:
            return  # bytes that are no text: the file is named, and left alone
        for record in loaded.records.values():
            assert decode(encode(record), Record) == record
            assert all(math.isfinite(number) for number in record.metrics.values())
            assert 0 <= record.metrics.get("accuracy", 0) <= 1 + 1e-6
        assert good.id in loaded.records
        assert good.id in outlines.records
        try:
            chosen = choose(tasks.load(good.task), index, loaded)
            files(document(compose(chosen)), ())
        except UserError:
            pass
        assert "Traceback" not in "".join(loaded.complaints())


TASKS = [
    (ROOT / f"jkbench/tasks/{name}.toml").read_text() for name in ("digits-fewshot", "digits-noise", "digits-transfer")
]


@tried(50)
@given(st.sampled_from(TASKS), EDITS, PATHS, VALUES, st.booleans())
def test_any_task_file_is_planned_or_refused(
    index: Index, text: str, edits: list[tuple[float, int, str]], path: list[int], value: Any, whole: bool
) -> None:
    if whole:
        content = tomlkit.parse(text).unwrap()
        replaced(content, path, value)
        try:
            text = tomlkit.dumps(content)
        except Exception:  # TOML has no such value
            return
    else:
        text = edited(text, edits)
    with case() as folder:
        file = folder / "mine.toml"
        file.write_bytes(text.replace('name = "digits-', 'name = "mine" # ', 1).encode("utf-8", "surrogatepass"))
        try:
            task = tasks.parse(file, tasks.text_of(file))
            plan = planning.make(task, index, "all")
        except UserError:
            return
        assert len({trial.id for trial in plan.trials}) == len(plan.trials)
        assert tasks.parse(file, tasks.text_of(file)).protocol == task.protocol


PLUGINS = [METHOD, *(file.read_text() for file in sorted([*ROOT.glob("methods/*.py"), ROOT / "datasets/digits.py"]))]


@tried(60)
@given(st.sampled_from(PLUGINS), EDITS)
def test_any_plugin_file_is_described_or_named_with_what_is_wrong(
    text: str, edits: list[tuple[float, int, str]]
) -> None:
    kind: PluginType = "dataset" if "(Dataset)" in text else "method"
    with case() as folder:
        file = folder / "mine.py"
        file.write_bytes(edited(text, edits).encode("utf-8", "surrogatepass"))
        plugin = describe.read(file, kind, "fuzz")
        if plugin.broken is not None:
            assert plugin.broken.startswith(f"{file}:")
            return
        with contextlib.suppress(UserError):
            parameters.validate(plugin, {})
            parameters.unbounded(plugin)
            parameters.tunable(plugin)
            (
                list(review.reads_images(plugin)),
                list(review.private_reads(plugin)),
                list(review.unused_parameters(plugin)),
            )
            load(plugin)


@pytest.fixture(scope="module")
def stored(index: Index, tmp_path_factory: pytest.TempPathFactory) -> tuple[teachers.Recipe, Any, bytes, str]:
    """A small teacher: recipe, images, the bytes of its file and the hash of its weights."""
    folder, made = tmp_path_factory.mktemp("teacher"), small.trial(index, "distill")
    recipe = teachers.of_task(made.task, made.datasets)
    assert recipe is not None
    data = image_sets.of_task(made.task, made.datasets).source
    kept = networks.obtain(folder, recipe, data, small.CPU)
    return recipe, data, teachers.path(folder, recipe).read_bytes(), kept.weights


@tried(30)
@given(
    EDITS, st.floats(0, 1), st.integers(0, 255), st.sampled_from(["header", "length", "byte", "cut", "more", "text"])
)
def test_any_file_of_a_teacher_is_that_teacher_or_refused(
    stored: tuple[teachers.Recipe, Any, bytes, str],
    edits: list[tuple[float, int, str]],
    share: float,
    byte: int,
    how: str,
) -> None:
    recipe, data, content, hashed = stored
    length = struct.unpack("<Q", content[:8])[0]
    header, body, at = content[8 : 8 + length].decode(), content[8 + length :], round(share * (len(content) - 1))
    if how in ("header", "length"):
        changed = edited(header, edits).encode("utf-8", "surrogatepass")
        content = struct.pack("<Q", len(changed) if how == "header" else length + byte) + changed + body
    else:
        content = {
            "byte": content[:at] + bytes([byte]) + content[at + 1 :],
            "cut": content[:at],
            "more": content + bytes([byte]) * 9,
            "text": edited("a teacher", edits).encode("utf-8", "surrogatepass"),
        }[how]
    with case() as folder:
        file = teachers.path(folder, recipe)
        file.parent.mkdir()
        file.write_bytes(content)
        weights.is_ours(file), weights.described(file)
        try:
            found = networks.load(folder, recipe, data, small.CPU)
        except UserError:
            return
        assert weights.is_whole(file)
        assert networks.weights_hash(found.state) == hashed


LEFT_OUT = {"serve", "demo", "theory", "reproduce"}
"""They wait for a browser, or train for minutes."""
WORDS = [
    "", "small.toml", "slow.toml", "small", "nothing.toml", "scratch", "distill,scratch", "distill[act=0.5]",
    "distill[", "distill[act=nan]", "distill[act=10**10**10]", "[[", "mine.py", "methods/mine.py", "leaderboard",
    "other", "/dev/null", "..", "0", "1", "2", "-1", "1e400", "nan", "²", "٣", "1,full", "0-1", "3-1", "auto",
    "x" * 300, "é\u2028", "student.training.steps=2", "student.training.steps=[", "shots=[1]", "a=b=c", "cpu", "cuda",
    "act=1:2", "act=2:1", "json", "0.5", "digits", "pets",
]  # fmt: skip
COMMANDS: dict[tuple[str, ...], click.Command] = {
    (name, *more): each
    for name, command in cli.commands.items()
    if name not in LEFT_OUT
    for more, each in (
        [((inner,), found) for inner, found in command.commands.items()]
        if isinstance(command, click.Group)
        else [((), command)]
    )
}


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """A command with any of its options, most of them with words that it does not expect."""
    names = draw(st.sampled_from(sorted(COMMANDS)))
    line, words = list(names), st.sampled_from(WORDS)
    for parameter in COMMANDS[names].params:
        if isinstance(parameter, click.Argument):
            line += draw(st.lists(words, min_size=0, max_size=2))
        elif "--methods" in parameter.opts:
            line += ["--methods", draw(words) or "scratch"]  # by default all of them: that takes long
        elif "--task" in parameter.opts:
            line += ["--task", draw(st.sampled_from(["small.toml", "small.toml", draw(words)]))]
        elif draw(st.integers(0, 3)) == 0:
            line += [parameter.opts[0]] if getattr(parameter, "is_flag", False) else [parameter.opts[0], draw(words)]
    return line


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder with records, a method, and a folder of another's records."""
    folder = make_folder(tmp_path_factory.mktemp("begun"))
    (folder / "methods/mine.py").write_text(METHOD)
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        for board in ("leaderboard", "other"):
            words = f"run --task small.toml --methods scratch,distill --jobs 1 --in-process --leaderboard {board}"
            assert ended(words.split()) == (0, "")
    return folder


def ended(line: list[str]) -> tuple[object, str]:
    """How a command ends: its code, and what it says of a mistake."""
    out, err, before = io.StringIO(), io.StringIO(), sys.stdin
    sys.stdin = io.StringIO("")
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main(line)
    except SystemExit as end:
        assert "Traceback" not in out.getvalue() + err.getvalue()
        return end.code or 0, err.getvalue() if end.code == 2 else ""
    finally:
        sys.stdin = before
    raise AssertionError("a command ends")


@tried(25)
@given(command_lines())
def test_any_command_line_ends_with_a_sentence(begun: Path, line: list[str]) -> None:
    with case(begun):
        code, said = ended(line)
        assert code in (0, 1, 2, 130), line
        assert code != 2 or said.strip(), line
