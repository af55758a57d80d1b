"""Runs the database of a self-hosted Umami: what it is, what it holds, and retention that loses no number."""

__version__ = "0.1.0"
