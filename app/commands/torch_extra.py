"""torch and torchvision, imported for the commands that export models; where they are missing one line says so."""

from app.engines.library_errors import missing

try:
    import torch
    import torchvision
except (ImportError, OSError, RuntimeError) as error:  # builds of the two that do not fit each other raise any of these
    raise missing("Exporting a model needs torch and torchvision, which", "torch", error) from error

__all__ = ["torch", "torchvision"]
