"""Why ONNX Runtime does not load a file, in words for its owner, and what helps."""

import re
from pathlib import Path

from app.engines import onnx_file
from app.engines.library_errors import first_line

_LFS = b"version https://git-lfs"
_KNOWN = {
    r"Opset (\d+) is under development": r"its opset \1 is newer than this version knows. Export it with a lower "
    "one, such as opset_version=17",
    r"Unsupported model IR version: (\d+)": r"its file format (IR version \1) is newer than this version knows. Save "
    "it with an older version of onnx",
    r"Fatal error: (\S+?)(?:\(-?\d+\))? is not a registered": r"it has the operator \1, which belongs to another "
    "runtime. Export it without that",
    r"Could not find an implementation for (\S+)": r"its operator \1 is not there for its types. Export it in float32",
    r"Cannot parse data from external tensors": "a shape or an axis of it lies in a file beside it, where only weights "
    "may. Save it with onnx.save_model(…, save_as_external_data=True, size_threshold=1024)",
}
"""What is said instead of the library's own words, by what these match."""
_SOURCE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : |Load model from .*? failed: ?|/onnxruntime_src/\S+ ")


def reason(path: Path, error: Exception) -> str:
    """The end of a sentence that says why the file at `path` cannot be loaded, and what helps."""
    with path.open("rb") as file:
        start = file.read(len(_LFS))
    if start == _LFS:
        return "it is the pointer that Git LFS leaves in the place of a file. Fetch the file itself: git lfs pull"
    if not onnx_file.read(path).operators:
        return "it is no ONNX file, or only the beginning of one. Copy or download it again"
    for pattern, words in _KNOWN.items():
        if found := re.search(pattern, str(error)):
            return found.expand(words)
    return f"{_SOURCE.sub('', first_line(error)).rstrip('.')}. Check how it was exported"
