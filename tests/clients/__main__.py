"""`make test-clients`: starts a service, and asks it with each client in that client's own environment."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fixtures.protocol import add_protocol_models, serving_protocol

HERE = Path(__file__).parent
ENVIRONMENTS = Path(".venv-clients")


def main() -> int:
    """Run all clients' tests; the exit status is 1 where any failed."""
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        add_protocol_models(Path(folder))
        with serving_protocol(Path(folder)) as server:
            places = {"CLIENTS_HTTP": f"127.0.0.1:{server.port}", "CLIENTS_GRPC": f"127.0.0.1:{server.grpc_port}"}
            for lock in sorted(HERE.glob("*.lock")):
                python = ENVIRONMENTS / lock.stem / "bin" / "python"
                tests = HERE / f"test_{lock.stem}.py"
                command = [python, "-m", "pytest", "-c", HERE / "pytest.ini", tests]
                environment = {**os.environ, **places, "PYTHONPATH": "."}
                if subprocess.run(command, env=environment, check=False).returncode:
                    failed.append(lock.stem)
    sys.stdout.write(f"Clients that failed: {', '.join(failed)}.\n" if failed else "All clients were answered.\n")
    return len(failed) > 0


if __name__ == "__main__":
    sys.exit(main())
