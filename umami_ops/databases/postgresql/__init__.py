"""PostgreSQL 13 and later, through psycopg 3."""
