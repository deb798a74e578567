"""Roo Vision: pictures in, detections out, over HTTP and Azure Service Bus, from one batched core."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("roo-vision")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0.0.0"
