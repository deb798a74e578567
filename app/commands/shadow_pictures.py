"""The pictures about which two versions differ most, drawn side by side: as a page, or as one picture."""

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.commands.output.base import new_file
from app.commands.output.drawn import to_arrays
from app.commands.summary import printable
from app.errors import RequestError, StartupError
from app.vision import drawing, drawn_pair, image
from app.wire.prediction import Prediction

MOST = {".html": 50, ".png": 8, ".jpg": 8}
"""By the file's ending: how many pictures of each pair of versions go in, where nobody says."""
_GAP = 14
_QUALITY = 82
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1560px; margin: 2rem auto; padding: 0 1rem; color: #11141a }
figure { margin: 0 0 2rem } img { width: 100%; display: block } figcaption { color: #555; overflow-wrap: anywhere }
b { color: #11141a } i { display: inline-block; width: .8em; height: .8em; margin: 0 .3em 0 1em }
"""


@dataclass(frozen=True, slots=True)
class _Drawn:
    """What is kept of a picture, and both answers on it."""

    found: dict[str, Any]
    canvas: NDArray[np.uint8]


def write(pairs: Mapping[Path, Sequence[dict[str, Any]]], out: Path, most: int | None) -> list[str]:
    """Write what differs most into a file; returns why pictures were left out.

    `pairs` are what `ROO_SHADOW_DIR` holds, worst first, by the folder of a pair of versions. Raises `StartupError` for
    a file that is no page and no picture, and where nothing can be drawn.
    """
    ending = out.suffix.lower()
    if ending not in MOST:
        raise StartupError(f"--out {out}: name a file that ends in {', '.join(MOST)}.")
    left: list[str] = []
    drawn = [list(_each(folder, found[: most or MOST[ending]], left)) for folder, found in pairs.items()]
    if not any(drawn):
        raise StartupError(f"None of the pictures can be drawn: {left[0]}")
    content = _page(drawn).encode() if ending == ".html" else _sheet(drawn, ending)
    new_file(out).write_bytes(content)
    return left


def _each(folder: Path, found: Sequence[dict[str, Any]], left: list[str]) -> Iterator[_Drawn]:
    for each in found:
        path = folder / Path(each["picture"]).name
        try:
            content = path.read_bytes()
            header = image.read_header(content)
            picture = image.decode(content, header, drawn_pair.side_size(header.upright))
            first, second = (to_arrays(Prediction.model_validate(each[side])) for side in ("sent", "candidate"))
        except (OSError, RequestError) as error:
            left.append(f"{path}: {error}")
            continue
        titles = (
            f"version {each['sent_version']}, sent",
            f"version {each['candidate_version']}, candidate: {_said(each)}",
        )
        yield _Drawn(each, drawn_pair.draw_pair(picture, first, second, titles))


def _said(found: dict[str, Any]) -> str:
    counts = (f"{found[kind]} {kind}" for kind in ("lost", "gained", "changed") if found[kind])
    return ", ".join([f"{found['agreement']:.0%} alike", *counts])


def _page(pairs: Sequence[Sequence[_Drawn]]) -> str:
    parts = [f"<!doctype html><meta charset=utf-8><title>Versions that differ</title><style>{_STYLE}</style>"]
    legend = "".join(f'<i style="background: rgb{colour}"></i>{words}' for colour, words in drawn_pair.LEGEND.items())
    for drawn in filter(None, pairs):
        found = drawn[0].found
        title = f"{found['model']}: version {found['sent_version']} sent, version {found['candidate_version']} compared"
        parts += [f"<h1>{escape(title)}</h1>", f"<p>{legend}</p>", *map(_figure, drawn)]
    return "\n".join(parts)


def _figure(drawn: _Drawn) -> str:
    found = drawn.found
    picture = b64encode(drawing.encode(drawn.canvas, "image/jpeg", _QUALITY)).decode()
    told = f"{_said(found)}; scores of what is alike differ by up to {found['largest_shift']:.2f}"
    request = escape(printable(f"request {found['request_id']}"))
    caption = f"<figcaption><b>{escape(told)}</b> · {request} · {escape(found['picture'])}</figcaption>"
    return f'<figure><img alt="{request}" src="data:image/jpeg;base64,{picture}">{caption}</figure>'


def _sheet(pairs: Sequence[Sequence[_Drawn]], ending: str) -> bytes:
    canvases = [drawn.canvas for each in pairs for drawn in each]
    width = max(canvas.shape[1] for canvas in canvases)
    canvases.insert(0, drawn_pair.draw_legend(width))
    sheet = np.full((sum(canvas.shape[0] + _GAP for canvas in canvases) - _GAP, width, 3), 255, np.uint8)
    top = 0
    for canvas in canvases:
        sheet[top : top + canvas.shape[0], : canvas.shape[1]] = canvas
        top += canvas.shape[0] + _GAP
    try:
        return drawing.encode(sheet, "image/png" if ending == ".png" else "image/jpeg", _QUALITY)
    except ValueError as error:
        raise StartupError(f"{error}; take fewer with --most, or write a page (.html).") from None
