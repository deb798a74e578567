"""Verdicts are kept by what was tried, and not for ever."""

import pytest

from app.loading.verdicts import KEPT, Verdict, Verdicts

YES = Verdict(True, "it is as good")


def refused() -> Verdict:
    raise OSError("no such picture")


def test_the_oldest_verdicts_go_first() -> None:
    verdicts = Verdicts()
    for number in range(KEPT):
        verdicts.of((number,), lambda: YES)
    assert verdicts.of((0,), refused) == YES  # asked for again, so it is no longer the oldest
    verdicts.of((KEPT,), lambda: YES)
    assert verdicts.of((0,), refused) == YES
    with pytest.raises(OSError, match="no such picture"):
        verdicts.of((1,), refused)
    assert verdicts.of((1,), lambda: YES) == YES
