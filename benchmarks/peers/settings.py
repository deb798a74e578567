"""What the command and the peers, in their other environments, agree on."""

from typing import Any

SIDE, CLASSES = 224, 1000
INPUT: dict[str, Any] = {
    "size": [SIDE, SIDE],
    "resize": "center_crop",
    "resize_to": 256,
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}
PEER_MODEL = "PEER_MODEL"
"""The environment variable that says where the graph is."""
WORKERS = 2
MOST_IN_BATCH = 4
WAIT_MS = 1
