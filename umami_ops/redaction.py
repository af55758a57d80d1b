"""Takes secrets out of what is shown, logged or kept."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

#: Up to the last @ of a word: a password may hold one, too.
_PASSWORD = re.compile(r"(://[^:/@\s]*):[^\s]*@")
_PARAMETER = re.compile(r"([?&][\w.-]*password=)[^&\s'\"]*", re.IGNORECASE)
_SHORTEST_SECRET = 4


def redact_urls(text: str) -> str:
    """Return a text without the passwords in anything like a URL."""
    return _PARAMETER.sub(r"\1***", _PASSWORD.sub(r"\1:***@", text))


class Redaction:
    """Takes secrets out of text: passwords in anything like a URL, and the values that it was told of."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # The longest first, or a part of one would be left of it.
        self._secrets = sorted({s for s in secrets if len(s) >= _SHORTEST_SECRET}, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """Return the text without them."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return redact_urls(text)

    def document(self, value: Any) -> Any:
        """Return what JSON can hold without them, in whatever depth they stand."""
        match value:
            case str():
                return self(value)
            case dict():
                return {key: self.document(item) for key, item in value.items()}
            case list():
                return [self.document(item) for item in value]
        return value
