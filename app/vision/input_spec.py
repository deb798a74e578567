"""The manifest's `input:` section."""

import math
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from app.vision.eight_bits import FULL_RANGE, Levels
from app.vision.image import Size
from app.vision.varying_size import VaryingSize

LARGEST_INPUT = 4096
"""Pixels of a side."""
_LARGEST_RESIZED = 4 * LARGEST_INPUT
_CHANNELS = {"rgb": 3, "bgr": 3, "grey": 1, "rgba": 4, "bgra": 4}

Grey = Annotated[int | float, Field(ge=0, le=255)]
Constant = Literal["size"] | list[Any] | float
"""What a graph's further input gets for every picture: numbers, or `size`, which is [width, height] of the input."""


class InputSpec(BaseModel):
    """The manifest's `input:` section: what a model wants to see.

    A channel's value x of 0 to 255 goes in as (x * scale - mean) / std, with `mean` and `std` in the order of
    `channels` (one number stands for all of them). With `dtype: uint8` pixels go in unchanged, and `scale` is 1.
    `range` says which values of a picture of 16 bits are black and white (x = 0 and 255): [0, 4095] for a camera of 12
    bits.

    - `letterbox` keeps the aspect and fills the rest with `pad`; `align` puts the picture (YOLOX: top left);
    - `stretch` fills the input whatever the aspect;
    - `fit_height` fills the height and keeps the aspect, as a line of text wants it: the width is rounded up, what is
      left free at the right is filled with `pad`, and what is wider than the input is squeezed into it;
    - `center_crop` keeps the middle of a picture that was resized to `resize_to`: its shorter side (by default such
      that it just covers the input), or both as [width, height] whatever the aspect.

    Sides that are no whole pixels are rounded as `rounding` says, and where a centre crop starts as `crop_rounding`
    does (transformers: `floor`). `reduce: none` decodes and resizes in one step, as a
    family's own code does; `auto` may shrink a picture by powers of two on the way, which is faster and aliases less.
    `antialias` resizes as Pillow does (torchvision, timm, transformers), without it as OpenCV; with `first_pass:
    horizontal` the width always comes first, as in Pillow up to 12 and PyTorch. Resized pixels are whole levels of 255
    unless `round_pixels` is false, as where a family resizes tensors. Boxes go back by what each side was really
    resized by or, with `unscale: ratio`, by the ratio that both were meant to be.

    With `varying` the input is as large as each picture wants it, and `size` the largest that it may be.

    `constants` feeds the graph's other inputs by name, the same for every picture, each without the batch dimension.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Size
    resize: Literal["letterbox", "stretch", "center_crop", "fit_height"] = "letterbox"
    align: Literal["center", "top_left"] = "center"
    pad: Grey | tuple[Grey, ...] = 114
    resize_to: Annotated[int, Field(ge=1, le=_LARGEST_RESIZED)] | Size | None = None
    varying: VaryingSize | None = None
    rounding: Literal["round", "floor"] = "round"
    crop_rounding: Literal["round", "floor"] = "round"
    reduce: Literal["auto", "none"] = "auto"
    antialias: bool = False
    first_pass: Literal["auto", "horizontal"] = "auto"
    round_pixels: bool = True
    unscale: Literal["sides", "ratio"] = "sides"
    channels: Literal["rgb", "bgr", "grey", "rgba", "bgra"] = "rgb"
    layout: Literal["nchw", "nhwc"] = "nchw"
    dtype: Literal["float32", "float16", "uint8"] = "float32"
    scale: float = Field(default=1 / 255, gt=0, allow_inf_nan=False)
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    interpolation: Literal["linear", "area", "cubic"] = "linear"
    range: Levels = FULL_RANGE
    constants: dict[str, Constant] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _scale_of_bytes(cls, section: Any) -> Any:
        if isinstance(section, dict) and section.get("dtype") == "uint8":
            return {"scale": 1.0, **section}
        return section

    @field_validator("size")
    @classmethod
    def _usable_size(cls, size: Size) -> Size:
        if not all(1 <= side <= LARGEST_INPUT for side in size):
            raise ValueError(f"is [width, height], each 1 to {LARGEST_INPUT} pixels, not {list(size)}")
        return size

    @model_validator(mode="before")
    @classmethod
    def _one_for_all(cls, section: Any) -> Any:
        """A single number of `mean` and `std`, or none, stands for every channel."""
        if not isinstance(section, dict):
            return section
        count = _CHANNELS.get(section.get("channels", "rgb"), 3)
        expanded = {}
        for name, neutral in (("mean", 0.0), ("std", 1.0)):
            value = section.get(name, neutral)
            if isinstance(value, int | float):
                expanded[name] = [value] * count
        return {**section, **expanded}

    @field_validator("mean", "std")
    @classmethod
    def _finite(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if not all(map(math.isfinite, values)):
            raise ValueError(f"must be finite numbers, one for each channel, not {list(values)}")
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
        for name in ("mean", "std", "pad"):
            values = getattr(self, name)
            if isinstance(values, tuple) and len(values) != self.channel_count:
                raise ValueError(f"{name}: {self.channels} has {self.channel_count} channels, not {len(values)}")
        if any(value <= 0 for value in self.std):
            raise ValueError(f"std: must be positive, not {list(self.std)}")
        if self.dtype == "uint8" and (self.scale != 1 or any(self.mean) or any(value != 1 for value in self.std)):
            raise ValueError("dtype: uint8 takes pixels unchanged; remove scale, mean and std, or choose float32")
        if self.antialias and self.interpolation == "area":
            raise ValueError("antialias: area looks at all pixels already; choose linear or cubic, or remove antialias")
        if self.first_pass == "horizontal" and not self.antialias:
            raise ValueError("first_pass: horizontal belongs to antialias: true; set it, or remove first_pass")
        if not self.round_pixels and (self.reduce, self.dtype) != ("none", "float32"):
            raise ValueError("round_pixels: false belongs to reduce: none and dtype: float32; set them, or remove it")
        if not self.round_pixels and self.interpolation == "area":
            raise ValueError("round_pixels: false belongs to linear or cubic; choose one, or remove it")
        if self.resize_to is not None and self.resize != "center_crop":
            raise ValueError("resize_to: belongs to resize: center_crop; remove it or change resize")
        if self.crop_rounding != "round" and self.resize != "center_crop":
            raise ValueError("crop_rounding: belongs to resize: center_crop; remove it or change resize")
        self._check_resized()
        self._check_varying()
        self._check_constants()
        return self

    def _check_resized(self) -> None:
        if isinstance(self.resize_to, Size):
            fits = all(side <= to <= _LARGEST_RESIZED for side, to in zip(self.size, self.resize_to, strict=True))
        else:
            fits = self.resize_to is None or self.resize_to >= max(self.size)
        if not fits:
            to = self.resize_to if isinstance(self.resize_to, int) else list(self.resize_to or ())
            raise ValueError(f"resize_to: {to} is smaller than the crop {list(self.size)}; enlarge it")

    def _check_varying(self) -> None:
        if self.varying is None:
            return
        if self.resize not in ("stretch", "fit_height"):
            raise ValueError(f"varying: belongs to resize: stretch or fit_height, not {self.resize}; change one")
        if problem := self.varying.problem(self.size, self.resize):
            raise ValueError(problem)

    def _check_constants(self) -> None:
        for name in self.constants:
            try:
                numbers = self.constant(name).dtype.kind in "if"
            except ValueError:  # lists of different lengths
                numbers = False
            if not numbers:
                raise ValueError(f"constants: {name} must be numbers in lists of equal lengths, or `size`")

    def constant(self, name: str) -> NDArray[Any]:
        """The value of a further input for one picture, without the batch dimension."""
        value = self.constants[name]
        return np.asarray(list(self.size) if value == "size" else value)

    def for_picture(self, upright: Size) -> "InputSpec":
        """The input for a picture of this upright size: itself, but where the size varies."""
        if self.varying is None:
            return self
        size = self.varying.area if self.resize == "stretch" else self.varying.line
        return self._sized(size(upright, self.size))

    def _sized(self, size: Size) -> "InputSpec":
        return self.model_copy(update={"size": size, "varying": None})

    @property
    def channel_count(self) -> int:
        """How many channels the input has."""
        return _CHANNELS[self.channels]

    @property
    def has_alpha(self) -> bool:
        """Whether the last channel is how opaque a pixel is."""
        return self.channel_count == 4

    @property
    def shape(self) -> tuple[int, int, int]:
        """The input's shape without the batch dimension."""
        width, height = self.size
        count = self.channel_count
        return (count, height, width) if self.layout == "nchw" else (height, width, count)

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """The input's dtype."""
        return np.dtype(self.dtype)

    @cached_property
    def factors(self) -> NDArray[np.float64]:
        """A pixel x of channel c goes in as x * factors[c] - offsets[c]: [channels]."""
        return np.broadcast_to(self.scale / np.asarray(self.std), self.channel_count)

    @cached_property
    def offsets(self) -> NDArray[np.float64]:
        """See `factors`: [channels]."""
        return np.broadcast_to(np.asarray(self.mean) / np.asarray(self.std), self.channel_count)

    @cached_property
    def padding(self) -> NDArray[np.generic]:
        """What a letterbox's margins go in as: `numpy_dtype` [channels]."""
        return np.asarray(np.asarray(self.pad) * self.factors - self.offsets, self.numpy_dtype)

    @cached_property
    def table(self) -> NDArray[np.generic]:
        """What each of the 256 values of each of the input's channels becomes: `numpy_dtype` [channels, 256]."""
        pixel = np.arange(256, dtype=np.float64)
        return np.asarray(pixel * self.factors[:, None] - self.offsets[:, None], self.numpy_dtype)
