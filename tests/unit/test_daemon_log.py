"""The daemon's log at a terminal, and what the probe shows of /healthz."""

from __future__ import annotations

import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.command import run
from umami_ops.daemon.log import Log
from umami_ops.redaction import Redaction


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_break_between_words_at_a_terminal_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    words = " ".join(["website", "event"] * 10)
    for stream, lines in ((_Terminal(), 4), (io.StringIO(), 1)):
        Log(stream, as_json=False).info("output", words)
        said = stream.getvalue()
        assert len(said.splitlines()) == lines
        assert said.split()[2:] == words.split()


def test_a_secret_that_a_line_breaks_in_two_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    stream = _Terminal()
    log = Log(stream, as_json=False)
    log.redact = Redaction(["two words"])
    log.info("output", "a line with two words in it")
    assert "words" not in stream.getvalue()


def test_a_line_is_json_without_secrets_whatever_stands_in_it() -> None:
    stream = io.StringIO()
    log = Log(stream)
    log.redact = Redaction(['pa"ss\\word'])
    log.info(
        "output", '"postgresql://here/umami?password=hidden" and pa"ss\\word', job="nightly", seconds=1.5
    )
    line = json.loads(stream.getvalue())
    assert line["message"] == '"postgresql://here/umami?password=***" and ***'
    assert (line["job"], line["seconds"]) == ("nightly", 1.5)


def test_the_probe_prints_each_line_of_the_answer() -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802 -- the name is http.server's
            self.send_response(503)
            self.end_headers()
            self.wfile.write(b"not ok\nThe last run of nightly failed.\n")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        probe = run("daemon", "--probe", "--http", f"127.0.0.1:{server.server_port}")
        server.shutdown()
    assert (probe.code, probe.out) == (1, "not ok\nThe last run of nightly failed.\n")
