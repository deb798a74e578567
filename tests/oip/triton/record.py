"""`make record-triton`: writes `recording.json`, what the Triton inside of nvidia-pytriton answers to the requests.

Runs in the environment of `benchmarks.peers.environments.python_with_triton`.
"""

import json
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig, TritonSecurityConfig

from tests.fixtures.tensors import DTYPES
from tests.oip.triton.asking import ask_all

RECORDING = Path(__file__).with_name("recording.json")
HOST = "127.0.0.1"


@batch
def identity(x: Any) -> list[Any]:
    """What comes is the answer."""
    return [x]


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def record() -> None:
    """Start a Triton with an identity of each datatype, ask it everything, and write down what it says."""
    http_port, grpc_port, metrics_port = _free_ports(3)
    config = TritonConfig(http_port=http_port, grpc_port=grpc_port, metrics_port=metrics_port)
    everything = TritonSecurityConfig(restricted_endpoints=[])  # else PyTriton keeps index and statistics for itself
    with Triton(config=config, security_config=everything) as server:
        for datatype, dtype in DTYPES.items():
            kind = np.bytes_ if datatype == "BYTES" else dtype
            server.bind(
                model_name=f"identity_{datatype.lower()}",
                infer_func=identity,
                inputs=[Tensor(name="x", dtype=kind, shape=(3,))],
                outputs=[Tensor(name="y", dtype=kind, shape=(3,))],
                config=ModelConfig(max_batch_size=256),
            )
        server.run()
        answers = ask_all(HOST, http_port, grpc_port)
    for name in ("gRPC configuration", "gRPC configuration of a version"):
        answers[name]["message"]["config"] = _known(answers[name]["message"]["config"])
    answers["configuration"]["json"] = _known(answers["configuration"]["json"])
    lines = [f"{json.dumps(name)}: {json.dumps(told, sort_keys=True)}" for name, told in answers.items()]
    RECORDING.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    sys.stdout.write(f"{len(answers)} answers of Triton {answers['server']['json']['version']}\n")


def _known(configuration: dict[str, Any]) -> dict[str, Any]:
    """Without the paths and ids of the machine that it was recorded on."""
    return {name: configuration[name] for name in ("name", "max_batch_size", "input", "output")}


if __name__ == "__main__":
    record()
