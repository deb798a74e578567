"""Keeps a result in all sinks at once, and tells the breaker which of them fails.

A sink that is away, or lets us in no more, is the operator's affair: receiving stops, as where the results queue is.
One that refuses a result is harder to judge, for it may refuse them all, being another program than was meant. So a
refusal is its message's own only where that sink has taken another since it last refused a few in a row.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from app.errors import ResultRefused, ResultsUnavailable
from app.servicebus.breaker import LIMIT, Breaker
from app.sinks.base import Finding, Sink
from app.telemetry import metrics, tracing
from app.telemetry.outcomes import outcome_told

_MOST_UNFINISHED = 2048

_Answered = tuple[str, int]
"""A result's id, and the sequence number of its message: one that was sent again may ask for something else."""


class Keeping:
    """The sinks of all queues; with none, everything is kept at once."""

    def __init__(self, sinks: Sequence[Sink] = ()) -> None:
        self.sinks = tuple(sinks)
        self._refusals = {sink.name: LIMIT for sink in sinks}
        """Of each sink, how many results in a row it has refused; as many as are believed until it has taken one."""
        self._kept: OrderedDict[_Answered, set[str]] = OrderedDict()
        """Of results that are not everywhere yet, which sinks have them: while another is away they are not asked again
        at each try."""

    @property
    def names(self) -> frozenset[str]:
        """What the sinks are told apart by."""
        return frozenset(sink.name for sink in self.sinks)

    async def keep(
        self, finding_for: Callable[[Sink], Finding], sequence_number: int, request_id: str, breaker: Breaker
    ) -> None:
        """Returns once every sink has what `finding_for` makes for it; all are tried, whatever becomes of the others.

        Raises `ResultsUnavailable` where one may have it later, else what one raised that never will.
        """
        outcomes = await asyncio.gather(
            *(self._keep_once(sink, finding_for(sink), sequence_number, request_id, breaker) for sink in self.sinks),
            return_exceptions=True,
        )
        errors = [outcome for outcome in outcomes if outcome is not None]
        if errors:
            raise next((error for error in errors if isinstance(error, ResultsUnavailable)), errors[0])

    def forget(self, finding_id: str, sequence_number: int) -> None:
        """A result is everywhere: its repetition, should one come, is kept anew."""
        self._kept.pop((finding_id, sequence_number), None)

    async def check(self, breaker: Breaker) -> None:
        """Say at the start, and not with the first message, which sinks take nothing."""
        for sink in self.sinks:
            try:
                await sink.check()
            except ResultsUnavailable as error:
                breaker.trip(str(error), sink.name)

    async def close(self) -> None:
        """Close their connections."""
        await asyncio.gather(*(sink.close() for sink in self.sinks))

    async def _keep_once(
        self, sink: Sink, finding: Finding, sequence_number: int, request_id: str, breaker: Breaker
    ) -> None:
        answered = (finding.id, sequence_number)
        if sink.name in self._kept.get(answered, ()):
            return
        await self._keep(sink, finding, request_id, breaker)
        self._kept.setdefault(answered, set()).add(sink.name)
        while len(self._kept) > _MOST_UNFINISHED:
            self._kept.popitem(last=False)

    async def _keep(self, sink: Sink, finding: Finding, request_id: str, breaker: Breaker) -> None:
        started = time.monotonic()

        def tell(outcome: str) -> None:
            metrics.sink_results.add(1, (sink.kind, outcome))
            metrics.sink_seconds.record(time.monotonic() - started, (sink.kind,))

        with outcome_told(tell, success="kept"), tracing.keeping(sink.kind):
            await self._try_to_keep(sink, finding, request_id, breaker)

    async def _try_to_keep(self, sink: Sink, finding: Finding, request_id: str, breaker: Breaker) -> None:
        try:
            await sink.keep(finding)
        except ResultsUnavailable as error:
            breaker.fail(str(error), place=sink.name)
            raise
        except ResultRefused as error:
            if self._refusals[sink.name] < LIMIT:
                self._refusals[sink.name] += 1
                raise
            breaker.fail(str(error), request_id)
            raise ResultsUnavailable(f"{error} Nor has it taken another before, or lately.") from None
        self._refusals[sink.name] = 0
