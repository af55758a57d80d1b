-- What a schema is made of, read for moving it: tables, columns, keys, indexes, and what can't be moved.

-- name: columns
-- Every column of the schema's tables; a partition is its parent's.
SELECT c.relname AS relation,
       a.attname AS name,
       format_type(a.atttypid, a.atttypmod) AS type,
       NOT a.attnotnull AS nullable,
       CASE WHEN a.attgenerated = '' AND a.attidentity = '' THEN pg_get_expr(d.adbin, d.adrelid) END AS default_value,
       CASE WHEN a.attgenerated <> '' THEN 'generated column'
            WHEN a.attidentity <> '' THEN 'identity column'
            WHEN pg_get_expr(d.adbin, d.adrelid) LIKE 'nextval(%' THEN 'column filled by a sequence' END AS special
FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid
LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = current_schema())
  AND c.relkind IN ('r', 'p')
  AND NOT c.relispartition
  AND a.attnum > 0
  AND NOT a.attisdropped
ORDER BY c.relname, a.attnum;

-- name: indexes
-- Every index of the schema's tables, a row for each of its columns; one on expressions or a part of the rows is special.
SELECT t.relname AS relation,
       i.relname AS name,
       x.indisunique AS is_unique,
       x.indisprimary AS is_primary,
       x.indexprs IS NOT NULL OR x.indpred IS NOT NULL OR m.amname <> 'btree' AS is_special,
       a.attname AS column_name
FROM pg_index AS x
JOIN pg_class AS i ON i.oid = x.indexrelid
JOIN pg_am AS m ON m.oid = i.relam
JOIN pg_class AS t ON t.oid = x.indrelid
CROSS JOIN LATERAL UNNEST(x.indkey) WITH ORDINALITY AS k(attnum, place)
LEFT JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = k.attnum AND k.attnum > 0
WHERE t.relnamespace = (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = current_schema())
  AND t.relkind IN ('r', 'p')
  AND NOT t.relispartition
  AND k.place <= x.indnkeyatts
ORDER BY t.relname, i.relname, k.place;

-- name: foreign_keys
-- Every foreign key between the schema's tables, a row for each of its columns.
SELECT t.relname AS relation,
       k.conname AS name,
       a.attname AS column_name,
       r.relname AS referenced,
       b.attname AS referenced_column
FROM pg_constraint AS k
JOIN pg_class AS t ON t.oid = k.conrelid
JOIN pg_class AS r ON r.oid = k.confrelid
CROSS JOIN LATERAL UNNEST(k.conkey, k.confkey) WITH ORDINALITY AS u(own, other, place)
JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = u.own
JOIN pg_attribute AS b ON b.attrelid = r.oid AND b.attnum = u.other
WHERE k.contype = 'f'
  AND k.conparentid = 0
  AND t.relnamespace = (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = current_schema())
ORDER BY t.relname, k.conname, u.place;

-- name: others
-- What else is in the schema, or the database, that has no place in a list of tables and indexes.
SELECT CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table'
                      ELSE 'sequence' END AS kind,
       c.relname AS name
FROM pg_class AS c
WHERE c.relnamespace = (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = current_schema())
  AND c.relkind IN ('v', 'm', 'f', 'S')
UNION ALL
SELECT 'trigger', g.tgname || ' on ' || t.relname
FROM pg_trigger AS g
JOIN pg_class AS t ON t.oid = g.tgrelid
WHERE NOT g.tgisinternal
  AND t.relnamespace = (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = current_schema())
UNION ALL
SELECT 'function', p.proname
FROM pg_proc AS p
WHERE p.pronamespace = (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = current_schema())
  AND NOT EXISTS (SELECT 1 FROM pg_depend AS d WHERE d.objid = p.oid AND d.deptype = 'e')
UNION ALL
SELECT 'type', y.typname
FROM pg_type AS y
WHERE y.typnamespace = (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = current_schema())
  AND y.typtype IN ('e', 'd')
UNION ALL
SELECT 'check', k.conname || ' on ' || t.relname
FROM pg_constraint AS k
JOIN pg_class AS t ON t.oid = k.conrelid
WHERE k.contype IN ('c', 'x')
  AND t.relnamespace = (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = current_schema())
UNION ALL
SELECT 'extension', e.extname
FROM pg_extension AS e
WHERE e.extname <> 'plpgsql'
ORDER BY 1, 2;

-- name: bulk_allowed
-- Whether rows can be loaded in bulk from a client: COPY always can.
SELECT true AS allowed;
