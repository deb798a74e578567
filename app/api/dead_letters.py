"""The queues and their dead letters over HTTP: looked at by viewers, sent again and dropped by operators."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from app import errors
from app.api import problems
from app.api.security.gate import caller_of, role_of
from app.api.security.origin import refuse_foreign_pages
from app.api.security.scheme import Role
from app.api.small_body import documented, small_model
from app.core.request import Deadline, Priority
from app.core.service import InferenceService
from app.core.working_memory import WorkingMemory
from app.telemetry.audit import Audit
from app.vision import image
from app.wire.dead_letters import (
    DeadLetterDetails,
    DeadLetterFilter,
    DeadLetterPage,
    DeadLetterQuery,
    Number,
    QueueList,
    QueueState,
    Removal,
    Resubmission,
    Worked,
)
from app.wire.rendering import Renderer

LINES = "application/x-ndjson"
DRAWING_SECONDS = 20.0

QueueName = Annotated[str, Query(max_length=512, description="A queue of `/v1/queues`.")]
LetterNumber = Annotated[Number, Path(description="The letter's sequence number.")]

_REFUSALS = (errors.Forbidden, errors.LetterNotFound, errors.QueueUnavailable, errors.Loading)
_LOOKING = problems.responses(errors.InvalidRequest, *_REFUSALS)
_AUDIT = problems.responses(errors.Forbidden)
_PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The picture, upright and at most 4 megapixels.", "content": {"image/jpeg": {}}},
    **problems.responses(
        errors.InvalidRequest,
        *_REFUSALS,
        errors.NoPicture,
        errors.InvalidImage,
        errors.ImageTooLarge,
        errors.UnsupportedImage,
        errors.PayloadTooLarge,
        errors.Overloaded,
        errors.DeadlineExceeded,
    ),
}
_WORKING: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A line of JSON for each step, as it is made.",
        "content": {LINES: {"schema": Worked.model_json_schema()}},
    },
    **problems.responses(errors.InvalidRequest, errors.UploadTimeout, *_REFUSALS),
}


class AuditList(BaseModel):
    """What was done, by whom (`caller`), when (`at`), and with what; the newest first."""

    entries: list[dict[str, Any]]


class Desk(Protocol):
    """What the queue front lets be seen and done; raises `LetterNotFound` and `QueueUnavailable`."""

    def states(self) -> list[QueueState]:
        """How each queue stands."""

    async def page(self, queue: str, wanted: DeadLetterFilter, start: int, limit: int) -> DeadLetterPage:
        """Letters that fit, from that number on."""

    async def letter(self, queue: str, number: int) -> DeadLetterDetails:
        """All of one letter but its body."""

    async def picture(self, queue: str, number: int, reserve: Callable[[int], None]) -> bytes:
        """The picture as it was sent; `reserve` is asked for room for it. Raises `NoPicture` too."""

    def resubmit(self, order: Resubmission) -> AsyncIterator[Worked]:
        """Send letters again, told step by step."""

    def drop(self, order: Removal) -> AsyncIterator[Worked]:
        """Remove letters for good, told step by step."""


@dataclass
class QueueAccess:
    """The door to the queue front: who may come in, and where it is once it has started."""

    who: Literal["operator", "open"]
    memory: WorkingMemory
    """What the decoded pictures of all have to fit into."""
    desk: Desk | None = None

    def role(self, request: Request) -> Role:
        """What who asks may do here."""
        role = role_of(request.scope)
        return max(role, Role.OPERATOR) if self.who == "open" else role

    def enter(self, request: Request, role: Role) -> Desk:
        """Raises `Forbidden` where who asks may not, and `Loading` before the queues are received."""
        self.admit(request, role)
        if self.desk is None:
            raise errors.Loading("The queues are not received yet.")
        return self.desk

    def admit(self, request: Request, role: Role) -> None:
        """Raises `Forbidden` where who asks may not."""
        refuse_foreign_pages(request)
        if self.role(request) < role:
            name = role.name.lower()
            raise errors.Forbidden(
                f"This is for those who are {name}s: send a key with the scope `{name}`, or a token with a role of "
                f"ROO_ENTRA_{role.name}_ROLES. (ROO_QUEUE_CONTROL=open lets everybody who may ask.)"
            )


def router(access: QueueAccess, audit: Audit, service: InferenceService, renderer: Renderer) -> APIRouter:
    """The endpoints."""
    routes = APIRouter(tags=["queue"])
    working = set[asyncio.Task[None]]()

    @routes.get("/v1/queues", summary="What waits, and what is held?", responses=_LOOKING)
    async def queues(request: Request) -> QueueList:
        return QueueList(queues=access.enter(request, Role.VIEWER).states())

    @routes.get("/v1/dead-letters", summary="List dead letters, the oldest first", responses=_LOOKING)
    async def listed(request: Request, query: Annotated[DeadLetterQuery, Query()]) -> DeadLetterPage:
        desk = access.enter(request, Role.VIEWER)
        return await desk.page(query.queue, query, int(query.start), query.limit)

    @routes.get("/v1/dead-letters/{number}", summary="All of one but its body", responses=_LOOKING)
    async def letter(request: Request, number: LetterNumber, queue: QueueName) -> DeadLetterDetails:
        return await access.enter(request, Role.VIEWER).letter(queue, int(number))

    @routes.get("/v1/dead-letters/{number}/picture", summary="Its picture", responses=_PICTURE, response_class=Response)
    async def picture(request: Request, number: LetterNumber, queue: QueueName) -> Response:
        desk = access.enter(request, Role.VIEWER)
        with service.admission.permit(Priority.BULK, caller_of(request.scope)) as permit:
            data = await desk.picture(queue, int(number), permit.take_bytes)
            return Response(
                await _drawn(data, service, renderer, access.memory),
                media_type="image/jpeg",
                headers={"cache-control": "no-store"},
            )

    @routes.post(
        "/v1/dead-letters/resubmit",
        summary="Send dead letters again",
        responses=_WORKING,
        response_class=StreamingResponse,
        openapi_extra=documented(Resubmission),
    )
    async def resubmit(request: Request) -> StreamingResponse:
        desk = access.enter(request, Role.OPERATOR)
        order = await small_model(request, Resubmission)
        return await _worked(desk.resubmit(order), _noted(audit, request, "resubmit", order), working)

    @routes.post(
        "/v1/dead-letters/drop",
        summary="Remove dead letters for good",
        responses=_WORKING,
        response_class=StreamingResponse,
        openapi_extra=documented(Removal),
    )
    async def drop(request: Request) -> StreamingResponse:
        desk = access.enter(request, Role.OPERATOR)
        order = await small_model(request, Removal)
        return await _worked(desk.drop(order), _noted(audit, request, "drop", order), working)

    @routes.get("/v1/audit", summary="What operators did, the newest first", responses=_AUDIT)
    async def audited(request: Request) -> AuditList:
        access.admit(request, Role.VIEWER)
        return AuditList(entries=audit.latest())

    return routes


async def _drawn(data: bytes, service: InferenceService, renderer: Renderer, memory: WorkingMemory) -> bytes:
    """The picture as a JPEG that any browser draws, whatever it was sent as."""
    header = image.read_header(data)
    if header.pixels > service.limits.pixels:
        raise errors.ImageTooLarge(
            f"The picture declares {header.size.width} x {header.size.height} pixels; at most {service.limits.pixels} "
            "are drawn."
        )
    return await renderer.draw(data, header, None, "image/jpeg", Deadline.after(DRAWING_SECONDS), memory=memory)


Note = Callable[[Worked], None]


def _noted(audit: Audit, request: Request, action: str, order: Resubmission | Removal) -> Note:
    """Writes down the order when it begins, and what became of it when it ends."""
    caller = caller_of(request.scope)
    asked = order.model_dump(mode="json", exclude_defaults=True)

    def note(line: Worked) -> None:
        if line.total is not None:
            audit.note(caller, action, letters=line.total, **asked)
        elif line.done is not None:
            audit.note(caller, f"{action} ended", queue=order.queue, done=line.done, stay=line.stay)
        elif line.sequence_number is None:
            audit.note(caller, f"{action} ended early", queue=order.queue, trouble=line.trouble)

    return note


async def _worked(steps: AsyncIterator[Worked], note: Note, working: "set[asyncio.Task[None]]") -> StreamingResponse:
    """Answer with each step as it is made. Who asked may go: what was begun is finished.

    What is wrong before the first step is raised, and answered as any error is.
    """
    first = await anext(steps)
    told: asyncio.Queue[Worked | None] = asyncio.Queue()

    async def work() -> None:
        try:
            note(first)
            told.put_nowait(first)
            async for step in steps:
                note(step)
                told.put_nowait(step)
        except errors.RequestError as error:
            note(early := Worked(trouble=str(error)))
            told.put_nowait(early)
        finally:
            told.put_nowait(None)

    async def lines() -> AsyncIterator[bytes]:
        while (step := await told.get()) is not None:
            yield step.model_dump_json(exclude_none=True).encode() + b"\n"

    task = asyncio.create_task(work(), name="dead letters")
    working.add(task)
    task.add_done_callback(working.discard)
    return StreamingResponse(lines(), media_type=LINES, headers={"cache-control": "no-store"})
