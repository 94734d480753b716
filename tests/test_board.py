"""The board holds what the pages hold, escaped, in one file that asks for nothing; it is served while a run goes on."""

from __future__ import annotations

import base64
import gzip
import json
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from report_factory import few, make_chosen, make_record, make_robustness, make_task
from test_verify import board as folder_with
from test_verify import real

from jkbench.cli import cli
from jkbench.errors import UserError
from jkbench.execute.serve import Board, server
from jkbench.plugins.discovery import Index
from jkbench.records.select import Chosen, every
from jkbench.records.store import Store
from jkbench.report.board.charts import front
from jkbench.report.board.page import part, render
from jkbench.report.leaderboard import document
from jkbench.report.page import compose
from jkbench.report.render.html import words

EVIL = '<img src=x onerror="alert(1)">'


class Read(HTMLParser):
    """The elements of a page, and the text of its table cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("td", "th"):
            self._inside = True
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.cells[-1] += data


def made(index: Index, *pages: Chosen) -> str:
    every = [compose(chosen) for chosen in pages]
    return render(part(page, document(page), index) for page in every)


def data(text: str) -> dict[str, Any]:
    packed = re.search(r'<script type="text/plain" id="data">([^<]*)</script>', text)
    assert packed is not None
    found: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(packed[1])))
    return found


@pytest.fixture(scope="module")
def text(index: Index) -> str:
    return made(index, make_chosen(), make_robustness(), Chosen(make_task(name="empty-task"), []))


def test_the_tables_hold_the_words_of_the_pages_without_a_script(text: str) -> None:
    """A browser without JavaScript shows the very cells that the Markdown has."""
    read = Read(text)
    for chosen in (make_chosen(), make_robustness()):
        for table in compose(chosen).tables:
            for row in table.rows:
                for entry in row:
                    assert words(entry.words) == "" or re.sub("<.*?>", "", words(entry.words)) in [
                        cell.replace("<", "&lt;") for cell in read.cells
                    ]


def test_nothing_is_asked_for_and_only_the_page_s_own_script_may_run(text: str) -> None:
    read = Read(text)
    assert not [tag for tag, attributes in read.tags if tag in ("img", "iframe", "object", "embed", "base")]
    for tag, attributes in read.tags:
        assert not {"src", "srcset", "onerror", "onclick", "onload"} & set(attributes), tag
        target = attributes.get("href") or ""
        assert tag != "link" or target == "data:,"
        assert not target.startswith(("http:", "//", "javascript:"))
    policy = next(a["content"] or "" for tag, a in read.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "script-src 'sha256-" in policy
    assert "connect-src" not in policy
    assert "url(" not in text.split("</style>")[0]
    assert "@import" not in text


def test_what_records_and_plugins_say_is_escaped(index: Index) -> None:
    task = make_task(title=f"Title {EVIL}", description=f"{EVIL} </script><script>alert(2)</script>")
    records = [make_record(task, "scratch", 1, seed) for seed in (0, 1)]
    evil = make_record(task, EVIL, 1, 0, method=EVIL, id="evil", parameters={EVIL: EVIL})
    failed = make_record(task, "distill", 1, 0, status="failed", message=f"</script>{EVIL}")
    text = made(index, Chosen(task, [*records, evil, failed]))
    tags = Read(text).tags
    assert not [attributes for tag, attributes in tags if tag == "img" or "onerror" in attributes]
    assert sum(tag == "script" for tag, _ in tags) == 2  # the data and the board's own
    assert "&lt;img src=x onerror=" in text
    further = data(text)["further"]["digits-fewshot"]
    assert "<img" not in further
    assert "&lt;img src=x onerror=" in further
    cell = next(cell for cell in data(text)["cells"].values() if cell["row"] == EVIL)
    assert cell["parameters"] == {EVIL: EVIL}
    assert cell["command"].startswith("jkbench run --methods '<img")  # quoted for a shell, too


def test_a_cell_opens_its_seeds(text: str) -> None:
    held = data(text)
    cell = held["cells"]["digits-fewshot|jacobian[ce=0]|5|accuracy"]
    records = [r for r in make_chosen().records if (r.label, r.shots) == ("jacobian[ce=0]", 5)]
    trials = [held["trials"][place] for place in cell["trials"]]
    assert [trial["id"] for trial in trials] == [record.id for record in records]
    assert cell["values"] == [round(100 * record.metrics["accuracy"], 3) for record in records]
    assert cell["command"].endswith("--task digits-fewshot --shots 5 --seeds 0,1,2,3,4")
    environment = held["environments"][trials[0]["environment"]]
    assert environment["commit"] == "0123456789abcdef"
    lost = next(each for each in held["trials"] if each["id"] == "digits-fewshot-attention-jacobian-1-0")
    assert (lost["status"], lost["message"]) == ("diverged", "Diverged: the loss is nan at step 7")


def test_the_command_of_a_cell_makes_its_very_trials(index: Index) -> None:
    import shlex

    from jkbench.execute.run import make_plan

    record = real("jacobian")
    store = Store(Path("leaderboard"))
    page = compose(Chosen(make_plan("digits-fewshot").plan.task, [record]))
    (cell,) = (c for c in part(page, document(page), index).cells.values() if c["row"] == "jacobian")
    given = shlex.split(cell["command"])
    options = dict(zip(given[2::2], given[3::2], strict=True))
    planned = make_plan(options["--task"], options["--methods"], [1], [int(options["--seeds"])], folder=store.folder)
    assert [trial.id for trial in planned.plan.trials] == [record.id]


def test_the_front_is_what_nothing_beats() -> None:
    points = {"cheap": (1.0, 0.5), "same": (1.0, 0.4), "worse": (2.0, 0.5), "good": (3.0, 0.9), "dear": (4.0, 0.8)}
    every = [
        label
        for label, (cost, accuracy) in points.items()
        if not any(c <= cost and a >= accuracy and (c, a) != (cost, accuracy) for c, a in points.values())
    ]
    assert front(points) == every == ["cheap", "good"]


def test_the_same_records_give_the_same_bytes(index: Index) -> None:
    assert made(index, few(), make_robustness()) == made(index, make_robustness(), few())


def test_the_command_writes_the_board(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = folder_with(tmp_path, real("scratch"), real("jacobian"))
    cli.main(["leaderboard", "--leaderboard", str(home), "--html"], standalone_mode=False)
    assert f"{home / 'index.html'}\n" in capsys.readouterr().out
    assert real("jacobian").id in str(data((home / "index.html").read_text())["trials"])


@pytest.fixture
def served(tmp_path: Path, index: Index) -> Iterator[tuple[str, Path]]:
    home = folder_with(tmp_path, real("scratch"))
    with server(Board(home, index), "127.0.0.1", 0) as found:
        thread = threading.Thread(target=found.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{found.server_address[1]}", home
        found.shutdown()


def get(address: str) -> str:
    with urllib.request.urlopen(address) as answer:
        return str(answer.read().decode())


def rows(text: str) -> set[str]:
    return {cell["row"] for cell in data(text)["cells"].values()}


def test_a_served_board_follows_a_run_and_writes_nothing(served: tuple[str, Path]) -> None:
    address, home = served
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    version = get(f"{address}/version")
    assert rows(get(address)) == {"scratch"}
    assert get(f"{address}/version") == version
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before
    Store(home).put(real("jacobian"))  # as a run does
    assert get(f"{address}/version") != version
    assert rows(get(address)) == {"scratch", "jacobian"}


def test_a_served_board_can_only_be_read(served: tuple[str, Path]) -> None:
    address, _ = served
    for path in ("/records", "/../records", "/etc/passwd"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(address + path)
    for method in ("POST", "PUT", "DELETE"):
        with pytest.raises(urllib.error.HTTPError, match="501"):
            urllib.request.urlopen(urllib.request.Request(address, method=method, data=b""))


def test_a_port_in_use_and_a_folder_that_is_no_leaderboard_are_said(
    served: tuple[str, Path], tmp_path: Path, index: Index
) -> None:
    port = int(served[0].rpartition(":")[2])
    with pytest.raises(UserError, match=f"port {port} of 127.0.0.1 is in use"):
        server(Board(served[1], index), "127.0.0.1", port)
    with pytest.raises(UserError, match="70000 is not a port"):
        server(Board(served[1], index), "127.0.0.1", 70000)
    with pytest.raises(UserError, match="there is no folder"):
        Board(tmp_path / "nothing", index)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/cat.png").write_bytes(b"")
    with pytest.raises(UserError, match="is not a leaderboard folder"):
        Board(tmp_path / "photos", index)
    (tmp_path / "new").mkdir()
    assert "No records yet." in Board(tmp_path / "new", index).html()


def test_a_record_of_a_later_schema_is_left_out_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from test_verify import edited

    home = folder_with(tmp_path, real("scratch"), edited(real("jacobian"), schema_version=2))
    before = (home / "records/digits-fewshot/jacobian.jsonl").read_bytes()
    assert cli.main(["leaderboard", "--leaderboard", str(home), "--html"], standalone_mode=False) == 0
    assert "jacobian.jsonl:1: a record of schema 2, which this version does not read" in capsys.readouterr().err
    assert rows((home / "index.html").read_text()) == {"scratch"}
    assert (home / "records/digits-fewshot/jacobian.jsonl").read_bytes() == before


@pytest.mark.parametrize("packed", ["eNo=", "!", "eNpj"])
def test_damaged_predictions_are_no_traceback_on_a_page(tmp_path: Path, packed: str) -> None:
    """The page has no interval over images then, and `jkbench verify` says why."""
    from test_verify import edited

    home = folder_with(tmp_path, real("distill"), edited(real("jacobian"), predictions=packed))
    assert cli.main(["leaderboard", "--leaderboard", str(home), "--html"], standalone_mode=False) == 0
    assert rows((home / "index.html").read_text()) == {"distill", "jacobian"}
    assert cli.main(["verify", "--leaderboard", str(home), "--level", "schema"], standalone_mode=False) == 1


def test_the_board_of_the_suite_s_own_records_is_under_one_and_a_half_megabytes(index: Index) -> None:
    store = Store(ROOT / "leaderboard")
    pages = [compose(chosen) for chosen in every(store, index, "test", [], store.read)]
    assert len(pages) > 20
    assert len(render(part(page, document(page), index) for page in pages).encode()) < 1.5e6
