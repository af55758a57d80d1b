-- What the catalogue says about the server and the database this session looks at (DATABASE()).

-- name: identity
-- Which server this is, by whatever address. Two in containers may have the same name, port and folder; MySQL's have a
-- number each.
SELECT CONCAT_WS(' ', 'mysql', @@hostname, @@port, @@datadir /*!80000 , @@server_uuid */) AS server_identity;

-- name: server
-- The server, the database and the user behind this session.
SELECT VERSION() AS version,
       @@version_comment AS comment,
       DATABASE() AS `database`,
       CURRENT_USER() AS `user`,
       @@global.read_only AS read_only,
       @@session.time_zone AS time_zone;

-- name: data_folder
-- Where this database's files lie, and on which machine.
SELECT @@datadir AS folder, @@hostname AS host, DATABASE() AS name;

-- name: relations
-- Every table and view of the database; InnoDB estimates its rows.
SELECT t.table_name AS name,
       CASE WHEN t.table_type = 'VIEW' THEN 'view'
            WHEN t.create_options LIKE '%partitioned%' THEN 'partitioned table'
            ELSE 'table' END AS kind,
       COALESCE(t.table_rows, 0) AS rows_estimate,
       COALESCE(t.data_length, 0) AS table_bytes,
       COALESCE(t.index_length, 0) AS index_bytes
FROM information_schema.tables AS t
WHERE t.table_schema = DATABASE()
ORDER BY t.table_name;

-- name: columns
-- Every column of the database's relations with its type.
SELECT c.table_name AS relation, c.column_name AS name, c.column_type AS type
FROM information_schema.columns AS c
WHERE c.table_schema = DATABASE()
ORDER BY c.table_name, c.ordinal_position;

-- name: missing_rights
-- Those of the named tables on which nothing grants this user a right; roles can't be seen, so with one none is named.
SELECT t.table_name AS name
FROM information_schema.tables AS t
WHERE t.table_schema = DATABASE()
  AND t.table_name IN :tables
  AND COALESCE(CURRENT_ROLE(), 'NONE') IN ('NONE', '')
  AND NOT EXISTS (
    SELECT 1 FROM information_schema.user_privileges AS p
    WHERE p.privilege_type = :right
  )
  AND NOT EXISTS (
    SELECT 1 FROM information_schema.schema_privileges AS p
    WHERE p.privilege_type = :right AND DATABASE() LIKE p.table_schema
  )
  AND NOT EXISTS (
    SELECT 1 FROM information_schema.table_privileges AS p
    WHERE p.privilege_type = :right AND p.table_schema = DATABASE() AND p.table_name = t.table_name
  );

-- name: prisma_migrations
-- What Prisma has written down about its migrations.
SELECT migration_name, checksum, started_at, finished_at, rolled_back_at, logs
FROM _prisma_migrations
ORDER BY migration_name, started_at;

-- name: elsewhere
-- The other databases of this server that hold Umami's tables or Prisma's, as far as this user may see them.
SELECT t.table_schema AS `schema`,
       MAX(t.table_name = 'website_event') AS has_umami,
       MAX(t.table_name = '_prisma_migrations') AS has_migrations
FROM information_schema.tables AS t
WHERE t.table_name IN ('website_event', '_prisma_migrations')
  AND t.table_schema <> DATABASE()
GROUP BY t.table_schema
ORDER BY t.table_schema;
