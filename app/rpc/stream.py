"""`ModelStreamInfer`: many messages, answered in their order; an error is one message's answer, and not the end."""

import asyncio
from collections import deque

import grpc

from app.core.admission import Permit
from app.errors import Draining, RequestError
from app.rpc import raw_contents, responses, statuses
from app.rpc.answering import Answering
from app.rpc.calls import Caller, Context
from app.rpc.messages import message
from app.rpc.requests import id_of

AHEAD = 16
"""Messages of one stream that are worked on at once; no more is read before the first of them is answered."""


class Stream:
    """One stream. What a caller sends ahead shares batches; how far it may is flow control, so that it is never held
    in memory as a whole.
    """

    def __init__(self, answering: Answering, context: Context, caller: Caller) -> None:
        self._answering = answering
        self._context = context
        self._caller = caller
        self._pending: deque[asyncio.Task[None]] = deque()
        self._count = 0

    async def run(self) -> None:
        """Until the caller has sent its last message, and everything is answered.

        Raises `Draining` where streams are to end before, once what was read is answered.
        """
        ending = asyncio.create_task(self._answering.ending.wait())
        try:
            while (content := await self._next(ending)) is not None:
                if len(self._pending) == AHEAD:
                    await self._pending.popleft()
                before = self._pending[-1] if self._pending else None
                self._pending.append(asyncio.create_task(self._answer(content, before, self._count)))
                self._count += 1
                del content
            while self._pending:
                await self._pending.popleft()
        finally:
            ending.cancel()
            for task in self._pending:
                task.cancel()
        if self._answering.ending.is_set():
            raise Draining("The service is shutting down. What was answered is answered; go on with another instance.")

    async def _next(self, ending: "asyncio.Task[bool]") -> bytes | None:
        """The next message; None at the end of the stream, or where streams are to end."""
        reading = asyncio.ensure_future(self._context.read())
        await asyncio.wait({reading, ending}, return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():
            reading.cancel()
            return None
        content = reading.result()
        if content is grpc.aio.EOF:
            return None
        found: bytes = content
        return found

    async def _answer(self, content: bytes, before: "asyncio.Task[None] | None", number: int) -> None:
        with self._answering.permit(self._caller) as permit:
            answer = await self._message(content, permit, number)
            permit.give_back_pictures()
            del content
            if before is not None:
                await asyncio.wait({before})
            await self._answering.write(self._context, answer)

    async def _message(self, content: bytes, permit: Permit, number: int) -> bytes:
        """The bytes of one message's `ModelStreamInferResponse`; of an error, with the id that it had."""
        caller = self._caller
        try:
            if number:
                self._answering.calls.count(caller)
            call = self._answering.read_call(content, permit, caller)
            request_id = f"{caller.request_id}/{number}" if number else caller.request_id
            answered = await self._answering.asking.ask(call, permit, request_id, caller.key)
            return raw_contents.embed(responses.inference(call, answered, permit, final=True))
        except RequestError as error:
            failed = message("ModelStreamInferResponse")(error_message=statuses.details(error))
            failed.infer_response.id = id_of(content)
            failed.infer_response.parameters["triton_final_response"].bool_param = True
            found: bytes = failed.SerializeToString()
            return found
