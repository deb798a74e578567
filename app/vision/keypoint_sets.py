"""Sets of keypoints that many models share: their names in the models' order, and which of them belong together."""

import itertools

Link = tuple[str, str]

_COCO = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
# As `skeleton` of COCO's person_keypoints files, which counts from 1.
_COCO_LINKS = (
    (16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8), (7, 9), (8, 10), (9, 11),
    (2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7),
)  # fmt: skip
_FINGERS = {
    "thumb": ("cmc", "mcp", "ip", "tip"),
    **dict.fromkeys(("index", "middle", "ring", "pinky"), ("mcp", "pip", "dip", "tip")),
}
_CHAINS = [("wrist", *(f"{finger}_{joint}" for joint in joints)) for finger, joints in _FINGERS.items()]

NAMES: dict[str, tuple[str, ...]] = {
    "coco": _COCO,
    "hand": ("wrist", *(name for chain in _CHAINS for name in chain[1:])),
}
"""`coco`: the 17 of COCO's persons; `hand`: the 21 of MediaPipe's and Ultralytics' hands."""

SKELETONS: dict[str, tuple[Link, ...]] = {
    "coco": tuple((_COCO[one - 1], _COCO[other - 1]) for one, other in _COCO_LINKS),
    "hand": tuple(pair for chain in _CHAINS for pair in itertools.pairwise(chain)),
}
"""Of each set, what lines are drawn between."""
