"""What is written from records: that every number is the records', that nothing is mixed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from report_factory import METHODS, few, make_chosen, make_record, make_records, make_robustness, make_task, rows_of
from scipy import stats

from jkbench.errors import UserError
from jkbench.records.select import Chosen
from jkbench.report.caption import provenance
from jkbench.report.grid import Column
from jkbench.report.leaderboard import document, write_leaderboard
from jkbench.report.page import compose, resolution
from jkbench.report.render import markdown


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("leaderboard")
    write_leaderboard(folder, [make_chosen(), make_robustness(), Chosen(make_task(name="empty-task"), [])])
    return folder


def row_of(text: str, label: str) -> list[str]:
    """The cells of the first Markdown table row of that label."""
    line = next(line for line in text.splitlines() if line.startswith(f"| `{label}`"))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


# files


def test_every_task_has_its_four_files_and_the_index_names_it(folder):
    names = {path.name for path in folder.iterdir()}
    tables = {path.name for path in (folder / "tex").iterdir()}
    for task, main in (("digits-fewshot", "accuracy"), ("digits-noise", "accuracy-noise-full")):
        assert {f"{task}.{end}" for end in ("md", "csv", "png")} <= names
        assert {f"{task}--{main}.tex", f"{task}--parameters.tex", f"{task}--protocol.tex"} <= tables
        assert f"({task}.md)" in (folder / "README.md").read_text()
    assert "empty-task.png" not in names
    assert not [name for name in names if name.startswith(".")]


def test_the_same_records_in_any_order_give_the_same_bytes(folder, tmp_path):
    pages = [make_robustness(), Chosen(make_task(name="empty-task"), []), make_chosen()]
    for page in pages:
        page.records.reverse()
    written = write_leaderboard(tmp_path, pages)
    assert len(set(written)) == sum(path.is_file() for path in folder.rglob("*"))
    for path in written:
        assert path.read_bytes() == (folder / path.relative_to(tmp_path)).read_bytes(), path.name


def test_a_folder_that_cannot_be_written_is_the_users_to_mend(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written") as error:
        write_leaderboard(tmp_path / "file", [few()])
    assert "--leaderboard" in error.value.hint


def test_nothing_of_it_imports_torch(tmp_path):
    program = f"""
