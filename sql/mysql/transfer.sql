-- What a database is made of, read for moving it: tables, columns, keys, indexes, and what can't be moved.

-- name: columns
-- Every column of the database's tables; MariaDB's JSON is a longtext with a check. Bound are types without a text.
SELECT c.table_name AS relation,
       c.column_name AS name,
       CASE WHEN k.check_clause IS NOT NULL THEN 'json' ELSE c.column_type END AS type,
       c.data_type IN ('geometry', 'point', 'linestring', 'polygon', 'multipoint', 'multilinestring', 'multipolygon',
                       'geometrycollection', 'geomcollection', 'vector') AS is_bound,
       c.is_nullable = 'YES' AS nullable,
       c.column_default AS default_value,
       CASE WHEN c.extra LIKE '%auto_increment%' THEN 'column that counts by itself'
            WHEN c.extra LIKE '%VIRTUAL%' OR c.extra LIKE '%STORED%' OR c.extra LIKE '%PERSISTENT%'
            THEN 'generated column'
            WHEN c.extra LIKE '%on update%' THEN 'column that changes by itself'
            WHEN c.extra LIKE '%DEFAULT_GENERATED%' AND c.column_default NOT LIKE 'CURRENT_TIMESTAMP%'
              OR VERSION() LIKE '%MariaDB%'
                 AND c.column_default NOT REGEXP '^(''|-?[0-9.]+$|NULL$|current_timestamp)'
            THEN 'computed default of column' END AS special
FROM information_schema.columns AS c
JOIN information_schema.tables AS t ON t.table_schema = c.table_schema AND t.table_name = c.table_name
LEFT JOIN (
  SELECT DISTINCT g.table_name, m.check_clause
  FROM information_schema.table_constraints AS g
  JOIN information_schema.check_constraints AS m
    ON m.constraint_schema = g.constraint_schema AND m.constraint_name = g.constraint_name
  WHERE g.constraint_schema = DATABASE()
    AND g.constraint_type = 'CHECK'
) AS k ON k.table_name = c.table_name AND k.check_clause = CONCAT('json_valid(`', c.column_name, '`)')
WHERE c.table_schema = DATABASE()
  AND t.table_type = 'BASE TABLE'
ORDER BY c.table_name, c.ordinal_position;

-- name: indexes
-- Every index of the database's tables, a row for each of its columns, with what a plain one of the same columns lacks;
-- one on expressions or prefixes is special.
SELECT s.table_name AS relation,
       s.index_name AS name,
       s.non_unique = 0 AS is_unique,
       s.index_name = 'PRIMARY' AS is_primary,
       s.column_name IS NULL OR s.sub_part IS NOT NULL OR s.index_type <> 'BTREE' AS is_special,
       CASE WHEN s.collation = 'D' THEN 'DESC' ELSE '' END AS lost,
       s.column_name AS column_name
FROM information_schema.statistics AS s
WHERE s.table_schema = DATABASE()
ORDER BY s.table_name, s.index_name, s.seq_in_index;

-- name: foreign_keys
-- Every foreign key between the database's tables, a row for each of its columns; one that does more than refuse is special.
SELECT u.table_name AS relation,
       u.constraint_name AS name,
       u.column_name AS column_name,
       r.delete_rule NOT IN ('NO ACTION', 'RESTRICT') OR r.update_rule NOT IN ('NO ACTION', 'RESTRICT') AS is_special,
       u.referenced_table_name AS referenced,
       u.referenced_column_name AS referenced_column
FROM information_schema.key_column_usage AS u
JOIN information_schema.referential_constraints AS r
  ON r.constraint_schema = u.constraint_schema AND r.constraint_name = u.constraint_name AND r.table_name = u.table_name
WHERE u.table_schema = DATABASE()
  AND u.referenced_table_schema = DATABASE()
ORDER BY u.table_name, u.constraint_name, u.ordinal_position;

-- name: others
-- What else is in the database that has no place in a list of tables and indexes; and of which table.
SELECT 'view' AS kind, t.table_name AS name, NULL AS relation
FROM information_schema.tables AS t
WHERE t.table_schema = DATABASE()
  AND t.table_type = 'VIEW'
UNION ALL
SELECT 'trigger', CONCAT(g.trigger_name, ' on ', g.event_object_table), g.event_object_table
FROM information_schema.triggers AS g
WHERE g.trigger_schema = DATABASE()
UNION ALL
SELECT LOWER(r.routine_type), r.routine_name, NULL
FROM information_schema.routines AS r
WHERE r.routine_schema = DATABASE()
UNION ALL
SELECT DISTINCT 'foreign key to another database', CONCAT(u.constraint_name, ' on ', u.table_name), u.table_name
FROM information_schema.key_column_usage AS u
WHERE u.table_schema = DATABASE()
  AND u.referenced_table_schema <> DATABASE()
