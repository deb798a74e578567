"""The project's own measurements: the service beside others, what telemetry costs, the queue under chaos.

Nothing in `app` imports this, and it is not installed; run it from the repository: `python -m benchmarks.comparison`.
"""
