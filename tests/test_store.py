"""Records: nothing finished is lost, nothing half-written is taken, branches merge."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jkbench.errors import UserError
from jkbench.records.schema import Cost, Record, pack_labels, unpack_labels
from jkbench.records.store import Store, dated_after, decode, encode


def record(**changes: object) -> Record:
    content: dict = {
        "id": "a" * 16, "task": "t", "task_version": 1, "protocol": "p", "method": "m", "parameters": {"ce": 1.0},
        "label": "m", "code": "c", "shots": 5, "seed": 0, "split": "test", "status": "ok",
        "metrics": {"accuracy": 1 / 3}, "created": "2026-01-01T00:00:00+00:00",
        "cost": Cost(seconds=0.1, step_ms=1.0, steps=3, peak_memory_mb=1.5, trainable_parameters=7, alone=True),
    }  # fmt: skip
    return Record.model_validate({**content, **changes})


def several(count: int) -> list[Record]:
    return [record(id=f"{seed:016x}", seed=seed) for seed in range(count)]


@given(st.lists(st.integers(0, 65535)))
def test_packed_labels_come_back(labels: list[int]) -> None:
    assert unpack_labels(pack_labels(labels)).tolist() == labels


def test_packed_labels_are_small_and_bounded() -> None:
    assert len(pack_labels([7, 3, 1, 9] * 2500)) < 200
    with pytest.raises(ValueError, match="65535"):
        pack_labels([65536])


def test_a_record_comes_back_in_full_precision() -> None:
    assert decode(encode(record()), Record) == record()
    assert decode(encode(record()), Record).metrics["accuracy"] == 1 / 3


def test_what_is_put_is_read_before_and_after_folding(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for one in reversed(several(3)):
        store.put(one)
    assert len(store.read("t").records) == 3
    assert not (tmp_path / "records").exists()
    store.fold("t")
    assert not list((tmp_path / "inflight").rglob("*.json"))
    lines = (tmp_path / "records/t/m.jsonl").read_text().splitlines()
    assert [json.loads(line)["seed"] for line in lines] == [0, 1, 2]
    assert set(store.read("t").records) == {one.id for one in several(3)}


def test_the_canonical_file_is_the_same_bytes_in_whatever_order_records_came(tmp_path: Path) -> None:
    files = []
    for name, order in (("a", several(4)), ("b", several(4)[::-1])):
        store = Store(tmp_path / name)
        for one in order:
            store.put(one)
            store.fold("t")
        files.append((tmp_path / name / "records/t/m.jsonl").read_bytes())
    assert files[0] == files[1]


def test_one_file_a_task_and_method_whatever_its_parameters(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(record(id="1" * 16, label="m[ce=0]"))
    store.put(record(id="2" * 16, method="n", label="n"))
    store.put(record(id="3" * 16))
    store.fold("t")
    assert sorted(path.name for path in (tmp_path / "records/t").iterdir()) == ["m.jsonl", "n.jsonl"]


def test_a_record_that_replaces_another_is_dated_after_it() -> None:
    old, new = record(created="2027-01-01T00:00:00.000+00:00"), record(created="2026-01-01T00:00:00.000+00:00")
    assert dated_after(new, None) is new
    assert dated_after(old, new) is old
    assert dated_after(new, old).created == "2027-01-01T00:00:00.001+00:00"
    assert dated_after(new, record(created="9999-12-31T23:59:59.999+00:00")) is new, "there is no later moment"


def test_the_last_record_of_a_task_is_removed_with_its_folder_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for each in several(2):
        store.put(each)
    store.fold("t")
    store.remove("t", {each.id for each in several(2)})
    assert list((tmp_path / "records").iterdir()) == []


def test_a_result_is_kept_before_a_failure_and_the_newer_before_the_older(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(record())
    store.fold("t")
    store.put(record(status="failed", message="later", created="2027-01-01T00:00:00+00:00"))
    assert store.fold("t").records["a" * 16].status == "ok"
    store.put(record(seed=9, created="2027-01-01T00:00:00+00:00"))
    assert store.fold("t").records["a" * 16].seed == 9


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"id": "abc", "task"', "truncated or damaged"),
        ("[" * 100_000, "truncated or damaged"),
        ('{"some": "json"}', "it has no id"),
        ('{"id": "abc", "schema_version": 2}', "schema 2"),
        ('{"id": "abc", "schema_version": 1}', "not a record: task"),
        ("[1, 2]", "it has no id"),
    ],
)
def test_a_damaged_line_is_told_and_nothing_is_lost(tmp_path: Path, line: str, told: str) -> None:
    store = Store(tmp_path)
    store.put(record())
    store.fold("t")
    path = tmp_path / "records/t/m.jsonl"
    path.write_text(path.read_text() + line + "\n")
    store.put(record(id="b" * 16, seed=1))
    loaded = store.fold("t")
    assert set(loaded.records) == {"a" * 16, "b" * 16}
    (complaint,) = loaded.complaints()
    assert complaint.startswith(f"{path}:2: ")
    assert told in complaint
    # the file waits as it is until somebody mends it; what is in flight stays beside it
    assert line in path.read_text()
    assert len(list((tmp_path / "inflight").rglob("*.json"))) == 1
    path.write_text(path.read_text().replace(line + "\n", ""))
    assert store.fold("t").complaints() == []
    assert len(path.read_text().splitlines()) == 2


def test_a_truncated_file_in_flight_is_told_and_the_rest_folded(tmp_path: Path) -> None:
    store = Store(tmp_path)
    good = store.put(record())
    bad = good.with_name("b.json")
    bad.write_text(good.read_text()[:40])
    loaded = store.fold("t")
    assert loaded.complaints() == [f"{bad}: not a record: the JSON is truncated or damaged"]
    assert bad.exists()
    assert not good.exists()
    assert set(Store(tmp_path).read("t").records) == {"a" * 16}


def test_an_unwritable_folder_is_told_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written.*--leaderboard"):
        _flat(Store(tmp_path / "file" / "board").check_writable)
    with pytest.raises(UserError, match="cannot be written"):
        Store(tmp_path / "file" / "board").put(record())


def _flat(call: object) -> None:
    try:
        call()  # type: ignore[operator]
    except UserError as error:
        raise UserError(f"{error.message} {error.hint}") from None


def test_a_killed_writer_leaves_no_half_record(tmp_path: Path) -> None:
    """A process that is killed in the middle of endless writing leaves whole records only."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\nfrom test_store import several\nfrom jkbench.records.store import Store\n"
        "store = Store(Path(sys.argv[1]))\nprint('go', flush=True)\n"
        "while True:\n"
        "    for one in several(40): store.put(one)\n"
        "    store.fold('t')\n"
    )
    before = 0
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path), str(Path(__file__).parent)], stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        writer.stdout.readline()
        while len(Store(tmp_path).read("t").records) < max(20, before):
            pass
        writer.kill()
        writer.wait()
        loaded = Store(tmp_path).read("t")
        assert loaded.complaints() == []
        assert len(loaded.records) >= max(20, before)
        before = len(loaded.records)
    assert len(Store(tmp_path).fold("t").records) == before


