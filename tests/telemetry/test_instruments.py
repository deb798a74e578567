"""Instruments count what they are told, from any number of threads, and never more series than they may."""

import threading
from collections.abc import Iterable, Iterator

import pytest

from app.telemetry import instruments
from app.telemetry.instruments import MOST_SERIES, OTHER, Counter, Gauge, Histogram, Observed


def histogram() -> Histogram:
    return Histogram("roo_time", "Times.", "who", buckets=(1.0, 2.0))


def test_a_histogram_counts_a_bound_into_the_bucket_below_it() -> None:
    times = histogram()
    for value in (0.5, 1.0, 1.5, 2.0, 9.0):
        times.record(value, ("me",))
    (point,) = times.read()
    assert (point.labels, point.counts, point.total) == (("me",), (2, 2, 1), 14.0)


@pytest.mark.parametrize(
    ("instrument", "name"),
    [
        (Counter("roo_things", ""), "roo_things_total"),
        (Gauge("process.memory.usage", "", unit="By"), "process_memory_usage_bytes"),
        (Histogram("http.server.request.duration", "", buckets=()), "http_server_request_duration_seconds"),
        (Gauge("roo_fill_ratio", "", unit="1"), "roo_fill_ratio"),
        (Observed("process.cpu.time", "", unit="s", kind="counter"), "process_cpu_time_seconds_total"),
    ],
)
def test_prometheus_sees_names_with_units(instrument: instruments.Instrument, name: str) -> None:
    assert instrument.prometheus_name == name


def test_threads_lose_no_count() -> None:
    count, times = Counter("roo_things", "", "who"), histogram()

    def work() -> None:
        for _ in range(5000):
            count.add(1, ("me",))
            times.record(0.1, ("me",))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count.read()[0].value == sum(times.read()[0].counts) == 40_000


def test_series_beyond_the_bound_are_one() -> None:
    count, times = Counter("roo_things", "", "who"), histogram()
    for number in range(MOST_SERIES + 50):
        count.add(1, (str(number),))
        times.record(0.1, (str(number),))
    assert len(count.read()) == len(times.read()) == MOST_SERIES + 1
    assert count.read()[-1].labels == (OTHER,)
    assert count.read()[-1].value == sum(times.read()[-1].counts) == 50


def test_a_counter_without_labels_is_there_before_it_counts() -> None:
    assert [point.value for point in Counter("roo_things", "").read()] == [0.0]
    assert Counter("roo_things", "", "who").read() == []


def test_what_cannot_be_read_is_left_out() -> None:
    def broken() -> Iterable[tuple[float, tuple[str, ...]]]:
        raise OSError("no such file")

    seen = Observed("roo_seen", "")
    assert seen.read() == []
    seen.observe(broken)
    assert seen.read() == []
    seen.observe(lambda: [(3.0, ())])
    assert [point.value for point in seen.read()] == [3.0]


@pytest.fixture
def _recording() -> Iterator[None]:
    yield
    instruments._recording = True


@pytest.mark.usefixtures("_recording")
def test_nothing_is_counted_once_that_was_stopped() -> None:
    count, times = Counter("roo_things", "", "who"), histogram()
    instruments.stop_recording()
    count.add(1, ("me",))
    times.record(1.0, ("me",))
    assert count.read() == times.read() == []
