"""The documented queries are what Microsoft's own parser takes, of tables and columns that there are."""

import json
import re
import subprocess

from tests.deploy.commands import DOCUMENTS
from tests.deploy.kusto_tables import TABLES
from tests.deploy.places import ROOT
from tests.fixtures.javascript import FOLDER, node

QUERIES = [
    (name, query)
    for name in DOCUMENTS
    for query in re.findall(r"^```kusto\n(.*?)^```", (ROOT / name).read_text(), re.MULTILINE | re.DOTALL)
]


def complaints(queries: list[str]) -> list[list[str]]:
    """What the language service has against each."""
    asked = json.dumps({"tables": TABLES, "queries": queries})
    command = [node(), str(FOLDER / "kusto.cjs")]
    done = subprocess.run(command, input=asked, capture_output=True, text=True, check=True, timeout=120)
    found: list[list[str]] = json.loads(done.stdout)
    return found


def test_every_documented_query_is_one() -> None:
    assert len(QUERIES) >= 10
    found = complaints([query for _, query in QUERIES])
    wrong = [(name, query, said) for (name, query), said in zip(QUERIES, found, strict=True) if said]
    assert not wrong


WRONG = {
    "AppRequest | take 1": "KS204",
    "AppRequests | where Reason == 'x'": "KS142",
    "AppRequests | wher Success": "KS176",
    "AppRequests | summarize percentile(DurationMs)": "KS119",
}


def test_wrong_ones_are_found() -> None:
    for (query, code), said in zip(WRONG.items(), complaints(list(WRONG)), strict=True):
        assert any(code in line for line in said), f"{query}: {said}"


def test_no_query_hides_from_the_check() -> None:
    """Queries stand in blocks that say so, and nowhere else: none in Bicep, none in blocks of another name."""
    text = "".join((ROOT / name).read_text() for name in (*DOCUMENTS, "containerapp.bicep", "infra/alerts.bicep"))
    outside = re.sub(r"^```kusto\n.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    assert not re.search(r"^\s*\| (summarize |project |where \w+ [=<>])", outside, re.MULTILINE)
