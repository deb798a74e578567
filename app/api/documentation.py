"""`/docs`: Swagger UI, from files that come with the service, so that it works where there is no internet.

The files in `swagger/` are those of npm's `swagger-ui-dist` 5.35.0, as they are, but for `page.html` and `start.js`.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, RedirectResponse

FOLDER = Path(__file__).with_name("swagger")
FILES = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "start.js": "text/javascript",
    "favicon.png": "image/png",
}
PATHS = ("/", "/docs", "/redoc", "/openapi.json", *(f"/docs/{name}" for name in FILES))
"""Everything that describes the service, and its front door, which leads there."""

# Swagger UI writes styles into its elements and draws its icons from `data:`; scripts are files of ours alone.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'"
)
_KEPT = {"cache-control": "public, max-age=3600"}


def _file(name: str) -> Callable[[], Awaitable[FileResponse]]:
    async def file() -> FileResponse:
        return FileResponse(FOLDER / name, headers=_KEPT, media_type=FILES[name])

    return file


def router(*, console: bool) -> APIRouter:
    """The page, its files, and what leads to it; `/` leads browsers to the console where there is one."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/docs")
    async def page() -> FileResponse:
        return FileResponse(FOLDER / "page.html", headers={"content-security-policy": _POLICY}, media_type="text/html")

    for name in FILES:
        routes.add_api_route(f"/docs/{name}", _file(name), methods=["GET"])

    @routes.get("/")
    async def front_door(request: Request) -> RedirectResponse:
        browser = console and "text/html" in request.headers.get("accept", "")
        return RedirectResponse("console/" if browser else "docs", headers={"vary": "accept"})

    @routes.get("/redoc")
    async def to_the_page() -> RedirectResponse:
        return RedirectResponse("docs")

    return routes
