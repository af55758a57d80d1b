-- What `umami-ops upgrade` asks and does: what Umami's migrations will meet, the changes of rows that they make, in
-- words of our own, and Prisma's records.
--
-- Every move can be run again and changes nothing more. Those of big tables work slice by slice, over ids from
-- after (exclusive) to last (inclusive).

-- name: columns
-- Every column of the schema's tables with its type, whether it takes NULL, and its default.
SELECT c.relname AS relation,
       a.attname AS name,
       format_type(a.atttypid, a.atttypmod) AS type,
       NOT a.attnotnull AS nullable,
       pg_get_expr(d.adbin, d.adrelid) AS "default"
FROM pg_attribute AS a
JOIN pg_class AS c ON c.oid = a.attrelid
LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE c.relnamespace = (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = current_schema())
  AND c.relkind IN ('r', 'p')
  AND NOT c.relispartition
  AND a.attnum > 0
  AND NOT a.attisdropped
ORDER BY c.relname, a.attnum;

-- name: partitions
-- The partitions that hold rows, of every partitioned table of the schema.
WITH RECURSIVE part AS (
  SELECT c.oid, c.relname AS "table"
  FROM pg_class AS c
  WHERE c.relnamespace = (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = current_schema())
    AND c.relkind = 'p'
    AND NOT c.relispartition
  UNION ALL
  SELECT i.inhrelid, p."table"
  FROM part AS p
  JOIN pg_inherits AS i ON i.inhparent = p.oid
)
SELECT p."table", c.relname AS name
FROM part AS p
JOIN pg_class AS c ON c.oid = p.oid AND c.relkind = 'r'
ORDER BY p."table", c.relname;

-- name: remains
-- What clears away the invalid index that an interrupted CREATE INDEX CONCURRENTLY left on a table.
SELECT FORMAT('DROP INDEX CONCURRENTLY IF EXISTS %I.%I', n.nspname, i.relname) AS statement
FROM pg_index AS x
JOIN pg_class AS i ON i.oid = x.indexrelid AND i.relkind = 'i'
JOIN pg_class AS t ON t.oid = x.indrelid
JOIN pg_namespace AS n ON n.oid = t.relnamespace
WHERE n.nspname = :schema
  AND t.relname = :name
  AND NOT x.indisvalid
  AND NOT EXISTS (SELECT 1 FROM pg_stat_progress_create_index AS b WHERE b.relid = t.oid);

-- name: index_owners
-- Constraints that rest on an index of the schema, other than primary keys: DROP INDEX would fail.
SELECT i.relname AS "index", k.conname AS name, t.relname AS "table"
FROM pg_constraint AS k
JOIN pg_class AS i ON i.oid = k.conindid
JOIN pg_class AS t ON t.oid = k.conrelid
WHERE i.relnamespace = (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = current_schema())
  AND k.contype <> 'p'
ORDER BY i.relname, k.conname;

-- name: readers
-- Views, triggers and policies that name a column of the schema's tables: it can't be dropped, nor get another type.
SELECT DISTINCT t.relname AS "table", a.attname AS "column",
       CASE WHEN r.oid IS NOT NULL THEN 'view ' || quote_ident(n.nspname) || '.' || quote_ident(v.relname)
            WHEN g.oid IS NOT NULL THEN 'trigger ' || quote_ident(g.tgname)
            ELSE 'policy ' || quote_ident(p.polname) END AS name
FROM pg_depend AS d
JOIN pg_class AS t ON t.oid = d.refobjid
JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
LEFT JOIN pg_rewrite AS r ON d.classid = CAST('pg_rewrite' AS regclass) AND r.oid = d.objid
LEFT JOIN pg_class AS v ON v.oid = r.ev_class
LEFT JOIN pg_namespace AS n ON n.oid = v.relnamespace
LEFT JOIN pg_trigger AS g ON d.classid = CAST('pg_trigger' AS regclass) AND g.oid = d.objid
LEFT JOIN pg_policy AS p ON d.classid = CAST('pg_policy' AS regclass) AND p.oid = d.objid
WHERE d.refclassid = CAST('pg_class' AS regclass)
  AND d.refobjsubid > 0
  AND t.relnamespace = (SELECT s.oid FROM pg_namespace AS s WHERE s.nspname = current_schema())
  AND t.relkind IN ('r', 'p')
  AND COALESCE(r.oid, g.oid, p.oid) IS NOT NULL
  AND v.oid IS DISTINCT FROM t.oid
ORDER BY 1, 2, 3;

-- name: missing_rights
-- What a migration needs and this user hasn't: to own the tables, and to create in the schema.
SELECT t.name, 'ownership' AS "right"
FROM UNNEST(CAST(:tables AS text[])) AS t(name)
JOIN pg_class AS c ON c.relname = t.name
WHERE c.relnamespace = (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = current_schema())
  AND NOT pg_has_role(c.relowner, 'USAGE')
UNION ALL
SELECT 'the schema ' || current_schema(), 'CREATE'
WHERE NOT has_schema_privilege(current_schema(), 'CREATE')
ORDER BY 2 DESC, 1;

