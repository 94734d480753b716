"""Presets: the tables of a paper, row by row as this suite runs them, with the published numbers. No torch here."""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from jkbench.errors import UserError, unknown

FOLDER = Path(__file__).parent


class Reading(BaseModel):
    """One way to read what a paper leaves open: rows of its table with other parameters than the table's own."""

    model_config = ConfigDict(extra="forbid")

    says: str = Field(description="what is read, and how it was chosen, in whole sentences for the page")
    methods: dict[str, str] = Field(
        default_factory=dict, description="the rows that it runs with other parameters than the table's own"
    )


class PaperTable(BaseModel):
    """One table: which task runs it, which method is which row, and what was published."""

    model_config = ConfigDict(extra="forbid")

    task: str
    stands_in: list[str] = Field(default_factory=list, description="tasks of a shorter protocol, on pages of their own")
    caption: str
    terms: str = Field(default="", description="what the names of its rows stand for, in whole sentences")
    published: str | None = Field(
        default=None,
        description="CSV file: row, column, test_accuracy in %, plus_minus, certainty; none where no number is known",
    )
    row: str = Field(description="the CSV column that names rows")
    column: str = Field(description="the CSV column that names columns: per_class, or noise_std")
    methods: dict[str, str] = Field(description="rows of the table as methods of the suite")
    readings: dict[str, dict[str, Reading]] = Field(
        default_factory=dict, description="by task that stands in, by name: readings that it runs, on one page"
    )
    gains: list[tuple[str, str]] = Field(description="pairs of rows whose difference the paper speaks of")
    timed_by: list[str] = Field(
        default_factory=list, description="other tasks whose student is this one: their records time its steps"
    )
    gain_columns: list[str] = Field(default_factory=list, description="where it speaks of them, if not everywhere")
    _folder: Path = PrivateAttr()

    @model_validator(mode="after")
    def _known_rows(self) -> PaperTable:
        strange = {row for pair in self.gains for row in pair} - set(self.methods)
        if strange:
            raise ValueError(f"gains of rows that are not there: {', '.join(sorted(strange))}")
        read = [reading for named in self.readings.values() for reading in named.values()]
        strange = {row for reading in read for row in reading.methods} - set(self.methods)
        if strange:
            raise ValueError(f"other parameters for rows that are not there: {', '.join(sorted(strange))}")
        strange = set(self.readings) - set(self.stands_in)
        if strange:
            raise ValueError(f"readings for tasks that do not stand in: {', '.join(sorted(strange))}")
        return self

    def readings_of(self, task: str) -> list[str | None]:
        """Names of the readings that this task runs; None alone where it runs the table's own rows."""
        return list(self.readings.get(task, {})) or [None]

    def methods_of(self, task: str, reading: str | None = None) -> dict[str, str]:
        """The table's rows as a reading of this task runs them; without a reading the table's own."""
        return self.methods | (self.readings[task][reading].methods if reading else {})

    @property
    def tasks(self) -> list[str]:
        """The tasks that run this table: its own, then those that stand in."""
        return [self.task, *self.stands_in]

    @cached_property
    def _lines(self) -> list[dict[str, str]]:
        if self.published is None:
            return []
        with (self._folder / self.published).open(encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream))

    @cached_property
    def numbers(self) -> dict[tuple[str, str], float]:
        """Published test accuracy in % by row and column, both as text."""
        return {(line[self.row], line[self.column]): float(line["test_accuracy"]) for line in self._lines}

    @property
    def errors(self) -> dict[tuple[str, str], float]:
        """What the paper prints after the ± of a number, where it does."""
        return {
            (line[self.row], line[self.column]): float(line["plus_minus"])
            for line in self._lines
            if line.get("plus_minus")
        }

    @property
    def recalled(self) -> set[tuple[str, str]]:
        """Numbers that are written down from memory, not from the paper."""
        return {(line[self.row], line[self.column]) for line in self._lines if line.get("certainty") == "recalled"}

    def columns(self, shots: Sequence[object]) -> list[str]:
        """In the order of the paper; where no number is known, the regimes of the task that runs it."""
        return list(dict.fromkeys(column for _, column in self.numbers)) or [str(regime) for regime in shots]


class Preset(BaseModel):
    """A paper's tables by name."""

    model_config = ConfigDict(extra="forbid")

    title: str
    cite: str
    tables: dict[str, PaperTable]


def names() -> list[str]:
    """The presets that come with the suite."""
    return sorted(path.name for path in FOLDER.iterdir() if (path / "preset.toml").is_file())


def load(name: str) -> Preset:
    """The preset of that name. `UserError` for another."""
    if name not in names():
        raise unknown("preset", name, names())
    content = tomllib.loads((FOLDER / name / "preset.toml").read_text(encoding="utf-8"))
    preset = Preset.model_validate(content)
    for table in preset.tables.values():
        table._folder = FOLDER / name
    return preset


def tables_of(
    preset: Preset, name: str | None, task: str | None, reading: str | None = None
) -> list[tuple[PaperTable, str]]:
    """The tables that are meant, each with the task that runs it here: its own, or one that stands in.

    Without a name all tables that the task, or a task with this reading, runs. `UserError` for a table or a reading
    that is not there, and for a task that runs none of the tables.
    """
    if name is not None and name not in preset.tables:
        raise unknown("table", name, preset.tables)
    asked = [preset.tables[name]] if name else list(preset.tables.values())
    tables = [table for table in asked if task is None or task in table.tasks]
    if not tables:
        able = list(dict.fromkeys(each for table in asked for each in table.tasks))
        which = f"the table {name!r}" if name else "any of these tables"
        raise UserError(f"{task} does not run {which}", f"{', '.join(able)} {'do' if len(able) > 1 else 'does'}")
    if reading is None:
        return [(table, task or table.task) for table in tables]
    read = [(table, each) for table in tables for each in table.readings if task in (None, each)]
    found = [(table, each) for table, each in read if reading in table.readings[each]]
    if not found:
        raise unknown("reading", reading, [known for table, each in read for known in table.readings[each]])
    return found
