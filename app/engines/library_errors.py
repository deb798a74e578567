"""What libraries say when they cannot be loaded or do what they are asked, and how a missing one is installed."""

from app.errors import EngineUnavailable


def first_line(error: BaseException) -> str:
    """The first line of a library's error, which is its meaning; the rest is for its own developers."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def missing(what: str, extra: str, error: BaseException, otherwise: str = "") -> EngineUnavailable:
    """The error where `what`, which needs an extra of this package, cannot be had: one line that names the extra."""
    return EngineUnavailable(
        f"{what} cannot be loaded: {first_line(error)}. pip install 'roo-vision[{extra}]'{otherwise}."
    )


def not_installed(engine: str, error: BaseException) -> EngineUnavailable:
    """The error for an engine whose library is missing, or does not load."""
    return missing(
        f"The engine {engine} was asked for, but its library",
        engine,
        error,
        ", or choose another engine (ROO_ENGINE, or `engine:` in model.yaml)",
    )
