-- What the checks of `umami-ops health` ask: catalogue, statistics, index look-ups and bounded samples, never a scan.

-- name: limit
-- Ends a query that runs longer than this, and waits for no table lock; each product reads the comment that is for it.
SET lock_wait_timeout = 1
  /*!80000 , max_execution_time = :milliseconds */
  /*M! , max_statement_time = :milliseconds / 1000 */;

-- name: clock
-- The server's time.
SELECT UTC_TIMESTAMP(6) AS now;

-- name: connections
-- Sessions in use on the whole server, and how many it gives.
SELECT CAST(s.variable_value AS UNSIGNED) AS used, @@global.max_connections AS available
FROM /*!80000 performance_schema. */ /*M! information_schema. */ global_status AS s
WHERE s.variable_name = 'Threads_connected';

-- name: cache
-- Pages found in the buffer pool and not, since the server started.
SELECT SUM(CASE WHEN s.variable_name = 'Innodb_buffer_pool_read_requests' THEN s.variable_value ELSE -s.variable_value END)
         AS hits,
       SUM(CASE WHEN s.variable_name = 'Innodb_buffer_pool_reads' THEN s.variable_value ELSE 0 END) AS misses,
       @@global.innodb_buffer_pool_size AS cache_bytes
FROM /*!80000 performance_schema. */ /*M! information_schema. */ global_status AS s
WHERE s.variable_name IN ('Innodb_buffer_pool_read_requests', 'Innodb_buffer_pool_reads');

-- name: transactions
-- Open transactions of other sessions in this database; idle_seconds is null for one that works. InnoDB shows its
-- times in the server's own time zone. In this order, or else MySQL shows nothing to a user who may not look. Its list
-- fails while a transaction runs a statement with an emoji in it; another can be read by who may.
SELECT CAST(p.id AS CHAR) AS id,
       p.user AS `user`,
       p.host AS program,
       TIMESTAMPDIFF(SECOND, t.trx_started, CONVERT_TZ(UTC_TIMESTAMP(), '+00:00', 'SYSTEM')) AS seconds,  --? !elsewhere
       t.timer_wait / 1e12 AS seconds,                                                                   --? elsewhere
       CASE WHEN p.command = 'Sleep' THEN p.time END AS idle_seconds
FROM information_schema.innodb_trx AS t                                                                  --? !elsewhere
--? elsewhere
FROM performance_schema.events_transactions_current AS t
STRAIGHT_JOIN performance_schema.threads AS h ON h.thread_id = t.thread_id AND t.state = 'ACTIVE'
--? end
STRAIGHT_JOIN /*!80022 performance_schema.*/ /*M!100000 information_schema.*/ processlist AS p
  ON p.id = t.trx_mysql_thread_id                                                                        --? !elsewhere
  ON p.id = h.processlist_id                                                                             --? elsewhere
WHERE p.db = DATABASE() AND p.id <> CONNECTION_ID()
ORDER BY seconds DESC;

-- name: hidden_sessions
-- None: who may see transactions here sees all of them.
SELECT 0 AS hidden;

-- name: lock_waits
-- Transactions of this database that wait for a row's lock; who is in their way, MySQL tells only its administrators.
-- InnoDB's list fails while a transaction runs a statement with an emoji in it; another can be read by who may.
--? !elsewhere
SELECT CAST(p.id AS CHAR) AS id,
       NULL AS `table`,
       NULL AS blocker,
       TIMESTAMPDIFF(SECOND, t.trx_wait_started, CONVERT_TZ(UTC_TIMESTAMP(), '+00:00', 'SYSTEM')) AS seconds
FROM information_schema.innodb_trx AS t
STRAIGHT_JOIN /*!80022 performance_schema.*/ /*M!100000 information_schema.*/ processlist AS p
  ON p.id = t.trx_mysql_thread_id
WHERE t.trx_state = 'LOCK WAIT' AND p.db = DATABASE() AND p.id <> CONNECTION_ID()
--? end
--? elsewhere
SELECT CAST(p.processlist_id AS CHAR) AS id,
       MIN(l.object_name) AS `table`,
       CAST(MIN(b.processlist_id) AS CHAR) AS blocker,
       MAX(p.processlist_time) AS seconds
