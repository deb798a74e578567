"""`python -m benchmarks.livez_watch PORT`: asks `/livez` again and again, in a process of its own, and tells the worst.

A line on its input ends it; the answer is the longest time to an answer, in milliseconds, and how many there were.
"""

import http.client
import sys
import threading
import time

PAUSE_SECONDS = 0.005


def watch(port: int, ended: threading.Event) -> tuple[float, int]:
    """Ask until `ended`; returns the longest answer in seconds, and how many there were."""
    worst, asked = 0.0, 0
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    while not ended.is_set():
        began = time.perf_counter()
        try:
            connection.request("GET", "/livez")
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):  # the service closed it: on a new one the time goes on
            connection.close()
            if time.perf_counter() - began < 1 and asked:
                continue
        worst, asked = max(worst, time.perf_counter() - began), asked + 1
        time.sleep(PAUSE_SECONDS)
    return worst, asked


def _wait_for_the_end(ended: threading.Event) -> None:
    sys.stdin.readline()
    ended.set()


def main() -> None:
    """Watch the port that the command line names."""
    ended = threading.Event()
    threading.Thread(target=_wait_for_the_end, args=(ended,), daemon=True).start()
    print("watching", flush=True)  # noqa: T201
    worst, asked = watch(int(sys.argv[1]), ended)
    print(worst * 1e3, asked, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
