"""`python -m benchmarks.peers.pytriton_peer PORT NAME GRAPH`: Triton with one ONNX graph, by way of PyTriton."""

import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime as ort
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from benchmarks.peers.settings import WORKERS

HOST = "127.0.0.1"
MOST_IN_BATCH = 16
TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}


def _session(path: str) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _worker(session: Any) -> Callable[..., Any]:
    def infer(**inputs: Any) -> Any:
        return session.run(None, inputs)

    worker: Callable[..., Any] = batch(infer)
    return worker


def _described(tensors: list[Any]) -> list[Any]:
    """Without the batch dimension; sides that the graph leaves open stay open."""
    return [
        Tensor(
            name=each.name,
            dtype=TYPES[each.type],
            shape=tuple(side if isinstance(side, int) else -1 for side in each.shape[1:]),
        )
        for each in tensors
    ]


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as free:
        port: int = free.getsockname()[1]
        return port


def main(port: int, name: str, path: str) -> None:
    """Serve until the process is ended; ready where /v2/models/NAME/ready says so."""
    sessions = [_session(path) for _ in range(WORKERS)]
    config = TritonConfig(http_address=HOST, http_port=port, grpc_port=_free_port(), metrics_port=_free_port())
    with Triton(config=config) as server:
        server.bind(
            model_name=name,
            infer_func=[_worker(session) for session in sessions],
            inputs=_described(sessions[0].get_inputs()),
            outputs=_described(sessions[0].get_outputs()),
            config=ModelConfig(max_batch_size=MOST_IN_BATCH, batcher=DynamicBatcher(max_queue_delay_microseconds=0)),
        )
        server.run()
        while True:
            time.sleep(3600)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
