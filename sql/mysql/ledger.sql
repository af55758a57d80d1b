-- The ledger of a move: which ranges of rows have arrived at the target. MySQL has no schemas inside a database
-- and Umami's user may often make no second one, so it stands beside the rows until the move has ended: it goes
-- before Prisma's table comes. It is written in the same transaction as the rows.

-- name: exists
-- Whether a move into this database has begun and not ended.
SELECT COUNT(*) > 0 AS has_ledger
FROM information_schema.tables AS t
WHERE t.table_schema = DATABASE()
  AND t.table_name = '_umami_ops_move';

-- name: create
-- Makes the ledger. Its number is for servers with sql_require_primary_key.
CREATE TABLE IF NOT EXISTS _umami_ops_move (
  number bigint NOT NULL AUTO_INCREMENT PRIMARY KEY,
  entry varchar(128) NOT NULL,
  since_key varchar(255) NULL,
  until_key varchar(255) NULL,
  row_count bigint NOT NULL,
  seal varchar(64) NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4;

-- name: entries
-- What is written down: the move itself under the entry '', and a row for each range.
SELECT entry, since_key, until_key, row_count, seal
FROM _umami_ops_move;

-- name: note
-- Writes an entry.
INSERT INTO _umami_ops_move (entry, since_key, until_key, row_count, seal)
VALUES (:entry, :since_key, :until_key, :row_count, :seal);

-- name: forget
-- Forgets the ranges of a table.
DELETE FROM _umami_ops_move WHERE entry = :entry;

-- name: clear
-- Forgets everything.
DELETE FROM _umami_ops_move;

-- name: drop
-- Takes the ledger away, since the move has come to its end.
DROP TABLE IF EXISTS _umami_ops_move;
