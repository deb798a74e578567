"""What a call and a stream have in common on the way from a message to its answer."""

import asyncio
import time
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace

import grpc

from app.core.admission import Permit
from app.core.request import Deadline, Priority
from app.errors import DeadlineExceeded, InvalidRequest, UploadTimeout
from app.oip.ask import Asking
from app.oip.call import Call
from app.rpc.calls import Caller, Calls, Context
from app.rpc.requests import read_call


@dataclass(frozen=True, slots=True)
class Answering:
    """A message must arrive, and an answer be taken, in so many `seconds`; `ending` is set when streams are to end."""

    asking: Asking
    calls: Calls
    seconds: float
    ending: asyncio.Event

    async def read(self, context: Context) -> bytes:
        """The call's one message. Raises `UploadTimeout`, and `InvalidRequest` where there is none."""
        try:
            async with asyncio.timeout(self.seconds):
                content = await context.read()
        except TimeoutError:
            raise UploadTimeout(f"The message did not arrive within {self.seconds:g} seconds.") from None
        if content is grpc.aio.EOF:
            raise InvalidRequest("The call ended before its message.")
        found: bytes = content
        return found

    def permit(self, caller: Caller) -> AbstractContextManager[Permit]:
        """Room for one message of theirs."""
        return self.asking.service.admission.permit(Priority.INTERACTIVE, caller.name)

    def read_call(self, content: bytes, permit: Permit, caller: Caller) -> Call:
        """What a message asks, its deadline being the earlier of its own and the call's; its bytes take room."""
        permit.take_bytes(len(content))
        call = read_call(content, permit, time.monotonic())
        return replace(call, wishes=replace(call.wishes, deadline=_earlier(call.wishes.deadline, caller.deadline)))

    def keep_until_taken(self, room: ExitStack, context: Context) -> None:
        """Close `room` once the call is over, its answer taken or its caller gone, or else when it is late."""
        latest = asyncio.get_running_loop().call_later(self.seconds, room.close)

        def over(_: object) -> None:
            latest.cancel()
            room.close()

        context.add_done_callback(over)

    async def write(self, context: Context, answer: bytes) -> None:
        """Hand an answer to the transport; raises `DeadlineExceeded` where the caller does not take it in time."""
        try:
            async with asyncio.timeout(self.seconds):
                await context.write(answer)
        except TimeoutError:
            raise DeadlineExceeded(f"The answer was not taken within {self.seconds:g} seconds.") from None


def _earlier(one: Deadline | None, other: Deadline | None) -> Deadline | None:
    given = [deadline for deadline in (one, other) if deadline is not None]
    return min(given, key=lambda deadline: deadline.at, default=None)
