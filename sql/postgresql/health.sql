-- What the checks of `umami-ops health` ask: catalogue, statistics, index look-ups and bounded samples, never a scan.

-- name: limit
-- Ends what runs longer than this in the open transaction, and waits for no lock.
SELECT set_config('statement_timeout', CAST(:milliseconds AS text), true),
       set_config('lock_timeout', '250', true);

-- name: clock
-- The server's time.
SELECT clock_timestamp() AS now;

-- name: connections
-- Sessions in use on the whole server, and how many it gives to ordinary users.
SELECT COALESCE(SUM(d.numbackends), 0) AS used,
       CAST(current_setting('max_connections') AS integer)
         - CAST(current_setting('superuser_reserved_connections') AS integer)
         - COALESCE(CAST(current_setting('reserved_connections', true) AS integer), 0) AS available
FROM pg_stat_database AS d;

-- name: cache
-- Blocks of this database found in shared buffers and not, since the statistics began.
SELECT d.blks_hit AS hits,
       d.blks_read AS misses,
       (SELECT CAST(s.setting AS bigint) * 8192 FROM pg_settings AS s WHERE s.name = 'shared_buffers') AS cache_bytes
FROM pg_stat_database AS d
WHERE d.datname = current_database();

-- name: transactions
-- Open transactions of other sessions in this database; idle_seconds is null for one that works.
SELECT CAST(a.pid AS text) AS id,
       a.usename AS "user",
       a.application_name AS program,
       EXTRACT(EPOCH FROM clock_timestamp() - a.xact_start) AS seconds,
       CASE WHEN a.state LIKE 'idle in transaction%'
            THEN EXTRACT(EPOCH FROM clock_timestamp() - a.state_change) END AS idle_seconds
FROM pg_stat_activity AS a
WHERE a.datname = current_database()
  AND a.pid <> pg_backend_pid()
  AND a.backend_type = 'client backend'
  AND a.xact_start IS NOT NULL
ORDER BY a.xact_start;

-- name: hidden_sessions
-- How many sessions of other users in this database hide from this user what they do; the server's own have no user.
SELECT COUNT(*) AS hidden
FROM pg_stat_activity AS a
WHERE a.datname = current_database()
  AND a.usename IS NOT NULL
  AND a.query = '<insufficient privilege>';

-- name: lock_waits
-- Sessions that wait for a lock in this database, with the session that is in their way: none where that is a prepared
-- transaction. Since when they wait, and not work on their statement, is known from version 14 on.
SELECT CAST(l.pid AS text) AS id,
       MIN(c.relname) AS "table",
       CAST(NULLIF((pg_blocking_pids(l.pid))[1], 0) AS text) AS blocker,
       COALESCE(EXTRACT(EPOCH FROM clock_timestamp()
         - MIN(COALESCE(CAST(TO_JSONB(l) ->> 'waitstart' AS timestamptz), a.query_start))), 0) AS seconds
FROM pg_locks AS l
JOIN pg_stat_activity AS a ON a.pid = l.pid
LEFT JOIN pg_class AS c ON c.oid = l.relation
WHERE NOT l.granted
  AND l.pid <> pg_backend_pid()
  AND a.datname = current_database()
GROUP BY l.pid
ORDER BY seconds DESC;

-- name: replication_slots
-- Replication slots that nobody reads, and the write-ahead log that the server keeps for them.
SELECT s.slot_name AS name,
       COALESCE(pg_wal_lsn_diff(
         CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_lsn() END,
         s.restart_lsn), 0) AS held_bytes
FROM pg_replication_slots AS s
WHERE NOT s.active
ORDER BY held_bytes DESC;

-- name: prepared_transactions
-- Transactions of this database that were prepared and neither committed nor rolled back.
SELECT p.gid AS name, EXTRACT(EPOCH FROM clock_timestamp() - p.prepared) AS seconds
FROM pg_prepared_xacts AS p
WHERE p.database = current_database()
ORDER BY p.prepared;

-- name: transaction_ids
-- How many transactions ago the database's oldest rows were frozen.
SELECT age(d.datfrozenxid) AS age
FROM pg_database AS d
WHERE d.datname = current_database();

-- name: history
-- InnoDB's matter alone: old versions that wait to be purged.
SELECT 0 AS length WHERE FALSE;

