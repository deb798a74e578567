"""docs/deployment.md's checklist names files and tests that there are, and has all that was wished for."""

import re

import pytest

from tests.deploy.places import ROOT

TEXT = (ROOT / "docs/deployment.md").read_text()
(TABLE,) = re.findall(r"^## What is where, and what shows it\n(.*?)^## ", TEXT, re.MULTILINE | re.DOTALL)
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in TABLE.splitlines() if line.startswith("|")][
    2:
]
WISHES = (
    *("every night", "signed", "several regions", "0 to 50", "Deployment", "Service", "Gateway", "ConfigMap", "Secret"),
    *(
        "Key Vault",
        "workload identity",
        "GPU",
        "private",
        "telemetry",
        "alerts",
        "azd",
        "Helm",
        "Compose",
        "Event Grid",
    ),
)


def named(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row[0]))
def test_its_files_and_tests_are_there(row: list[str]) -> None:
    _, files, tests = row
    assert named(files)
    assert named(tests)
    assert not [file for file in named(files) if not (ROOT / file).exists()]
    for test in named(tests):
        file, _, function = test.partition("::")
        path = ROOT / (file if "/" in file else f"tests/deploy/{file}")
        assert path.is_file(), file
        assert re.search(rf"def {function or 'test_'}", path.read_text()), test


def test_it_has_every_wish() -> None:
    wishes = " ".join(row[0] for row in ROWS)
    assert not [wish for wish in WISHES if wish not in wishes]


def test_every_file_of_infra_and_every_test_of_deployments_has_its_row() -> None:
    infra = {path.name for path in (ROOT / "infra").glob("*.bicep")}
    modules = {"models-share.bicep", "network-role.bicep", "servicebus.bicep"}
    assert not [name for name in infra - modules if f"infra/{name}" not in TABLE]
    tests = {path.name for path in (ROOT / "tests/deploy").glob("test_*.py")}
    assert not [name for name in tests - {"test_callers.py", "test_checklist.py"} if name not in TABLE]
