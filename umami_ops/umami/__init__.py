"""What Umami is, as data: its schema at every migration level, its migrations, and what each table is for.

Knows no connection and no operation: nothing in this package reads anything but package data.
"""