-- name: makes_uuids
-- Whether the server has the function by which migration 05 makes ids.
SELECT TRUE AS answer;

-- name: reports
-- The reports with their parameters as text.
SELECT CAST(r.report_id AS text) AS id, r.type, r.name, CAST(r.parameters AS text) AS parameters FROM report AS r;

-- name: shared_twice
-- Share ids that more than one website has.
SELECT w.share_id AS id
FROM website AS w
WHERE w.share_id IS NOT NULL
GROUP BY w.share_id
HAVING COUNT(*) > 1;

-- name: too_long
-- Values that don't fit the narrower columns of migration 14.
SELECT 'report.type' AS "column", MAX(LENGTH(r.type)) AS longest, 50 AS fits FROM report AS r
HAVING MAX(LENGTH(r.type)) > 50
UNION ALL                                                                                       --? segment
SELECT 'segment.type', MAX(LENGTH(s.type)), 50 FROM segment AS s HAVING MAX(LENGTH(s.type)) > 50  --? segment
UNION ALL                                                                                       --? revenue
SELECT 'revenue.currency', MAX(LENGTH(v.currency)), 10 FROM revenue AS v                        --? revenue
HAVING MAX(LENGTH(v.currency)) > 10                                                             --? revenue
ORDER BY 1;

-- name: odd_ids
-- None: here an id is a uuid by its type.
SELECT '' AS "table", '' AS id WHERE FALSE;

-- name: duplicates
-- How many rows of session_data migration 23 deletes.
SELECT COALESCE(SUM(d.copies - 1), 0) AS row_count
FROM (SELECT COUNT(*) AS copies FROM session_data AS s GROUP BY s.session_id, s.data_key HAVING COUNT(*) > 1) AS d;

-- name: sample_make
-- A temporary table like website_event, indexes included, with some of its rows.
CREATE TEMPORARY TABLE _umami_ops_sample (LIKE website_event INCLUDING DEFAULTS INCLUDING INDEXES);
INSERT INTO _umami_ops_sample SELECT * FROM website_event LIMIT :sample;

-- name: sample_update
-- Rewrites the sample as a migration rewrites the table.
UPDATE _umami_ops_sample SET page_title = page_title || ' ';

-- name: sample_index
-- Builds on the sample an index as migrations do.
CREATE INDEX ON _umami_ops_sample (website_id, created_at, url_path, event_type, session_id);

-- name: sample_drop
-- Takes the sample away.
DROP TABLE IF EXISTS pg_temp._umami_ops_sample;

-- name: give_up
-- Marks the failed attempts at a migration as rolled back, as `prisma migrate resolve` does.
UPDATE _prisma_migrations
SET rolled_back_at = now()
WHERE migration_name = :migration AND finished_at IS NULL AND rolled_back_at IS NULL;

-- name: record
-- Marks a migration as applied, as `prisma migrate resolve` does.
INSERT INTO _prisma_migrations (id, checksum, finished_at, migration_name, started_at, applied_steps_count)
SELECT CAST(gen_random_uuid() AS text), CAST(:checksum AS text), now(), CAST(:migration AS text), now(), 0
WHERE NOT EXISTS (
  SELECT 1 FROM _prisma_migrations AS m
  WHERE m.migration_name = CAST(:migration AS text) AND m.finished_at IS NOT NULL AND m.rolled_back_at IS NULL
);

-- name: next_website_event
-- Finds the end of the next slice of events, by id.
SELECT CAST((ARRAY_AGG(t.id ORDER BY t.id DESC))[1] AS text) AS last, COUNT(*) AS picked
FROM (
  SELECT e.event_id AS id
  FROM website_event AS e
  WHERE CAST(:after AS uuid) IS NULL OR e.event_id > CAST(:after AS uuid)
  ORDER BY e.event_id
  LIMIT :batch_rows
) AS t
HAVING COUNT(*) > 0;

-- name: next_event_data
-- Finds the end of the next slice of event_data, by id.
SELECT CAST((ARRAY_AGG(t.id ORDER BY t.id DESC))[1] AS text) AS last, COUNT(*) AS picked
FROM (
  SELECT d.event_data_id AS id
  FROM event_data AS d
  WHERE CAST(:after AS uuid) IS NULL OR d.event_data_id > CAST(:after AS uuid)
  ORDER BY d.event_data_id
  LIMIT :batch_rows
) AS t
HAVING COUNT(*) > 0;

-- name: next_session_data
-- Finds the end of the next slice of session_data, by session: a session's rows stay together.
SELECT CAST((ARRAY_AGG(t.id ORDER BY t.id DESC))[1] AS text) AS last, COUNT(*) AS picked
FROM (
  SELECT d.session_id AS id
  FROM session_data AS d
  WHERE CAST(:after AS uuid) IS NULL OR d.session_id > CAST(:after AS uuid)
  ORDER BY d.session_id
  LIMIT :batch_rows
) AS t
HAVING COUNT(*) > 0;

