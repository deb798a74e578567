"""The manifest's `input:` section."""

import math
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from app.vision.eight_bits import FULL_RANGE, Levels
from app.vision.image import Size

_LARGEST_INPUT = 4096
Triple = tuple[float, float, float]


class InputSpec(BaseModel):
    """The manifest's `input:` section: what a model wants to see.

    A channel's value x of 0 to 255 goes in as (x * scale - mean) / std, with `mean` and `std` in the order of
    `channels`. With `dtype: uint8` pixels go in unchanged, and `scale` is 1. `range` says which values of a picture of
    16 bits are black and white (x = 0 and 255): [0, 4095] for a camera of 12 bits.

    - `letterbox` keeps the aspect and fills the rest with `pad`; `align` puts the picture (YOLOX: top left);
    - `stretch` fills the input whatever the aspect;
    - `center_crop` resizes the shorter side to `resize_to` (by default: to just cover the input) and keeps the middle.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Size
    resize: Literal["letterbox", "stretch", "center_crop"] = "letterbox"
    align: Literal["center", "top_left"] = "center"
    pad: int = Field(default=114, ge=0, le=255)
    resize_to: int | None = Field(default=None, ge=1, le=4 * _LARGEST_INPUT)
    channels: Literal["rgb", "bgr"] = "rgb"
    layout: Literal["nchw", "nhwc"] = "nchw"
    dtype: Literal["float32", "float16", "uint8"] = "float32"
    scale: float = Field(default=1 / 255, gt=0, allow_inf_nan=False)
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)
    interpolation: Literal["linear", "area", "cubic"] = "linear"
    range: Levels = FULL_RANGE

    @model_validator(mode="before")
    @classmethod
    def _scale_of_bytes(cls, section: Any) -> Any:
        if isinstance(section, dict) and section.get("dtype") == "uint8":
            return {"scale": 1.0, **section}
        return section

    @field_validator("size")
    @classmethod
    def _usable_size(cls, size: Size) -> Size:
        if not all(1 <= side <= _LARGEST_INPUT for side in size):
            raise ValueError(f"is [width, height], each 1 to {_LARGEST_INPUT} pixels, not {list(size)}")
        return size

    @field_validator("mean", "std")
    @classmethod
    def _finite(cls, values: Triple) -> Triple:
        if not all(map(math.isfinite, values)):
            raise ValueError(f"must be three finite numbers, not {list(values)}")
        return values

    @field_validator("range")
    @classmethod
    def _rising(cls, levels: Levels) -> Levels:
        low, high = levels
        if not FULL_RANGE[0] <= low < high <= FULL_RANGE[1]:
            raise ValueError(f"is [black, white], rising, each 0 to {FULL_RANGE[1]}, not {list(levels)}")
        return levels

    @model_validator(mode="after")
    def _consistent(self) -> "InputSpec":
        if any(value <= 0 for value in self.std):
            raise ValueError(f"std: must be positive, not {list(self.std)}")
        if self.dtype == "uint8" and (self.scale, self.mean, self.std) != (1.0, (0.0,) * 3, (1.0,) * 3):
            raise ValueError("dtype: uint8 takes pixels unchanged; remove scale, mean and std, or choose float32")
        if self.resize_to is not None and self.resize != "center_crop":
            raise ValueError("resize_to: belongs to resize: center_crop; remove it or change resize")
        if self.resize_to is not None and self.resize_to < max(self.size):
            raise ValueError(f"resize_to: {self.resize_to} is smaller than the crop {list(self.size)}; enlarge it")
        return self

    @property
    def shape(self) -> tuple[int, int, int]:
        """The input's shape without the batch dimension."""
        width, height = self.size
        return (3, height, width) if self.layout == "nchw" else (height, width, 3)

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """The input's dtype."""
        return np.dtype(self.dtype)

    @cached_property
    def table(self) -> NDArray[np.generic]:
        """What each of the 256 values of each of the input's channels becomes: `numpy_dtype` [3, 256]."""
        pixel = np.arange(256, dtype=np.float64)
        mean, std = np.asarray(self.mean)[:, None], np.asarray(self.std)[:, None]
        return np.asarray((pixel * self.scale - mean) / std, self.numpy_dtype)
