"""From the settings to sinks: what cannot be one stops the start, and says why without its secrets."""

import sys
from pathlib import Path
from typing import Any

import pytest

from app.errors import StartupError
from app.settings import Settings
from app.sinks import opening
from app.sinks.base import Sink

BUS = {"queue": "jobs", "servicebus_namespace": "n.servicebus.windows.net"}
SECRET = "0123456789abcdef"
COSMOS = {
    "cosmos_endpoint": "http://127.0.0.1:1",
    "cosmos_database": "d",
    "cosmos_container": "c",
    "cosmos_key": "aGlkZGVu",
}


def opened(**settings: Any) -> tuple[Sink, ...]:
    return opening.of_settings(Settings(**BUS, **settings), None)


async def test_all_that_are_set_are_opened() -> None:
    assert opened() == ()
    sinks = opened(webhook_url="https://hooks.example.com/", webhook_secret=SECRET, result_bytes=5000, **COSMOS)
    assert [sink.name for sink in sinks] == ["the Cosmos DB container d/c", "the webhook at hooks.example.com"]
    assert [sink.most_bytes for sink in sinks] == [2_000_000, 5000]
    for sink in sinks:
        await sink.close()


@pytest.mark.parametrize("host", ["10.0.0.1", "169.254.169.254", "[fd00::1]", "127.0.0.1"])
async def test_a_private_address_is_refused_unless_it_is_listed(host: str) -> None:
    known = {"webhook_url": f"https://{host}/in", "webhook_secret": SECRET}
    with pytest.raises(StartupError, match=r"a private address\. Name it in ROO_WEBHOOK_HOSTS"):
        opened(**known)
    (sink,) = opened(**known, webhook_hosts=(host.strip("[]"),))
    await sink.close()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        ("", "holds 0"),
        ("\n \n", "holds 0"),
        ("short\n", "at least 16 characters"),
        (f"{SECRET}\nshort", "at least 16 characters"),
        ("\n".join([SECRET] * 5), "holds 5"),
    ],
)
def test_secrets_that_are_none_stop_the_start(content: str | None, words: str, tmp_path: Path) -> None:
    path = tmp_path / "secrets"
    if content is not None:
        path.write_text(content)
    with pytest.raises(StartupError, match=f"ROO_WEBHOOK_SECRET_FILE.*{words}") as error:
        opened(webhook_url="https://hooks.example.com/", webhook_secret_file=path)
    assert SECRET not in str(error.value)


def test_a_secret_that_can_be_guessed_stops_the_start() -> None:
    with pytest.raises(StartupError, match="ROO_WEBHOOK_SECRET: a secret must have at least 16 characters"):
        opened(webhook_url="https://hooks.example.com/", webhook_secret="hidden")


def test_who_has_not_installed_the_client_is_told_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "app.sinks.cosmos", raising=False)
    monkeypatch.setitem(sys.modules, "azure.cosmos.aio", None)
    with pytest.raises(StartupError, match=r"pip install 'roo-vision\[cosmos\]'"):
        opened(**COSMOS)
