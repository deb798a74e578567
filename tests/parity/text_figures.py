"""`python -m tests.parity.text_figures`: all pages and labels, for the figures in docs/models.md."""

import tempfile
from itertools import islice
from pathlib import Path

from rich.console import Console

from tests.parity.text_pictures import labels, page
from tests.parity.text_reading import Figures, Reader, rapid, theirs

console = Console()

PAGES, LABELS = 40, 50


def main() -> None:
    """Say how 200 lines on pages and 50 labels are read by both."""
    engine = rapid()
    with tempfile.TemporaryDirectory() as folder:
        reader = Reader(Path(folder))
        for name, pictures in (("pages", map(page, range(PAGES))), ("labels", islice(labels(), LABELS))):
            figures = Figures()
            for picture in pictures:
                figures.add(reader.read(picture), theirs(engine, picture))
            told = [
                f"{name}: {figures}",
                *(f"  ours {ours!r}, theirs {other!r}" for ours, other in figures.differences),
            ]
            console.print("\n".join(told), markup=False, highlight=False, soft_wrap=True)
        reader.close()


if __name__ == "__main__":
    main()