import sys
from pathlib import Path
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "timm"):
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, NoTorch())
sys.path.insert(0, {str(Path(__file__).parent)!r})
from report_factory import make_chosen
from jkbench.report.leaderboard import write_leaderboard
from jkbench.report.page import compose, summary
from jkbench.report.render import terminal
import jkbench.statistics
print(len(write_leaderboard(Path({str(tmp_path)!r}), [make_chosen()])))
terminal.render(summary(compose(make_chosen())))
"""
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=root, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "11"), done.stderr


# the main table


def test_cells_are_the_means_and_t_intervals_of_the_records(folder):
    records = [r for r in make_chosen().records if (r.label, r.shots) == ("jacobian", 5)]
    x = 100 * np.array([r.metrics["accuracy"] for r in records])
    half = stats.t.ppf(0.975, len(x) - 1) * stats.sem(x)
    text = (folder / "digits-fewshot.md").read_text()
    assert row_of(text, "jacobian")[1] == f"**{x.mean():.2f} ± {half:.2f}**"


def test_of_two_rows_bold_ones_are_those_that_a_paired_t_test_cannot_tell_from_the_best():
    chosen = few()
    page = compose(chosen)
    for column in page.grid.columns:
        x = {
            k: [r.metrics["accuracy"] for r in chosen.records if (r.label, r.shots) == (k, column.shots)]
            for k in METHODS
        }
        tied = stats.ttest_rel(x["scratch"], x["distill"]).pvalue >= 0.05
        bold = {label for label, row in rows_of(page.tables[0]).items() if row[page.grid.columns.index(column)].bold}
        assert bold == ({"scratch", "distill"} if tied else {"distill"})


def test_references_stand_below_the_rule_neither_ranked_nor_bold(folder):
    text = (folder / "digits-fewshot.md").read_text()
    table = text.split("## Accuracy in %")[1].split("## Gain")[0]
    assert table.index("`scratch`  ") < table.index("*upper references, not ranked:*") < table.index("| `finetune`")
    assert "**" not in "".join(row_of(table, "finetune"))
    page = compose(make_chosen())
    assert "finetune" not in page.grid.ranks
    assert all(gain.p is None for (label, _), gain in page.gains.items() if label == "finetune")


def test_rows_are_ordered_by_mean_rank_over_complete_columns_only():
    task = make_task(shots=[1, 5])
    scores = {"distill": {1: 0.5, 5: 0.2}, "noise": {1: 0.6}, "scratch": {1: 0.4, 5: 0.9}}
    records = [make_record(task, k, s, 0, accuracy=v) for k, by in scores.items() for s, v in by.items()]
    grid = compose(Chosen(task, records, expected=[("attention", 1)])).grid
    assert grid.rows[0].common == (Column(1, "accuracy"), Column(5, "accuracy"))
    assert grid.labels == ("noise", "distill", "scratch", "attention")


def test_one_computation_under_two_names_is_said():
    def page_of(third: float) -> str:
        task = make_task()
        values = {"scratch": (0.5, 0.6), "distill": (0.7, 0.8), "distill[act=1.0]": (0.7, third)}
        records = [make_record(task, label, 5, s, accuracy=v[s]) for label, v in values.items() for s in (0, 1)]
        return " ".join(map(str, compose(Chosen(task, records)).tables[0].notes))

    assert "`distill`, `distill[act=1.0]` have the same numbers in every trial" in page_of(0.8)
    assert "same numbers" not in page_of(0.81)


def test_lost_trials_and_missing_cells_are_said(folder):
    text = (folder / "digits-fewshot.md").read_text()
    assert row_of(text, "attention-jacobian")[0].endswith("(n = 3, 2 diverged)")
    assert row_of(text, "lwf")[3] == "–"
    assert "n = 5 seeds unless the cell says otherwise" in text
    assert "- `attention-jacobian`, 1 per class, seed 1: diverged: `Diverged: the loss is nan at step 7`" in text
    assert "3 records of an earlier version of the code or the task are left out." in text
    assert "1 planned cell not run: `lwf at 50 per class`." in text


def test_a_cell_whose_trials_all_failed_has_a_dash_and_the_reason():
    lost = {"status": "oom", "metrics": {}, "cost": None, "message": "out of memory"}
    page = compose(few(**{f"distill/1/{seed}": lost for seed in range(3)}))
    entry = rows_of(page.tables[0])["distill"][0]
    assert (entry.text, entry.aside, entry.bold) == ("–", "3 out of memory", False)


def test_costs_are_medians_and_multiples_of_the_baselines(folder):
    costs = row_of((folder / "digits-fewshot.md").read_text(), "jacobian")[4:]
    assert costs == ["25.0", "2.50", "12.5", "812", "1.23 M"]


def test_no_ratio_across_devices_and_a_mark_where_not_alone():
    chosen = few()
    records = []
    for r in chosen.records:
        assert r.environment is not None
        assert r.cost is not None
        if r.label == "distill":
            r = r.model_copy(
                update={
                    "environment": r.environment.model_copy(update={"device": "cpu"}),
                    "cost": r.cost.model_copy(update={"alone": False}),
                }
            )
        records.append(r)
    page = compose(Chosen(chosen.task, records))
    costs = {label: [entry.text for entry in row[-5:]] for label, row in rows_of(page.tables[0]).items()}
    assert costs["distill"][:2] == ["10.0 *", "–"]
    assert costs["scratch"][:2] == ["10.0", "1.00"]
    assert any("several kinds of machine" in note for note in page.tables[0].notes)
    assert any("marked *" in note for note in page.tables[0].notes)


def test_the_caption_states_the_whole_protocol(folder):
    text = (folder / "digits-fewshot.md").read_text().replace("\\", "")
    task = make_task()
    for part in [
        "`digits`, content `cccccccccccccccc`, 10 classes, 360 scored test images",
        "10 (1 per class), 50 (5 per class), 100 (10 per class), 500 (50 per class)",
        "no augmentation",
        "Teacher `vgg9`",
        "accuracy 98.10 %, weights `wwwwwwwwwwwwwwww`",
        "Student `vgg4`",
        task.student.training.describe(),
        "last epoch's, never the best on test",
        "a per-sample Jacobian",
        task.selection,
        "Equal budget",
        "seeds 0–4",
        f"version 1, protocol `{task.protocol}`",
        "jkbench 0.1.0, commit `0123456789` (no uncommitted changes)",
        "NVIDIA H200",
    ]:
        assert part in text


def test_uncommitted_changes_are_counted():
    environment = few().records[0].environment
    assert environment is not None
    page = compose(few(**{"scratch/1/0": {"environment": environment.model_copy(update={"dirty": True})}}))
    assert any("1 of 12 records with uncommitted changes" in sentence for sentence in provenance(page.task, page.grid))


# gains and resolution


def test_gains_are_paired_over_common_seeds():
    chosen = few(**{"distill/1/1": {"status": "failed", "metrics": {}, "message": "x"}})
    gain = compose(chosen).gains["distill", Column(1, "accuracy")].interval
    x = {(r.label, r.seed): r.metrics.get("accuracy") for r in chosen.records if r.shots == 1}
    difference = [x["distill", seed] - x["scratch", seed] for seed in (0, 2)]
    assert (gain.mean, gain.n) == (pytest.approx(np.mean(difference)), 2)
    low, high = stats.ttest_1samp(difference, 0).confidence_interval()
    assert gain.half_width == pytest.approx((high - low) / 2)


def test_a_page_says_which_test_of_gains_it_used_and_what_that_assumes(folder):
    few_seeds, enough = (folder / "digits-fewshot.md").read_text(), (folder / "digits-noise.md").read_text()
    assert "assumes normal differences; adjusted for all 30 comparisons" in few_seeds  # 31, one of a row short of seeds
    assert "p = 0.0" in few_seeds.split("## Gain")[1]  # five seeds can show a gain
    assert "exact sign flips with the maximum statistic, valid if differences are symmetric" in enough
    assert "(p = 0.0312)**" in enough


def test_all_regimes_and_methods_of_a_page_are_one_family():
    page = compose(make_chosen())
    tested = [key for key, gain in page.gains.items() if gain.p is not None]
    assert len(tested) == 8 * 4 - 1  # lwf has no 50 per class


def test_what_the_table_resolves_is_said_for_each_regime(folder):
    text = (folder / "digits-fewshot.md").read_text()
    assert re.search(r"difference \(80 % power\): [\d.]+ points at 1 per class, [\d.]+ points at 5 per class", text)


def test_one_seed_has_neither_intervals_nor_tests_nor_ranks():
    task = make_task()
    page = compose(Chosen(task, make_records(task, ["scratch", "distill"], seeds=1)))
    cells = [entry for row in rows_of(page.tables[0]).values() for entry in row[:4]]
    assert all(cell.bold and "±" not in cell.text for cell in cells)
    assert "One seed allows neither an interval nor a test." in page.gain_tables[-1].notes
    assert resolution(page.grid) == ["None: a test needs two seeds and two rows."]


def test_without_the_baseline_the_page_says_so():
    task = make_task(baseline="lwf")
    page = compose(Chosen(task, make_records(task, ["scratch", "distill"])))
    assert "There is no row `lwf`, so there are no gains." in markdown.render(document(page))
    assert page.gain_tables == []


# one protocol a table


def test_a_sound_table_has_no_problems(folder):
    assert "Verified from the records" in (folder / "digits-fewshot.md").read_text()
    assert compose(make_chosen()).problems == []


@pytest.mark.parametrize(
    ("field", "words"), [("subset", "training images"), ("order", "order of batches"), ("initial", "initial weights")]
)
def test_a_broken_pairing_is_said_loudly_with_its_place(field, words):
    task = make_task(shots=[1, 5])
    records = make_records(task, ["scratch", "distill", "finetune"], seeds=3)
    odd = next(i for i, r in enumerate(records) if (r.label, r.shots, r.seed) == ("finetune", 5, 2))
    pairing = records[odd].pairing
    assert pairing is not None
    records[odd] = records[odd].model_copy(update={"pairing": pairing.model_copy(update={field: "other"})})
    page = compose(Chosen(task, records))
    assert page.problems == [f"5 per class, seed 2: the {words} of `finetune` differ from the other methods'"]
    text = markdown.render(document(page))
    assert "**This table is inconsistent:**" in text
    assert "Verified" not in text


@pytest.mark.parametrize(("part", "field"), [("teacher", "weights"), ("data", "content")])
def test_records_of_another_teacher_or_of_other_images_are_left_out_and_counted(part, field):
    chosen = few()
    old = chosen.records[0]
    other = getattr(old, part).model_copy(update={field: "other"})
    page = compose(few(**{"scratch/1/0": {part: other, "metrics": {"accuracy": 0.999}}}))
    assert len(page.records) == 11
    assert page.problems[0].startswith("1 record left out: other")
    assert 0 not in page.grid.cell("scratch", Column(1, "accuracy")).values


def test_records_of_another_protocol_are_left_out_and_counted():
    page = compose(few(**{"scratch/1/0": {"protocol": "other"}}))
    assert page.problems == ["1 record left out: another protocol"]
    assert len(page.records) == 11


def test_of_two_records_of_one_trial_the_newer_counts():
    chosen = few()
    newer = chosen.records[0].model_copy(
        update={"id": "new", "created": "2027-01-01T00:00:00+00:00", "metrics": {"accuracy": 0.25}}
    )
    page = compose(Chosen(chosen.task, [newer, *chosen.records]))
    assert page.grid.cell("scratch", Column(1, "accuracy")).values[0] == 0.25
    assert page.problems == ["1 record left out: superseded by newer ones"]


def test_unequal_budgets_and_mixed_code_are_said():
    cost = few().records[0].cost
    assert cost is not None
    page = compose(few(**{"scratch/1/0": {"cost": cost.model_copy(update={"steps": 7})}, "distill/1/0": {"code": "x"}}))
    assert any("number of steps" in problem for problem in page.problems)
    assert "the row `distill` mixes records of different code" in page.problems


# robustness, fidelity


def test_robustness_has_a_table_a_regime_with_noise_as_columns(folder):
    page = compose(make_robustness())
    assert [[head.short for head in table.heads[1:6]] for table in page.tables] == [
        ["0", "0.1", "0.2", "0.3", "0.4"]
    ] * 2
    x = [r.metrics["accuracy@0.3"] for r in make_robustness().records if (r.label, r.shots) == ("noise", "full")]
    entry = rows_of(page.tables[1])["noise"][3]
    assert str(entry.text).startswith(f"{100 * np.mean(x):.2f} ±")
    assert entry.value == np.mean(x)
    assert "## Accuracy in % under input noise, full data" in (folder / "digits-noise.md").read_text()


def test_fidelity_and_calibration_are_shown_where_records_hold_them(folder):
    assert "Agreement with the teacher" in (folder / "digits-fewshot.md").read_text()
    assert "Agreement with the teacher" not in (folder / "digits-noise.md").read_text()
    assert "Negative log-likelihood" in (folder / "digits-noise.md").read_text()


def test_a_metric_that_is_not_finite_is_no_number_of_the_table():
    page = compose(few(**{"scratch/1/0": {"metrics": {"accuracy": 0.3, "nll": float("inf")}}}))
    assert page.grid.cell("scratch", Column(1, "nll")).lost == {"no value": 1}
    assert len(page.grid.cell("scratch", Column(1, "nll")).values) == 2


# rows that stand apart
