"""What the images leave out: pictures are read as before without it, and what the service imports is compiled."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from app.errors import InvalidImage, UnsupportedImage
from app.vision.image import decode, read_header
from tests.deploy.places import ROOT, image_script
from tests.fixtures.pictures import solid

THIN = image_script("thin")
SITE = Path(cv2.__file__).parents[1]
TOOLS = ("as", "ld", "nm", "objdump", "strip")

needs_binutils = pytest.mark.skipif(
    not all(map(shutil.which, TOOLS)) or not (SITE / THIN.OPENCV_LIBRARIES).is_dir(),
    reason="no binutils, or OpenCV is not the wheel for Linux: what the images leave out of it was NOT checked",
)


@pytest.fixture(scope="module")
def thinned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with OpenCV in it as the images have it."""
    site = tmp_path_factory.mktemp("site")
    for name in ("cv2", THIN.OPENCV_LIBRARIES):
        shutil.copytree(SITE / name, site / name, ignore=shutil.ignore_patterns("__pycache__"))
    THIN.hollow_out(site / THIN.OPENCV, site / THIN.OPENCV_LIBRARIES, THIN.OPENCV_KEEPS)
    return site


def run(site: Path, code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run code with the OpenCV of that folder, every function that it wants looked for at once."""
    environment = {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{ROOT}", "LD_BIND_NOW": "1"}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


DIGESTS = """
import hashlib, sys
from pathlib import Path
import cv2
from app.errors import InvalidImage, UnsupportedImage
from app.vision.image import decode, read_header
print(cv2.__file__)
for path in sys.argv[1:]:
    data = Path(path).read_bytes()
    try:
        print(hashlib.sha256(decode(data, read_header(data)).pixels.tobytes()).hexdigest())
    except (InvalidImage, UnsupportedImage) as error:
        print(type(error).__name__)
"""


def _digest(data: bytes) -> str:
    try:
        return hashlib.sha256(decode(data, read_header(data)).pixels.tobytes()).hexdigest()
    except (InvalidImage, UnsupportedImage) as error:
        return type(error).__name__


def _pictures() -> dict[str, bytes]:
    """Of each format; cut short; and such that begin as a picture does, and as an AVIF file does at the same time."""
    noise = np.random.default_rng(7).integers(0, 255, (333, 477, 3), np.uint8)
    written = {kind: cv2.imencode(f".{kind}", noise)[1].tobytes() for kind in ("jpg", "png", "webp")}
    avif = b"ftypavif\x00\x00\x00\x00avifmif1miafMA1B"
    return {
        **written,
        **{f"short.{kind}": data[: len(data) // 2] for kind, data in written.items()},
        "grey.png": solid((9, 9, 9), kind="PNG"),
        "tiff": solid((1, 2, 3), kind="TIFF"),
        "avif": b"\x00\x00\x00\x20" + avif + bytes(500),
        "jpeg-avif": b"\xff\xd8\xff\xe0" + avif + written["jpg"],
        "webp-avif": b"RIFFftypWEBP" + written["webp"][12:],
    }


@needs_binutils
def test_pictures_are_read_as_before(thinned: Path, tmp_path: Path) -> None:
    pictures = _pictures()
    for name, data in pictures.items():
        (tmp_path / name).write_bytes(data)
    done = run(thinned, DIGESTS, *(str(tmp_path / name) for name in pictures))
    assert done.returncode == 0, done.stderr
    module, *said = done.stdout.splitlines()
    assert Path(module).is_relative_to(thinned)
    assert dict(zip(pictures, said, strict=True)) == {name: _digest(data) for name, data in pictures.items()}
    assert {len(said[0]), len(said[1]), len(said[2])} == {64}


@needs_binutils
def test_most_of_what_came_with_it_is_gone(thinned: Path) -> None:
    def size(site: Path) -> int:
        return sum(path.stat().st_size for path in (site / THIN.OPENCV_LIBRARIES).iterdir())

    assert size(thinned) < size(SITE) / 10
    names = " ".join(path.name for path in (thinned / THIN.OPENCV_LIBRARIES).iterdir())
    assert not any(library in names for library in ("libcrypto", "libssl", "libvpx"))


@needs_binutils
@pytest.mark.parametrize(
    "call", ["cv2.solve(np.eye(200), np.ones((200, 1)))", "cv2.gemm(np.eye(300), np.eye(300), 1, None, 0)"]
)
def test_a_call_of_what_is_not_there_ends_the_process_and_makes_nothing_up(thinned: Path, call: str) -> None:
    code = f"import cv2, numpy as np; print('loaded', flush=True); {call}; print('went on')"
    assert run(SITE, code).returncode == 0
    done = run(thinned, code)
    assert done.returncode == -signal.SIGILL
    assert done.stdout == "loaded\n"


@needs_binutils
def test_another_make_of_opencv_is_looked_at_by_somebody_first(thinned: Path) -> None:
    with pytest.raises(SystemExit, match="does not hold each of"):
        THIN.hollow_out(thinned / THIN.OPENCV, thinned / THIN.OPENCV_LIBRARIES, ("libpng16", "libheif"))


@needs_binutils
def test_what_was_changed_after_linking_is_not_stripped(tmp_path: Path) -> None:
    """OpenCV's module names the libraries beside it by a section that strip(1) would cut off; uvloop's does not."""
    for name in ("cv2", "uvloop"):
        shutil.copytree(SITE / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    THIN.strip(tmp_path)
    assert (tmp_path / THIN.OPENCV).read_bytes() == (SITE / THIN.OPENCV).read_bytes()
    (loop,) = (tmp_path / "uvloop").glob("loop.*.so")
    assert loop.stat().st_size < (SITE / "uvloop" / loop.name).stat().st_size / 2
    done = run(tmp_path, "import uvloop; print(uvloop.__file__); uvloop.new_event_loop().close()")
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(tmp_path)


def test_what_is_left_reads_pictures() -> None:
    THIN.check()


MISSED = """
import importlib, pkgutil, sys
sys.path.insert(0, sys.argv[1])
import thin, app
def packages():
    files = ((name.partition(".")[0], getattr(module, "__file__", None) or "") for name, module in sys.modules.items())
    return {name for name, file in files if "site-packages" in file}
for name in (*thin.IMPORTED, *thin.installed(thin.ENGINES)):
    importlib.import_module(name)
compiled = packages()
for module in pkgutil.walk_packages(app.__path__, "app."):
    # The engines, what prepares on a GPU, and the commands that write models, import the libraries of extras.
    extras = ("app.engines", "app.vision.device_preprocessing", "app.commands")
    if not module.name.startswith(("app.bench", "app.__main__", *extras)):
        importlib.import_module(module.name)
print(*sorted(packages() - compiled))
"""


def test_every_package_that_the_service_imports_is_compiled() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MISSED, str(ROOT / ".docker")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [], "add them to IMPORTED in .docker/thin.py: without bytecode every start is slower"
