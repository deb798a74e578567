"""The gRPC server: where it listens, what it bounds, how it ends."""

import asyncio
import logging
from pathlib import Path

import grpc

from app.core.health import Health
from app.core.service import InferenceService
from app.errors import StartupError
from app.loading.control import ModelControl
from app.oip.ask import Asking
from app.rpc import departures
from app.rpc.answering import Answering
from app.rpc.calls import Calls, Door
from app.rpc.health import HealthService
from app.rpc.inference import Inference
from app.rpc.reflection import ReflectionService
from app.settings import Settings

log = logging.getLogger(__name__)

SOURCE = "grpc"
BESIDE_BYTES = 64 * 1024
"""What a message may have beside the tensors that `ROO_MAX_BODY_BYTES` bounds."""
MOST_CALLS = 1024
"""At once; a stream or a watch is one. A message is in memory once it is whole, so this bounds what is on its way."""
MOST_STREAMS = 128
"""Calls at once on one connection."""
KEEP_ALIVE_MS, KEEP_ALIVE_TIMEOUT_MS = 60_000, 20_000
"""A connection that has been silent is asked for a sign of life, and closed where none comes."""
LEAST_PING_MS = 10_000
"""How often clients may ask for one."""
READ_BYTES = 256 * 1024
"""Taken from a connection at a time; by default 8 KiB and little more, so that a picture takes a thread many turns."""


class RpcServer:
    """One server; `start` it, `begin_drain`, then `stop` it."""

    def __init__(
        self, service: InferenceService, health: Health, door: Door, control: ModelControl, settings: Settings
    ) -> None:
        """Raises `StartupError` where it cannot listen as the settings say."""
        self._ending = asyncio.Event()
        self._server = grpc.aio.server(options=_options(settings), maximum_concurrent_rpcs=MOST_CALLS)
        asking = Asking(service, settings.max_images_per_request, SOURCE)
        answering = Answering(asking, Calls(door), settings.upload_timeout, self._ending)
        inference = Inference(answering, health, control)
        watched = HealthService(health, self._ending)
        reflected = ReflectionService()
        self._server.add_generic_rpc_handlers((inference.handlers(), watched.handlers(), reflected.handlers()))
        self.port = _listen(self._server, settings)

    async def start(self) -> None:
        """Answer from now on."""
        departures.keep_out_of_the_log()
        await self._server.start()
        log.info("gRPC on port %d", self.port)

    async def stop(self, seconds: float) -> None:
        """Take no more calls, end streams after what they have sent, and finish all within so many seconds."""
        self._ending.set()
        await self._server.stop(seconds)


def _options(settings: Settings) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", 0),  # another process on the same port is a mistake, and must fail
        ("grpc.max_receive_message_length", settings.max_body_bytes + BESIDE_BYTES),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_concurrent_streams", MOST_STREAMS),
        ("grpc.keepalive_time_ms", KEEP_ALIVE_MS),
        ("grpc.keepalive_timeout_ms", KEEP_ALIVE_TIMEOUT_MS),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", LEAST_PING_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.experimental.tcp_read_chunk_size", READ_BYTES),
        ("grpc.experimental.tcp_min_read_chunk_size", READ_BYTES),
    ]


def _listen(server: grpc.aio.Server, settings: Settings) -> int:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    place = f"{host}:{settings.grpc_port}"
    try:
        if settings.grpc_tls_cert_file is None or settings.grpc_tls_key_file is None:
            port = server.add_insecure_port(place)
        else:
            pair = (_pem(settings.grpc_tls_key_file), _pem(settings.grpc_tls_cert_file))
            port = server.add_secure_port(place, grpc.ssl_server_credentials([pair]))
    except RuntimeError as error:
        raise StartupError(
            f"Cannot listen for gRPC on {place}: {error}. Choose another port with ROO_GRPC_PORT, or check the files "
            "of ROO_GRPC_TLS_CERT_FILE and ROO_GRPC_TLS_KEY_FILE."
        ) from None
    if not port:
        raise StartupError(f"Cannot listen for gRPC on {place}. Choose another port with ROO_GRPC_PORT.")
    return int(port)


def _pem(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StartupError(f"{path} cannot be read: {error.strerror or error}.") from None