-- name: autovacuum
-- Where autovacuum is off: a table, or a partition with its table; null for the whole server.
SELECT CAST(NULL AS text) AS name, CAST(NULL AS text) AS root
WHERE current_setting('autovacuum') = 'off' OR current_setting('track_counts') = 'off'
UNION ALL
SELECT c.relname, COALESCE(p.relname, c.relname)
FROM pg_class AS c
LEFT JOIN pg_inherits AS i ON i.inhrelid = c.oid
LEFT JOIN pg_class AS p ON p.oid = i.inhparent
WHERE c.relnamespace = (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = current_schema())
  AND c.relkind = 'r'
  AND ARRAY_TO_STRING(c.reloptions, ',') ~ 'autovacuum_enabled=(off|false|no|0)'
ORDER BY 1;

-- name: autovacuum_pace
-- For how many inserts autovacuum waits at website_event, unless that is partitioned: a share of the rows, from 18 on of
-- those on pages that aren't frozen. Null where it doesn't come for inserts at all.
SELECT s.n_live_tup AS live,
       CASE WHEN o.threshold >= 0
            THEN o.threshold + o.scale_factor * GREATEST(c.reltuples, 0)
                 * COALESCE(1 - CAST(TO_JSONB(c) ->> 'relallfrozen' AS float8) / NULLIF(c.relpages, 0), 1)
       END AS waits_for
FROM pg_stat_user_tables AS s
JOIN pg_class AS c ON c.oid = s.relid AND c.relkind = 'r'
CROSS JOIN LATERAL (
  SELECT COALESCE(CAST(SUBSTRING(ARRAY_TO_STRING(c.reloptions, ',') FROM 'vacuum_insert_threshold=(-?[0-9]+)') AS float8),
                  CAST(current_setting('autovacuum_vacuum_insert_threshold') AS float8)) AS threshold,
         COALESCE(CAST(SUBSTRING(ARRAY_TO_STRING(c.reloptions, ',') FROM 'vacuum_insert_scale_factor=([0-9.]+)') AS float8),
                  CAST(current_setting('autovacuum_vacuum_insert_scale_factor') AS float8)) AS scale_factor
) AS o
WHERE s.schemaname = current_schema() AND s.relname = 'website_event';

-- name: vacuum
-- Live and dead rows of the schema's tables and partitions, rows changed since ANALYZE, and when either last ran; one of
-- more than a megabyte can lack statistics though nothing changed, after pg_upgrade.
SELECT s.relname AS name,
       COALESCE(p.relname, s.relname) AS root,
       s.n_live_tup AS live,
       s.n_dead_tup AS dead,
       s.n_mod_since_analyze AS changed,
       c.reltuples < 0 AND pg_relation_size(c.oid) > 1000000 AS is_unknown,
       GREATEST(s.last_vacuum, s.last_autovacuum) AS vacuumed_at,
       GREATEST(s.last_analyze, s.last_autoanalyze) AS analyzed_at
FROM pg_stat_user_tables AS s
JOIN pg_class AS c ON c.oid = s.relid AND c.relkind = 'r'
LEFT JOIN pg_inherits AS i ON i.inhrelid = s.relid
LEFT JOIN pg_class AS p ON p.oid = i.inhparent
WHERE s.schemaname = current_schema()
ORDER BY s.n_dead_tup DESC;

-- name: indexes
-- The columns of every index of the schema, in order; an expression has no name. `plain` is neither partial nor odd.
SELECT t.relname AS "table",
       i.relname AS name,
       a.attname AS "column",
       x.indisunique AS is_unique,
       x.indisprimary AS is_primary,
       x.indisvalid AS is_valid,
       EXISTS (SELECT 1 FROM pg_stat_progress_create_index AS b WHERE b.relid = t.oid) AS is_building,
       x.indpred IS NULL AND x.indexprs IS NULL AND m.amname = 'btree' AS plain,
       pg_relation_size(i.oid) AS size_bytes,
       s.idx_scan AS scans
FROM pg_index AS x
JOIN pg_class AS i ON i.oid = x.indexrelid
JOIN pg_class AS t ON t.oid = x.indrelid
JOIN pg_am AS m ON m.oid = i.relam
CROSS JOIN LATERAL UNNEST(CAST(x.indkey AS smallint[])) WITH ORDINALITY AS k(number, place)
LEFT JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = k.number AND k.number > 0
LEFT JOIN pg_stat_user_indexes AS s ON s.indexrelid = i.oid
WHERE t.relnamespace = (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = current_schema())
  AND NOT t.relispartition
  AND k.place <= x.indnkeyatts
