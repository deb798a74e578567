"""States of the code that a benchmark sets beside each other: the present one, and an earlier commit's."""

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from app.bench.load import HOST
from app.bench.processes import Child
from app.errors import StartupError
from app.host.process import environment_with, usable_cores

HERE = Path(__file__).resolve().parents[1]
_MEMORY = "from app.settings import Settings; print(Settings().memory({lanes}))"


@dataclass(frozen=True, slots=True)
class State:
    """A state of the code: its name, and the folder where its tree lies."""

    name: str
    tree: Path

    def memory_bound_mb(self) -> float:
        """What its settings say may come together, in MB (10^6 bytes)."""
        command = [sys.executable, "-c", _MEMORY.format(lanes=usable_cores())]
        told = subprocess.run(command, cwd=self.tree, capture_output=True, text=True, check=True)
        return int(told.stdout) / 1e6

    def models(self, models_dir: Path) -> Path:
        """`models_dir`; of the bundled one its own, for a manifest may say what an earlier state does not know."""
        return self.tree / "models" if models_dir.resolve() == HERE / "models" else models_dir.absolute()

    @contextlib.contextmanager
    def serving(self, models_dir: Path, folder: Path, **settings: str) -> Iterator[tuple[Child, int]]:
        """Its service on a free port, with the settings as shipped but these; and the port."""
        variables = {f"ROO_{name.upper()}": value for name, value in settings.items()}
        models = str(self.models(models_dir))
        environment = environment_with(ROO_PORT="0", ROO_HOST=HOST, ROO_MODELS_DIR=models, **variables)
        with Child("service", ["app", "serve"], folder, environment=environment, cwd=self.tree) as child:
            port, _ = child.wait_until_ready("/readyz")
            yield child, port


NOW = State("now", HERE)


@contextlib.contextmanager
def state_before(commit: str) -> Iterator[State]:
    """A commit's tree in a folder of its own; raises `StartupError` where the repository does not have it."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        tree.mkdir()
        archive = subprocess.Popen(["git", "archive", commit], stdout=subprocess.PIPE)
        unpacked = subprocess.run(["tar", "-x", "-C", str(tree)], stdin=archive.stdout, check=False)
        if archive.wait() or unpacked.returncode:
            raise StartupError(f"git has no commit {commit} here; name another with --before, or none with --before ''")
        yield State(commit, tree)
