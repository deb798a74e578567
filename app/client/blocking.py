"""The client for programs that wait."""

import time
from collections.abc import Callable, Iterable
from typing import Any, Self

import httpx

from app.client import asking
from app.client.asking import DrawnType, Limits, Request
from app.client.errors import Refused, ServiceError
from app.client.pictures import Picture, read
from app.client.retries import Attempts
from app.wire.models import ModelChange, ModelInfo
from app.wire.prediction import Prediction
from app.wire.releases import RolloutState


class Client:
    """Asks a service over HTTP; use it in a `with` statement. Several threads may share one."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        token: str | Callable[[], str] | None = None,
        timeout: float = 60.0,
        connect_timeout: float = 60.0,
        limits: Limits | None = None,
        **http: Any,
    ) -> None:
        """`token` is sent as `Authorization: Bearer`; a function is called for each attempt, because tokens expire.

        `timeout` is in seconds, for a call with all its attempts, and `connect_timeout` for reaching the service;
        `limits` are those of one request, where the service has others than its defaults. All else goes to
        `httpx.Client` (`verify`, `cert`, `proxy` …).
        """
        self._http = httpx.Client(base_url=asking.address(url), **http)
        self._api_key, self._token = api_key, token
        self._timeout, self._connect_timeout = timeout, connect_timeout
        self._limits = limits or Limits()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def predict(
        self,
        picture: Picture,
        *,
        model: str | None = None,
        version: str | int | None = None,
        sticky: str | None = None,
        **options: Any,
    ) -> Prediction:
        """The answer to a picture: of the default model, or `model`, in its newest version or `version`.

        Requests with the same `sticky` text, a robot's name for one, are answered by one version where several share
        the traffic. `options` are those of the HTTP API (`score_threshold`, `max_detections`, `priority` …). Raises
        `Refused` where the service says no, `Unreachable` where it does not answer in time, another `ServiceError`
        where its answer cannot be read, `InvalidRequest` for what cannot be asked, `OSError` for a file that cannot be
        read.
        """
        request = asking.one(read(picture), asking.Asked(model, version, sticky, options), "application/json")
        return asking.prediction(self._send(request))

    def predict_many(
        self,
        pictures: Iterable[Picture],
        *,
        model: str | None = None,
        version: str | int | None = None,
        sticky: str | None = None,
        **options: Any,
    ) -> list[Prediction | Refused]:
        """An answer to each picture, in their order; where one failed, the error in its place.

        They go in as few requests as the limits allow, each with a `timeout` of its own. Raises what `predict` raises
        for what concerns them all; a `ServiceError` has the `answers` that had come by then, and which are `missing`.
        """
        contents = [read(picture) for picture in pictures]
        asked = asking.Asked(model, version, sticky, options)
        answers: list[Prediction | Refused] = []
        for part in asking.parts([len(content) for content in contents], self._limits):
            chosen = contents[part]
            request = asking.several(chosen, asked)
            try:
                answers += asking.predictions(self._send(request), len(chosen))
            except ServiceError as error:
                answers += asking.everybodys(error, len(chosen), answers, len(contents))
        return answers

    def draw(
        self,
        picture: Picture,
        *,
        media_type: DrawnType = "image/jpeg",
        model: str | None = None,
        version: str | int | None = None,
        sticky: str | None = None,
        **options: Any,
    ) -> bytes:
        """The picture with its answer drawn in, as a file; raises what `predict` raises."""
        request = asking.one(read(picture), asking.Asked(model, version, sticky, options), media_type)
        return self._send(request).content

    def models(self) -> list[ModelInfo]:
        """What is served; raises what `predict` raises."""
        return asking.models(self._send(asking.MODELS))

    def model(self, name: str) -> ModelInfo:
        """One of them; raises what `predict` raises."""
        return asking.model(self._send(asking.about(name)))

    def load_model(self, name: str) -> ModelChange:
        """Have the service load a model, or what has changed of it in its repository, beside what answers. For
        administrators; waits until it answers, so give the client a `timeout` that suffices. Raises `Refused` where it
        cannot be loaded, and what `predict` raises.
        """
        return asking.change(self._send(asking.changing("load", name)))

    def reload_model(self, name: str) -> ModelChange:
        """As `load_model`, opening all of it anew."""
        return asking.change(self._send(asking.changing("reload", name)))

    def unload_model(self, name: str) -> ModelChange:
        """Have a model answer no more; raises what `load_model` raises."""
        return asking.change(self._send(asking.changing("unload", name)))

    def begin_rollout(self, name: str, to: str | int, **plan: Any) -> RolloutState:
        """Have the service give version (or stage) `to` its traffic step by step, and take it back where a guard fails;
        it is that replica's own. For administrators. `plan` may say `steps` (percent, rising to 100), `every` (seconds,
        or `"10m"`) and `guards` (`["error_ratio<0.5%"]`). Raises `Refused` where one runs already, and what `predict`
        raises.
        """
        return asking.rollout(self._send(asking.beginning(name, {"to": str(to), **plan})))

    def rollout(self, name: str) -> RolloutState:
        """How far a roll-out is; raises `Refused` (404) where there was none, and what `predict` raises."""
        return asking.rollout(self._send(asking.looking(name)))

    def stop_rollout(self, name: str) -> RolloutState:
        """Go back to the shares that were before. For administrators; raises what `begin_rollout` raises."""
        return asking.rollout(self._send(asking.stopping(name)))

    def ready(self) -> bool:
        """Whether it takes requests now; asked once."""
        try:
            return self._ask(asking.READY, self._attempts().timeout()).is_success
        except httpx.TransportError:
            return False

    def _attempts(self) -> Attempts:
        return Attempts(self._timeout, self._connect_timeout)

    def _send(self, request: Request) -> httpx.Response:
        attempts = self._attempts()
        while True:
            try:
                response = self._ask(request, attempts.timeout())
            except httpx.TransportError as error:
                wait = attempts.after_failure(error)
            else:
                told = attempts.after_response(response)
                if told is None:
                    return response
                wait = told
            time.sleep(wait)

    def _ask(self, request: Request, left: httpx.Timeout) -> httpx.Response:
        token = self._token() if callable(self._token) else self._token
        return self._http.request(**asking.arguments(request, self._api_key, token, left))
