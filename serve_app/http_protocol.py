"""uvicorn's HTTP protocol, with bounds on what a client may send and on how long it may take to."""

import socket
import struct
from enum import Enum
from typing import Final

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serve_app.early_refusal import STATE, EarlyRefusal
from serve_app.refusal import Refusal

MOST_HEAD_BYTES: Final = 64 * 1024
"""Request line and headers; httptools itself would collect them without end."""
MOST_HEADERS: Final = 100
"""Browsers send twenty. Each look for one passes all of them."""
HEAD_S: Final = 10.0
"""From the first byte of a head to its last, or from the connection's beginning to its first head."""
SLOW_S: Final = 10.0
"""So long in all may a body come, or an answer be taken, with less than LEAST_BYTES_PER_S."""
LEAST_BYTES_PER_S: Final = 1024
PIECE_BYTES: Final = 4096
"""The application is not woken for less of a body, unless it ends: a byte at a time would take its time."""
LINGER_S: Final = 5.0
"""For what a client still sends once it was answered: closed at once, it would miss the answer."""

MALFORMED: Final = Refusal(400, "malformed_http", "the bytes are no HTTP request")
HEAD_TOO_LARGE: Final = Refusal(
    431, "head_too_large", f"the request's headers are larger than {MOST_HEAD_BYTES} bytes"
)
TOO_MANY_HEADERS: Final = Refusal(431, "head_too_large", f"the request has more than {MOST_HEADERS} headers")
BAD_CHUNKS: Final = Refusal(
    431, "head_too_large", f"{MOST_HEAD_BYTES} bytes of the chunked body hold no byte of its content"
)
NOT_ONE_HOST: Final = Refusal(400, "malformed_http", "a request needs exactly one Host header")
UNKNOWN_VERSION: Final = Refusal(505, "http_version", "only HTTP/1.1 and HTTP/1.0 are spoken here")
UNKNOWN_CODING: Final = Refusal(
    501, "transfer_encoding", "the only Transfer-Encoding that is understood is `chunked`, in HTTP/1.1"
)
SLOW_HEAD: Final = Refusal(408, "slow_head", f"the request's headers took longer than {HEAD_S:g} s")
SLOW_BODY: Final = Refusal(
    408,
    "slow_body",
    f"the body came with less than {LEAST_BYTES_PER_S} bytes a second for longer than {SLOW_S:g} s",
)


class Phase(Enum):
    """Which part of a request the next byte belongs to."""

    IDLE = "idle"  # none yet
    HEAD = "head"
    BODY = "body"


