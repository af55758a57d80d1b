"""The sidecar: jobs on a schedule, what became of them, and who is told. Knows commands as lines of text
only.

A job's steps run as processes of their own (docs/decisions/0015-daemon.md), so nothing here knows an
operation, and no step can take the daemon down.
"""
