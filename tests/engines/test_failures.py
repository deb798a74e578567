"""What an engine's exception means, by the words that CUDA, ONNX Runtime and PyTorch use."""

import numpy as np
import pytest

from app.engines.buckets import bucket, padded
from app.engines.failures import Failure, classify

MEMORY, DEVICE, BATCH = Failure.MEMORY, Failure.DEVICE, Failure.BATCH


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.10 GiB", MEMORY),
        ("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported", MEMORY),
        (
            "Non-zero status code returned while running Conv. Failed to allocate memory for requested buffer",
            MEMORY,
        ),
        ("CUDA failure 2: out of memory ; GPU=0 ; hostname=x", MEMORY),
        ("CUDNN failure 4: CUDNN_STATUS_ALLOC_FAILED", MEMORY),
        ("CUDA error: an illegal memory access was encountered", DEVICE),
        ("CUDA failure 700: an illegal memory access was encountered ; GPU=0", DEVICE),
        ("CUDA failure 719: unspecified launch failure ; GPU=0", DEVICE),
        ("CUDA error: device-side assert triggered", DEVICE),
        ("CUDA error: uncorrectable ECC error encountered", DEVICE),
        ("CUDA failure 1: invalid argument ; GPU=0", BATCH),
        ("Got invalid dimensions for input: image", BATCH),
    ],
)
def test_words(text: str, meaning: Failure) -> None:
    assert classify(RuntimeError(text)) is meaning


def test_causes_are_looked_at() -> None:
    error = ValueError("the batch failed")
    error.__cause__ = RuntimeError("CUDA error: misaligned address")
    assert classify(error) is DEVICE


def test_pythons_own_memory_error() -> None:
    assert classify(MemoryError()) is MEMORY


@pytest.mark.parametrize(
    ("count", "most", "size"), [(1, 16, 1), (2, 16, 2), (3, 16, 4), (9, 16, 16), (9, 12, 12), (5, 5, 5)]
)
def test_buckets(count: int, most: int, size: int) -> None:
    assert bucket(count, most) == size


def test_padding_repeats_the_last_row() -> None:
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    assert padded(rows, 3) is rows
    assert padded(rows, 5).tolist() == [[0, 1], [2, 3], [4, 5], [4, 5], [4, 5]]
