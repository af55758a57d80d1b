"""DATABASE_URL as Prisma and Umami read it, without a word about any driver."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from umami_ops.errors import UsageFault

#: Scheme → dialect. Prisma knows no `mariadb://`, people write it all the same.
SCHEMES = {"postgresql": "postgresql", "postgres": "postgresql", "mysql": "mysql", "mariadb": "mysql"}

#: The schema that is meant where none is named.
_SCHEMA = "public"

_EXAMPLE = "postgresql://user:password@host:5432/umami or mysql://user:password@host:3306/umami"


@dataclass(frozen=True)
class DatabaseUrl:
    """One parsed URL. What may be secret stays out of every repr; `str()` gives the URL without it."""

    dialect: str
    host: str | None
    port: int | None
    user: str | None
    password: str | None = field(repr=False)
    database: str
    parameters: dict[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, text: str, *, source: str = "DATABASE_URL") -> DatabaseUrl:
        """Parse a URL; `source` names in errors where it came from.

        Raises UsageFault (exit 2) when it is empty or malformed. The message never repeats the URL, which
        may hold a password in an unexpected place.
        """
        text = text.strip().strip("\"'")
        if not text:
            raise UsageFault(f"{source} is empty.", hint=f"Set it as Umami has it: {_EXAMPLE}")
        scheme = text.partition("://")[0].lower()
        if "://" not in text or scheme not in SCHEMES:
            is_scheme = "://" in text and re.fullmatch(r"[a-z][a-z0-9+.-]{0,20}", scheme)
            shown = f" ('{scheme}://')" if is_scheme else ""
            raise UsageFault(
                f"{source} does not begin with a scheme that is known{shown}.",
                hint=f"It must read like {_EXAMPLE}",
            )
        try:
            parts = urlsplit(text)
        except ValueError as fault:
            raise _malformed(source) from fault
        if "@" in text.partition("://")[2][len(parts.netloc) :]:
            # A / ? or # in user or password ended the address early: its rest must turn up neither as a
            # host nor as a database. Where every @ is inside, the last of them is before the host.
            raise _malformed(source)
        port = _port(parts, source)
        parameters = dict(parse_qsl(parts.query, keep_blank_values=True))
        database = unquote(parts.path.strip("/"))
        if not database:
            raise UsageFault(f"{source} names no database.", hint=f"It must read like {_EXAMPLE}")
        if parts.fragment:
            # An unencoded '#' in a password cuts the URL short; whatever follows would be lost silently.
            raise _malformed(source)
        host = unquote(parts.hostname) if parts.hostname else None
        if not _is_host(host) or "\0" in unquote(text):
            raise _malformed(source)
        return cls(
            dialect=SCHEMES[scheme],
            host=host or parameters.get("host") or None,
            port=port,
            user=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            database=database,
            parameters=parameters,
        )

    @property
    def schema(self) -> str | None:
        """The PostgreSQL schema that Umami's tables live in, if the URL names one."""
        return self.parameters.get("schema") or None

    @property
    def effective_schema(self) -> str:
        """The schema that is meant: PostgreSQL's public where none is named; on MySQL the database itself."""
        return (self.schema or _SCHEMA) if self.dialect == "postgresql" else self.database

    @property
    def place(self) -> str:
        """What tells one database from another, without a secret: its address, and a schema that is named."""
        is_named = self.dialect == "postgresql" and self.effective_schema != _SCHEMA
        return f"{self}?{urlencode({'schema': self.effective_schema})}" if is_named else str(self)

    @property
    def is_pooled(self) -> bool:
        """Whether the URL says that a transaction pooler stands between (Prisma's `pgbouncer=true`)."""
        return self.parameters.get("pgbouncer", "").lower() == "true"

    @property
    def socket(self) -> str | None:
        """The unix socket (PostgreSQL: its folder), by Prisma's `host=/…` or `socket=/…`."""
        named = self.parameters.get("socket", "").strip("()")  # Prisma takes parentheses around it
        for candidate in (named, self.parameters.get("host"), self.host):
            if candidate and candidate.startswith("/"):
                return candidate
        return None

    @property
    def where(self) -> str:
        """The address for messages: host and port, or the socket."""
        if self.socket:
            return self.socket
        default = 5432 if self.dialect == "postgresql" else 3306
        host = self.host or "localhost"
        return f"{f'[{host}]' if ':' in host else host}:{self.port or default}"

    @property
    def template(self) -> str:
        """The URL as Prisma reads it, without the password and with what isn't secret behind the `?`."""
        kept = {
            name: value
            for name, value in self.parameters.items()
            if name == "schema" or (name.startswith("ssl") and name != "sslpassword")
        }
        address = self.where
        if self.socket:
            kept["host" if self.dialect == "postgresql" else "socket"] = self.socket
            address = f"localhost:{self.port}" if self.port else "localhost"
        user = f"{quote(self.user)}@" if self.user else ""
        query = f"?{urlencode(kept, safe='/')}" if kept else ""
        return f"{self.dialect}://{user}{address}/{quote(self.database)}{query}"

    def __str__(self) -> str:
        user = f"{quote(self.user)}@" if self.user else ""
        address = "" if self.socket else self.where
        return f"{self.dialect}://{user}{address}/{quote(self.database)}"


def _port(parts: SplitResult, source: str) -> int | None:
    """Return the port, if there is one.

    Raises UsageFault, which doesn't repeat it: it may be half a password.
    """
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port != 0:
        return port
    raise UsageFault(
        f"{source} has a port that is not a number from 1 to 65535.",
        hint=f"It must read like {_EXAMPLE}; in user and password : and / must be percent-encoded.",
    )


def _is_host(host: str | None) -> bool:
    """Say whether this can be looked up; drivers fail on the rest in ways of their own."""
    if host is None or host.startswith("/"):
        return True
    try:
        return " " not in host and bool(host.encode("idna"))
    except UnicodeError:
        return False


def _malformed(source: str) -> UsageFault:
    return UsageFault(
        f"{source} is not a well-formed URL.",
        hint="In user and password @ : / # ? % and the like must be percent-encoded (@ is %40, # is %23).",
    )
