"""An event loop on which naps are short.

The SDK polls: it opens a link in ten naps of 50 ms and sleeps for up to a second before it closes one. Nothing that
is tested depends on how long it naps, so here every nap of up to a second takes a tenth of it. Clocks are true: what
is due at a time is not due earlier, it is only looked at more often.
"""

import asyncio
from collections.abc import Callable
from typing import Any

NAP_SECONDS = 1.0
HASTE = 0.1


class HastyLoop(asyncio.SelectorEventLoop):
    """Ends short waits early and leaves long ones, such as the tests' patience, as they are."""

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any, **kwargs: Any) -> Any:
        """As in any loop, sooner."""
        return super().call_later(delay * HASTE if delay <= NAP_SECONDS else delay, callback, *args, **kwargs)
