"""What a request may change."""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    Tag,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from app.vision.tasks import Box, Coordinates, EmbeddingFormat, MapSize, MaskWish, Options
from app.vision.tiling import LARGEST_SIDE, LEAST_SIDE, Tiles, TilesWish

Share = Annotated[float, Field(ge=0, le=1)]

MOST_CLASSES = 1000


def read_classes(value: Any) -> Any:
    """Names and numbers of classes as a tuple of text: of text with commas between, a list, or one number.

    What is none of these is given back as it is, for `pydantic` to refuse; nothing at all is refused here.
    """
    if isinstance(value, str):
        items: list[Any] = [part.strip() for part in value.split(",") if part.strip()]
    else:
        items = list(value) if isinstance(value, (list, tuple)) else [value]
    if not items:
        raise PydanticCustomError("classes_empty", "name at least one class, or leave the option out")
    return tuple(str(item) if isinstance(item, int) and not isinstance(item, bool) else item for item in items)


_CLASSES_SCHEMA = {
    "anyOf": [
        {"type": "string", "minLength": 1},
        {
            "type": "array",
            "items": {"anyOf": [{"type": "string", "maxLength": 256}, {"type": "integer", "minimum": 0}]},
            "minItems": 1,
            "maxItems": MOST_CLASSES,
        },
    ]
}
Classes = Annotated[
    tuple[Annotated[str, Field(max_length=256)], ...],
    Field(max_length=MOST_CLASSES),
    BeforeValidator(read_classes),
    WithJsonSchema(_CLASSES_SCHEMA),
]


def read_region(value: Any) -> Any:
    """Four numbers of text with commas between; a list is left as it is."""
    found = tuple(value.split(",")) if isinstance(value, str) else value
    if not isinstance(found, (list, tuple)) or len(found) != 4:
        raise PydanticCustomError("region_form", "is four numbers with commas between: x,y,width,height")
    return found


def _check_region(region: Box) -> Box:
    if region[2] <= 0 or region[3] <= 0:
        raise PydanticCustomError("region_empty", "width and height, the last two of its four numbers, must be above 0")
    return region


_Number = Annotated[float, Field(allow_inf_nan=False)]
_REGION_SCHEMA = {
    "anyOf": [
        {"type": "string", "pattern": r"^[^,]+,[^,]+,[^,]+,[^,]+$"},
        {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4},
    ]
}
RegionOption = Annotated[
    tuple[_Number, _Number, _Number, _Number],
    BeforeValidator(read_region),
    AfterValidator(_check_region),
    WithJsonSchema(_REGION_SCHEMA),
]


def read_tiles(value: Any) -> Any:
    """`size`, or `size,overlap`, or `size,overlap,whole_too`; what is none of these is for `pydantic` to refuse."""
    if isinstance(value, int) and not isinstance(value, bool):
        return {"size": value}
    if isinstance(value, str) and value != "none":
        parts = [part.strip() for part in value.split(",")]
        if len(parts) > 3:
            raise PydanticCustomError("tiles_form", "is size, or size,overlap, or size,overlap,whole_too, or none")
        return dict(zip(("size", "overlap", "whole_too"), parts, strict=False))
    return value


def _tiles_text(tiles: TilesWish) -> str:
    """As `read_tiles` reads it."""
    if isinstance(tiles, str):
        return tiles
    return f"{tiles.size},{tiles.overlap},{str(tiles.whole_too).lower()}"


_TILES_SCHEMA = {
    "anyOf": [
        {"type": "integer", "minimum": LEAST_SIDE, "maximum": LARGEST_SIDE},
        {"type": "string", "pattern": r"^(none|[1-9]\d{2,3}(,0\.\d{1,3}(,(true|false))?)?)$"},
        {key: value for key, value in Tiles.model_json_schema().items() if key != "title"},
    ]
}
TilesOption = Annotated[
    Annotated[Tiles, Tag("tiles")] | Annotated[Literal["none"], Tag("none")],
    Discriminator(lambda value: "none" if value == "none" else "tiles"),
    BeforeValidator(read_tiles),
    PlainSerializer(_tiles_text),
    WithJsonSchema(_TILES_SCHEMA),
]


class RequestOptions(BaseModel):
    """What every request may change; what is left out has the model's own value."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    score_threshold: Share | None = Field(None, description="Detections below this score are left out.")
    iou_threshold: Share | None = Field(
        None,
        description="Of boxes of one class that overlap more than this, the best stays. Refused where the model's "
        "graph does that itself.",
    )
    max_detections: int | None = Field(None, ge=1, le=10_000, description="At most so many detections, best first.")
    top_k: int | None = Field(None, ge=1, le=10_000, description="So many classes, best first.")
    read_barcodes: bool | None = Field(None, description="Whether codes on labels are read, where the model can.")
    classes: Classes | None = Field(
        None,
        description="Only these classes, by name or number, with commas between or as a list (names that have a comma "
        "only so). Others leave no place to them: they are left out before `max_detections` and `top_k` count.",
    )
    class_agnostic: bool | None = Field(
        None, description="Whether boxes of different classes suppress each other too, as `iou_threshold` says."
    )
    coordinates: Coordinates | None = Field(
        None,
        description="Of the answer's boxes: `pixels` of the upright picture where left out, or `normalized`: 0 to 1 of "
        "its width and height.",
    )
    masks: MaskWish | None = Field(
        None,
        description="How masks are told, where the model gives some: outlines, COCO's run lengths (compressed as its "
        "tools do it, or as numbers), or a PNG each; with `none` they are not made.",
    )
    normalize: bool | None = Field(
        None, description="Whether an embedding's length becomes 1 (L2); as the model's manifest says where left out."
    )
    embedding_format: EmbeddingFormat | None = Field(
        None,
        description="How an embedding's numbers are told: as JSON, or as little-endian numbers of 32 or 16 bits in "
        "base64.",
    )
    map_size: MapSize | None = Field(
        None, description="How large maps are told: as the model's output is, or as the upright picture."
    )
    region: RegionOption | None = Field(
        None,
        examples=["400,200,640,480"],
        description="Only this part of the picture: x, y, width and height with commas between or as a list, in "
        "`coordinates`. The answer is as if the part had been sent, its boxes and masks in the whole picture's "
        "coordinates. What goes over an edge of the picture ends there.",
    )
    tiles: TilesOption | None = Field(
        None,
        examples=["640,0.2"],
        description="Of a picture that is larger: look at it in square tiles of `size` pixels, each of which shares "
        "`overlap` of its side with the next (0.2 where left out), and with `whole_too` (true where left out) at the "
        "whole picture as well. As `640`, `640,0.2` or `640,0.2,false`, in JSON as an object too; `none` looks at the "
        "whole picture alone. Barcodes are read once.",
    )
    deadline_ms: int | None = Field(
        None, ge=1, le=3_600_000, description="An answer later than this is of no use; it is refused instead."
    )

    def vision_options(self) -> Options:
        """The part that the task reads."""
        return Options(
            score_threshold=self.score_threshold,
            iou_threshold=self.iou_threshold,
            max_detections=self.max_detections,
            top_k=self.top_k,
            read_barcodes=self.read_barcodes,
            classes=self.classes,
            class_agnostic=self.class_agnostic,
            coordinates=self.coordinates,
            masks=self.masks,
            normalize=self.normalize,
            embedding_format=self.embedding_format,
            map_size=self.map_size,
            region=self.region,
            tiles=self.tiles,
        )