def test_putting_and_folding_at_once_loses_nothing(tmp_path: Path) -> None:
    """One process puts records, one by one; this one folds all the while, removing folders that are empty."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\nfrom test_store import several\nfrom jkbench.records.store import Store\n"
        "for one in several(300): Store(Path(sys.argv[1])).put(one)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", program, str(tmp_path), str(Path(__file__).parent)])
    while writer.poll() is None:
        Store(tmp_path).fold("t")
    assert writer.returncode == 0
    assert len(Store(tmp_path).fold("t").records) == 300


def test_json_that_lies_elsewhere_is_told(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(record())
    (tmp_path / "inflight/t/loose.json").write_text(encode(record()))
    (complaint,) = store.read("t").complaints()
    assert "loose.json: is not a place for records" in complaint


def test_two_branches_merge_without_conflict(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        subprocess.run(
            ["git", "-c", "user.name=n", "-c", "user.email=e@x", *words], cwd=tmp_path, check=True, capture_output=True
        )

    attributes = (Path(__file__).parent.parent / ".gitattributes").read_text()
    board = tmp_path / "leaderboard"
    git("init", "-q", "-b", "main")
    (tmp_path / ".gitattributes").write_text(attributes)
    (tmp_path / ".gitignore").write_text("inflight/\n")

    def add(seed: int) -> None:
        store = Store(board)
        store.put(record(id=f"{seed:016x}", seed=seed))
        store.fold("t")
        git("add", "-A")
        git("commit", "-qm", f"seed {seed}")

    add(5)
    git("checkout", "-qb", "other")
    add(1)
    git("checkout", "-q", "main")
    add(2)
    git("merge", "-q", "other")
    assert [r.seed for r in sorted(Store(board).fold("t").records.values(), key=lambda r: r.seed)] == [1, 2, 5]
    lines = (board / "records/t/m.jsonl").read_text().splitlines()
    assert [json.loads(line)["seed"] for line in lines] == [1, 2, 5]


NOTHING = "no such field"


@pytest.mark.parametrize(
    "change",
    [
        {"metrics": {"accuracy": 1.2}}, {"metrics": {"accuracy@0.1": -0.5}}, {"metrics": {"agreement": 7}},
        {"metrics": {"ece": 1.01}}, {"metrics": {"jacobian_cosine": -2}}, {"metrics": {"nll": -1}},
        {"metrics": {"accuracy": True}}, {"metrics": {"accuracy": "0.5"}}, {"metrics": {"accuracy": float("nan")}},
        {"metrics": {"nll": float("inf")}}, {"curves": {"ce": [1.0, False]}}, {"curves": {"ce": [float("-inf")]}},
        {"parameters": {"ce": float("nan")}}, {"parameters": {"sizes": [1.0, float("inf")]}},
        {"task": ".."}, {"task": "a/b"}, {"method": "../m"}, {"method": "a\\b"}, {"method": ".m"}, {"id": "a/../b"},
        {"label": "m\nn"}, {"label": "\x1b[31m"}, {"seed": -1}, {"seed": 10**12}, {"seed": True}, {"seed": 1.5},
        {"shots": 0}, {"shots": 10**12}, {"shots": "some"}, {"shots": True}, {"created": "yesterday"},
        {"cost": {"seconds": "1"}}, {"task": NOTHING}, {"more": 1},
    ],
    ids=lambda change: re.sub(r"\W+", " ", str(change)),
)  # fmt: skip
def test_a_record_with_a_wrong_value_is_named_with_its_line_left_out_and_kept_on_disk(
    tmp_path: Path, change: dict[str, object]
) -> None:
    store = Store(tmp_path)
    store.put(record())
    store.fold("t")
    path = tmp_path / "records/t/m.jsonl"
    content = json.loads(encode(record(id="b" * 16, seed=1)))
    wrong = json.dumps({key: value for key, value in (content | change).items() if value is not NOTHING})
    path.write_text(path.read_text() + wrong + "\n")
    for loaded in (store.read("t"), store.fold("t")):
        assert set(loaded.records) == {"a" * 16}
        (complaint,) = loaded.complaints()
        assert complaint.startswith(f"{path}:2: not a record: {next(iter(change))}")
    assert wrong in path.read_text()


def test_the_committed_records_are_all_read_and_stay_the_same_bytes(tmp_path: Path) -> None:
    committed = Path(__file__).parent.parent / "leaderboard"
    store = Store(committed)
    assert store.complaints() == []
    for task in store.tasks():
        loaded = store.read(task)
        assert loaded.complaints() == []
        assert set(store.outlines(task).records) == set(loaded.records)
        lines = [
            line for path in (committed / "records" / task).glob("*.jsonl") for line in path.read_text().split("\n")
        ]
        assert sorted(map(encode, loaded.records.values())) == sorted(filter(None, lines))


def test_a_record_in_the_place_of_another_task_or_method_is_named_and_left_out(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(record())
    for place in ("records/t/n.jsonl", "records/u/m.jsonl"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text(encode(record(id="b" * 16)) + "\n")
    stray = tmp_path / "inflight/t/n/c.json"
    stray.parent.mkdir()
    stray.write_text(encode(record(id="c" * 16)))
    loaded = store.fold("t")
    assert set(loaded.records) == {"a" * 16}
    told = "\n".join(loaded.complaints())
    assert f"{tmp_path}/records/t/n.jsonl:1: a record of task 't', method 'm' does not belong here" in told
    assert str(stray) in told
    assert stray.exists()
    assert store.read("u").records == {}
    assert (tmp_path / "records/u/m.jsonl").read_text()


def test_a_folder_that_is_not_a_task_is_named_and_left_out(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(record())
    (tmp_path / "records/no task").mkdir(parents=True)
    (tmp_path / "records/no task/m.jsonl").write_text(encode(record()) + "\n")
    assert store.tasks() == ["t"]
    (complaint,) = store.complaints()
    assert complaint.startswith(f"{tmp_path}/records/no task: not a task's name")


def test_a_file_is_written_again_only_where_it_is_not_in_order(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for one in several(3):
        store.put(one)
    store.fold("t")
    path = tmp_path / "records/t/m.jsonl"
    tidy, before = path.read_text(), path.stat().st_mtime_ns
    store.fold("t")
    assert path.stat().st_mtime_ns == before
    lines = tidy.splitlines(keepends=True)
    for untidy in (tidy + lines[0], "".join(lines[::-1]), tidy + "\n", tidy.rstrip("\n")):
        path.write_text(untidy)
        store.fold("t")
        assert path.read_text() == tidy
