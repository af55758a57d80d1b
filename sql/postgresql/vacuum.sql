-- How tables and indexes are, for `vacuum`. Reads the catalogue and the server's counters, never a table.

-- part: live_rows
-- What the counter says, which VACUUM and ANALYZE set right; since a crash or a restore none may have done so, and
-- then what they wrote into the catalogue, scaled to the pages of today as the planner does.
CASE WHEN COALESCE(s.last_vacuum, s.last_autovacuum, s.last_analyze, s.last_autoanalyze) IS NULL AND t.relpages > 0
     THEN GREATEST(t.reltuples / t.relpages * (pg_relation_size(t.oid) / 8192.0) - COALESCE(s.n_dead_tup, 0), 0)
     ELSE COALESCE(s.n_live_tup, 0) END::bigint AS live_rows,

-- name: tables
-- Every table of the schema and every partition of one, with what the server counted since it was last maintained.
-- `row_bytes` is an average row by its statistics, without the header; null when there are none.
WITH RECURSIVE relation AS (
  SELECT c.oid, c.relname AS root
  FROM pg_class AS c
  WHERE c.relnamespace = (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = current_schema())
    AND c.relkind IN ('r', 'p')
    AND NOT c.relispartition
  UNION ALL
  SELECT i.inhrelid, r.root
  FROM relation AS r
  JOIN pg_inherits AS i ON i.inhparent = r.oid
)
SELECT n.nspname AS schema,
       t.relname AS name,
       r.root,
       t.relkind = 'r' AS holds_rows,
       pg_has_role(t.relowner, 'USAGE')
         OR pg_has_role(d.datdba, 'USAGE')
         OR CASE WHEN current_setting('server_version_num')::int >= 170000
                 THEN has_table_privilege(t.oid, 'MAINTAIN') ELSE FALSE END AS may_maintain,
       pg_table_size(t.oid) AS table_bytes,
       pg_indexes_size(t.oid) AS index_bytes,
       pg_relation_size(t.oid) AS heap_bytes,
       (SELECT COUNT(*) FROM pg_index AS x WHERE x.indrelid = t.oid) AS indexes,
       --+ live_rows
       COALESCE(s.n_dead_tup, 0) AS dead_rows,
       COALESCE(s.n_mod_since_analyze, 0) AS changed_rows,
       COALESCE(s.n_ins_since_vacuum, 0) AS inserted_rows,
       (t.reltuples >= 0 AND t.relpages > 0) OR pg_relation_size(t.oid) = 0 AS is_analyzed,
       CASE WHEN t.relkind = 'r' THEN age(t.relfrozenxid) ELSE 0 END AS freeze_age,
       COALESCE(CAST(SUBSTRING(ARRAY_TO_STRING(t.reloptions, ',') FROM 'fillfactor=([0-9]+)') AS int), 100)
         AS fill_percent,
       stats.row_bytes
FROM relation AS r
JOIN pg_class AS t ON t.oid = r.oid
JOIN pg_namespace AS n ON n.oid = t.relnamespace
JOIN pg_database AS d ON d.datname = current_database()
LEFT JOIN pg_stat_all_tables AS s ON s.relid = t.oid
LEFT JOIN LATERAL (
  SELECT SUM((1 - p.null_frac) * p.avg_width) AS row_bytes
  FROM pg_stats AS p
  WHERE p.schemaname = n.nspname AND p.tablename = t.relname AND NOT p.inherited
) AS stats ON TRUE
WHERE t.relkind IN ('r', 'p')
ORDER BY r.root, t.relname;

-- name: indexes
-- Every index of the schema's tables with what a B-tree's size can be reckoned from, column by column: how wide a
-- value is, at which boundary it begins, how many are null, how many differ. An index that is being built is left out.
WITH RECURSIVE relation AS (
  SELECT c.oid
  FROM pg_class AS c
  WHERE c.relnamespace = (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = current_schema())
    AND c.relkind IN ('r', 'p')
    AND NOT c.relispartition
  UNION ALL
  SELECT i.inhrelid
  FROM relation AS r
  JOIN pg_inherits AS i ON i.inhparent = r.oid
)
SELECT n.nspname AS schema,
       t.relname AS table_name,
       i.relname AS name,
       pg_relation_size(i.oid) AS size_bytes,
       x.indisvalid AS is_valid,
       NOT x.indisvalid AND i.relname ~ '_cc(new|old)[0-9]*$' AS is_remains,
       am.amname = 'btree' AND x.indpred IS NULL AND x.indexprs IS NULL AS is_plain,
       COALESCE(CAST(SUBSTRING(ARRAY_TO_STRING(i.reloptions, ',') FROM 'fillfactor=([0-9]+)') AS int), 90)
         AS fill_percent,
       COALESCE(ARRAY_TO_STRING(i.reloptions, ',') NOT LIKE '%deduplicate_items=off%', TRUE)
         AND x.indnatts = x.indnkeyatts
         AND NOT EXISTS (
           SELECT 1
           FROM UNNEST(STRING_TO_ARRAY(x.indclass::text, ' ')) AS u(opclass)
           JOIN pg_opclass AS oc ON oc.oid::text = u.opclass
           WHERE NOT EXISTS (
             SELECT 1 FROM pg_amproc AS f
             WHERE f.amprocfamily = oc.opcfamily
               AND f.amprocnum = 4
               AND f.amproclefttype = oc.opcintype
           )
         ) AS has_posting_lists,
       col.widths,
       col.alignments,
       col.varying,
       col.null_shares,
       col.distinct_values,
       --+ live_rows
       COALESCE(s.n_dead_tup, 0) AS dead_rows
