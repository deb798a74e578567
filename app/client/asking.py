"""From pictures and options to a request, and from its response to answers; nothing here waits for anything."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from app.client.errors import Refused, ServiceError, from_problem, keep
from app.errors import InvalidRequest
from app.settings import Settings
from app.wire import stickiness
from app.wire.models import ModelChange, ModelInfo
from app.wire.predict_options import PredictOptions
from app.wire.prediction import Prediction
from app.wire.releases import RolloutPlan, RolloutState

OF_PICTURES = frozenset({413, 415, 422})
"""What is wrong with pictures; where all pictures of a request fail so, it is the request's status."""
_Model = TypeVar("_Model", bound=BaseModel)
DrawnType = Literal["image/jpeg", "image/png"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one request: pictures, and bytes of all its pictures together. The defaults are the service's own.

    Beside them there is room for what a form says of each picture.
    """

    pictures: int = Settings.model_fields["max_images_per_request"].default
    bytes: int = Settings.model_fields["max_body_bytes"].default - 64 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, as httpx takes it."""

    method: str
    path: str
    query: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes | None = None
    files: Sequence[tuple[str, tuple[str, bytes, str]]] | None = None


_RAW = "application/octet-stream"
MODELS = Request("GET", "/v1/models")
READY = Request("GET", "/readyz")


@dataclass(frozen=True, slots=True)
class Asked:
    """Of which model and version, with which options; with one `sticky` text one version answers, where several share
    the traffic.
    """

    model: str | None
    version: str | int | None
    sticky: str | None
    options: dict[str, Any]


def one(picture: bytes, asked: Asked, accept: str) -> Request:
    """A request with one picture. Raises `InvalidRequest` for options that there are not."""
    headers = {"content-type": _RAW, "accept": accept} | _sticky(asked.sticky)
    return Request("POST", _path(asked.model, asked.version), _query(asked.options), headers, picture)


def several(pictures: Sequence[bytes], asked: Asked) -> Request:
    """A request with several pictures. Raises `InvalidRequest` for options that there are not."""
    files = [("image", (str(place), content, _RAW)) for place, content in enumerate(pictures)]
    headers = {"accept": "application/json"} | _sticky(asked.sticky)
    return Request("POST", _path(asked.model, asked.version), _query(asked.options), headers, files=files)


def parts(sizes: Sequence[int], limits: Limits) -> Iterator[slice]:
    """Which pictures, of these sizes, go into each request; what is too large for any goes alone, and is refused."""
    begin, total = 0, 0
    for place, size in enumerate(sizes):
        if place > begin and (place - begin >= limits.pictures or total + size > limits.bytes):
            yield slice(begin, place)
            begin, total = place, 0
        total += size
    if sizes:
        yield slice(begin, len(sizes))


def address(url: str) -> str:
    """The service's address; raises `InvalidRequest` for what is none."""
    if not url.lower().startswith(("http://", "https://")):
        raise InvalidRequest(f"{url!r} is no address of a service; it begins with http:// or https://.")
    return url


def headers(api_key: str | None, token: str | None) -> dict[str, str]:
    """The proof of who asks; raises `InvalidRequest` for characters that no header takes."""
    for name, secret in (("API key", api_key), ("token", token)):
        if secret and not (secret.isascii() and secret.isprintable()):
            raise InvalidRequest(f"The {name} has a character that no header takes, such as a line's end or an umlaut.")
    return ({"x-api-key": api_key} if api_key else {}) | ({"authorization": f"Bearer {token}"} if token else {})


def arguments(request: Request, api_key: str | None, token: str | None, left: httpx.Timeout) -> dict[str, Any]:
    """An attempt at a request, as httpx's `request` takes it; raises what `headers` raises."""
    return {
        "method": request.method,
        "url": request.path,
        "params": request.query,
        "headers": request.headers | headers(api_key, token),
        "content": request.content,
        "files": request.files,
        "timeout": left,
    }


def prediction(response: httpx.Response) -> Prediction:
    """The answer to one picture; raises `ServiceError` where it is none."""
    return _read(Prediction, response)


def predictions(response: httpx.Response, count: int) -> list[Prediction | Refused]:
    """The answers to so many pictures; raises `ServiceError` where they are none."""
    results = _read(_Results, response).results
    if len(results) != count:
        raise ServiceError(f"The service gave {len(results)} answers to {count} pictures.")
    return [_answer(result) for result in results]


def everybodys(
    error: ServiceError, count: int, before: Sequence[Prediction | Refused], total: int
) -> list[Prediction | Refused]:
    """The answers to `count` of `total` pictures whose request was refused for what is wrong with all of them; else
    raises `error` with the answers that had come `before`.
    """
    if isinstance(error, Refused) and error.status in OF_PICTURES:
        return [error] * count
    keep(error, before, total)
    raise error


def models(response: httpx.Response) -> list[ModelInfo]:
    """What is served; raises `ServiceError` where it cannot be read."""
    return _read(_Models, response).models


def about(name: str) -> Request:
    """A request for what a model is."""
    return Request("GET", f"/v1/models/{quote(name, safe='')}")


def model(response: httpx.Response) -> ModelInfo:
    """What a model is; raises `ServiceError` where it cannot be read."""
    return _read(ModelInfo, response)


def changing(verb: Literal["load", "reload", "unload"], name: str) -> Request:
    """A request to change what is served of a model."""
    return Request("POST", f"/v1/models/{quote(name, safe='')}/{verb}")


def change(response: httpx.Response) -> ModelChange:
    """What was done to a model; raises `ServiceError` where it cannot be read."""
    return _read(ModelChange, response)


def beginning(name: str, plan: dict[str, Any]) -> Request:
    """A request to roll a version out. Raises `InvalidRequest` for a plan that is none."""
    try:
        content = RolloutPlan.model_validate(plan).model_dump_json().encode()
    except ValidationError as error:
        raise _invalid(error) from None
    return _rollout("POST", name, content)


def looking(name: str) -> Request:
    """A request for how far a roll-out is."""
    return _rollout("GET", name)


def stopping(name: str) -> Request:
    """A request to stop a roll-out."""
    return _rollout("DELETE", name)


def rollout(response: httpx.Response) -> RolloutState:
    """How far a roll-out is; raises `ServiceError` where it cannot be read."""
    return _read(RolloutState, response)


class _Result(BaseModel):
    prediction: Prediction | None = None
    error: dict[str, Any] | None = None


class _Results(BaseModel):
    results: list[_Result]


class _Models(BaseModel):
    models: list[ModelInfo]


def _answer(result: _Result) -> Prediction | Refused:
    if result.prediction is not None:
        return result.prediction
    try:
        return from_problem(result.error or {})
    except (KeyError, TypeError, ValueError):
        raise ServiceError("The service gave neither an answer nor an error to a picture.") from None


def _read(kind: type[_Model], response: httpx.Response) -> _Model:
    try:
        return kind.model_validate_json(response.content)
    except ValidationError:
        raise ServiceError(f"{response.url.host} answered something that is not what was asked for.") from None


def _path(model: str | None, version: str | int | None) -> str:
    if model is None:
        if version is not None:
            raise InvalidRequest("A version is one of a model; name the model too.")
        return "/v1/predict"
    chosen = "" if version is None else f"/versions/{quote(str(version), safe='')}"
    return f"/v1/models/{quote(model, safe='')}{chosen}/predict"


def _query(given: dict[str, Any]) -> dict[str, Any]:
    """Options as the address says them; what is None is left to the model."""
    try:
        options = PredictOptions(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        raise _invalid(error) from None
    said = options.model_dump(mode="json", exclude_none=True, exclude_unset=True)
    return {name: _joined(name, value) if isinstance(value, list) else value for name, value in said.items()}


def _invalid(error: ValidationError) -> InvalidRequest:
    first = error.errors()[0]
    return InvalidRequest(f"{'.'.join(map(str, first['loc']))}: {first['msg'].removeprefix('Value error, ')}.")


def _sticky(key: str | None) -> dict[str, str]:
    """The header; raises `InvalidRequest` for a text that it does not take."""
    if key is None:
        return {}
    stickiness.key_in([(stickiness.HEADER, key.encode("utf-8", "surrogatepass"))])
    return {stickiness.HEADER.decode(): key}


def _rollout(method: str, name: str, content: bytes | None = None) -> Request:
    return Request(method, f"/v1/models/{quote(name, safe='')}/rollout", content=content)


def _joined(name: str, items: list[Any]) -> str:
    if any("," in str(item) for item in items):
        raise InvalidRequest(f"{name}: a name that has a comma in it cannot be said so; give its number.")
    return ",".join(map(str, items))
