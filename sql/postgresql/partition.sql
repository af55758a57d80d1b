-- The partitions of website_event: what is there, and what stands in their way.

-- name: partitions
-- Every partition with its bounds as the catalogue writes them, and the key of the partitioned table.
SELECT c.relname AS name,
       pg_get_expr(c.relpartbound, c.oid) AS bounds,
       pg_get_partkeydef(p.oid) AS key,
       CASE WHEN c.reltuples >= 0 AND c.relpages > 0
            THEN c.reltuples / c.relpages * (pg_relation_size(c.oid) / 8192.0)
            ELSE pg_relation_size(c.oid) / 200.0 END::bigint AS rows_estimate,
       pg_table_size(c.oid) AS table_bytes,
       pg_indexes_size(c.oid) AS index_bytes
FROM pg_class AS p
LEFT JOIN pg_inherits AS i ON i.inhparent = p.oid
LEFT JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE p.relnamespace = (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = current_schema())
  AND p.relname = 'website_event'
  AND p.relkind = 'p'
ORDER BY c.relname;

-- name: leftovers
-- What of ours stands in the schema: the tables and indexes of a run that works, or that was interrupted.
SELECT c.relname AS name, c.relkind = 'i' AS is_index, COALESCE(x.indisvalid, TRUE) AS is_valid
FROM pg_class AS c
LEFT JOIN pg_index AS x ON x.indexrelid = c.oid
WHERE c.relnamespace = (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = current_schema())
  AND c.relkind IN ('r', 'p', 'i', 'I')
  AND c.relname LIKE '\_umami\_ops\_%'
ORDER BY c.relname;

-- name: obstacles
-- What hangs on website_event and would be lost, or left behind on one partition.
WITH target AS (
  SELECT c.oid, c.reltype AS row_type
  FROM pg_class AS c
  WHERE c.relnamespace = (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = current_schema())
    AND c.relname = 'website_event'
)
SELECT 'the trigger ' || t.tgname AS what
FROM pg_trigger AS t
JOIN target AS x ON x.oid = t.tgrelid
WHERE NOT t.tgisinternal AND t.tgname NOT LIKE '\_umami\_ops\_%'
UNION ALL
SELECT 'the foreign key ' || k.conname
FROM pg_constraint AS k
JOIN target AS x ON x.oid IN (k.conrelid, k.confrelid)
WHERE k.contype = 'f'
UNION ALL
SELECT 'the constraint ' || k.conname
FROM pg_constraint AS k
JOIN target AS x ON x.oid = k.conrelid
WHERE k.contype IN ('u', 'x', 'c') AND k.conname NOT LIKE '\_umami\_ops\_%'
UNION ALL
SELECT 'the unique index ' || i.relname
FROM pg_index AS u
JOIN target AS x ON x.oid = u.indrelid
JOIN pg_class AS i ON i.oid = u.indexrelid
WHERE u.indisunique AND NOT u.indisprimary AND i.relname NOT LIKE '\_umami\_ops\_%'
  AND NOT EXISTS (SELECT 1 FROM pg_constraint AS k WHERE k.conindid = i.oid)
