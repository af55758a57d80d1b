"""The one tree of errors. Each class carries the exit code that the command line ends with.

An error says what happened; `done` says what was and was not done by then, and `hint` what to type
next. None of the three ever holds a secret. This module knows nothing of databases or terminals.
"""

from __future__ import annotations

#: What to do about a file that lacks its end, or is damaged otherwise.
CUT_SHORT = "Copy the file once more from where it came, or take another backup."


class OpsError(Exception):
    """Something went wrong that a user can understand and act on (exit code 1)."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None, done: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.done = done


class UsageFault(OpsError):
    """The command line, a setting or a URL is not well formed (exit code 2)."""

    exit_code = 2


class Interrupted(OpsError):
    """The user ended it before its time; `done` says how far it had come (exit code 3)."""

    exit_code = 3


class Refused(OpsError):
    """A precondition is not met, nothing was touched (exit code 5)."""

    exit_code = 5


class Damaged(Refused):
    """What was read lacks its end, or isn't what was written (exit code 5)."""


class LockHeld(OpsError):
    """Another run of umami-ops holds this database's lock (exit code 4)."""

    exit_code = 4


class ConnectionFault(OpsError):
    """No connection could be made: address, credentials, TLS or database name (exit code 1)."""


class DatabaseFault(OpsError):
    """The server rejected a statement (exit code 1)."""


class PermissionFault(DatabaseFault):
    """The database user lacks a right, or the server is read only (exit code 5: nothing was changed)."""

    exit_code = 5


class TransientFault(DatabaseFault):
    """A deadlock, a serialisation failure or a lock timeout: the transaction may simply be tried again."""


class BadData(DatabaseFault):
    """Rows that the server can't take, or that aren't those that should be there (exit code 1)."""


class LeftBehind(DatabaseFault):
    """What failed could not be cleared away; `done` says what is still there."""


class UnreadableFault(DatabaseFault):
    """The server holds the answer and can't express it: MySQL 9, while a statement with an emoji runs."""


class ConnectionLost(DatabaseFault):
    """The connection broke in the middle of its work; the open transaction is rolled back by the server."""