UNION ALL
SELECT 'event', e.event_name, NULL
FROM information_schema.events AS e
WHERE e.event_schema = DATABASE()
UNION ALL
SELECT 'check', CONCAT(g.constraint_name, ' on ', g.table_name), g.table_name
FROM information_schema.table_constraints AS g
JOIN information_schema.check_constraints AS m
  ON m.constraint_schema = g.constraint_schema AND m.constraint_name = g.constraint_name
WHERE g.constraint_schema = DATABASE()
  AND g.constraint_type = 'CHECK'
  AND m.check_clause NOT LIKE 'json\_valid(%'
ORDER BY 1, 2;

-- name: heirs
-- Tables whose rows whoever reads another one gets, too: none here.
SELECT t.table_name AS relation, t.table_name AS heir FROM information_schema.tables AS t WHERE 1 = 0;

-- name: prompt_keys
-- Foreign keys that a session can't put off: none here, it switches all of them off.
SELECT t.table_schema AS schema_name, t.table_name AS relation, t.table_name AS name
FROM information_schema.tables AS t
WHERE t.table_name = :relation
  AND 1 = 0;

-- name: bulk_allowed
-- Whether the server lets clients send it files (LOAD DATA LOCAL).
SELECT @@global.local_infile AS allowed;

-- name: load_settings
-- What a session wants that loads rows: foreign keys were in order at the source, and come last.
SET SESSION foreign_key_checks = 0;

-- name: build_settings
-- What a session wants that builds indexes: on MySQL memory to sort in; MariaDB has no such setting.
SET SESSION foreign_key_checks = 0 /*!80027 , innodb_ddl_buffer_size = 67108864 */;

-- name: missing_rights
-- What a user who is to fill this database must be allowed and isn't; roles can't be seen, so with one nothing is missing.
SELECT CONCAT(w.word, ' on the database') AS missing
FROM (SELECT 'CREATE' AS word UNION ALL SELECT 'ALTER' UNION ALL SELECT 'INDEX' UNION ALL SELECT 'INSERT'
      UNION ALL SELECT 'SELECT' UNION ALL SELECT 'DELETE' UNION ALL SELECT 'DROP') AS w
WHERE COALESCE(CURRENT_ROLE(), 'NONE') IN ('NONE', '')
  AND NOT EXISTS (SELECT 1 FROM information_schema.user_privileges AS p WHERE p.privilege_type = w.word)
  AND NOT EXISTS (SELECT 1 FROM information_schema.schema_privileges AS p
                  WHERE p.privilege_type = w.word AND DATABASE() LIKE p.table_schema);

-- name: wants_primary_keys
-- The setting by which the server takes no table without a primary key, where it is on.
SELECT COALESCE(/*!80013 IF(@@sql_require_primary_key, 'sql_require_primary_key', NULL), */
                /*M! IF(@@innodb_force_primary_key, 'innodb_force_primary_key', NULL), */ NULL) AS setting;

-- name: encoding
-- In which encoding the target keeps text. Tables say so themselves here, and ours say utf8mb4.
SELECT 'UTF8' AS encoding;

-- name: longest_text
-- How many bytes a text may have that the server makes, takes or sends.
SELECT @@session.max_allowed_packet AS bytes;

-- name: leaves_hours_out
-- Whether the session's zone, which is Umami's, has summer time: then no time of an hour in spring can be stored.
SELECT MAX(UNIX_TIMESTAMP(CONCAT(y.year, '-07-15 12:00:00')) - UNIX_TIMESTAMP(CONCAT(y.year, '-01-15 12:00:00'))
           <> 86400 * DATEDIFF(CONCAT(y.year, '-07-15'), CONCAT(y.year, '-01-15'))) AS leaves_hours_out
FROM (SELECT 2016 AS year UNION ALL SELECT 2020 UNION ALL SELECT 2024
      UNION ALL SELECT 2028 UNION ALL SELECT 2032 UNION ALL SELECT 2036) AS y;

-- name: share_of_website
-- The link under which a website is shared.
(SELECT NULL);

-- name: further_shares
-- How many shares have no place in website.share_id: none, since it is here that they stand.
SELECT 0 AS row_count;

-- name: fresh_users
-- The names of up to two users: Umami itself makes one.
SELECT u.username FROM `user` AS u ORDER BY u.username LIMIT 2;

-- name: reports_of_v3
-- Reports that v2 doesn't read as v3 does: none, since v3 doesn't run here.
SELECT r.report_id, r.name, r.type FROM report AS r WHERE 1 = 0;
