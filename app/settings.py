"""Every setting, its type, its default and its meaning. The only reader of the environment.

A setting `max_pixels` is the environment variable `ROO_MAX_PIXELS`. `docs/configuration.md` lists them all, and a
test compares that table with this file.
"""

import os
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from app.errors import StartupError
from app.models_settings import ModelsSettings
from app.queue_settings import QueueSettings
from app.setting_types import Names, Port
from app.sink_settings import SinkSettings

MIB = 2**20
RECEIVED_SHARE = 1.25
"""So much more than its bytes a picture may take while it arrives, with the piece that is being read."""
IDLE_BYTES, LANE_BYTES = 240 * MIB, 8 * MIB
"""What the service with the bundled model on a CPU takes beside pictures and their bytes, and each of its lanes."""
GUID = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Settings(QueueSettings, SinkSettings, ModelsSettings):
    """All that can be set; unknown `ROO_*` variables are refused, so that a misspelt one is not silently ignored."""

    model_config = SettingsConfigDict(env_prefix="ROO_", frozen=True, extra="forbid")

    host: str = Field("0.0.0.0", description="Address the HTTP server listens on.")
    port: int = Field(8000, ge=0, le=65535, description="Port the HTTP server listens on; 0 takes a free one.")
    http: bool = Field(
        True, description="Whether pictures are taken over HTTP and gRPC; probes and metrics are served always."
    )
    console: bool = Field(True, description="Whether `/console/` is there, a page to try models on.")
    grpc_port: Port = Field(
        None, description="Port for gRPC (the Open Inference Protocol), 0 a free one; empty means none."
    )
    grpc_tls_cert_file: Path | None = Field(
        None, description="Certificate chain (PEM) of the gRPC port; without it and its key, gRPC is in clear text."
    )
    grpc_tls_key_file: Path | None = Field(None, description="Private key (PEM) of the gRPC port's certificate.")
    worker: bool = Field(True, description="Whether messages are taken from `ROO_QUEUE`, where it is set.")
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|cuda(:\d+)?)$",
        description="`auto` (CUDA when it works, else the CPU), `cpu`, `cuda` or `cuda:N` (no start without it).",
    )
    engine: Literal["auto", "onnx", "openvino", "torch", "tensorrt"] = Field(
        "auto", description="Engine of models whose manifest names none; `auto` goes by the model's file."
    )
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = Field(
        "auto", description="`auto` is the fastest that a model's manifest lists and its engine and device can."
    )
    gpu_memory: int | None = Field(
        None, ge=1, description="Most memory that a model may take of each GPU, in bytes; empty means no bound."
    )
    gpu_decode: Literal["auto", "on", "off"] = Field(
        "auto", description="Whether pictures are decoded on the GPU: `auto` tries both ways at load; `on`, `off`."
    )
    cuda_graphs: bool = Field(
        True, description="Whether the engines `onnx` and `torch` capture CUDA graphs where a model allows it."
    )
    cache_dir: Path | None = Field(
        None, description="Folder where engines keep compiled models between starts (OpenVINO, TensorRT)."
    )
    lanes: int = Field(
        0, ge=0, le=256, description="Pictures' lanes on the device; 0 means one per usable CPU core, or as measured."
    )
    lane_threads: int = Field(
        0, ge=0, le=256, description="CPU cores that one lane's computation may use; 0 means 1, or as measured."
    )
    calibrate: bool = Field(
        True,
        description="Whether a CPU's lanes and batch sizes are measured at the start, where nothing else says them.",
    )
    max_batch: int | None = Field(
        None, ge=1, le=256, description="Upper bound on every model's `batching.max_size`; empty means the manifest's."
    )
    max_image_bytes: int = Field(20 * MIB, ge=1, description="Largest encoded picture, in bytes.")
    max_body_bytes: int = Field(
        28 * MIB, ge=1, description="Largest body of a form or JSON (several pictures), in bytes."
    )
    max_pixels: int = Field(
        50_000_000,
        ge=1,
        description="Most pixels of a picture that are decoded; a JPEG that is reduced may declare 4 times as many.",
    )
    max_decode_bytes: int = Field(
        448 * MIB, ge=1 * MIB, description="Memory that decoded pictures may take at once, in bytes; others wait."
    )
    max_images_per_request: int = Field(32, ge=1, description="Most pictures in one request.")
    max_tiles: int = Field(256, ge=1, le=4096, description="Most tiles that one picture is divided into.")
    max_inflight: int = Field(256, ge=1, description="Pictures admitted and not yet answered.")
    max_inflight_bytes: int = Field(
        256 * MIB,
        ge=1,
        description="Encoded bytes being received or admitted, and drawn pictures that are being sent; at least 1.25 "
        "times `ROO_MAX_IMAGE_BYTES` and `ROO_MAX_BODY_BYTES`. A picture counts an eighth more while it arrives "
        "in pieces.",
    )
    max_inflight_pixels: int = Field(2_000_000_000, ge=1, description="Declared pixels admitted and not yet answered.")
    response_cache_bytes: int = Field(
        0, ge=0, description="Memory for answers that are given again to who sends the same picture; 0 means none."
    )
    response_cache_seconds: float = Field(3600.0, gt=0, description="Oldest such answer, in seconds.")
    response_cache_shared: bool = Field(
        False, description="Whether callers with different keys or tokens get each other's answers of the cache."
    )
    request_timeout: float = Field(30.0, gt=0, description="Deadline of a request that names none, in seconds.")
    upload_timeout: float = Field(30.0, gt=0, description="Time a client has to send its request body, in seconds.")
    min_upload_rate: int = Field(
        8192, ge=1, description="Bytes a second that a request body must arrive with, once five seconds have passed."
    )
    keep_alive: float = Field(
        75.0, gt=0, description="Seconds an idle connection is kept; longer than the proxy in front keeps its own."
    )
    environment: Literal["development", "production"] = Field(
        "development", description="`production` refuses to start with what is only fit for a laptop."
    )
    auth: Literal["none", "keys", "entra", "keys+entra"] = Field(
        "none",
        description="Who may ask: anybody (`none`), holders of an API key (`keys`), of an Entra ID token (`entra`), or "
        "of either (`keys+entra`).",
    )
    api_keys_file: Path | None = Field(
        None, description="File of the API keys, one `name:key` a line; read again when it changes."
    )
    api_key: SecretStr | None = Field(
        None, description="Key that `roo-vision predict --url` and `top` send; not read by the service."
    )
    entra_tenant: str | None = Field(
        None, pattern=GUID, description="Tenant id whose tokens are taken (version 2.0 tokens)."
    )
    entra_issuer: str | None = Field(
        None, description="Issuer URL instead of the tenant: version 1.0 tokens, other clouds, other OpenID providers."
    )
    entra_audience: Names = Field((), description="Audiences of which a token must name one, with commas.")
    entra_roles: Names = Field(
        (), description="Roles or scopes of which a token must hold one, with commas; empty means none is asked for."
    )
    entra_viewer_roles: Names = Field(
        (), description="Roles or scopes with which a token may also look at dead letters, with commas."
    )
    entra_operator_roles: Names = Field(
        (), description="Roles or scopes with which a token may also resubmit and drop dead letters, with commas."
    )
    entra_admin_roles: Names = Field(
        (),
        description="Roles or scopes with which a token may also load and unload models, and all of the above, with "
        "commas.",
    )
    metrics_open: bool = Field(False, description="Whether /metrics is answered without a key or token.")
    rate_limit: float = Field(0.0, ge=0, description="Requests a second for each caller and replica; 0 means no limit.")
    rate_burst: int | None = Field(
        None, ge=1, description="Requests a caller may send at once; empty means a second's worth."
    )
    cors_origins: Names = Field(
        (), description="Origins whose web pages may ask (`https://HOST`), with commas; empty means none."
    )
    bulk_share: float = Field(
        0.1, ge=0, lt=1, description="Share of the lanes' time that bulk work keeps while people wait."
    )
    audit_log: Path | None = Field(
        None,
        description="File that a line of JSON is added to for all that operators do; the log has them in any case.",
    )
    drain_delay: float = Field(
        0.0, ge=0, description="Seconds that HTTP still accepts requests after SIGTERM while /readyz already says no."
    )
    grace_period: float = Field(25.0, gt=0, description="Seconds from SIGTERM within which everything is finished.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe line logged.")

    @field_validator("*", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object, info: ValidationInfo) -> object:
        """Templates write a variable that has no value as an empty one; what need not be set is not set then."""
        if value == "" and info.field_name is not None and cls.model_fields[info.field_name].default is None:
            return None
        return value

    @model_validator(mode="after")
    def _fits(self) -> "Settings":
        if self.drain_delay >= self.grace_period:
            raise ValueError("ROO_DRAIN_DELAY must be shorter than ROO_GRACE_PERIOD, or nothing is left for draining")
        if max(self.max_image_bytes, self.max_body_bytes) * RECEIVED_SHARE > self.max_inflight_bytes:
            raise ValueError(
                "ROO_MAX_INFLIGHT_BYTES must hold at least one ROO_MAX_IMAGE_BYTES and one ROO_MAX_BODY_BYTES, each "
                "with a quarter more while it arrives"
            )
        if self.max_pixels > self.max_inflight_pixels:
            raise ValueError("ROO_MAX_INFLIGHT_PIXELS must be at least ROO_MAX_PIXELS")
        if (self.grpc_tls_cert_file is None) != (self.grpc_tls_key_file is None):
            raise ValueError("ROO_GRPC_TLS_CERT_FILE and ROO_GRPC_TLS_KEY_FILE go together: set both, or neither")
        if self.has_sinks and not self.queue:
            raise ValueError(
                "ROO_COSMOS_ENDPOINT and ROO_WEBHOOK_URL are for the results of messages: set ROO_QUEUE, or neither"
            )
        self._check_callers()
        self._check_entra()
        self._check_production()
        return self

    def _check_callers(self) -> None:
        if ("keys" in self.auth) != (self.api_keys_file is not None):
            raise ValueError("ROO_API_KEYS_FILE goes with ROO_AUTH=keys or keys+entra: set both, or neither")
        if self.rate_burst is not None and not self.rate_limit:
            raise ValueError("ROO_RATE_BURST is set, but there is no ROO_RATE_LIMIT")
        for origin in self.cors_origins:
            url = _url(origin)
            if (
                url.scheme not in ("http", "https")
                or not url.netloc
                or origin.lower() != f"{url.scheme}://{url.netloc}"
            ):
                raise ValueError(
                    f"ROO_CORS_ORIGINS names exact origins such as https://console.example.com, not {origin!r}"
                )

    def _check_entra(self) -> None:
        ways = (self.entra_tenant is not None) + (self.entra_issuer is not None)
        if "entra" not in self.auth:
            if ways or any(
                (
                    self.entra_audience,
                    self.entra_roles,
                    self.entra_viewer_roles,
                    self.entra_operator_roles,
                    self.entra_admin_roles,
                )
            ):
                raise ValueError(
                    "Entra ID is set up, but ROO_AUTH does not ask for its tokens: set it to entra or keys+entra"
                )
            return
        if ways != 1 or not self.entra_audience:
            raise ValueError(
                "ROO_AUTH with entra needs ROO_ENTRA_AUDIENCE and one of ROO_ENTRA_TENANT and ROO_ENTRA_ISSUER"
            )
        issuer = _url(self.issuer)
        if not issuer.hostname or issuer.query or issuer.fragment:
            raise ValueError("ROO_ENTRA_ISSUER must be the URL of an issuer")
        if issuer.scheme != "https" and not (issuer.scheme == "http" and issuer.hostname in _LOOPBACK):
            raise ValueError("ROO_ENTRA_ISSUER must be https, or anybody on the way could make keys of his own")

    def _check_production(self) -> None:
        if self.environment != "production":
            return
        if self.auth == "none" and self.http:
            raise ValueError(
                "ROO_ENVIRONMENT=production takes no pictures from strangers: set ROO_AUTH to keys, entra or "
                "keys+entra (or ROO_HTTP=false where only a queue is worked off)"
            )
        if "entra" in self.auth and not self.entra_roles:
            raise ValueError(
                "ROO_ENVIRONMENT=production needs ROO_ENTRA_ROLES: without them every application of the tenant may ask"
            )
        if any(url.startswith("http:") for url in (self.issuer, *self.cors_origins)):
            raise ValueError("ROO_ENVIRONMENT=production takes only https in ROO_ENTRA_ISSUER and ROO_CORS_ORIGINS")

    @property
    def issuer(self) -> str:
        """The only `iss` of a token that is taken; empty where tokens are not."""
        if self.entra_tenant is not None:
            return f"https://login.microsoftonline.com/{self.entra_tenant.lower()}/v2.0"
        return self.entra_issuer or ""

    def memory(self, lanes: int) -> int:
        """Most bytes of resident memory: all that may be in flight is, all that may be decoded or drawn, and all
        answers that may be kept.

        An upper bound for the bundled model on a CPU; `benchmarks/pressure.py` measures against it.
        """
        pictures = self.max_inflight_bytes + self.max_decode_bytes
        return IDLE_BYTES + lanes * LANE_BYTES + pictures + self.response_cache_bytes


