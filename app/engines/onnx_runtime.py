"""ONNX Runtime, imported: its usage reports are switched off before, and where it is missing one line says so."""

from app.engines.library_errors import missing
from app.host.process import silence_engine_telemetry

silence_engine_telemetry()

try:
    import onnxruntime as ort
except (ImportError, OSError) as error:
    raise missing("ONNX Runtime", "cpu", error, ", or 'roo-vision[cuda]' where there is a GPU") from error

__all__ = ["ort"]
