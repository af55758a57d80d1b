-- How tables are, for `vacuum`. InnoDB purges dead rows by itself and counts neither them nor what changed.

-- name: tables
-- Every table of the database. Only whole free extents count as free; where all tables share one file, none do.
SELECT t.table_schema AS `schema`,
       t.table_name AS name,
       t.engine = 'InnoDB' AS is_innodb,
       COALESCE(t.data_length, 0) AS data_bytes,
       COALESCE(t.index_length, 0) AS index_bytes,
       CASE WHEN @@innodb_file_per_table = 1 THEN COALESCE(t.data_free, 0) ELSE 0 END AS free_bytes,
       (SELECT COUNT(DISTINCT s.index_name) FROM information_schema.statistics AS s
        WHERE s.table_schema = t.table_schema AND s.table_name = t.table_name) AS indexes,
       COALESCE(t.table_rows, 0) AS live_rows,
       CASE WHEN t.create_options LIKE '%stats_auto_recalc=1%' THEN 1
            WHEN t.create_options LIKE '%stats_auto_recalc=0%' THEN 0
            ELSE @@innodb_stats_auto_recalc END AS refreshes_itself
FROM information_schema.tables AS t
WHERE t.table_schema = DATABASE() AND t.table_type = 'BASE TABLE'
ORDER BY t.table_name;

-- name: indexes
-- None: an InnoDB table and its indexes are one file, and rebuilt together.
SELECT t.table_name AS name FROM information_schema.tables AS t WHERE FALSE;

-- name: size
-- What one table takes of the disk, now, its free space included.
SELECT COALESCE(t.data_length, 0) + COALESCE(t.data_free, 0) AS table_bytes,
       COALESCE(t.index_length, 0) AS index_bytes
FROM information_schema.tables AS t
WHERE t.table_schema = :schema AND t.table_name = :name;

-- name: progress
-- What another session's statement is doing, in the server's words; how far it has come is not to be had.
SELECT p.state AS phase, NULL AS share
FROM /*!80022 performance_schema.*/ /*M!100000 information_schema.*/ processlist AS p
WHERE p.id = :session_id AND p.state <> '';

-- name: workers
-- None: a statement of maintenance has the threads that the server gives it.
SELECT 0 AS workers;

-- name: measuring
-- Nothing measures indexes.
SELECT t.table_schema AS `schema` FROM information_schema.tables AS t WHERE FALSE;

-- name: repack
-- There is no such extension.
SELECT NULL AS version FROM information_schema.tables AS t WHERE FALSE;

-- name: remains
-- Nothing is left when a statement is interrupted: the server clears up by itself.
SELECT NULL AS statement FROM information_schema.tables AS t WHERE FALSE AND :schema <> :name;
