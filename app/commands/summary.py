"""An answer in a few words."""

import re
from collections import Counter
from collections.abc import Iterator
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
        found = f"{len(prediction['lines'])} lines of text" if prediction["lines"] else "nothing found"
        return "; ".join([found, *_steps(prediction)])
    if (read := prediction.get("text")) is not None:
        return f"{printable(read['text'])} {read['score']:.2f}" if read["text"] else "nothing found"
    counts = Counter(item["label"] for item in prediction.get("detections") or [])
    texts = [printable(text) for text in (prediction.get("inventory") or {}).get("texts", [])]
    found = ", ".join([f"{count} {label}" for label, count in sorted(counts.items())] + texts) or "nothing found"
    return "; ".join([found, *_steps(prediction)])


def _steps(prediction: dict[str, Any]) -> Iterator[str]:
    """Of a chain: what each step said of crops, and how many it did not ask about, or failed on."""
    said: dict[str, Counter[str]] = {}
    _count(prediction, said)
    for step in prediction.get("chain") or []:
        crops = step["crops"]
        if crops is None or not crops["found"]:
            continue
        counts = said.get(step["name"], Counter())
        words = [f"{counts[label]} {label}" if counts[label] > 1 else label for label in counts]
        if crops["failed"]:
            words.append(f"{crops['failed']} failed")
        if crops["asked"] < crops["found"]:
            words.append(f"{crops['found'] - crops['asked']} not asked about")
        yield f"{step['name']}: {', '.join(words) or 'nothing found'}"


def _count(answer: dict[str, Any], said: dict[str, Counter[str]]) -> None:
    """How often each step said what, of everything that was found in a picture or crop."""
    for item in [*(answer.get("detections") or []), *(answer.get("lines") or [])]:
        for name, crop in (item.get("steps") or {}).items():
            said.setdefault(name, Counter()).update(_words(crop))
            _count(crop, said)


def _words(crop: dict[str, Any]) -> list[str]:
    if (read := crop.get("text")) is not None:
        return [printable(read["text"])] if read["text"] else []
    found = crop.get("detections") or (crop.get("classes") or [])[:1]
    return [printable(one["label"]) for one in found] or ["line of text"] * len(crop.get("lines") or [])


def printable(text: str) -> str:
    """What a code or a file's name says may steer a terminal: separators and the like are shown by their numbers."""
    return "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in text_of(text))


def text_of(path: str) -> str:
    """A path as a text: bytes of it that are none are shown by their numbers, `\\xff`."""
    return _NO_TEXT.sub(lambda found: f"\\x{ord(found[0]) - 0xDC00:02x}", path)
