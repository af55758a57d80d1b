-- What a backup and a restore ask of the server.

-- name: tables_of
-- Every table of a schema, partitions too; `root` is the table that a partition belongs to.
WITH RECURSIVE relation AS (
  SELECT c.oid, c.relname AS root, c.relname AS name
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  WHERE n.nspname = :schema
    AND c.relkind IN ('r', 'p')
    AND NOT c.relispartition
  UNION ALL
  SELECT p.oid, r.root, p.relname
  FROM relation AS r
  JOIN pg_inherits AS i ON i.inhparent = r.oid
  JOIN pg_class AS p ON p.oid = i.inhrelid
)
SELECT r.name, r.root
FROM relation AS r
ORDER BY r.root, r.name;

-- name: others_of
-- Views, functions and sequences of a schema that no table owns.
SELECT c.relname AS name
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = :schema
  AND c.relkind IN ('v', 'm', 'S', 'f')
UNION ALL
SELECT p.proname
FROM pg_proc AS p
JOIN pg_namespace AS n ON n.oid = p.pronamespace
WHERE n.nspname = :schema
ORDER BY 1;

-- name: dependents
-- The views that read one of these tables of the session's schema, and would go with it.
SELECT DISTINCT v.relname AS name
FROM pg_depend AS d
JOIN pg_rewrite AS w ON w.oid = d.objid
JOIN pg_class AS v ON v.oid = w.ev_class
JOIN pg_class AS t ON t.oid = d.refobjid
JOIN pg_namespace AS n ON n.oid = t.relnamespace
WHERE d.classid = CAST('pg_rewrite' AS regclass)
  AND d.refclassid = CAST('pg_class' AS regclass)
  AND v.oid <> t.oid
  AND n.nspname = current_schema()
  AND t.relname = ANY(CAST(:tables AS text[]))
ORDER BY v.relname;

-- name: referrers
-- The tables outside of these of the session's schema that have foreign keys to them.
SELECT DISTINCT r.relname AS name
FROM pg_constraint AS k
JOIN pg_class AS t ON t.oid = k.confrelid
JOIN pg_class AS r ON r.oid = k.conrelid
JOIN pg_namespace AS n ON n.oid = t.relnamespace
WHERE k.contype = 'f'
  AND k.conparentid = 0
  AND n.nspname = current_schema()
  AND t.relname = ANY(CAST(:tables AS text[]))
  AND NOT (r.relnamespace = t.relnamespace AND r.relname = ANY(CAST(:tables AS text[])))
ORDER BY r.relname;

-- name: attached
-- What hangs on these tables of the session's schema and goes with them: in words, and on which of them.
WITH chosen AS (
  SELECT c.oid, c.relname, c.relrowsecurity, c.relreplident, c.reloptions
  FROM pg_class AS c
  JOIN pg_namespace AS n ON n.oid = c.relnamespace
  WHERE n.nspname = current_schema()
    AND c.relkind IN ('r', 'p')
    AND c.relname = ANY(CAST(:tables AS text[]))
)
SELECT 'trigger ' || g.tgname AS name, t.relname AS relation
FROM pg_trigger AS g
JOIN chosen AS t ON t.oid = g.tgrelid
WHERE NOT g.tgisinternal
UNION ALL
SELECT 'policy ' || p.polname, t.relname
FROM pg_policy AS p
JOIN chosen AS t ON t.oid = p.polrelid
UNION ALL
SELECT 'row-level security', t.relname
FROM chosen AS t
WHERE t.relrowsecurity
UNION ALL
SELECT 'rule ' || r.rulename, t.relname
FROM pg_rewrite AS r
JOIN chosen AS t ON t.oid = r.ev_class
UNION ALL
SELECT 'its place in publication ' || b.pubname, t.relname
FROM pg_publication_rel AS r
JOIN pg_publication AS b ON b.oid = r.prpubid
JOIN chosen AS t ON t.oid = r.prrelid
UNION ALL
SELECT 'replica identity', t.relname
FROM chosen AS t
WHERE t.relreplident <> 'd'
UNION ALL
SELECT 'statistics ' || s.stxname, t.relname
FROM pg_statistic_ext AS s
JOIN chosen AS t ON t.oid = s.stxrelid
UNION ALL
SELECT 'setting ' || o.setting, t.relname
FROM chosen AS t
CROSS JOIN unnest(t.reloptions) AS o(setting)
UNION ALL
SELECT DISTINCT 'comment', t.relname
FROM pg_description AS d
JOIN chosen AS t ON t.oid = d.objoid
WHERE d.classoid = CAST('pg_class' AS regclass)
ORDER BY 2, 1;

-- name: databases
-- The names of this server's databases.
SELECT d.datname AS name
FROM pg_database AS d
ORDER BY d.datname;
