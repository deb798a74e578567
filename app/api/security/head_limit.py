"""A bound for what comes before a body: uvicorn's fast protocol collects header lines without end."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_BYTES = 64 * 1024


class LimitedHead(HttpToolsProtocol):
    """Hangs up on who sends more than `MOST_BYTES` (and one read) of headers, trailers or chunk extensions.

    They are what arrives without a byte of a body and without an end of head or message. Nobody has proven who he is
    by then, and all of it is held in memory.
    """

    _events = 0
    _held = 0

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived, and count it where it was nothing but header."""
        before = self._events
        super().data_received(data)
        self._held = self._held + len(data) if self._events == before else 0
        if self._held > MOST_BYTES and not self.transport.is_closing():
            self._hang_up()

    def on_headers_complete(self) -> None:
        """The request's head is complete."""
        self._events += 1
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Bytes of a body."""
        self._events += 1
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._events += 1
        super().on_message_complete()

    def _hang_up(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.send_400_response("The headers are too large.")
        else:  # an answer may be under way, into which another cannot be written
            self.transport.abort()