def load_settings(**overrides: object) -> Settings:
    """Read the environment; `overrides` (command-line options) win, and those that are None are left out.

    Raises `StartupError` naming each wrong variable and what it must be.
    """
    _refuse_unknown_variables()
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        raise StartupError("\n".join(_explain(problem) for problem in error.errors())) from None


def load_client_settings(queue: str | None, **overrides: object) -> Settings:
    """As `load_settings`, for who only asks about one queue: what the service's settings say of others is left out."""
    alone = {} if queue is None else {"queue": queue, "queue_model": {}, "queue_share": {}, "queue_sessions": {}}
    return load_settings(**alone, **overrides)


def the_queue(settings: Settings, question: str) -> str:
    """The one queue that is meant. Raises `StartupError`, which begins with the question, where none or several are."""
    if not settings.queue:
        raise StartupError(f"{question} Give --queue, or set ROO_QUEUE.")
    if len(settings.queue) > 1:
        raise StartupError(f"{question} Give --queue, one of {', '.join(settings.queue)}.")
    return settings.queue[0]


def _url(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises, like urlsplit itself, where it is no number
    except ValueError:
        return urlsplit("")
    return parts


def _explain(problem: object) -> str:
    assert isinstance(problem, dict)
    place = str(problem["loc"][0]) if problem["loc"] else ""
    name = f"ROO_{place.upper()}: " if place else ""
    value = f" (is {str(problem['input'])[:80]!r})" if place else ""
    return f"{name}{problem['msg'].removeprefix('Value error, ')}{value}. See docs/configuration.md."


def _refuse_unknown_variables() -> None:
    known = {f"ROO_{name.upper()}" for name in Settings.model_fields}
    # Kubernetes tells every container of a Service named roo-vision in variables that begin so.
    unknown = sorted(
        name
        for name in os.environ
        if name.startswith("ROO_") and not name.startswith("ROO_VISION_") and name not in known
    )
    if unknown:
        raise StartupError(f"Unknown setting {', '.join(unknown)}. The settings are listed in docs/configuration.md.")
