"""Umami's next upgrade: what it will do to this database, what can be done ahead, and what a failed one
needs.

A module for each of the three: `outlook` (check), `prepare`, `repair`. What they stand on: `state` is the
schema as it is, `pending` the migrations to come, `obstacles` what will make them fail, `estimate` how long
they take.
"""
