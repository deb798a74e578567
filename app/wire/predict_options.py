"""What a request to predict may change, as it is said over HTTP."""

from typing import Literal

from pydantic import Field

from app.core.request import Priority
from app.wire.options import RequestOptions


class PredictOptions(RequestOptions):
    """What an HTTP request may change."""

    priority: Literal["interactive", "bulk"] = Field("interactive", description="Interactive work is computed first.")

    def core_priority(self) -> Priority:
        """The priority in the core's words."""
        return Priority(self.priority)
