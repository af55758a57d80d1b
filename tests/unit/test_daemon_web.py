"""The pages' server and those who read it."""

from __future__ import annotations

import http.client
import socket
import threading
from contextlib import suppress

import pytest

from umami_ops.daemon import web


def test_readers_that_send_a_byte_now_and_then_keep_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web._Handler, "timeout", 3.0)
    monkeypatch.setattr(web, "_LONGEST_SECONDS", 2.0)
    pages = web.Pages(("127.0.0.1", 0), "", lambda: {"ok": True, "problems": []})
    pages.start()
    place = ("127.0.0.1", int(pages._server.server_address[1]))
    over = threading.Event()
    slow: list[socket.socket] = []
    while pages._server.places._value:
        slow.append(socket.create_connection(place))
        assert not over.wait(0.05)

    def drip() -> None:
        while not over.wait(0.3):
            for each in slow:
                with suppress(OSError):
                    each.sendall(b"x")

    threading.Thread(target=drip, daemon=True).start()
    try:
        assert not over.wait(4)
        asked = http.client.HTTPConnection(*place, timeout=5)
        asked.request("GET", "/healthz")
        assert asked.getresponse().status == 200
        asked.close()
    finally:
        over.set()
        for each in slow:
            each.close()
        pages.stop()
