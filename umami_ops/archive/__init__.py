"""Backups as files: where they are kept, what stands in them, how they are sealed, which of them may go.

Knows no database: what a table holds comes and goes as bytes.
"""
