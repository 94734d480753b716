"""Every write cut once: a full disk, a read-only one, permission lost, half of the bytes taken.

What one function writes is cut at every change with every error, always; a whole command at six of its changes, and in
the night setting (`make night`) at every one, each with an error that is drawn.
"""

from __future__ import annotations

import random
import shutil
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import night
import numpy as np
import pytest
from faulty import FULL, NO_PERMISSION, READ_ONLY, SHORT, Cuts, cut
from test_cached_signals import squares
from test_cached_signals import store as signals
from test_cli import jkbench
from test_kills import COST
from test_prepared import CLASSES, CONTENT, SPLITS
from test_store import record, several

from jkbench.cli.new import write as new
from jkbench.data import download, photographs, prepared
from jkbench.data.arrays import Split
from jkbench.errors import UserError
from jkbench.records.claims import claimed
from jkbench.records.merge import merge
from jkbench.records.schema import Record
from jkbench.records.store import Store, decode

ERRORS = {"full": FULL, "read-only": READ_ONLY, "no permission": NO_PERMISSION, "short": SHORT}
TRIED = ERRORS if night.NIGHT else {"full": FULL, "short": SHORT}
LARGE = {part: Split(np.repeat(np.repeat(s.images, 2, 1), 2, 2), s.labels) for part, s in SPLITS.items()}
LATER = "2027-01-01T00:00:00+00:00"


def some_records(folder: Path) -> None:
    """Three folded, three in flight, and one that contradicts a folded one."""
    store = Store(folder)
    for one in several(3):
        store.put(one)
    store.fold("t")
    for seed in (0, 5, 6):
        store.put(record(id=f"{seed:016x}", seed=seed, metrics={"accuracy": 0.5}, created=LATER))


def other_board(folder: Path) -> None:
    some_records(folder / "other")


def an_archive(folder: Path) -> None:
    downloads = folder / "data/downloads/animals"
    (folder / "inside").mkdir()
    (folder / "inside/a.txt").write_text("a" * 100_000)
    shutil.make_archive(str(downloads / "animals"), "zip", folder / "inside")


def imported(folder: Path) -> None:
    prepared.save("animals", CLASSES, "", LARGE)


def claim(folder: Path) -> None:
    with claimed(folder, ["a", "b"]) as held:
        assert held.mine == {"a", "b"}


def unpack(folder: Path) -> None:
    prepared.fetched("animals", lambda where: {"train": download.unpacked("http://x.org/animals.zip", where)})  # type: ignore[dict-item]


def nothing(folder: Path) -> None:
    """Nothing has to be there."""


WRITERS: dict[str, tuple[Callable[[Path], object], Callable[[Path], object]]] = {
    "a record": (nothing, lambda folder: Store(folder).put(record())),
    "a fold": (some_records, lambda folder: Store(folder).fold("t")),
    "a repeat": (some_records, lambda folder: Store(folder).put_repeats("t", [record(created=LATER)])),
    "a removal": (some_records, lambda folder: Store(folder).remove("t", {f"{seed:016x}" for seed in (0, 1, 5)})),
    "a merge": (other_board, lambda folder: merge(folder / "other", folder / "board")),
    "a claim": (nothing, claim),
    "prepared images": (nothing, lambda folder: prepared.save("pets", CLASSES, CONTENT, SPLITS)),
    "resized images": (imported, lambda folder: photographs.photographs("animals", CLASSES, 4, never, 1)),
    "an archive": (an_archive, unpack),
    "a new method": (nothing, lambda folder: new("method", "mine", folder / "methods")),
}


def never(folder: Path) -> dict[str, photographs.Files]:
    raise AssertionError("fetched although it is there")


def bytes_of(folder: Path) -> dict[str, bytes]:
    """What a folder holds, but for locks, an archive that is unpacked, and what has no name yet."""
    found = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    return {
        str(name): path.read_bytes()
        for name, path in found.items()
        if path.suffix not in (".lock", ".zip") and not any(part.startswith(".") for part in name.parts)
    }


def cut_at(folder: Path, cuts: Cuts, act: Callable[[], object]) -> str:
    """What an act says of its cut; nothing where it got along with it."""
    try:
        with cut(cuts):
            act()
    except UserError as error:
        return str(error)
    return ""