FROM relation AS r
JOIN pg_class AS t ON t.oid = r.oid AND t.relkind = 'r'
JOIN pg_namespace AS n ON n.oid = t.relnamespace
JOIN pg_index AS x ON x.indrelid = t.oid
JOIN pg_class AS i ON i.oid = x.indexrelid
JOIN pg_am AS am ON am.oid = i.relam
LEFT JOIN pg_stat_all_tables AS s ON s.relid = t.oid
LEFT JOIN LATERAL (
  SELECT ARRAY_AGG(CAST(p.avg_width AS int) ORDER BY k.place) AS widths,
         ARRAY_AGG(CASE WHEN a.attlen = -1 THEN 1
                        WHEN a.attalign = 'd' THEN 8
                        WHEN a.attalign = 'i' THEN 4
                        WHEN a.attalign = 's' THEN 2
                        ELSE 1 END ORDER BY k.place) AS alignments,
         ARRAY_AGG(a.attlen = -1 ORDER BY k.place) AS varying,
         ARRAY_AGG(CAST(p.null_frac AS float8) ORDER BY k.place) AS null_shares,
         ARRAY_AGG(CAST(p.n_distinct AS float8) ORDER BY k.place) AS distinct_values
  FROM UNNEST(CAST(x.indkey AS int[])) WITH ORDINALITY AS k(number, place)
  JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = k.number
  LEFT JOIN pg_stats AS p
    ON p.schemaname = n.nspname AND p.tablename = t.relname AND p.attname = a.attname AND NOT p.inherited
) AS col ON TRUE
WHERE NOT EXISTS (SELECT 1 FROM pg_stat_progress_create_index AS b WHERE b.relid = t.oid)
ORDER BY t.relname, i.relname;

-- name: size
-- What one table takes of the disk, now.
SELECT pg_table_size(c.oid) AS table_bytes, pg_indexes_size(c.oid) AS index_bytes
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = :schema AND c.relname = :name;

-- name: progress
-- How far another session's statement has come: the phase in the server's words, and its share of the whole.
SELECT v.phase,
       CASE WHEN v.heap_blks_total > 0
            THEN (v.heap_blks_scanned + v.heap_blks_vacuumed) / (2.0 * v.heap_blks_total) END::float8 AS share
FROM pg_stat_progress_vacuum AS v
WHERE v.pid = :session_id
UNION ALL
SELECT c.phase,
       CASE WHEN c.heap_blks_total > 0 THEN c.heap_blks_scanned / (1.0 * c.heap_blks_total) END::float8
FROM pg_stat_progress_cluster AS c
WHERE c.pid = :session_id
UNION ALL
SELECT i.phase,
       CASE WHEN i.blocks_total > 0 THEN i.blocks_done / (1.0 * i.blocks_total) END::float8
FROM pg_stat_progress_create_index AS i
WHERE i.pid = :session_id
UNION ALL
SELECT a.phase,
       CASE WHEN a.sample_blks_total > 0 THEN a.sample_blks_scanned / (1.0 * a.sample_blks_total) END::float8
FROM pg_stat_progress_analyze AS a
WHERE a.pid = :session_id
LIMIT 1;

-- name: workers
-- How many workers a statement of maintenance may have.
SELECT current_setting('max_parallel_maintenance_workers')::int AS workers;

-- name: measuring
-- The schema of pgstattuple, where it is installed and this user may call this function of it.
SELECT n.nspname AS schema
FROM pg_extension AS e
JOIN pg_namespace AS n ON n.oid = e.extnamespace
JOIN pg_proc AS p ON p.pronamespace = n.oid AND p.proname = :function AND p.proargtypes[0] = 'regclass'::regtype
WHERE e.extname = 'pgstattuple' AND has_function_privilege(p.oid, 'EXECUTE');

-- name: repack
-- The version of the extension pg_repack, where it is installed and this user may make tables in its schema.
SELECT e.extversion AS version
FROM pg_extension AS e
WHERE e.extname = 'pg_repack'
  AND has_schema_privilege(COALESCE(to_regnamespace('repack'), CAST(e.extnamespace AS regnamespace)), 'CREATE');

-- name: remains
-- What clears away the invalid copies that an interrupted REINDEX CONCURRENTLY left on a table.
SELECT FORMAT('DROP INDEX CONCURRENTLY IF EXISTS %I.%I', n.nspname, i.relname) AS statement
FROM pg_index AS x
JOIN pg_class AS i ON i.oid = x.indexrelid
JOIN pg_class AS t ON t.oid = x.indrelid
JOIN pg_namespace AS n ON n.oid = t.relnamespace
WHERE n.nspname = :schema
  AND t.relname = :name
  AND NOT x.indisvalid
  AND i.relname ~ '_cc(new|old)[0-9]*$'
  AND NOT EXISTS (SELECT 1 FROM pg_stat_progress_create_index AS b WHERE b.relid = t.oid);
