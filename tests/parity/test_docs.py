"""The table of formats in docs/models.md gives the commands that are compared here."""

from pathlib import Path

import pytest

from tests.parity.families.catalog import classifiers, detectors

TABLE = (Path(__file__).parents[2] / "docs" / "models.md").read_text("utf-8")
ROWS = [line.split(" | ") for line in TABLE.splitlines() if line.count(" | ") >= 3]
COMPARED = [one for group in (*detectors().values(), *classifiers().values()) for one in group]


@pytest.mark.parametrize("family", COMPARED, ids=lambda family: family.name)
def test_each_command_is_in_the_table_with_whose_code_it_was_compared(family: object) -> None:
    options, source = getattr(family, "options", ""), getattr(family, "source", "")
    assert [row for row in ROWS if f"`{options}`" in row[1] and source in row[2]], f"`{options}`, {source}"
