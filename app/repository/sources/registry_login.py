"""How a registry is entered: with what `docker login`, `oras login` or `az acr login` has left, or as nobody.

Distribution's token authentication (distribution.github.io/distribution/spec/auth/token), with a password or, where the
login has one, with an identity token.
"""

import base64
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.errors import ModelsRefused
from app.repository.sources.http_reader import HttpReader, as_object

_FIELD = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, slots=True, repr=False)
class Login:
    """A name with a password or an identity token; empty where there is none."""

    name: str = ""
    password: str = ""
    identity_token: str = ""

    @property
    def known(self) -> bool:
        """Whether there is one."""
        return bool(self.name or self.identity_token)

    def answered(self, http: HttpReader, challenge: str, repository: str) -> str:
        """The `Authorization` that the challenge of a registry asks for.

        Raises `ModelsRefused` where it asks for something else, and what `HttpReader` raises.
        """
        scheme, _, rest = challenge.partition(" ")
        if scheme.lower() == "basic" and self.password:
            return self._basic()
        fields = dict(_FIELD.findall(rest))
        if scheme.lower() != "bearer" or "realm" not in fields:
            raise ModelsRefused(f"The registry asks for {scheme[:20]!r}, which is not known here, or for a login.")
        asked = {"service": fields.get("service", ""), "scope": f"repository:{repository}:pull"}
        if self.identity_token:
            form = {**asked, "grant_type": "refresh_token", "refresh_token": self.identity_token, "client_id": "roo"}
            answer = http.post(fields["realm"], form)
        else:
            headers = {"Authorization": self._basic()} if self.password else {}
            answer = http.get(fields["realm"], headers, params=asked)
        given = as_object(answer)
        token = given.get("token") or given.get("access_token")
        if not isinstance(token, str):
            raise ModelsRefused("The registry's token service gives no token.")
        return f"Bearer {token}"

    def _basic(self) -> str:
        return "Basic " + base64.b64encode(f"{self.name}:{self.password}".encode()).decode()


def login_of(registry: str, path: Path | None = None) -> Login:
    """What the file of logins (`~/.docker/config.json`) has for a registry; none where it has none, or is not there."""
    try:
        content: Any = json.loads((path or Path.home() / ".docker" / "config.json").read_text("utf-8"))
        entry = content["auths"][registry]
        name, _, password = base64.b64decode(entry.get("auth", "")).decode().partition(":")
        return Login(name, password, str(entry.get("identitytoken", "")))
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError):
        return Login()
