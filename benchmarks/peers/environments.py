"""An environment for each peer, with what `NAME.txt` pins: made where it is missing, kept as long as that stays.

`python -m benchmarks.peers.environments` prints the interpreter of the one that has a Triton.
"""

import subprocess
import sys
from pathlib import Path

from app.errors import StartupError

HERE = Path(__file__).parent
FOLDER = Path(".venv-peers")
TRITON_PYTHON = "/usr/bin/python3"
"""Triton's Python backend loads the libpython that the system's loader finds, whichever Python else there is."""


def python_with_triton() -> Path:
    """The interpreter of the environment with a Triton, which comes inside of nvidia-pytriton."""
    return python_of("pytriton", TRITON_PYTHON)


def python_of(peer: str, interpreter: str = sys.executable) -> Path:
    """The interpreter of a peer's environment, which is made first where need be, by this or another `interpreter`.

    Raises `StartupError` where its packages cannot be installed.
    """
    wanted = HERE / f"{peer}.txt"
    folder = FOLDER / peer
    stamp, python = folder / "installed.txt", folder / "bin" / "python"
    if not stamp.exists() or stamp.read_text() != wanted.read_text():
        subprocess.run([interpreter, "-m", "venv", "--clear", str(folder)], stdout=sys.stderr, check=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "--requirement", str(wanted)]
        done = subprocess.run(command, stdout=sys.stderr, check=False)
        if done.returncode:
            raise StartupError(f"The packages of {wanted} could not be installed into {folder}; pip says why above.")
        stamp.write_text(wanted.read_text())
    return python.absolute()


if __name__ == "__main__":
    sys.stdout.write(f"{python_with_triton()}\n")
