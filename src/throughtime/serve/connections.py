"""Connections that make no progress: a clock for the heads of requests, and for what is not taken.

uvicorn waits for ever for the rest of a request's head, and of a response until it is taken. So one
client could hold every connection without ever asking for anything.
"""

import asyncio
import socket
from typing import Any

from throughtime.serve.limits import HEADERS


def patient_protocol(patience: float) -> type[asyncio.Protocol]:
    """Return uvicorn's HTTP protocol with an end to its patience.

    Args:
        patience: seconds for a head, from its first byte on or from the connection; and for a
            client that takes nothing of what it is sent.
    """
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    base: Any = AutoHTTPProtocol

    class PatientProtocol(base):  # type: ignore[misc]
        """uvicorn's protocol, which closes connections that make no progress."""

        _timer: asyncio.TimerHandle | None = None
        _head_bytes = 0

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            _bound_sending(transport, patience)
            self._wait_for_head()

        def data_received(self, data: bytes) -> None:
            if self._is_between_requests() and self._timer is None:
                self._wait_for_head()
            super().data_received(data)
            if not self._is_between_requests():
                self._head_is_there()
                return
            self._head_bytes += len(data)
            if self._head_bytes > HEADERS and not self.transport.is_closing():
                self.transport.close()

        def connection_lost(self, exc: Exception | None) -> None:
            self._head_is_there()
            super().connection_lost(exc)

        def handle_websocket_upgrade(self, *arguments: Any) -> None:
            self._head_is_there()
            super().handle_websocket_upgrade(*arguments)

        def timeout_keep_alive_handler(self) -> None:
            self._head_is_there()
            super().timeout_keep_alive_handler()

        def _is_between_requests(self) -> bool:
            return self.cycle is None or bool(self.cycle.response_complete)

        def _wait_for_head(self) -> None:
            self._timer = self.loop.call_later(patience, self._give_up)

        def _head_is_there(self) -> None:
            self._head_bytes = 0
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _give_up(self) -> None:
            self._timer = None
            if self._is_between_requests() and not self.transport.is_closing():
                self.transport.close()

    return PatientProtocol


def _bound_sending(transport: Any, seconds: float) -> None:
    """Let the system end a connection whose peer takes nothing for so long."""
    connection = transport.get_extra_info("socket")
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is None or connection is None or connection.family == socket.AF_UNIX:
        return
    connection.setsockopt(socket.IPPROTO_TCP, option, int(seconds * 1000))
