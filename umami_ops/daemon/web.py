"""The daemon's pages by HTTP: /healthz, /metrics, /status.json, and the page for people at /. Reading
only.
"""

from __future__ import annotations

import base64
import hmac
import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from umami_ops.daemon import page
from umami_ops.errors import OpsError

_TIMEOUT_SECONDS = 10.0
#: So long a reader has for all of it, however steadily it sends a byte now and then.
_LONGEST_SECONDS = 20.0
#: More at a time are turned away, so that nobody fills the memory with them.
_MOST_REQUESTS = 16
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Pages:
    """A server on one address. `snapshot` is asked at every request, so what is shown is never old.

    Raises OpsError when the address can't be had.
    """

    def __init__(self, address: tuple[str, int], token: str, snapshot: Callable[[], dict[str, Any]]) -> None:
        self.token = token
        try:
            self._server = _Server(address, snapshot, lambda: self.token)
        except OSError as fault:
            host, port = address
            raise OpsError(f"{host}:{port} can't be listened on: {fault.strerror}.") from None
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.2,), name="http", daemon=True
        )

    @property
    def url(self) -> str:
        """Where the page is."""
        host, port = self._server.server_address[:2]
        name = host.decode() if isinstance(host, bytes) else str(host)
        return f"http://{f'[{name}]' if ':' in name else name}:{port}/"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(
        self, address: tuple[str, int], snapshot: Callable[[], dict[str, Any]], token: Callable[[], str]
    ) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self.places = threading.BoundedSemaphore(_MOST_REQUESTS)
        self.snapshot, self.token = snapshot, token
        self._since: dict[socket.socket, float] = {}
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, while there is place."""
        if not self.places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        self._since[request] = time.monotonic()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and make place."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            del self._since[request]
            self.places.release()

    def service_actions(self) -> None:
        """Look, several times a second, for readers who have had their time."""
        ends = time.monotonic() - _LONGEST_SECONDS
        for request, since in list(self._since.items()):
            if since < ends:
                with suppress(OSError):  # it may have ended by itself
                    request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a reader who went away."""


class _Handler(BaseHTTPRequestHandler):
    timeout = _TIMEOUT_SECONDS
    server_version = "umami-ops"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:  # noqa: N802 -- the name is http.server's
        """Answer."""
        path = self.path.partition("?")[0]
        if path == "/healthz":
            self._healthz()
            return
        pages: Mapping[str, Callable[[], tuple[bytes, str]]] = {
            "/": lambda: (page.html(self.server.snapshot()).encode(), "text/html; charset=utf-8"),
            "/status.json": lambda: (
                json.dumps(self.server.snapshot(), indent=2).encode(),
                "application/json",
            ),
            "/metrics": self._metrics,
        }
        if path not in pages:
            self._answer(HTTPStatus.NOT_FOUND, b"There are /, /healthz, /status.json and /metrics.\n")
        elif not self._is_allowed():
            challenge = {"WWW-Authenticate": 'Basic realm="umami-ops"'}
            self._answer(HTTPStatus.UNAUTHORIZED, b"A token is needed.\n", more=challenge)
        else:
            body, kind = pages[path]()
            self._answer(HTTPStatus.OK, body, kind)

    do_HEAD = do_GET  # noqa: N815 -- the name is http.server's

    def _metrics(self) -> tuple[bytes, str]:
        from umami_ops.daemon import metrics

        return metrics.exposition(self.server.snapshot()), metrics.CONTENT_TYPE

    def _healthz(self) -> None:
        """Answer 200 or 503. Why is for those who may see it: without the token, only whether."""
        status = self.server.snapshot()
        lines = ["ok" if status["ok"] else "not ok", *(status["problems"] if self._is_allowed() else [])]
        code = HTTPStatus.OK if status["ok"] else HTTPStatus.SERVICE_UNAVAILABLE
        self._answer(code, ("\n".join(lines) + "\n").encode())

    def _is_allowed(self) -> bool:
        needed = self.server.token()
        if not needed:
            return True
        kind, _, written = self.headers.get("Authorization", "").partition(" ")
        given = written.encode(
            "latin-1"
        )  # which http.server takes headers for: these are the bytes that came
        if kind.lower() == "basic":
            try:
                given = base64.b64decode(given, validate=True).partition(b":")[2]
            except ValueError:
                return False
        return hmac.compare_digest(given, needed.encode())

    def _answer(
        self,
        code: HTTPStatus,
        body: bytes,
        kind: str = "text/plain; charset=utf-8",
        more: Mapping[str, str] | None = None,
    ) -> None:
        self.send_response(code)
        for name, value in {**_HEADERS, **(more or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- the name is http.server's
        """Say nothing: the log is for jobs."""