UNION ALL
SELECT 'the rule ' || r.rulename
FROM pg_rewrite AS r
JOIN target AS x ON x.oid = r.ev_class
UNION ALL
SELECT DISTINCT 'the view ' || v.relname
FROM pg_depend AS d
JOIN target AS x ON x.oid = d.refobjid
JOIN pg_rewrite AS r ON r.oid = d.objid
JOIN pg_class AS v ON v.oid = r.ev_class
WHERE d.classid = 'pg_rewrite'::regclass AND v.oid <> x.oid
UNION ALL
SELECT DISTINCT 'the function ' || f.proname
FROM pg_depend AS d
JOIN target AS x ON d.refobjid IN (x.oid, x.row_type)
JOIN pg_proc AS f ON f.oid = d.objid
WHERE d.classid = 'pg_proc'::regclass
UNION ALL
SELECT 'the statistics ' || s.stxname
FROM pg_statistic_ext AS s
JOIN target AS x ON x.oid = s.stxrelid
UNION ALL
SELECT 'the sequence ' || c.relname
FROM pg_depend AS d
JOIN target AS x ON x.oid = d.refobjid
JOIN pg_class AS c ON c.oid = d.objid AND c.relkind = 'S'
WHERE d.classid = 'pg_class'::regclass
UNION ALL
SELECT 'the policy ' || p.polname
FROM pg_policy AS p
JOIN target AS x ON x.oid = p.polrelid
UNION ALL
SELECT DISTINCT 'a security label of ' || l.provider
FROM pg_seclabel AS l
JOIN target AS x ON x.oid = l.objoid
WHERE l.classoid = 'pg_class'::regclass
UNION ALL
SELECT 'row level security'
FROM pg_class AS c
JOIN target AS x ON x.oid = c.oid
WHERE c.relrowsecurity
UNION ALL
SELECT DISTINCT 'the publication ' || p.pubname
FROM pg_publication_tables AS p
JOIN target AS x ON TRUE
WHERE p.schemaname = current_schema()
  AND p.tablename IN (
    SELECT c.relname
    FROM pg_class AS c
    WHERE c.oid = x.oid OR c.oid IN (SELECT i.inhrelid FROM pg_inherits AS i WHERE i.inhparent = x.oid)
  )
UNION ALL
SELECT 'the table ' || c.relname || ', which inherits'
FROM pg_inherits AS i
JOIN target AS x ON x.oid IN (i.inhparent, i.inhrelid)
JOIN pg_class AS p ON p.oid = i.inhparent
JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE p.relkind = 'r' AND c.relname NOT LIKE '\_umami\_ops\_%';

-- name: is_analyzed
-- Whether the planner knows anything about the rows of website_event.
SELECT EXISTS (
  SELECT FROM pg_stats AS s WHERE s.schemaname = current_schema() AND s.tablename = 'website_event'
) AS known;

-- name: undated
-- Events without a time, and those among them whose session has none either.
SELECT COUNT(*) AS undated, COUNT(*) FILTER (WHERE s.created_at IS NULL) AS undatable
FROM website_event AS e
LEFT JOIN session AS s ON s.session_id = e.session_id
WHERE e.created_at IS NULL;

-- name: date_events
-- Gives a slice of events without a time that of their session.
-- copies: website_event
UPDATE website_event AS e
SET created_at = s.created_at
FROM session AS s
WHERE s.session_id = e.session_id
  AND e.created_at IS NULL
  AND (CAST(:after AS uuid) IS NULL OR e.event_id > CAST(:after AS uuid))
  AND e.event_id <= CAST(:last AS uuid);

-- name: spread
-- Events by day in UTC, of a range of time.
SELECT CAST(DATE_TRUNC('day', e.created_at) AS timestamptz) AS day, COUNT(*) AS events
FROM website_event AS e
WHERE e.created_at >= CAST(:since AS timestamptz) AND e.created_at < CAST(:until AS timestamptz)
GROUP BY 1
ORDER BY 1;

-- name: shape
-- All that was copied of website_event by the time of an exchange, in one line, which changes when somebody changes it.
SELECT MD5(CONCAT_WS(
  '|',
  c.relowner, c.relacl, c.reloptions, c.relreplident, obj_description(c.oid, 'pg_class'),
  (SELECT STRING_AGG(
     CONCAT_WS(
       ' ',
       a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated, a.attcollation, a.attacl,
       a.attstorage, a.attcompression, a.attstattarget, a.attoptions, pg_get_expr(d.adbin, d.adrelid),
       col_description(c.oid, a.attnum)
     ),
     ',' ORDER BY a.attnum
   )
   FROM pg_attribute AS a
   LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
   WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
  (SELECT STRING_AGG(
     CONCAT_WS(' ', pg_get_indexdef(i.oid), x.indisvalid, obj_description(i.oid, 'pg_class')), ',' ORDER BY i.relname
   )
   FROM pg_index AS x
   JOIN pg_class AS i ON i.oid = x.indexrelid
   WHERE x.indrelid = c.oid AND i.relname NOT LIKE '\_umami\_ops\_%')
)) AS shape
FROM pg_class AS c
WHERE c.relnamespace = (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = current_schema())
  AND c.relname = 'website_event';
