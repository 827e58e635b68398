"""`--by COLUMN` and `--columns TABLE`, which `asr score` and `asr evaluate` share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from asr.scoring.breakdown import Group
    from asr.scoring.columns import Known
    from asr.scoring.result import ScoreRow


def by_options(command: Callable) -> Callable:
    """Add both options."""
    command = click.option("--columns", type=click.Path(path_type=Path), metavar="TABLE",
                           help="CSV or TSV with a header, or JSON lines: what else is known about "
                           "each utterance, by its id; for --by.")(command)
    return click.option("--by", multiple=True, metavar="COLUMN", help="Also the WER of each value "
                        "of this column of the manifest or of --columns, such as speaker; age<18 "
                        "divides numbers in two. May be repeated.")(command)


def labels_by(items: Sequence[Known], by: Sequence[str],
              tables: Sequence[Path | None]) -> dict[str, Mapping[str, tuple[float, str]]]:
    """The groups of each column that was asked for; the tables are read only then."""
    from asr.scoring.columns import label_by, read_columns
    if not by:
        return {}
    columns = read_columns([table for table in tables if table], items)
    ids = [item.id for item in items]
    return {column: label_by(ids, column, columns) for column in by}


def groups_by(rows: Sequence[ScoreRow],
              labels: Mapping[str, Mapping[str, tuple[float, str]]]) -> dict[str, list[Group]]:
    """The groups with their error rates, by column."""
    from asr.scoring.columns import group_by
    return {column: group_by(rows, found) for column, found in labels.items()}


def group_text(groups: Mapping[str, Sequence[Group]]) -> str:
    """A table a column, each after an empty line."""
    from asr.scoring.columns import group_lines
    return "".join(f"\n{line}" for column, found in groups.items()
                   for line in ("", *group_lines(column, found)))


def group_json(groups: Mapping[str, Sequence[Group]]) -> dict[str, list[dict]]:
    """The same for `--json`."""
    return {column: [group.to_dict() for group in found] for column, found in groups.items()}
