"""An answer in a few words."""

import re
from collections import Counter
from typing import Any

_NO_TEXT = re.compile("[\udc80-\udcff]")
"""What Python makes of a path's bytes that are no text (PEP 383)."""


def summary(prediction: dict[str, Any]) -> str:
    """What was found, of a prediction as it is on the wire, or what went wrong, of a problem."""
    if "code" in prediction:
        return printable(f"{prediction['code']}: {prediction.get('detail', '')}")
    if prediction.get("classes") is not None:
        return ", ".join(f"{item['label']} {item['score']:.2f}" for item in prediction["classes"])
    if prediction.get("segmentation") is not None:
        parts = [f"{item['label']} {item['share']:.1%}" for item in prediction["segmentation"]["segments"]]
        return ", ".join(parts) or "nothing found"
    if (vector := prediction.get("embedding")) is not None:
        return f"{vector['dimensions']} dimensions{', length 1' if vector['normalized'] else ''}"
    if prediction.get("maps") is not None:
        return ", ".join(
            f"{item['label']} {item['minimum']:.3g} to {item['maximum']:.3g} {item['unit']}"
            for item in prediction["maps"]
        )
    if prediction.get("lines") is not None:
        return f"{len(prediction['lines'])} lines of text" if prediction["lines"] else "nothing found"
    if (read := prediction.get("text")) is not None:
        return f"{printable(read['text'])} {read['score']:.2f}" if read["text"] else "nothing found"
    counts = Counter(item["label"] for item in prediction.get("detections") or [])
    texts = [printable(text) for text in (prediction.get("inventory") or {}).get("texts", [])]
    return ", ".join([f"{count} {label}" for label, count in sorted(counts.items())] + texts) or "nothing found"


def printable(text: str) -> str:
    """What a code or a file's name says may steer a terminal: separators and the like are shown by their numbers."""
    return "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in text_of(text))


def text_of(path: str) -> str:
    """A path as a text: bytes of it that are none are shown by their numbers, `\\xff`."""
    return _NO_TEXT.sub(lambda found: f"\\x{ord(found[0]) - 0xDC00:02x}", path)
