"""Getting in: what the URL says of TLS in Python's words, and a server's refusal in ours. No driver here."""

from __future__ import annotations

import re
import ssl
from typing import Any

from umami_ops.databases.url import DatabaseUrl
from umami_ops.errors import ConnectionFault, UsageFault

# Numbers from https://dev.mysql.com/doc/mysql-errors/en/server-error-reference.html
_UNKNOWN_DATABASE, _ACCESS_DENIED = 1049, 1045


class Tls:
    """How to reach TLS by PyMySQL: its arguments, and whether the session must turn out encrypted."""

    def __init__(self, arguments: dict[str, Any], *, required: bool) -> None:
        self.arguments = arguments
        self.required = required


def tls_of(url: DatabaseUrl) -> Tls:
    """Translate Prisma's sslaccept, sslcert and MySQL's own ssl-mode; without any, TLS is used if offered."""
    given = url.parameters
    if given.get("sslidentity"):
        raise UsageFault(
            "sslidentity names a PKCS#12 file, which PyMySQL can't read.",
            hint="Split it by `openssl pkcs12 -in FILE -nodes -out client.pem` and name that file in the URL "
            "as sslkey=client.pem (Prisma ignores it).",
        )
    mode = (given.get("ssl-mode") or given.get("sslmode") or "").lower().replace("-", "_")
    modes = {
        "": "preferred", "disable": "disabled", "prefer": "preferred", "require": "required",
        "verify_full": "verify_identity", "no_verify": "required",
    }  # fmt: skip
    mode = modes.get(mode, mode)
    if given.get("sslaccept") == "strict":
        mode = "verify_identity"
    elif given.get("sslaccept") or (given.get("sslcert") and mode == "preferred"):
        mode = "required"
    if mode not in {"disabled", "preferred", "required", "verify_ca", "verify_identity"}:
        raise UsageFault(
            f"The URL's ssl mode {mode!r} is not known.",
            hint="Use one of disabled, preferred, required, verify_ca, verify_identity.",
        )
    if mode == "disabled":
        return Tls({"ssl_disabled": True}, required=False)
    authorities = given.get("sslca") or given.get("sslcert") or None
    is_verified = mode.startswith("verify")
    try:
        if is_verified or authorities:
            context = ssl.create_default_context(cafile=authorities)
            # From Python 3.13 on it refuses what MySQL makes itself by default and all other clients take.
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        else:  # without those that the system trusts: reading them takes 40 ms
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if given.get("sslkey"):
            context.load_cert_chain(given["sslkey"], password=given.get("sslpassword"))
    except (OSError, ssl.SSLError) as fault:
        files = dict.fromkeys(given[key] for key in ("sslca", "sslcert", "sslkey") if given.get(key))
        raise ConnectionFault(
            f"TLS can't be prepared from {' and '.join(files)}: {fault.strerror or fault}.",
            hint="Check the files that the URL names: they must hold PEM text that this user may read.",
        ) from None
    context.check_hostname = mode == "verify_identity"
    context.verify_mode = ssl.CERT_REQUIRED if is_verified else ssl.CERT_NONE
    return Tls({"ssl": context}, required=mode != "preferred")


def refusal(number: int, text: str, url: DatabaseUrl) -> ConnectionFault:
    """Turn an error's number and PyMySQL's text into one that names the cause, and what to do about it."""
    user = url.user or "(none)"
    unknown = f"The host {url.host} is unknown."
    if number in (_ACCESS_DENIED, 1698):
        return ConnectionFault(
            f"The server at {url.where} rejects the password of user {user}.",
            hint="Check user and password in the URL; special characters must be percent-encoded.",
        )
    if number in (_UNKNOWN_DATABASE, 1044):
        # Who may not use a database isn't told whether there is one.
        doubt = "" if number == _UNKNOWN_DATABASE else f", or user {user} may not use it"
        return ConnectionFault(
            f"There is no database {url.database!r} at {url.where}{doubt}.", hint="Check the path of the URL."
        )
    known = (
        ("Name or service not known", unknown, "Check its spelling, or the network."),
        ("name resolution", unknown, "Check its spelling, or the network."),
        ("No address associated", unknown, "Check its spelling, or the network."),
        ("SSL", f"TLS with {url.where} failed: {_tls_cause(text)}.",
         "Is sslcert in the URL the authority that signed the server's certificate, and sslaccept as strict "
         "as you want it?"),
        ("refused", f"Nothing answers at {url.where}: connection refused.",
         "Is the server running, and is this its port?"),
        ("No such file", f"There is no server's socket at {url.where}.", "Is the server running?"),
        ("timed out", f"{url.where} does not answer in time.", "Check host, port and firewall."),
        ("Packet sequence number wrong", f"What answers at {url.where} is no MySQL or MariaDB.",
         "Check scheme and port of the URL."),
        ("Lost connection", f"What answers at {url.where} closed the connection at once.",
         "Check scheme, host and port of the URL, and the server's log."),
        ("Too many connections", f"The server at {url.where} has no connection left to give.",
         "Raise max_connections or close other clients."),
        ("is not allowed to connect", f"The server at {url.where} does not let this host in.",
         "Grant the user from this address: CREATE USER 'name'@'%'."),
    )  # fmt: skip
    for sign, message, hint in known:
        if sign in text:
            return ConnectionFault(message, hint=hint)
    return ConnectionFault(f"No connection to the server at {url.where}: {text}")


def _tls_cause(text: str) -> str:
    """Return the reason out of `Can't connect … ([SSL: CODE] reason (_ssl.c:1006))`."""
    found = re.search(r"\[SSL[^\]]*\] (.+?)\s*(?:\(_ssl|$)", text)
    return found[1] if found else text
