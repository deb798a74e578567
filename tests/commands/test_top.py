"""`roo-vision top`: figures of two readings, and a real service watched."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text

from app.commands.top import Source, Unreadable, parse, pictures, view
from app.settings import Settings
from app.telemetry.readings import Interval, Reading, quantile
from tests.fixtures.pictures import solid
from tests.fixtures.server import Server, serving

KEY = "this-is-the-key-of-a-robot-0123456789"


def reading(at: float, *lines: str) -> Reading:
    return parse("\n".join(["roo_ready 1", *lines, ""]), at)


def top(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "app", "top", *arguments]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=False
    )


def test_rates_are_growth_by_time_also_over_a_restart() -> None:
    first = reading(10, 'roo_requests_total{source="http"} 100', 'roo_requests_total{source="queue"} 7')
    second = reading(20, 'roo_requests_total{source="http"} 150', 'roo_requests_total{source="queue"} 3')
    interval = Interval(second, first)
    assert interval.rate("roo_requests_total", source="http") == 5
    assert interval.rate("roo_requests_total", source="queue") == 0.3
    assert Interval(second).rate("roo_requests_total") is None


def test_quantiles_are_read_from_what_is_new_in_the_buckets() -> None:
    def buckets(low: int, high: int) -> list[str]:
        counts = {"0.1": low, "0.2": high, "+Inf": high}
        return [f'roo_stage_seconds_bucket{{stage="compute",le="{le}"}} {n}' for le, n in counts.items()]

    interval = Interval(reading(2, *buckets(1000, 1010)), reading(1, *buckets(1000, 1000)))
    assert interval.quantile(0.5, "roo_stage_seconds", stage="compute") == pytest.approx(0.15)
    assert interval.quantile(0.5, "roo_stage_seconds", stage="finish") is None


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, 1.0), (0.25, 0.5), (0.9, 2.0)], ids=["a bound", "inside", "above all bounds"]
)
def test_quantiles_of_buckets(share: float, expected: float) -> None:
    assert quantile(share, [(1.0, 2.0), (2.0, 3.0), (math.inf, 4.0)]) == pytest.approx(expected)


def test_what_is_no_metrics_of_ours_is_said() -> None:
    with pytest.raises(Unreadable, match="not Prometheus text"):
        parse("<html>{", 0)
    with pytest.raises(Unreadable, match="right URL"):
        parse("up 1\n", 0)


def test_gpus_and_queue_are_shown_where_there_are_any() -> None:
    def shown(now: Reading) -> str:
        console = Console(width=120)
        with console.capture() as capture:
            console.print(view(Interval(now), "http://here"))
        return capture.get()

    gpu = 'roo_gpu_utilization_ratio{gpu="0"} 0.5'
    held = 'roo_messages_held{queue="jobs"} 3'
    assert "50%" in shown(reading(0, gpu))
    assert "queue jobs" in shown(reading(0, held))
    neither = shown(reading(0))
    assert "GPU" not in neither
    assert "queue jobs" not in neither


def test_a_real_service_is_shown_once(server: Server) -> None:
    with server.client() as client:
        assert client.post("/v1/predict", content=solid((1, 2, 3))).status_code == 200
    done = top("--url", server.url, "--once")
    assert done.returncode == 0, done.stderr
    assert "ready" in done.stdout
    (compute,) = (line for line in done.stdout.splitlines() if "compute" in line)
    assert compute.count("ms") == 3


def test_it_goes_on_asking_when_the_service_is_away_and_back(server: Server) -> None:
    with Source("http://127.0.0.1:9", Settings()) as nobody, Source(server.url, Settings()) as somebody:
        shown = pictures(nobody, 0.01)
        for _ in range(2):
            told = next(shown)
            assert isinstance(told, Text)
            assert "cannot be asked" in told.plain
        nobody._client, somebody._client = somebody._client, nobody._client
        assert not isinstance(next(shown), Text)


def test_a_service_that_is_away_is_one_line_and_an_exit_code() -> None:
    done = top("--url", "http://127.0.0.1:9", "--once")
    assert done.returncode == 1
    assert "cannot be asked" in done.stderr
    assert "Traceback" not in done.stderr
    assert top("--url", "nowhere", "--once").returncode == 2


def test_a_key_is_asked_for_and_sent(repository: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"robot:{KEY}\n")
    keys.chmod(0o600)
    with serving(repository, auth="keys", api_keys_file=keys) as guarded:
        refused = top("--url", guarded.url, "--once")
        assert refused.returncode == 1
        assert "ROO_API_KEY" in refused.stderr
        assert top("--url", guarded.url, "--once", ROO_API_KEY=KEY).returncode == 0
