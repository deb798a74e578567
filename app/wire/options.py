"""What a request may change."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.vision.tasks import Options

Share = Annotated[float, Field(ge=0, le=1)]


class RequestOptions(BaseModel):
    """What every request may change; what is left out has the model's own value."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    score_threshold: Share | None = Field(None, description="Detections below this score are left out.")
    iou_threshold: Share | None = Field(None, description="Boxes of one class that overlap more than this are merged.")
    max_detections: int | None = Field(None, ge=1, le=10_000, description="At most so many detections, best first.")
    top_k: int | None = Field(None, ge=1, le=10_000, description="So many classes, best first.")
    read_barcodes: bool | None = Field(None, description="Whether codes on labels are read, where the model can.")
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
        )
