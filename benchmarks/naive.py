"""What people write first: a FastAPI endpoint that decodes with Pillow and calls the session.

It stands in fairly for that first version:

- a plain `def` endpoint, as most examples have it, which FastAPI runs in its pool of threads; an `async def` one would
  hold up the event loop during every inference and be slower still;
- Pillow decodes the whole picture, Pillow resizes it, numpy normalises it, all as the manifest says;
- one ONNX Runtime session as the library makes it by default, with a thread a core inside each call, and no batching.

Where there is a choice it gets the faster one: the raw body instead of multipart, uvicorn with uvloop and httptools, no
access log, and the service's own postprocessing, so that no difference comes from there. What is compared is decoding,
threading and batching.

`python -m benchmarks.naive MODELS_DIR MODEL DEVICE` serves on a free port of the loopback interface.
"""

import io
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import uvicorn
from fastapi import Body, FastAPI
from numpy.typing import NDArray
from PIL import Image, ImageOps

from app.bench.load import HOST
from app.host.process import silence_engine_telemetry
from app.loading.serving import choose_device
from app.repository import repository
from app.repository.repository import ModelEntry
from app.vision import preprocessing
from app.vision.image import Size
from app.vision.preprocessing import InputSpec, Placement
from app.vision.tasks import Options

READY_PATH = "/health"
PREDICT_PATH = "/predict"


def create_app(entry: ModelEntry, device: str) -> FastAPI:
    """The endpoint for the newest version of one model."""
    silence_engine_telemetry()
    import onnxruntime as ort

    cuda = choose_device(device).kind == "cuda"
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"] if cuda else ["CPUExecutionProvider"]
    session = ort.InferenceSession(list(entry.versions.values())[-1], providers=providers)
    task = entry.manifest.build_task(entry.labels)
    input_name = session.get_inputs()[0].name
    names = [node.name for node in session.get_outputs()]
    spec = entry.manifest.input
    assert spec is not None
    app = FastAPI()

    @app.get(READY_PATH)
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post(PREDICT_PATH)
    def predict(picture: Annotated[bytes, Body(media_type="image/jpeg")]) -> dict[str, Any]:
        row, placement = prepare(picture, spec)
        outputs = session.run(None, {input_name: row[None]})
        found = task.finish({name: value[0] for name, value in zip(names, outputs, strict=True)}, placement, Options())
        answer = {"labels": found.labels, "scores": found.scores.tolist()}
        return answer | {"boxes": found.boxes.tolist()} if hasattr(found, "boxes") else answer

    return app


def prepare(picture: bytes, spec: InputSpec) -> tuple[NDArray[Any], Placement]:
    """Decode, resize and normalise with Pillow and numpy.

    Returns one row, of `spec.shape` and `spec.numpy_dtype`, and where the picture lies in it.
    """
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(picture))).convert("RGB")
    size = Size(*image.size)
    target = preprocessing.target_size(size, spec)
    left, top = (spec.size.width - target.width) // 2, (spec.size.height - target.height) // 2
    if spec.align == "top_left" and spec.resize == "letterbox":
        left, top = 0, 0
    pad = spec.pad if isinstance(spec.pad, tuple) else (spec.pad,) * 3
    canvas = Image.new("RGB", (spec.size.width, spec.size.height), pad)
    canvas.paste(image.resize((target.width, target.height), Image.Resampling.BILINEAR), (left, top))
    pixels = np.asarray(canvas)
    if spec.channels == "bgr":
        pixels = pixels[..., ::-1]
    row: NDArray[Any] = pixels
    if spec.dtype != "uint8":
        row = (pixels.astype(np.float32) * spec.scale - np.array(spec.mean, np.float32)) / np.array(
            spec.std, np.float32
        )
    if spec.layout == "nchw":
        row = row.transpose(2, 0, 1)
    placement = Placement(target.width / size.width, target.height / size.height, left, top, size, spec.size)
    return np.ascontiguousarray(row, spec.numpy_dtype), placement


def main(models_dir: str, name: str, device: str) -> None:
    """Serve until SIGTERM."""
    entry = repository.read_entry(Path(models_dir) / name)
    uvicorn.run(create_app(entry, device), host=HOST, port=0, log_level="warning")


if __name__ == "__main__":
    main(*sys.argv[1:])
