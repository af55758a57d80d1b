-- What a schema is made of, read for moving it: tables, columns, keys, indexes, and what can't be moved.

-- name: columns
-- Every column of the schema's tables; a partition is its parent's. Bound are types that this database has made, or an
-- extension.
SELECT c.relname AS relation,
       a.attname AS name,
       format_type(a.atttypid, a.atttypmod) AS type,
       y.typnamespace <> CAST('pg_catalog' AS regnamespace) AS is_bound,
       NOT a.attnotnull AS nullable,
       CASE WHEN a.attgenerated = '' AND a.attidentity = '' THEN pg_get_expr(d.adbin, d.adrelid) END AS default_value,
       CASE WHEN a.attgenerated <> '' THEN 'generated column'
            WHEN a.attidentity <> '' THEN 'identity column'
            WHEN pg_get_expr(d.adbin, d.adrelid) LIKE 'nextval(%' THEN 'column filled by a sequence' END AS special
FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid
JOIN pg_type AS y ON y.oid = a.atttypid
LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = current_schema())
  AND c.relkind IN ('r', 'p')
  AND NOT c.relispartition
  AND a.attnum > 0
  AND NOT a.attisdropped
ORDER BY c.relname, a.attnum;

-- name: indexes
-- Every index of the schema's tables, a row for each of its columns, with what a plain one of the same columns lacks. One
-- on expressions or a part of the rows is special, and so is a unique one that never came about, which proves nothing.
SELECT t.relname AS relation,
       i.relname AS name,
       x.indisunique AS is_unique,
       x.indisprimary AS is_primary,
       x.indexprs IS NOT NULL OR x.indpred IS NOT NULL OR m.amname <> 'btree' OR x.indisunique AND NOT x.indisvalid
         AS is_special,
       CONCAT_WS(', ', CASE WHEN x.indoption[k.place - 1] & 1 = 1 THEN 'DESC' END,
                 CASE WHEN x.indoption[k.place - 1] IN (1, 2) THEN 'NULLS FIRST or LAST' END,
                 CASE WHEN NOT o.opcdefault THEN 'operator class' END,
                 CASE WHEN x.indcollation[k.place - 1] NOT IN (0, a.attcollation) THEN 'COLLATE' END,
                 CASE WHEN x.indnatts > x.indnkeyatts THEN 'INCLUDE' END,
                 CASE WHEN to_jsonb(x) ->> 'indnullsnotdistinct' = 'true' THEN 'NULLS NOT DISTINCT' END) AS lost,
       a.attname AS column_name
FROM pg_index AS x
JOIN pg_class AS i ON i.oid = x.indexrelid
JOIN pg_am AS m ON m.oid = i.relam
JOIN pg_class AS t ON t.oid = x.indrelid
CROSS JOIN LATERAL UNNEST(x.indkey) WITH ORDINALITY AS k(attnum, place)
LEFT JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = k.attnum AND k.attnum > 0
LEFT JOIN pg_opclass AS o ON o.oid = x.indclass[k.place - 1]
WHERE t.relnamespace = (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = current_schema())
  AND t.relkind IN ('r', 'p')
  AND NOT t.relispartition
  AND k.place <= x.indnkeyatts
ORDER BY t.relname, i.relname, k.place;

-- name: foreign_keys
-- Every foreign key between the schema's tables, a row for each of its columns; one that does more than refuse is special.
SELECT t.relname AS relation,
       k.conname AS name,
       a.attname AS column_name,
       k.confdeltype NOT IN ('a', 'r') OR k.confupdtype NOT IN ('a', 'r') AS is_special,
       r.relname AS referenced,
       b.attname AS referenced_column
FROM pg_constraint AS k
JOIN pg_class AS t ON t.oid = k.conrelid
JOIN pg_class AS r ON r.oid = k.confrelid AND r.relnamespace = t.relnamespace
CROSS JOIN LATERAL UNNEST(k.conkey, k.confkey) WITH ORDINALITY AS u(own, other, place)
JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = u.own
JOIN pg_attribute AS b ON b.attrelid = r.oid AND b.attnum = u.other
WHERE k.contype = 'f'
  AND k.conparentid = 0
  AND t.relnamespace = (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = current_schema())
ORDER BY t.relname, k.conname, u.place;

-- name: others
-- What else is in the schema, or the database, that has no place in a list of tables and indexes; and of which table.
SELECT CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table'
                      ELSE 'sequence' END AS kind,
       c.relname AS name,
       CAST(NULL AS name) AS relation
FROM pg_class AS c
WHERE c.relnamespace = (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = current_schema())
  AND c.relkind IN ('v', 'm', 'f', 'S')
UNION ALL
SELECT 'trigger', g.tgname || ' on ' || t.relname, t.relname
FROM pg_trigger AS g
JOIN pg_class AS t ON t.oid = g.tgrelid
WHERE NOT g.tgisinternal
  AND t.relnamespace = (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = current_schema())
