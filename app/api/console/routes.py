"""`/console/`: the page and its files, which come with the service, and the pictures that come with its models."""

from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, RedirectResponse
from starlette.exceptions import HTTPException

from app.api.console.examples import Examples
from app.core.registry import Registry

FOLDER = Path(__file__).with_name("static")
PAGE = "page.html"
MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
FILES = tuple(sorted(path.name for path in FOLDER.iterdir() if path.suffix in MEDIA_TYPES))
PATHS = ("/console", "/console/", *(f"/console/{name}" for name in FILES))
"""The program alone, which anybody may see; what it shows it asks for with its user's key."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    # No string becomes markup: what would make it so throws.
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
# Asked for each time, so that no page of one release runs with a script of another.
_HEADERS = {"cache-control": "no-cache", "content-security-policy": POLICY}


def _file(name: str) -> Callable[[], Awaitable[FileResponse]]:
    async def file() -> FileResponse:
        return FileResponse(FOLDER / name, headers=_HEADERS, media_type=MEDIA_TYPES[Path(name).suffix])

    return file


def router(registry: Registry, examples: Examples) -> APIRouter:
    """The page, its files, and the examples of the models in `registry`."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/console")
    async def to_the_page() -> RedirectResponse:
        return RedirectResponse("console/")

    @routes.get("/console/")
    async def page() -> FileResponse:
        return FileResponse(FOLDER / PAGE, headers=_HEADERS, media_type="text/html")

    for name in FILES:
        routes.add_api_route(f"/console/{name}", _file(name), methods=["GET"])

    @routes.get("/console/examples")
    def listed() -> list[dict[str, str]]:  # not async: folders are read
        return [{"model": model, "name": path.name} for model in registry.names() for path in examples.of(model)]

    @routes.get("/console/examples/{model}/{name}")
    def example(model: str, name: str) -> FileResponse:
        found = {path.name: path for path in examples.of(model)} if model in registry.names() else {}
        if name not in found:
            raise HTTPException(404)
        return FileResponse(found[name], headers={"cache-control": "private, max-age=3600"})

    return routes