class RefusedHeadError(Exception):
    """A head that is HTTP, and is not accepted."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal)
        self.refusal = refusal


class EndedError(Exception):
    """The connection has ended with an answer: what is left of its bytes is read by nobody."""


class EnvelopeProtocol(HttpToolsProtocol):
    """Answers what no application should see as every other failure is answered, and waits for nobody."""

    _phase = Phase.IDLE
    _head_bytes = 0
    _tail = b""  # the last bytes of the chunk before: the empty line may be split
    _body_bytes = 0  # that came since the clock went on
    _empty_bytes = 0  # since the last byte of content: sizes and extensions of chunks, trailers
    _waited_s = 0.0  # for the head, or for a body that is slow
    _slow_s = 0.0  # in all, that its client has hardly taken any of its answer
    _taking_s = 0.0  # since there is something to be taken
    _untaken_bytes = 0  # at the last look
    _is_deaf = False  # what comes now is read and thrown away
    _is_ending = False  # the next answer is the connection's last

    def data_received(self, data: bytes) -> None:
        """Refuse what is over a bound before it is parsed, and what is no HTTP."""
        self._unset_keepalive_if_required()
        if self._is_deaf:
            return
        if self._phase is Phase.IDLE:
            self._begin_head()
        if self._phase is Phase.HEAD:
            self._count_head(data)
            if self._head_bytes > MOST_HEAD_BYTES:
                self._refuse(HEAD_TOO_LARGE)
                return
        else:
            self._empty_bytes += len(data)
        again = b""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            again = self._head_without_upgrade() + data[upgrade.args[0] :]
        except httptools.HttpParserError as error:
            cause = error.__context__
            if isinstance(cause, EndedError):
                return
            self._refuse(cause.refusal if isinstance(cause, RefusedHeadError) else MALFORMED)
        else:
            if self._phase is Phase.BODY and self._empty_bytes > MOST_HEAD_BYTES:
                self._refuse(BAD_CHUNKS)
        if again:  # not while an exception is handled, which would hide the cause of the next
            self.parser = httptools.HttpRequestParser(self)
            self.data_received(again)

    def on_message_begin(self) -> None:
        """A head begins, perhaps right behind another request."""
        if self._phase is not Phase.HEAD:
            self._begin_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Its headers have ended.

        Raises:
            RefusedHeadError: The head is not accepted.
            EndedError: It was answered, and the connection has ended.
        """
        refusal = self._refusal_of_head()
        if refusal is not None:
            raise RefusedHeadError(refusal)
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise RefusedHeadError(MALFORMED)
            return  # httptools takes the rest for another protocol: `data_received` has another try
        if not self._refuse_early():
            super().on_headers_complete()
            if self._is_ending:
                self.cycle.keep_alive = False
        self.headers = []  # for trailers, which are no headers: nobody in front of us has looked at them
        self._phase = Phase.BODY
        self._body_bytes = self._empty_bytes = 0
        self._waited_s = 0.0

    def on_body(self, body: bytes) -> None:
        """A piece of its body."""
        self._body_bytes += len(body)
        self._empty_bytes = 0
        if self._has_answered:
            return
        self.cycle.body += body
        waiting = len(self.cycle.body)
        if waiting > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        if waiting >= PIECE_BYTES:
            self.cycle.message_event.set()

    def on_message_complete(self) -> None:
        """Its body has ended: the next byte belongs to the next head."""
        if self._phase is Phase.HEAD:
            return  # an upgrade
        self._phase = Phase.IDLE
        self._waited_s = 0.0
        if not self._has_answered:
            super().on_message_complete()
        elif not self.transport.is_closing():
            self._await_next()

    def on_response_complete(self) -> None:
        """It was answered; what still comes of it has a while of its own."""
        self._waited_s = 0.0
        super().on_response_complete()

    @property
    def is_idle(self) -> bool:
        """Whether no request is being read or answered."""
        return self._is_deaf or (self._phase is Phase.IDLE and self._has_answered)

    @property
    def is_spare(self) -> bool:
        """Whether nothing is lost when it is closed: there is no request yet, or only a part of its head."""
        return self._is_deaf or (self._phase is not Phase.BODY and self._has_answered)

    @property
    def waited_s(self) -> float:
        """How long nothing has come of what is waited for."""
        return self._waited_s

    @property
    def untaken_bytes(self) -> int:
        """Of answers, in memory until the client takes them."""
        return self._untaken_bytes

    @property
    def taking_s(self) -> float:
        """How long the client has been at it."""
        return self._taking_s

    def close_with_next_answer(self) -> None:
        """Say `connection: close` in the next answer that begins, and mean it."""
        self._is_ending = True
        if self.cycle is not None and not self.cycle.response_started:
            self.cycle.keep_alive = False

    def give_up_answer(self) -> None:
        """End the connection with what is left of its answer.

        With a reset: after a plain close, the kernel would keep the rest for minutes.
        """
        if (connection := self.transport.get_extra_info("socket")) is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def pass_time(self, seconds: float) -> None:
        """End the connection if its client has been too slow for too long.

        Args:
            seconds: Since the last call. Their sum is the clock: in it, a stall of ours is short.
        """
        if self._leaves_its_answer(seconds):
            self.give_up_answer()
        elif self._is_deaf or (self._phase is Phase.BODY and self._has_answered):
            self._waited_s += seconds
            if self._waited_s > LINGER_S:
                self.transport.abort()
        elif self._phase is Phase.BODY:
            is_waited_for = not (self.flow.read_paused or self.cycle.waiting_for_100_continue)
            if is_waited_for and self._body_bytes < LEAST_BYTES_PER_S * seconds:
                self._waited_s += seconds
            self._body_bytes = 0
            if self._waited_s > SLOW_S:
                self._refuse(SLOW_BODY)
        else:
            self._waited_s += seconds
            if self._waited_s > HEAD_S:
                self._give_up_head()

    def _leaves_its_answer(self, seconds: float) -> bool:
        """Whether its client hardly takes what it asked for."""
        left = self.transport.get_write_buffer_size()
        if not left:
            self._slow_s = self._taking_s = 0.0
        else:
            self._taking_s += seconds
            if self._untaken_bytes - left < LEAST_BYTES_PER_S * seconds:
                self._slow_s += seconds
        self._untaken_bytes = left
        return self._slow_s > SLOW_S

    def _give_up_head(self) -> None:
        if self._phase is Phase.HEAD:
            self._refuse(SLOW_HEAD)
        elif self.cycle is None and self.timeout_keep_alive_task is None:
            self.transport.close()  # it never said a word; one that was answered has the keep-alive time

    def _refuse_early(self) -> bool:
        """Answer a request for which there is no place; whether it was one.

        The application is asked while answers before this one are not sent, or not taken.

        Raises:
            EndedError: The connection has ended with the answer.
        """
        refusal: EarlyRefusal | None = self.app_state.get(STATE)
        if refusal is None or not self._has_answered or self.flow.write_paused or self.transport.is_closing():
            return False
        keeps = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        ends = self._is_ending or not keeps or self.expect_100_continue  # the last will not send its body
        method, default = self.parser.get_method(), self.server_state.default_headers
        answer = refusal.answer(method, self.url, self.headers, default, ends=ends)
        if answer is None:
            return False
        self.transport.write(answer)
        if ends:
            self._end()
            raise EndedError
        return True

    def _await_next(self) -> None:
        """Keep the connection for a while; what came of the body has ended the time since its answer."""
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def _begin_head(self) -> None:
        self._phase = Phase.HEAD
        self._head_bytes, self._tail = 0, b""
        self._waited_s = 0.0

    def _count_head(self, data: bytes) -> None:
        seen = self._tail + data
        end = seen.find(b"\r\n\r\n")
        self._head_bytes += (end if end >= 0 else len(seen)) - len(self._tail)
        self._tail = seen[-3:]

    def _head_without_upgrade(self) -> bytes:
        """The head that was read, without what is asked for in vain; Java's client always asks for HTTP/2."""
        lines = [
            b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        ]
        lines += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def _refusal_of_head(self) -> Refusal | None:
        """What httptools lets pass and RFC 9112 does not: two readings of one request are two requests."""
        version = self.parser.get_http_version()
        if version not in {"1.1", "1.0"}:
            return UNKNOWN_VERSION
        if len(self.headers) > MOST_HEADERS:
            return TOO_MANY_HEADERS
        hosts = 0
        for name, value in self.headers:
            if name == b"host":
                hosts += 1
            elif name == b"transfer-encoding" and (version == "1.0" or value.strip().lower() != b"chunked"):
                return UNKNOWN_CODING
        return None if hosts == 1 or (version == "1.0" and not hosts) else NOT_ONE_HOST

    @property
    def _has_answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _refuse(self, refusal: Refusal) -> None:
        """Answer with it in its turn, after the requests before it, and end the connection."""
        refusal.count()
        if self._phase is Phase.BODY:
            if self.pipeline:
                self.pipeline[0] = (self.cycle, refusal)
            if self._has_answered or self.pipeline or self.cycle.response_started:
                self._stop_listening()
                return
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        elif not self._has_answered:
            self._stop_listening()
            return
        self.transport.write(refusal.as_bytes())
        self._end()

    def _stop_listening(self) -> None:
        """End the connection with the answers that are under way."""
        self._is_deaf = True
        if self._has_answered:
            self._end()
        else:
            self.cycle.keep_alive = False

    def _end(self) -> None:
        """Nothing more is sent; the client has a while to read what was."""
        self._is_deaf = True
        self._waited_s = 0.0
        if not self.transport.is_closing():
            self.transport.write_eof()
            self.flow.resume_reading()