@pytest.fixture(autouse=True)
def _no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written before and after a cut waits for no disk."""
    monkeypatch.setattr("os.fsync", lambda handle: None)


@pytest.mark.parametrize("name", WRITERS)
def test_a_cut_write_is_said_in_a_sentence_and_leaves_every_file_old_or_new(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    before, act = WRITERS[name]
    count = 0

    def fresh() -> Path:
        nonlocal count
        count += 1
        folder = nowhere / str(count)
        folder.mkdir()
        monkeypatch.setenv("JKBENCH_DATA", str(folder / "data"))
        before(folder)
        return folder

    folder = fresh()
    old, changes = bytes_of(folder), Cuts(folder)
    assert cut_at(folder, changes, lambda: act(folder)) == ""
    new = bytes_of(folder)
    assert changes.seen
    for number, change in enumerate(changes.seen):
        for kind, error in TRIED.items():
            folder = fresh()
            said = cut_at(folder, Cuts(folder, error, number), lambda folder=folder: act(folder))  # type: ignore[misc]
            where = f"{name}, {kind} at {number}: {change}: {said}"
            assert "cannot be" in said or not said, where
            assert said == "" or error != SHORT, where
            for file, content in bytes_of(folder).items():
                whole = "inflight" in file and decode(content.decode(), Record)  # on its way
                assert whole or content in (old.get(file), new.get(file)), f"{where}: {file} is neither old nor new"
            if said or bytes_of(folder) != new:
                act(folder)
            assert bytes_of(folder) == new, where


@pytest.mark.parametrize("lasting", [False, True])
def test_a_cache_of_signals_that_is_cut_anywhere_gives_the_same_values(tmp_path: Path, lasting: bool) -> None:
    wanted, changes = np.array([3, 1, 4]), Cuts(tmp_path)
    with cut(changes):
        signals(tmp_path / "undisturbed").obtain(wanted, squares)
    for number in range(len(changes.seen)):
        for error in TRIED.values():
            folder = tmp_path / f"{number}-{error}"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with cut(Cuts(folder, error, number, lasting)):
                    found = signals(folder).obtain(wanted, squares)
                assert (found[:] == squares(wanted)).all()
                assert (signals(folder).obtain(wanted, squares)[:] == squares(wanted)).all()


COMMANDS = {
    "run": "run --task small.toml --methods distill --seeds 1 --shots 2 --jobs 1 --in-process",
    "leaderboard": "leaderboard",
}


def board(folder: Path) -> dict[str, object]:
    """The records but for costs and dates, and all other bytes."""
    loaded = Store(folder / "leaderboard").read("small")
    assert loaded.complaints() == []
    same = {name: one.model_copy(update={"cost": COST, "created": ""}) for name, one in loaded.records.items()}
    return same | {
        name: content for name, content in bytes_of(folder).items() if "cache" not in name and "small/" not in name
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_whose_write_is_cut_says_so_and_completes_when_it_is_repeated(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    words, count = COMMANDS[command].split(), 0

    def fresh() -> Path:
        nonlocal count
        count += 1
        folder = work / str(count)
        shutil.copytree(work / "begun", folder)
        monkeypatch.chdir(folder)
        monkeypatch.setenv("JKBENCH_CACHE", str(folder / "cache"))
        return folder

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, file, **_: file.write(b"a figure"))
    (work / "begun").mkdir()
    shutil.copy(work / "small.toml", work / "begun")
    if command == "leaderboard":
        monkeypatch.chdir(work / "begun")
        assert jkbench(capsys, *COMMANDS["run"].split())[0] == 0
    folder = fresh()
    with cut(Cuts(folder)) as changes:
        assert jkbench(capsys, *words)[0] == 0
    expected = board(folder)
    kinds = [*((kind, False) for kind in ERRORS), ("full", True)]
    draw, every = random.Random(18), range(len(changes.seen))
    cases = [(at, *draw.choice(kinds)) for at in draw.sample(every, night.times(6, len(every)))]
    for at, kind, lasting in cases:
        folder = fresh()
        with cut(Cuts(folder, ERRORS[kind], at, lasting)):
            code, _, err = jkbench(capsys, *words)
        where = f"{command}, {kind}{' from' if lasting else ' at'} {at}: {changes.seen[at]}: {err}"
        assert code in (0, 2), where
        assert (code == 0) or ("cannot be" in err and kind != "short"), where
        assert len(Store(folder / "leaderboard").read("small").records) >= err.count("[1/1]"), where
        assert jkbench(capsys, *words)[0] == 0
        assert board(folder) == expected, where
    print(f"{command}: {len(changes.seen)} changes, {len(cases)} cut: {dict(Counter(case[1:] for case in cases))}")
