-- The ledger of a move: which ranges of rows have arrived at the target. It stands in a schema of our own,
-- and is written in the same transaction as the rows; `place` is the schema that they go to.

-- name: exists
-- Whether a move into this schema has begun and not ended.
SELECT to_regclass('umami_ops.move') IS NOT NULL AS has_ledger;

-- name: create
-- Makes the ledger.
CREATE SCHEMA IF NOT EXISTS umami_ops;
CREATE TABLE IF NOT EXISTS umami_ops.move (
  place text NOT NULL,
  entry text NOT NULL,
  since_key text,
  until_key text,
  row_count bigint NOT NULL,
  seal text NOT NULL
);

-- name: entries
-- What is written down: the move itself under the entry '', and a row for each range.
SELECT entry, since_key, until_key, row_count, seal
FROM umami_ops.move
WHERE place = current_schema();

-- name: note
-- Writes an entry.
INSERT INTO umami_ops.move (place, entry, since_key, until_key, row_count, seal)
VALUES (current_schema(), :entry, :since_key, :until_key, :row_count, :seal);

-- name: forget
-- Forgets the ranges of a table.
DELETE FROM umami_ops.move WHERE place = current_schema() AND entry = :entry;

-- name: clear
-- Forgets everything.
DELETE FROM umami_ops.move WHERE place = current_schema();

-- name: drop
-- Takes the ledger away, since the move has come to its end.
DELETE FROM umami_ops.move WHERE place = current_schema();