-- name: move_event_values
-- Writes numbers and dates of a slice as text, too, where that is missing.
-- copies: event_data
UPDATE event_data AS d
SET string_value = CASE d.data_type
  WHEN 2 THEN CAST(d.number_value AS text)
  ELSE TO_CHAR(d.date_value AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') END
WHERE (CAST(:after AS uuid) IS NULL OR d.event_data_id > CAST(:after AS uuid))
  AND d.event_data_id <= CAST(:last AS uuid)
  AND d.data_type IN (2, 4)
  AND d.string_value IS NULL;

-- name: move_website_owners
-- Notes who made each website that belongs to no team.
UPDATE website AS w
SET created_by = w.user_id
WHERE w.team_id IS NULL AND w.created_by IS NULL;

-- name: move_visits
-- Gives the events of a slice that have none the visit of their session and hour: the same for all of them.
-- copies: website_event
UPDATE website_event AS e
SET visit_id = CAST(OVERLAY(OVERLAY(LEFT(ENCODE(sha256(CAST(
  e.session_id || ' ' || COALESCE(CAST(date_trunc('hour', e.created_at AT TIME ZONE 'UTC') AS text), '')
  AS bytea)), 'hex'), 32) PLACING '4' FROM 13) PLACING '8' FROM 17) AS uuid)
WHERE (CAST(:after AS uuid) IS NULL OR e.event_id > CAST(:after AS uuid))
  AND e.event_id <= CAST(:last AS uuid)
  AND e.visit_id IS NULL;

-- name: move_hostnames
-- Copies the hostname of their session into the events of a slice that have none.
-- copies: website_event
UPDATE website_event AS e
SET hostname = s.hostname
FROM session AS s
WHERE s.session_id = e.session_id
  AND s.website_id = e.website_id
  AND (CAST(:after AS uuid) IS NULL OR e.event_id > CAST(:after AS uuid))
  AND e.event_id <= CAST(:last AS uuid)
  AND e.hostname IS NULL;

-- name: move_reports
-- Takes funnels of one step away, calls their urls paths, and makes a report of each goal.
DELETE FROM report AS r
WHERE r.type = 'funnel' AND jsonb_array_length(r.parameters -> 'steps') = 1;
UPDATE report AS r
SET parameters = r.parameters - CAST('{websiteId,dateRange,urls}' AS text[])
WHERE r.type = 'funnel';
UPDATE report AS r
SET parameters = jsonb_set(r.parameters, '{steps}', (
  SELECT jsonb_agg(CASE WHEN s.step ->> 'type' = 'url' THEN s.step || '{"type": "path"}' ELSE s.step END ORDER BY s.place)
  FROM jsonb_array_elements(r.parameters -> 'steps') WITH ORDINALITY AS s(step, place)
))
WHERE r.type = 'funnel' AND r.parameters @> '{"steps": [{"type": "url"}]}';
WITH former AS (
  DELETE FROM report AS r
  WHERE r.type IN ('goal', 'goals') AND jsonb_exists(r.parameters, 'goals')
  RETURNING r.*
)
INSERT INTO report (report_id, user_id, website_id, type, name, description, parameters, created_at, updated_at)
SELECT gen_random_uuid(), f.user_id, f.website_id, 'goal', f.name || ' - ' || COALESCE(g.goal ->> 'value', ''), f.description,
       jsonb_build_object(
         'type', CASE g.goal ->> 'type' WHEN 'url' THEN 'path' ELSE g.goal ->> 'type' END,
         'value', g.goal ->> 'value'
       ),
       f.created_at, f.updated_at
FROM former AS f
CROSS JOIN LATERAL jsonb_array_elements(f.parameters -> 'goals') AS g(goal)
WHERE g.goal ->> 'type' IN ('event', 'url');
UPDATE report SET type = 'goal' WHERE type = 'goals';

-- name: move_shares
-- Makes a row of share of each website's share id.
INSERT INTO share (share_id, entity_id, name, share_type, slug, parameters, created_at)
SELECT gen_random_uuid(), w.website_id, w.name, 1, w.share_id, '{"overview": true}', now()
FROM website AS w
WHERE w.share_id IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM share AS s WHERE s.slug = w.share_id);

-- name: move_duplicates
-- Deletes what the sessions of a slice have twice, having locked it: the newest row of a key stays.
-- collect: ids
SELECT CAST(o.session_data_id AS text) AS ids
FROM session_data AS o
WHERE (o.session_id, o.data_key) IN (
  SELECT d.session_id, d.data_key
  FROM session_data AS d
  WHERE (CAST(:after AS uuid) IS NULL OR d.session_id > CAST(:after AS uuid))
    AND d.session_id <= CAST(:last AS uuid)
  GROUP BY d.session_id, d.data_key
  HAVING COUNT(*) > 1
)
FOR UPDATE;
-- deletes: session_data
DELETE FROM session_data AS d
USING (
  SELECT s.session_data_id,
         ROW_NUMBER() OVER (
           PARTITION BY s.session_id, s.data_key ORDER BY s.created_at DESC NULLS LAST, s.session_data_id DESC
         ) AS place
  FROM session_data AS s
  WHERE s.session_data_id = ANY(CAST(:ids AS uuid[]))
) AS r
WHERE r.session_data_id = d.session_data_id AND r.place > 1;
