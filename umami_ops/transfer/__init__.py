"""Rows on the move between databases, files and servers: what is common to migrate, verify, backup, export.

A session's own abilities are in `databases/transit.py`. Here is what stands on them:

- `schema.py`    what the tables become on the other side, and as what each column travels
- `ranges.py`    a table's primary key, cut into ranges that tile it
- `snapshot.py`  several sessions that look at one moment of a database
- `contents.py`  rows and checksums of tables, for a backup's manifest
- `meanwhile.py` a task on one session while another goes on
- `proof.py`     whether two sides hold the same rows, and where they don't
"""
