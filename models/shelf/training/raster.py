"""A z-buffer rasteriser for textured quads, with an owner map that is the scene's ground truth.

Inverse depth is affine in screen space, so each quad is one homography, one polygon fill and one plane comparison.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from models.shelf.training.arrays import F32, F64, I32, U8, Painter
from models.shelf.training.camera import NEAR, Camera

DECAL_BIAS = 1.004
DECAL_DETAIL = 1.6
MAX_TEXTURE = 1400


@dataclass(frozen=True, slots=True)
class Face:
    """A textured quad: corners float64 [4, 3] in metres, from the texture's top left clockwise as seen from outside.

    `front` marks the front of its owner, by which its visible share is judged.
    """

    corners: F64
    paint: Painter
    owner: int = 0
    shade: float = 1.0
    front: bool = False


@dataclass(slots=True)
class Canvas:
    """What has been drawn: RGB uint8 [H, W, 3], inverse depth float32 [H, W], ids int32 [H, W], 0 for none.

    `owner` is whose pixel it is, `front` the same on fronts only, `label` the label that is stuck there.
    """

    camera: Camera
    image: U8
    inverse_depth: F32 = field(init=False)
    owner: I32 = field(init=False)
    front: I32 = field(init=False)
    label: I32 = field(init=False)

    def __post_init__(self) -> None:
        shape = self.image.shape[:2]
        self.inverse_depth = np.zeros(shape, np.float32)
        self.owner = np.zeros(shape, np.int32)
        self.front = np.zeros(shape, np.int32)
        self.label = np.zeros(shape, np.int32)

    def solid(self, face: Face) -> None:
        """Draws an opaque face where it is nearer than what is there."""
        patch = _warp(self.camera, face, 1.0)
        if patch is None:
            return
        area, pixels, _, inside, plane = patch
        nearer = inside & (plane > self.inverse_depth[area])
        self.image[area][nearer] = pixels[nearer]
        self.inverse_depth[area][nearer] = plane[nearer]
        self.owner[area][nearer] = face.owner
        self.front[area][nearer] = face.owner if face.front else 0

    def decal(self, face: Face) -> None:
        """Draws something stuck on a surface; with an owner it goes to the label map, the surface keeps its own."""
        patch = _warp(self.camera, face, DECAL_DETAIL)
        if patch is None:
            return
        area, pixels, opacity, inside, plane = patch
        shown = inside & (plane * DECAL_BIAS > self.inverse_depth[area])
        if opacity is None:
            self.image[area][shown] = pixels[shown]
        else:
            weight = opacity[shown][:, None].astype(np.float32) / 255
            below = self.image[area][shown]
            self.image[area][shown] = (below + (pixels[shown].astype(np.float32) - below) * weight).astype(np.uint8)
        if face.owner:
            self.label[area][shown] = face.owner


_Patch = tuple[tuple[slice, slice], U8, U8 | None, NDArray[np.bool_], F32]


def _warp(camera: Camera, face: Face, detail: float) -> _Patch | None:
    quad, depth = camera.project(face.corners)
    if depth.min() < NEAR:
        return None
    (ax, ay), (bx, by) = quad[2] - quad[0], quad[3] - quad[1]
    if ax * by - ay * bx <= 1.0:
        return None  # seen from behind, or edge on
    x0, y0 = np.maximum(np.floor(quad.min(0)).astype(int), 0)
    x1, y1 = np.minimum(np.ceil(quad.max(0)).astype(int) + 1, (camera.width, camera.height))
    if x1 <= x0 or y1 <= y0:
        return None
    length = np.sqrt(((quad - quad[[3, 0, 1, 2]]) ** 2).sum(1))
    width = int(np.clip(detail * max(length[1], length[3]), 4, MAX_TEXTURE))
    height = int(np.clip(detail * max(length[0], length[2]), 4, MAX_TEXTURE))
    texture = face.paint(width, height)
    height, width = texture.shape[:2]
    local = (quad - (x0, y0)).astype(np.float32)
    source = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32) - 0.5
    pixels = cv2.warpPerspective(
        texture,
        cv2.getPerspectiveTransform(source, local - 0.5),
        (int(x1 - x0), int(y1 - y0)),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    inside = np.zeros(pixels.shape[:2], np.uint8)
    cv2.fillConvexPoly(inside, np.round((local - 0.5) * 16).astype(np.int32), 1, shift=4)
    opacity = np.asarray(pixels[..., 3], np.uint8) if pixels.shape[2] == 4 else None
    shaded = np.asarray(cv2.convertScaleAbs(pixels[..., :3], alpha=face.shade), np.uint8)
    area = slice(int(y0), int(y1)), slice(int(x0), int(x1))
    return area, shaded, opacity, inside.astype(bool), _inverse_depth(local, depth, inside.shape)


def _inverse_depth(quad: F32, depth: F64, shape: tuple[int, ...]) -> F32:
    system = np.concatenate([quad, np.ones((4, 1))], 1)
    a, b, c = np.linalg.lstsq(system, 1 / depth, rcond=None)[0]
    columns = (np.arange(shape[1]) + 0.5) * a + c
    rows = (np.arange(shape[0]) + 0.5) * b
    plane: F32 = (rows[:, None] + columns).astype(np.float32)
    return plane
