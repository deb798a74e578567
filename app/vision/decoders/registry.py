"""Which decoder a manifest names."""

from app.vision.decoders.base import Decoder
from app.vision.decoders.boxes import BoxesScores, BoxesScoresIndices, BoxesScoresLabels
from app.vision.decoders.grids import FastestDet, Gfl, Yolox
from app.vision.decoders.plugin import PluginDecoder
from app.vision.decoders.tables import EndToEnd, Yolo, YoloObjectness

_DECODERS: dict[str, Decoder] = {
    "boxes_scores": BoxesScores(),
    "boxes_scores_indices": BoxesScoresIndices(),
    "boxes_scores_labels": BoxesScoresLabels(),
    "end_to_end": EndToEnd(),
    "fastestdet": FastestDet(),
    "gfl": Gfl(),
    "yolo": Yolo(),
    "yolo_objectness": YoloObjectness(),
    "yolox": Yolox(),
}


def decoder_for(name: str) -> Decoder:
    """The decoder of that name, or the function `package.module:function`; raises `InvalidManifest` where it is not
    there.
    """
    return PluginDecoder(name) if ":" in name else _DECODERS[name]
