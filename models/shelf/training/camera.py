"""Pinhole camera. World axes: x along the rack, y up, z into the rack; metres. Image axes: pixels, y down."""

from dataclasses import dataclass

import numpy as np

from models.shelf.training.arrays import F64

NEAR = 0.12


@dataclass(frozen=True, slots=True)
class Camera:
    """A pose and a focal length.

    `rotation` is float64 [3, 3] from world to camera axes (x right, y down, z forward), `position` float64 [3] in
    metres, `focal` in pixels, `width` and `height` in pixels.
    """

    position: F64
    rotation: F64
    focal: float
    width: int
    height: int

    def project(self, points: F64) -> tuple[F64, F64]:
        """World points [N, 3] to pixels [N, 2] and depths [N] in metres (may be negative behind the camera)."""
        local = (points - self.position) @ self.rotation.T
        depth = local[:, 2]
        safe = np.where(np.abs(depth) < 1e-6, 1e-6, depth)
        pixels = local[:, :2] / safe[:, None] * self.focal + (self.width / 2, self.height / 2)
        return pixels, depth

    def rays(self, step: int = 1) -> F64:
        """World directions [ceil(H/step), ceil(W/step), 3] through the pixel centres, with camera depth 1."""
        x = (np.arange(0, self.width, step) + 0.5 * step - self.width / 2) / self.focal
        y = (np.arange(0, self.height, step) + 0.5 * step - self.height / 2) / self.focal
        grid_x, grid_y = np.meshgrid(x, y)
        return np.stack([grid_x, grid_y, np.ones_like(grid_x)], -1) @ self.rotation


def look(
    position: tuple[float, float, float], yaw: float, pitch: float, roll: float, hfov: float, size: tuple[int, int]
) -> Camera:
    """A camera at `position`, turned by yaw (to the right), pitch (up) and roll, all angles in degrees."""
    yaw, pitch, roll = np.radians([yaw, pitch, roll])
    base = np.array([[1.0, 0, 0], [0, -1, 0], [0, 0, 1]])
    turn = np.array([[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]])
    tilt = np.array([[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]])
    lean = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    focal = size[0] / 2 / np.tan(np.radians(hfov) / 2)
    return Camera(np.array(position, float), lean @ tilt @ base @ turn, float(focal), *size)


def random_camera(rng: np.random.Generator, size: tuple[int, int], span: tuple[float, float], top: float) -> Camera:
    """A robot's view of a rack that covers `span` in x and is `top` metres high.

    Oblique views are less common; one in four is as close as one goes to read a label.
    """
    close = rng.random() < 0.25
    nearest, farthest = (0.6, 1.2) if close else (1.0, 3.0)
    distance = float(np.exp(rng.uniform(np.log(nearest), np.log(farthest))))
    yaw = float(np.clip(rng.normal(0, 13), -38, 38))
    height = float(rng.uniform(0.35, min(top, 3.4)))
    target = rng.uniform(span[0], span[1])
    x = target - distance * np.tan(np.radians(yaw))
    pitch = float(rng.normal(0, 6) + (4 if height < 0.8 else -4 if height > 2.4 else 0))
    roll = float(np.clip(rng.normal(0, 1.6), -5, 5))
    hfov = float(rng.uniform(48, 82))
    return look((float(x), height, -distance), yaw, pitch, roll, hfov, size)