ORDER BY t.relname, i.relname, k.place;

-- name: views
-- Views and materialised views, of any schema, that read a table of this one.
SELECT DISTINCT t.relname AS "table", quote_ident(n.nspname) || '.' || quote_ident(v.relname) AS name
FROM pg_depend AS d
JOIN pg_rewrite AS r ON r.oid = d.objid
JOIN pg_class AS v ON v.oid = r.ev_class
JOIN pg_namespace AS n ON n.oid = v.relnamespace
JOIN pg_class AS t ON t.oid = d.refobjid
WHERE d.classid = CAST('pg_rewrite' AS regclass)
  AND d.refclassid = CAST('pg_class' AS regclass)
  AND t.relnamespace = (SELECT s.oid FROM pg_namespace AS s WHERE s.nspname = current_schema())
  AND t.relkind IN ('r', 'p')
  AND v.oid <> t.oid
ORDER BY 1, 2;

-- name: triggers
-- Triggers on the schema's tables that somebody made.
SELECT t.relname AS "table", g.tgname AS name
FROM pg_trigger AS g
JOIN pg_class AS t ON t.oid = g.tgrelid
WHERE t.relnamespace = (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = current_schema())
  AND NOT g.tgisinternal
  AND g.tgparentid = 0
ORDER BY 1, 2;

-- name: character_sets
-- The database, should it be encoded in anything but UTF-8.
SELECT 'database ' || d.datname AS name, pg_encoding_to_char(d.encoding) AS found, 'UTF8' AS expected
FROM pg_database AS d
WHERE d.datname = current_database() AND pg_encoding_to_char(d.encoding) <> 'UTF8';

-- name: sql_mode
-- MySQL's matter alone: whether it takes values that don't fit.
SELECT '' AS mode WHERE FALSE;

-- name: binary_log
-- MySQL's matter alone: for how long the binary log is kept.
SELECT 0 AS expire_seconds WHERE FALSE;

-- name: oldest_event
-- The time of the oldest event, from the index on it.
SELECT MIN(e.created_at) AS oldest
FROM website_event AS e;

-- name: undated_events
-- How many events have no time, counted up to a limit in the index on it.
SELECT COUNT(*) AS found
FROM (SELECT 1 AS one FROM website_event AS e WHERE e.created_at IS NULL LIMIT :sample) AS undated;

-- name: orphans
-- Rows, of a sample, whose event or session isn't there; keys are random, so their order makes a fair sample.
SELECT 'event_data' AS "table", COUNT(*) AS looked_at, COUNT(*) FILTER (WHERE e.event_id IS NULL) AS orphans
FROM (SELECT d.website_event_id FROM event_data AS d ORDER BY d.event_data_id LIMIT :sample) AS s
LEFT JOIN website_event AS e ON e.event_id = s.website_event_id
UNION ALL                                                                          --? revenue
SELECT 'revenue', COUNT(*), COUNT(*) FILTER (WHERE e.event_id IS NULL)             --? revenue
FROM (SELECT r.event_id FROM revenue AS r ORDER BY r.revenue_id LIMIT :sample) AS s  --? revenue
LEFT JOIN website_event AS e ON e.event_id = s.event_id                            --? revenue
UNION ALL                                                                          --? session_data
SELECT 'session_data', COUNT(*), COUNT(*) FILTER (WHERE e.session_id IS NULL)      --? session_data
FROM (SELECT d.session_id FROM session_data AS d ORDER BY d.session_data_id LIMIT :sample) AS s  --? session_data
LEFT JOIN session AS e ON e.session_id = s.session_id                              --? session_data
ORDER BY 1;

-- name: duplicate_session_data
-- Rows, of a sample, with the same session and key as another.
SELECT COUNT(*) AS looked_at,
       COUNT(*) FILTER (WHERE EXISTS (
         SELECT 1 FROM session_data AS o
         WHERE o.session_id = s.session_id AND o.data_key = s.data_key AND o.session_data_id <> s.session_data_id
       )) AS duplicates
FROM (
  SELECT d.session_data_id, d.session_id, d.data_key FROM session_data AS d ORDER BY d.session_data_id LIMIT :sample
) AS s;