FROM performance_schema.data_lock_waits AS w
JOIN performance_schema.data_locks AS l ON l.engine_lock_id = w.requesting_engine_lock_id
JOIN performance_schema.threads AS p ON p.thread_id = w.requesting_thread_id
JOIN performance_schema.threads AS b ON b.thread_id = w.blocking_thread_id
WHERE p.processlist_db = DATABASE()
GROUP BY p.processlist_id
--? end
ORDER BY seconds DESC;

-- name: replication_slots
-- PostgreSQL's matter alone.
SELECT '' AS name, 0 AS held_bytes FROM DUAL WHERE FALSE;

-- name: prepared_transactions
-- PostgreSQL's matter alone: Umami on MySQL has no XA transactions.
SELECT '' AS name, 0 AS seconds FROM DUAL WHERE FALSE;

-- name: transaction_ids
-- PostgreSQL's matter alone.
SELECT 0 AS age FROM DUAL WHERE FALSE;

-- name: history
-- Old versions of rows that wait to be purged.
SELECT m.count AS length
FROM information_schema.innodb_metrics AS m
WHERE m.name = 'trx_rseg_history_len';

-- name: autovacuum
-- PostgreSQL's matter alone.
SELECT '' AS name, '' AS root FROM DUAL WHERE FALSE;

-- name: autovacuum_pace
-- PostgreSQL's matter alone.
SELECT 0 AS live, 0 AS waits_for FROM DUAL WHERE FALSE;

-- name: vacuum
-- PostgreSQL's matter alone.
SELECT '' AS name, '' AS root, 0 AS live, 0 AS dead, 0 AS changed, FALSE AS is_unknown, NULL AS vacuumed_at, NULL AS analyzed_at
FROM DUAL
WHERE FALSE;

-- name: indexes
-- The columns of every index of the database, in order; an expression has no name. `plain` is neither partial nor odd.
SELECT s.table_name AS `table`,
       s.index_name AS name,
       s.column_name AS `column`,
       s.non_unique = 0 AS is_unique,
       s.index_name = 'PRIMARY' AS is_primary,
       1 AS is_valid,
       0 AS is_building,
       s.sub_part IS NULL AND s.index_type = 'BTREE' AS plain,
       NULL AS size_bytes,
       NULL AS scans
FROM information_schema.statistics AS s
WHERE s.table_schema = DATABASE()
ORDER BY s.table_name, s.index_name, s.seq_in_index;

-- name: views
-- None: on MySQL a view stops no migration.
SELECT '' AS `table`, '' AS name FROM DUAL WHERE FALSE;

-- name: triggers
-- Triggers on the database's tables.
SELECT t.event_object_table AS `table`, t.trigger_name AS name
FROM information_schema.triggers AS t
WHERE t.event_object_schema = DATABASE()
ORDER BY 1, 2;

-- name: character_sets
-- Columns of text that are not as Umami's migrations make them; MariaDB's JSON is binary text by its nature.
SELECT CONCAT(c.table_name, '.', c.column_name) AS name, c.collation_name AS found, 'utf8mb4_unicode_ci' AS expected
FROM information_schema.columns AS c
JOIN information_schema.tables AS t ON t.table_schema = c.table_schema AND t.table_name = c.table_name
WHERE c.table_schema = DATABASE()
  AND t.table_type = 'BASE TABLE'
  AND c.table_name IN :tables
  AND c.collation_name <> 'utf8mb4_unicode_ci'
  AND NOT (c.data_type = 'longtext' AND c.collation_name = 'utf8mb4_bin')
ORDER BY c.table_name, c.ordinal_position;

-- name: sql_mode
-- The mode that new sessions begin with.
SELECT @@global.sql_mode AS mode;

-- name: binary_log
-- For how long the binary log is kept, where there is one; 0 is for ever.
SELECT @@global.binlog_expire_logs_seconds AS expire_seconds FROM DUAL WHERE @@global.log_bin = 1;

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
SELECT 'event_data' AS `table`, COUNT(*) AS looked_at, COALESCE(SUM(e.event_id IS NULL), 0) AS orphans
FROM (SELECT d.website_event_id FROM event_data AS d ORDER BY d.event_data_id LIMIT :sample) AS s
LEFT JOIN website_event AS e ON e.event_id = s.website_event_id
UNION ALL                                                                          --? revenue
SELECT 'revenue', COUNT(*), COALESCE(SUM(e.event_id IS NULL), 0)                   --? revenue
FROM (SELECT r.event_id FROM revenue AS r ORDER BY r.revenue_id LIMIT :sample) AS s  --? revenue
LEFT JOIN website_event AS e ON e.event_id = s.event_id                            --? revenue
UNION ALL                                                                          --? session_data
SELECT 'session_data', COUNT(*), COALESCE(SUM(e.session_id IS NULL), 0)            --? session_data
FROM (SELECT d.session_id FROM session_data AS d ORDER BY d.session_data_id LIMIT :sample) AS s  --? session_data
LEFT JOIN session AS e ON e.session_id = s.session_id                              --? session_data
ORDER BY 1;

