"""Who uses the console, so that it offers only what they may do."""

from fastapi import APIRouter, Request
from pydantic import BaseModel

from app.api.dead_letters import QueueAccess
from app.api.security.gate import caller_of, role_of


class Session(BaseModel):
    """Who asks, what they may do at most, and whether there are queues to look at."""

    caller: str
    role: str
    queues: bool


def router(queues: QueueAccess | None) -> APIRouter:
    """The endpoint; what it says is not what keeps anybody out."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/console/session")
    async def session(request: Request) -> Session:
        role = role_of(request.scope) if queues is None else queues.role(request)
        return Session(caller=caller_of(request.scope), role=role.name.lower(), queues=queues is not None)

    return routes
