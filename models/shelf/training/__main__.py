"""Command line: python -m models.shelf.training --help."""

import sys
from importlib.util import find_spec

LIBRARIES = ("torch", "matplotlib", "mlflow", "onnx", "pycocotools")

if __name__ == "__main__":
    missing = [name for name in LIBRARIES if find_spec(name) is None]
    if missing:
        sys.exit(f"Training needs {', '.join(missing)}: pip install 'roo-vision[train]', or run it by `make train`.")
    from models.shelf.training.command_line import main

    main()
