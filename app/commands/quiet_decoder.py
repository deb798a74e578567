"""libjpeg's own lines on the standard error, which name no picture, kept from those that do."""

import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_LIBJPEG = re.compile(
    rb"(Corrupt JPEG data|Premature end of JPEG file|Warning: unknown JFIF|Inconsistent progression|Invalid SOS param)"
)
_STDERR = 2


@contextmanager
def quiet_decoder() -> Iterator[None]:
    """Leave libjpeg's lines out of what C libraries write to the standard error; what Python writes goes there as it
    did. A picture that cannot be decoded is an error of its own.
    """
    sys.stderr.flush()
    there, python = os.dup(_STDERR), sys.stderr
    reading, writing = os.pipe()
    os.dup2(writing, _STDERR)
    os.close(writing)
    sys.stderr = os.fdopen(os.dup(there), "w", buffering=1, encoding=python.encoding, errors=python.errors)
    passing = threading.Thread(target=_pass_on, args=(reading, there), daemon=True)
    passing.start()
    try:
        yield
    finally:
        sys.stderr.close()
        sys.stderr = python
        os.dup2(there, _STDERR)  # the pipe's last end for writing, so that the thread comes to its end
        passing.join()
        os.close(there)


def _pass_on(reading: int, there: int) -> None:
    with os.fdopen(reading, "rb") as lines:
        for line in lines:
            if not _LIBJPEG.match(line):
                os.write(there, line)
