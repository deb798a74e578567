"""Settings are typed, refuse what is dangerous, and are all documented."""

import re
from pathlib import Path

import pytest

from app.errors import StartupError
from app.settings import Settings, load_settings

ROOT = Path(__file__).parents[1]


def test_the_environment_is_read_and_options_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROO_PORT", "9000")
    assert load_settings().port == 9000
    assert load_settings(port=9001, host=None).port == 9001


def test_all_that_is_wrong_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROO_PORT", "x")
    monkeypatch.setenv("ROO_BULK_SHARE", "1")
    with pytest.raises(StartupError) as error:
        load_settings()
    assert "ROO_PORT: " in str(error.value)
    assert "ROO_BULK_SHARE: " in str(error.value)


def test_a_misspelt_setting_is_not_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROO_LANE", "4")
    with pytest.raises(StartupError, match="ROO_LANE"):
        load_settings()


@pytest.mark.parametrize(
    "together",
    [
        {"drain_delay": 30, "grace_period": 30},
        {"max_image_bytes": 2**30},
        {"max_body_bytes": 2**30},
        {"max_pixels": 10**10},
    ],
)
def test_what_does_not_fit_together_is_refused(together: dict[str, int]) -> None:
    with pytest.raises(StartupError):
        load_settings(**together)


def test_every_setting_is_documented_as_it_is() -> None:
    """docs/configuration.md has one row for each setting: name, default, meaning."""
    text = (ROOT / "docs" / "configuration.md").read_text()
    rows = dict(re.findall(r"^\| `(ROO_[A-Z_]+)` \| (.+) \|$", text, re.MULTILINE))
    expected = {
        f"ROO_{name.upper()}": f"{_default(field.default)} | {field.description}"
        for name, field in Settings.model_fields.items()
    }
    assert rows == expected


def _default(value: object) -> str:
    return "" if value in (None, ()) else f"`{value}`"