UNION ALL
SELECT 'function', p.proname, NULL
FROM pg_proc AS p
WHERE p.pronamespace = (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = current_schema())
  AND NOT EXISTS (SELECT 1 FROM pg_depend AS d WHERE d.objid = p.oid AND d.deptype = 'e')
UNION ALL
SELECT 'type', y.typname, NULL
FROM pg_type AS y
WHERE y.typnamespace = (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = current_schema())
  AND y.typtype IN ('e', 'd')
UNION ALL
SELECT 'check', k.conname || ' on ' || t.relname, t.relname
FROM pg_constraint AS k
JOIN pg_class AS t ON t.oid = k.conrelid
WHERE k.contype IN ('c', 'x')
  AND t.relnamespace = (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = current_schema())
UNION ALL
SELECT 'foreign key to another schema', k.conname || ' on ' || t.relname, t.relname
FROM pg_constraint AS k
JOIN pg_class AS t ON t.oid = k.conrelid
JOIN pg_class AS r ON r.oid = k.confrelid
WHERE k.contype = 'f'
  AND r.relnamespace <> t.relnamespace
  AND t.relnamespace = (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = current_schema())
UNION ALL
SELECT 'extension', e.extname, NULL
FROM pg_extension AS e
WHERE e.extname <> 'plpgsql'
ORDER BY 1, 2;

-- name: heirs
-- Tables whose rows whoever reads another one gets, too: they inherit from it.
SELECT p.relname AS relation, c.relname AS heir
FROM pg_inherits AS i
JOIN pg_class AS p ON p.oid = i.inhparent
JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE p.relnamespace = (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = current_schema())
  AND p.relkind = 'r'
ORDER BY p.relname, c.relname;

-- name: prompt_keys
-- Foreign keys that refer to a table and are checked by each statement, whatever a transaction wishes.
SELECT n.nspname AS schema_name, t.relname AS relation, k.conname AS name
FROM pg_constraint AS k
JOIN pg_class AS t ON t.oid = k.conrelid
JOIN pg_namespace AS n ON n.oid = t.relnamespace
JOIN pg_class AS r ON r.oid = k.confrelid
WHERE k.contype = 'f'
  AND k.conparentid = 0
  AND NOT k.condeferrable
  AND r.relname = :relation
  AND r.relnamespace = (SELECT m.oid FROM pg_namespace AS m WHERE m.nspname = current_schema())
ORDER BY t.relname, k.conname;

-- name: bulk_allowed
-- Whether rows can be loaded in bulk from a client: COPY always can.
SELECT true AS allowed;

-- name: load_settings
-- What a session wants that loads rows: a crash may cost the last ranges, whose ledger entries go with them.
SET synchronous_commit = off;

-- name: build_settings
-- What a session wants that builds indexes. Memory and helpers are the server's: 256 MB and none beside the sessions
-- themselves took 38 s for what the defaults, 64 MB and two, did in 16.
SET synchronous_commit = off;

-- name: missing_rights
-- What a user who is to fill this schema must be allowed and isn't.
SELECT w.word AS missing
FROM (VALUES ('CREATE on the schema', has_schema_privilege(current_schema(), 'CREATE')),
             ('CREATE on the database', has_database_privilege(current_database(), 'CREATE'))) AS w(word, allowed)
WHERE NOT w.allowed;

-- name: wants_primary_keys
-- The setting by which the server takes no table without a primary key: none here.
SELECT NULL AS setting;

-- name: encoding
-- In which encoding the target keeps text.
SELECT current_setting('server_encoding') AS encoding;

-- name: longest_text
-- How many bytes a text may have that the server makes, takes or sends.
SELECT 1073741823 AS bytes;

-- name: leaves_hours_out
-- Whether there are times that can't be stored since clocks were put forward: not here, moments are stored.
SELECT FALSE AS leaves_hours_out;

-- name: share_of_website
-- The link under which a website was shared first, for a website's row.
(SELECT h.slug FROM share AS h WHERE h.entity_id = website.website_id ORDER BY h.created_at, h.share_id LIMIT 1);

-- name: further_shares
-- How many shares have no place in website.share_id: a second one of a website, or one of anything else.
SELECT (SELECT COUNT(*) FROM share) - (SELECT COUNT(*) FROM website AS w
                                       WHERE EXISTS (SELECT 1 FROM share AS h WHERE h.entity_id = w.website_id))
       AS row_count;

-- name: fresh_users
-- The names of up to two users: Umami itself makes one.
SELECT u.username FROM "user" AS u ORDER BY u.username LIMIT 2;

-- name: reports_of_v3
-- Reports that v2 doesn't read as v3 does: v3's first migration rewrote funnels and split goals.
SELECT CAST(r.report_id AS text) AS report_id, r.name, r.type
FROM report AS r
WHERE r.type NOT IN ('goals', 'insights', 'retention', 'utm', 'journey', 'revenue', 'attribution')
ORDER BY r.name
LIMIT 50;
