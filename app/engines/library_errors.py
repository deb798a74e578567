"""Words for libraries and files that cannot be used."""

from app.errors import EngineUnavailable


def first_line(error: BaseException) -> str:
    """The first line of a library's error, which is its meaning; the rest is for its own developers."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def not_installed(engine: str, error: ImportError) -> EngineUnavailable:
    """The error for an engine whose library is missing, or does not load."""
    return EngineUnavailable(
        f"The engine {engine} was asked for, but its library cannot be loaded: {first_line(error)}. "
        f"Install roo-vision[{engine}], or choose another engine (ROO_ENGINE, or `engine:` in model.yaml)."
    )
