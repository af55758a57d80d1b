"""The seam between one database and the rest: what an operation may ask for, and who answers."""
