"""Class names in a text file, one a line: a line's number is the class's."""

from pathlib import Path


def read_names(path: Path) -> tuple[str, ...]:
    """The names in a file, without the spaces around them.

    Raises `ValueError` where there are none, or a line between them is blank (which number the next name has could be
    meant in two ways), `OSError` where the file cannot be read, and `UnicodeDecodeError` where it is not UTF-8.
    """
    return checked_names(path.read_text("utf-8-sig").split("\n"))


def read_characters(path: Path) -> tuple[str, ...]:
    """The characters of a dictionary, one a line as it stands: a space of any kind is one.

    Raises `ValueError` where there are none or a line is empty, and the others of `read_names`.
    """
    lines = path.read_text("utf-8-sig").replace("\r\n", "\n").removesuffix("\n").split("\n")
    empty = [str(number) for number, line in enumerate(lines, 1) if not line]
    if empty:
        raise ValueError(f"line {empty[0]} of it is empty; it needs one character a line, the model's, in its order")
    return tuple(lines)


def checked_names(lines: list[str]) -> tuple[str, ...]:
    """These names, blank ones at the end left out; raises `ValueError` as `read_names` does."""
    names = [line.strip() for line in lines]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise ValueError("it is empty; it needs one class name a line")
    blank = [str(number) for number, name in enumerate(names, 1) if not name]
    if blank:
        raise ValueError(
            f"{'line' if len(blank) == 1 else 'lines'} {', '.join(blank[:10])}{' …' if blank[10:] else ''} of it "
            f"{'is' if len(blank) == 1 else 'are'} blank, which leaves open what the names below are numbered: give "
            "classes without a name one, such as `unused`, or remove the lines if they do not count"
        )
    return tuple(names)
