"""A collector that takes whatever it is sent over OTLP/HTTP and counts it: what exports cost the service, not what
becomes of them.

It writes its port as one line, and answers each line that it reads with what it has taken so far.
"""

import json
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from app.bench.load import HOST

_taken: Counter[str] = Counter()


class _Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """One export."""
        body = self.rfile.read(int(self.headers["content-length"]))
        _taken[f"{self.path} requests"] += 1
        _taken[f"{self.path} bytes"] += len(body)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def main() -> None:
    """Run until standard input ends."""
    with ThreadingHTTPServer((HOST, 0), _Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sys.stdout.write(json.dumps({"port": server.server_address[1]}) + "\n")
        sys.stdout.flush()
        for _ in sys.stdin:
            sys.stdout.write(json.dumps(dict(_taken)) + "\n")
            sys.stdout.flush()
        server.shutdown()


if __name__ == "__main__":
    main()
