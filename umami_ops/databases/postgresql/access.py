"""Getting in: what the URL says in libpq's words, and why a server refuses in ours. No driver here."""

from __future__ import annotations

import ssl
from typing import Any

from umami_ops.databases.url import DatabaseUrl
from umami_ops.errors import ConnectionFault, OpsError, UsageFault

#: URL parameters that libpq knows under the same name.
_PASSED_ON = (
    "sslmode", "sslrootcert", "sslcert", "sslkey", "sslpassword", "sslcrl", "channel_binding", "options",
    "connect_timeout", "target_session_attrs", "gssencmode",
)  # fmt: skip
#: libpq's variables that aren't PG and the parameter's name.
VARIABLES = {
    "dbname": "PGDATABASE", "application_name": "PGAPPNAME", "channel_binding": "PGCHANNELBINDING",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
}  # fmt: skip


def arguments_of(url: DatabaseUrl, purpose: str) -> dict[str, Any]:
    """Translate the URL for libpq: Prisma's TLS parameters, and libpq's own, which node-postgres takes."""
    given = url.parameters
    arguments: dict[str, Any] = {name: given[name] for name in _PASSED_ON if given.get(name)}
    arguments |= {
        "host": url.socket or url.host or "localhost",
        "port": url.port,
        "user": url.user,
        "password": url.password,
        "dbname": url.database,
        "application_name": purpose,
    }
    arguments.setdefault("connect_timeout", "10")
    if given.get("sslidentity"):
        raise UsageFault(
            "sslidentity names a PKCS#12 file, which PostgreSQL's client library can't read.",
            hint="Split it by `openssl pkcs12 -in FILE -nodes -out client.pem` and name that file in the URL "
            "as sslcert=client.pem&sslkey=client.pem.",
        )
    if arguments.get("sslcert") and not arguments.get("sslkey"):
        # Prisma's sslcert is the authority's certificate; only with sslkey is it the client's.
        arguments["sslrootcert"] = arguments.pop("sslcert")
    if given.get("sslmode") == "no-verify":
        arguments["sslmode"] = "require"
    match given.get("sslaccept"):
        case "strict":
            arguments["sslmode"] = "verify-full"
        case "accept_invalid_certs":
            # Says nothing about whether there must be TLS: as in Prisma, that is sslmode's.
            if arguments.get("sslmode", "").startswith("verify"):
                arguments["sslmode"] = "require"
            arguments.pop("sslrootcert", None)
    if arguments.get("sslmode") == "verify-full":
        arguments.setdefault("sslrootcert", _system_authorities())
    return {name: value for name, value in arguments.items() if value is not None}


def unusable(cause: str) -> UsageFault:
    """Return what to say about a parameter of the URL that libpq doesn't take."""
    modes = "disable, allow, prefer, require, verify-ca, verify-full"
    hint = (
        f"sslmode is one of {modes}."
        if "sslmode" in cause
        else "Correct it behind the ? of the URL, or leave it out."
    )
    return UsageFault(f"A parameter of the database URL is not usable: {cause.rstrip('.')}.", hint=hint)


def _system_authorities() -> str:
    """Return the file of this system's certificate authorities.

    libpq's own word for it, `system`, asks the OpenSSL that psycopg's binary package brings along, and that
    one looks into a folder which no system has.
    """
    return ssl.get_default_verify_paths().cafile or "system"


def refusal(text: str, url: DatabaseUrl) -> OpsError:
    """Turn libpq's many lines into one that names the cause, and what to do about it."""
    if "invalid" in text and " value: " in text:
        return unusable(_cause(text))
    user = url.user or "the current user"
    unknown = f"The host {url.host} is unknown."
    authority = (
        "Is sslrootcert (Prisma: sslcert) in the URL the authority that signed the server's certificate, and "
        "sslmode as strict as you want it?"
    )
    known = (
        ("password authentication failed", f"PostgreSQL at {url.where} rejects the password of user {user}.",
         "Check user and password in the URL; special characters must be percent-encoded."),
        ("no password supplied", f"User {user} needs a password at {url.where}, the URL has none.",
         "Write it as postgresql://user:password@host/database."),
        ("no pg_hba.conf entry", f"PostgreSQL at {url.where} does not let user {user} in from this address.",
         "Its pg_hba.conf decides; with '&sslmode=require' it may be different."),
        ("translate host name", unknown, "Check its spelling, or the network."),
        ("resolve host", unknown, "Check its spelling, or the network."),
        ("Name or service not known", unknown, "Check its spelling, or the network."),
        ("does not support SSL", f"The server at {url.where} offers no TLS, and the URL requires it.",
         "Enable TLS on the server, or drop the ssl parameters from the URL."),
        ("invalid response to SSL", f"What answers at {url.where} is no PostgreSQL.",
         "Check scheme and port of the URL."),
        ("certificate", f"TLS with {url.where} failed: {_cause(text)}.", authority),
        ("SSL", f"TLS with {url.where} failed: {_cause(text)}.", authority),
        ("closed the connection unexpectedly", f"What answers at {url.where} closed the connection at once.",
         "Check scheme, host and port of the URL, and the server's log."),
        ("Connection refused", f"Nothing answers at {url.where}: connection refused.",
         "Is the server running, and is this its port?"),
        ("No such file or directory", f"No socket for port {url.port or 5432} is in {url.where}.",
         "Is the server running, and is this its folder?"),
        ("timeout", f"{url.where} does not answer in time.", "Check host, port and firewall."),
        ("too many c", f"PostgreSQL at {url.where} has no connection left to give.",
         "Raise max_connections or close other clients."),
        ("starting up", f"PostgreSQL at {url.where} is still starting.", "Try again in a moment."),
    )  # fmt: skip
    if "database" in text and "does not exist" in text:
        return ConnectionFault(
            f"There is no database {url.database!r} at {url.where}.", hint="Check the path of the URL."
        )
    if "role" in text and "does not exist" in text:
        return ConnectionFault(f"There is no user {user} at {url.where}.", hint="Check the user in the URL.")
    for sign, message, hint in known:
        if sign in text:
            return ConnectionFault(message, hint=hint)
    return ConnectionFault(f"No connection to PostgreSQL at {url.where}: {_cause(text)}")


def _cause(text: str) -> str:
    """Return the telling end of libpq's message: what follows the last 'failed:' of its first lines."""
    line = text.rpartition("failed:")[2].strip().splitlines()[0]
    return line.strip().removeprefix("FATAL:").removeprefix("connection is bad:").strip()
