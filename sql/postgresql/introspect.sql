-- What the catalogue says about the server and the schema this session looks at (current_schema()).

-- name: identity
-- Which server this is, by whatever address: no two start in the same microsecond.
SELECT CONCAT('postgresql ', pg_postmaster_start_time()) AS server_identity;

-- name: server
-- The server, the database and the user behind this session.
SELECT split_part(current_setting('server_version'), ' ', 1) AS version,
       current_database() AS database,
       current_schema() AS schema,
       current_user AS "user",
       current_setting('transaction_read_only')::boolean OR pg_is_in_recovery() AS read_only;

-- name: data_folder
-- Where the server's files lie, if the session came from the server's own machine and this user may know.
SELECT CASE WHEN (inet_server_addr() IS NULL OR host(inet_server_addr()) LIKE '127.%' OR host(inet_server_addr()) = '::1')
             AND pg_has_role('pg_read_all_settings', 'USAGE')
            THEN current_setting('data_directory') END AS folder;

-- name: relations
-- Every table, partitioned table and view of the schema; a partition counts for its parent. As the planner does,
-- this scales the rows that ANALYZE saw to the pages of today; never analysed, a row is taken to fill 200 bytes.
WITH RECURSIVE relation AS (
  SELECT c.oid, c.oid AS root, c.relname AS name,
         CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table'
                        WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' ELSE 'foreign table' END AS kind
  FROM pg_class AS c
  WHERE c.relnamespace = (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = current_schema())
    AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    AND NOT c.relispartition
  UNION ALL
  SELECT i.inhrelid, r.root, r.name, r.kind
  FROM relation AS r
  JOIN pg_inherits AS i ON i.inhparent = r.oid
)
SELECT r.name,
       r.kind,
       SUM(CASE WHEN c.relkind NOT IN ('r', 'm') THEN 0
                WHEN c.reltuples >= 0 AND c.relpages > 0
                THEN c.reltuples / c.relpages * (pg_relation_size(c.oid) / 8192.0)
                ELSE pg_relation_size(c.oid) / 200.0 END)::bigint AS rows_estimate,
       SUM(CASE WHEN c.relkind IN ('r', 'm') THEN pg_table_size(c.oid) ELSE 0 END)::bigint AS table_bytes,
       SUM(CASE WHEN c.relkind IN ('r', 'm') THEN pg_indexes_size(c.oid) ELSE 0 END)::bigint AS index_bytes
FROM relation AS r
JOIN pg_class AS c ON c.oid = r.oid
GROUP BY r.root, r.name, r.kind
ORDER BY r.name;

-- name: columns
-- Every column of the schema's relations with its type.
SELECT c.relname AS relation, a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type
FROM pg_attribute AS a
JOIN pg_class AS c ON c.oid = a.attrelid
WHERE c.relnamespace = (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = current_schema())
  AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND NOT c.relispartition
  AND a.attnum > 0
  AND NOT a.attisdropped
ORDER BY c.relname, a.attnum;

-- name: missing_rights
-- Those of the named tables on which this user lacks a right; DROP is their owner's.
SELECT t.name
FROM UNNEST(CAST(:tables AS text[])) AS t(name)
JOIN pg_class AS c ON c.oid = to_regclass(quote_ident(current_schema()) || '.' || quote_ident(t.name))
WHERE NOT CASE WHEN CAST(:right AS text) = 'DROP' THEN pg_has_role(c.relowner, 'USAGE')
               ELSE has_table_privilege(c.oid, CAST(:right AS text)) END;

-- name: prisma_migrations
-- What Prisma has written down about its migrations.
SELECT migration_name, checksum, started_at, finished_at, rolled_back_at, logs
FROM _prisma_migrations
ORDER BY migration_name, started_at;

-- name: elsewhere
-- The other schemas of this database that hold Umami's tables or Prisma's.
SELECT n.nspname AS schema,
       bool_or(c.relname = 'website_event') AS has_umami,
       bool_or(c.relname = '_prisma_migrations') AS has_migrations
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relname IN ('website_event', '_prisma_migrations')
  AND c.relkind IN ('r', 'p', 'v')
  AND n.nspname IS DISTINCT FROM current_schema()
GROUP BY n.nspname
ORDER BY n.nspname;