-- name: duplicate_session_data
-- Rows, of a sample, with the same session and key as another.
SELECT COUNT(*) AS looked_at,
       COALESCE(SUM(EXISTS (
         SELECT 1 FROM session_data AS o
         WHERE o.session_id = s.session_id AND o.data_key = s.data_key AND o.session_data_id <> s.session_data_id
       )), 0) AS duplicates
FROM (
  SELECT d.session_data_id, d.session_id, d.data_key FROM session_data AS d ORDER BY d.session_data_id LIMIT :sample
) AS s;

-- name: rhythm
-- A website's last event, and the longest pause between its events before that, from an index on both columns.
SELECT MAX(p.at) AS last_event,
       MAX(TIMESTAMPDIFF(SECOND, p.before_that, p.at)) AS longest_pause_seconds,
       COUNT(*) AS events
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
-- Events since a time, for the optimiser to estimate; it is never run.
SELECT e.event_id FROM website_event AS e WHERE e.created_at >= :since;

-- name: checkpoints_place
-- PostgreSQL's matter alone.
SELECT '' AS place FROM DUAL WHERE FALSE;

-- name: checkpoints
-- PostgreSQL's matter alone.
SELECT 0 AS timed, 0 AS forced, '' AS max_wal_size FROM DUAL WHERE FALSE;

-- name: time_zone
-- How far from UTC the sessions are that Umami and this one have.
SELECT CASE WHEN @@session.time_zone = 'SYSTEM' THEN @@global.system_time_zone ELSE @@session.time_zone END AS zone,
       TIMESTAMPDIFF(MINUTE, UTC_TIMESTAMP(), NOW()) AS offset_minutes;

-- name: collation_versions
-- PostgreSQL's matter alone.
SELECT 1 AS one FROM DUAL WHERE FALSE;

-- name: collation_version
-- PostgreSQL's matter alone.
SELECT '' AS name, '' AS found, '' AS expected FROM DUAL WHERE FALSE;

-- name: binary_log_files
-- The files of the binary log with their sizes.
SHOW BINARY LOGS;

-- name: unused_sessions
-- Sessions of a sample, begun before a time, to which nothing refers; keys are random, which makes it a fair sample.
SELECT COUNT(*) AS looked_at,
       COALESCE(SUM(NOT EXISTS (SELECT 1 FROM website_event AS e WHERE e.session_id = s.session_id)
         AND NOT EXISTS (SELECT 1 FROM revenue AS r WHERE r.session_id = s.session_id)         --? revenue
         AND NOT EXISTS (SELECT 1 FROM session_replay AS p WHERE p.session_id = s.session_id)  --? session_replay
       ), 0) AS unused
FROM (SELECT o.session_id, o.created_at FROM session AS o ORDER BY o.session_id LIMIT :sample) AS s
WHERE s.created_at < :since;

-- name: cure_create_index
-- For a person to paste: creates an index beside writers.
CREATE INDEX :name ON :relation (:columns);

-- name: cure_create_unique_index
-- For a person to paste: creates a unique index beside writers.
CREATE UNIQUE INDEX :name ON :relation (:columns);

-- name: cure_add_primary_key
-- For a person to paste: makes a primary key, locking the table meanwhile.
ALTER TABLE :relation ADD PRIMARY KEY (:columns);

-- name: cure_rename_index
-- For a person to paste: gives an index the name that Umami knows.
ALTER TABLE :relation RENAME INDEX :found TO :name;

-- name: cure_drop_index
-- For a person to paste: drops an index.
ALTER TABLE :relation DROP INDEX :name;

-- name: cure_end_session
-- For a person to paste: ends a session.
KILL :session;