-- name: rhythm
-- A website's last event, and the longest pause between its events before that, from an index on both columns.
SELECT MAX(p.at) AS last_event, EXTRACT(EPOCH FROM MAX(p.at - p.before_that)) AS longest_pause_seconds, COUNT(*) AS events
FROM (
  SELECT e.created_at AS at, LEAD(e.created_at) OVER (ORDER BY e.created_at DESC) AS before_that
  FROM (
    SELECT w.created_at FROM website_event AS w
    WHERE w.website_id = :website AND w.created_at <= :now
    ORDER BY w.created_at DESC
    LIMIT :sample
  ) AS e
) AS p;

-- name: recent_events
-- Events since a time, for the planner to estimate; it is never run.
SELECT e.event_id FROM website_event AS e WHERE e.created_at >= :since;

-- name: checkpoints_place
-- Which view counts checkpoints: since version 17 one of its own.
SELECT CASE WHEN to_regclass('pg_catalog.pg_stat_checkpointer') IS NULL THEN 'writer' ELSE 'checkpointer' END AS place;

-- name: checkpoints
-- Checkpoints since the statistics began: those that came in their time, and those that were forced.
SELECT s.num_timed AS timed, s.num_requested AS forced, current_setting('max_wal_size') AS max_wal_size        --? checkpointer
FROM pg_stat_checkpointer AS s                                                                                --? checkpointer
SELECT s.checkpoints_timed AS timed, s.checkpoints_req AS forced, current_setting('max_wal_size') AS max_wal_size  --? !checkpointer
FROM pg_stat_bgwriter AS s                                                                                    --? !checkpointer

-- name: time_zone
-- MySQL's matter alone: here a time is stored with its zone.
SELECT '' AS zone, 0 AS offset_minutes WHERE FALSE;

-- name: collation_versions
-- Whether a database knows the version of its collation: since PostgreSQL 15.
SELECT 1 AS one WHERE to_regproc('pg_catalog.pg_database_collation_actual_version') IS NOT NULL;

-- name: collation_version
-- The database's collation, should the version that the system offers have changed since the database was made.
SELECT d.datname AS name, pg_database_collation_actual_version(d.oid) AS found, d.datcollversion AS expected
FROM pg_database AS d
WHERE d.datname = current_database()
  AND d.datcollversion <> pg_database_collation_actual_version(d.oid);

-- name: binary_log_files
-- MySQL's matter alone.
SELECT 0 AS "File_size" WHERE FALSE;

-- name: unused_sessions
-- Sessions of a sample, begun before a time, to which nothing refers; keys are random, which makes it a fair sample.
SELECT COUNT(*) AS looked_at,
       COUNT(*) FILTER (WHERE NOT EXISTS (SELECT 1 FROM website_event AS e WHERE e.session_id = s.session_id)
         AND NOT EXISTS (SELECT 1 FROM revenue AS r WHERE r.session_id = s.session_id)         --? revenue
         AND NOT EXISTS (SELECT 1 FROM session_replay AS p WHERE p.session_id = s.session_id)  --? session_replay
       ) AS unused
FROM (SELECT o.session_id, o.created_at FROM session AS o ORDER BY o.session_id LIMIT :sample) AS s
WHERE s.created_at < :since;

-- name: cure_create_index
-- For a person to paste: creates an index, beside writers but where the table has partitions.
CREATE INDEX CONCURRENTLY :name ON :relation (:columns)  --? !partitioned
CREATE INDEX :name ON :relation (:columns)               --? partitioned
;

-- name: cure_create_unique_index
-- For a person to paste: creates a unique index beside writers.
CREATE UNIQUE INDEX CONCURRENTLY :name ON :relation (:columns);

-- name: cure_add_primary_key
-- For a person to paste: makes a primary key, locking the table meanwhile.
ALTER TABLE :relation ADD CONSTRAINT :name PRIMARY KEY (:columns);

-- name: cure_rename_index
-- For a person to paste: gives an index the name that Umami knows.
ALTER INDEX :found RENAME TO :name;

-- name: cure_drop_index
-- For a person to paste: drops an index, beside writers but where the table has partitions.
DROP INDEX CONCURRENTLY IF EXISTS :name  --? !partitioned
DROP INDEX IF EXISTS :name               --? partitioned
;

-- name: cure_end_session
-- For a person to paste: ends a session.
SELECT pg_terminate_backend(:session);
