-- What a backup and a restore ask of the server.

-- name: tables_of
-- Every table of a database; partitions have no names of their own here.
SELECT t.table_name AS name, t.table_name AS root
FROM information_schema.tables AS t
WHERE t.table_schema = :schema
  AND t.table_type = 'BASE TABLE'
ORDER BY t.table_name;

-- name: others_of
-- The views of a database.
SELECT t.table_name AS name
FROM information_schema.tables AS t
WHERE t.table_schema = :schema
  AND t.table_type = 'VIEW'
ORDER BY t.table_name;

-- name: dependents
-- Views that would go with their table: none, since a view here refers to tables by their names.
SELECT t.table_name AS name
FROM information_schema.tables AS t
WHERE t.table_schema = DATABASE()
  AND t.table_name IN :tables
  AND 1 = 0;

-- name: referrers
-- The tables outside of these that have foreign keys to them: a RENAME TABLE would lead the keys after it.
SELECT DISTINCT k.table_name AS name
FROM information_schema.key_column_usage AS k
WHERE k.referenced_table_schema = DATABASE()
  AND k.referenced_table_name IN :tables
  AND NOT (k.table_schema = DATABASE() AND k.table_name IN :tables)
ORDER BY k.table_name;

-- name: attached
-- What hangs on these tables and goes with them: in words, and on which of them.
SELECT CONCAT('trigger ', g.trigger_name) AS name, g.event_object_table AS relation
FROM information_schema.triggers AS g
WHERE g.trigger_schema = DATABASE()
  AND g.event_object_table IN :tables
ORDER BY g.event_object_table, g.trigger_name;

-- name: databases
-- The names of this server's databases, as far as this user may see them.
SELECT s.schema_name AS name
FROM information_schema.schemata AS s
ORDER BY s.schema_name;
