-- What `umami-ops upgrade` asks and does: what Umami's migrations will meet, the changes of rows that they make, in
-- words of our own, and Prisma's records.
--
-- Every move can be run again and changes nothing more. Those of big tables work slice by slice, over ids from
-- after (exclusive) to last (inclusive).

-- name: columns
-- Every column of the database's tables with its type, whether it takes NULL, and its default.
SELECT c.table_name AS relation,
       c.column_name AS name,
       c.column_type AS type,
       c.is_nullable = 'YES' AS nullable,
       c.column_default AS `default`
FROM information_schema.columns AS c
JOIN information_schema.tables AS t ON t.table_schema = c.table_schema AND t.table_name = c.table_name
WHERE c.table_schema = DATABASE() AND t.table_type = 'BASE TABLE'
ORDER BY c.table_name, c.ordinal_position;

-- name: partitions
-- None: here a partitioned table's indexes are built like any other's.
SELECT '' AS `table`, '' AS name FROM DUAL WHERE FALSE;

-- name: remains
-- None: InnoDB clears away by itself.
SELECT '' AS statement FROM DUAL WHERE :schema = '' AND :name = '';

-- name: index_owners
-- Foreign keys, for which the server needs an index on their columns: DROP INDEX may fail.
SELECT k.constraint_name AS `index`, k.constraint_name AS name, k.table_name AS `table`
FROM information_schema.table_constraints AS k
WHERE k.table_schema = DATABASE() AND k.constraint_type = 'FOREIGN KEY'
ORDER BY 1;

-- name: readers
-- None: here a view stops no migration.
SELECT '' AS `table`, '' AS `column`, '' AS name FROM DUAL WHERE FALSE;

-- name: missing_rights
-- What a migration needs and nothing grants this user; roles can't be seen, so with one nothing is named.
SELECT CONCAT('database ', DATABASE()) AS name, w.needed AS `right`
FROM (SELECT 'ALTER' AS needed UNION ALL SELECT 'CREATE' UNION ALL SELECT 'DROP' UNION ALL SELECT 'INDEX') AS w
WHERE COALESCE(CURRENT_ROLE(), 'NONE') IN ('NONE', '')
  AND NOT EXISTS (
    SELECT 1 FROM information_schema.user_privileges AS p WHERE p.privilege_type = w.needed
  )
  AND NOT EXISTS (
    SELECT 1 FROM information_schema.schema_privileges AS p
    WHERE p.privilege_type = w.needed AND DATABASE() LIKE p.table_schema
  )
  AND (
    SELECT COUNT(*) FROM information_schema.table_privileges AS p
    WHERE p.privilege_type = w.needed AND p.table_schema = DATABASE() AND p.table_name IN :tables
  ) = 0
ORDER BY 2;

-- name: makes_uuids
-- Whether the server has the function by which migration 05 makes ids: MariaDB, which skips the comment, hasn't.
SELECT 0 /*!80000 + 1 */ AS answer;

-- name: reports
-- The reports with their parameters as text.
SELECT r.report_id AS id, r.type, r.name, CAST(r.parameters AS CHAR) AS parameters FROM report AS r;

-- name: shared_twice
-- Share ids that more than one website has.
SELECT w.share_id AS id
FROM website AS w
WHERE w.share_id IS NOT NULL
GROUP BY w.share_id
HAVING COUNT(*) > 1;

-- name: too_long
-- None: no migration makes a column narrower here.
SELECT '' AS `column`, 0 AS longest, 0 AS fits FROM DUAL WHERE FALSE;

-- name: odd_ids
-- Ids of websites and users that aren't UUIDs, which PostgreSQL, and so Umami v3, would not take.
SELECT 'website' AS `table`, w.website_id AS id FROM website AS w
WHERE w.website_id NOT REGEXP '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$'
UNION ALL
SELECT 'user', u.user_id FROM `user` AS u
WHERE u.user_id NOT REGEXP '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$'
ORDER BY 1, 2;

-- name: duplicates
-- How many rows of session_data repeat another's session and key.
SELECT COALESCE(SUM(d.copies - 1), 0) AS row_count
FROM (SELECT COUNT(*) AS copies FROM session_data AS s GROUP BY s.session_id, s.data_key HAVING COUNT(*) > 1) AS d;

-- name: sample_make
-- A temporary table like website_event, indexes included, with some of its rows, and one for the entries of an index;
-- its number is for servers with sql_require_primary_key.
CREATE TEMPORARY TABLE _umami_ops_entries (
  id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
  website_id VARCHAR(36), created_at TIMESTAMP NULL, session_id VARCHAR(36), event_id VARCHAR(36)
) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;
CREATE TEMPORARY TABLE _umami_ops_sample LIKE website_event;
INSERT INTO _umami_ops_sample SELECT * FROM website_event LIMIT :sample;

-- name: sample_update
-- Rewrites the sample as a migration rewrites the table.
UPDATE _umami_ops_sample SET page_title = CONCAT(COALESCE(page_title, ''), ' ');

-- name: sample_index
-- Sorts and writes an index's entries: ALTER TABLE would copy a temporary table whole, which it does to no other.
INSERT INTO _umami_ops_entries (website_id, created_at, session_id, event_id)
SELECT s.website_id, s.created_at, s.session_id, s.event_id
FROM _umami_ops_sample AS s
ORDER BY s.website_id, s.created_at, s.session_id, s.event_id;

-- name: sample_drop
-- Takes the sample away.
DROP TEMPORARY TABLE IF EXISTS _umami_ops_sample, _umami_ops_entries;

-- name: give_up
-- Marks the failed attempts at a migration as rolled back, as `prisma migrate resolve` does.
UPDATE _prisma_migrations
SET rolled_back_at = UTC_TIMESTAMP(3)
WHERE migration_name = :migration AND finished_at IS NULL AND rolled_back_at IS NULL;

-- name: record
-- Marks a migration as applied, as `prisma migrate resolve` does.
INSERT INTO _prisma_migrations (id, checksum, finished_at, migration_name, started_at, applied_steps_count)
SELECT UUID(), :checksum, UTC_TIMESTAMP(3), :migration, UTC_TIMESTAMP(3), 0
FROM DUAL
WHERE NOT EXISTS (
  SELECT 1 FROM _prisma_migrations AS m
  WHERE m.migration_name = :migration AND m.finished_at IS NOT NULL AND m.rolled_back_at IS NULL
);

-- name: next_website_event
-- Finds the end of the next slice of events, by id.
SELECT MAX(t.id) AS last, COUNT(*) AS picked
FROM (
  SELECT e.event_id AS id
  FROM website_event AS e
  WHERE :after IS NULL OR e.event_id > :after
  ORDER BY e.event_id
  LIMIT :batch_rows
) AS t
HAVING COUNT(*) > 0;

-- name: next_event_data
-- Finds the end of the next slice of event_data, by id.
SELECT MAX(t.id) AS last, COUNT(*) AS picked
FROM (
  SELECT d.event_data_id AS id
  FROM event_data AS d
  WHERE :after IS NULL OR d.event_data_id > :after
  ORDER BY d.event_data_id
  LIMIT :batch_rows
) AS t
HAVING COUNT(*) > 0;

-- name: next_session_data
-- Finds the end of the next slice of session_data, by session: a session's rows stay together.
SELECT MAX(t.id) AS last, COUNT(*) AS picked
FROM (
  SELECT d.session_id AS id
  FROM session_data AS d
  WHERE :after IS NULL OR d.session_id > :after
  ORDER BY d.session_id
  LIMIT :batch_rows
) AS t
HAVING COUNT(*) > 0;

-- name: move_event_values
-- Writes numbers and dates of a slice as text, too, where that is missing.
-- copies: event_data
UPDATE event_data AS d
SET d.string_value = CASE d.data_type
  WHEN 2 THEN CAST(d.number_value AS CHAR)
  ELSE DATE_FORMAT(d.date_value, '%Y-%m-%dT%H:%i:%sZ') END
WHERE (:after IS NULL OR d.event_data_id > :after)
  AND d.event_data_id <= :last
  AND d.data_type IN (2, 4)
  AND d.string_value IS NULL;

-- name: move_website_owners
-- Notes who made each website that belongs to no team.
UPDATE website AS w
SET w.created_by = w.user_id
WHERE w.team_id IS NULL AND w.created_by IS NULL;

-- name: move_visits
-- Gives the events of a slice that have none the visit of their session and hour: the same for all of them.
-- copies: website_event
UPDATE website_event AS e
JOIN (
  SELECT o.event_id, SHA2(CONCAT(o.session_id, ' ', COALESCE(DATE_FORMAT(o.created_at, '%Y-%m-%d %H'), '')), 256) AS mark
  FROM website_event AS o
  WHERE (:after IS NULL OR o.event_id > :after)
    AND o.event_id <= :last
    AND o.visit_id IS NULL
) AS s ON s.event_id = e.event_id
SET e.visit_id = CONCAT(
  SUBSTR(s.mark, 1, 8), '-', SUBSTR(s.mark, 9, 4), '-4', SUBSTR(s.mark, 14, 3), '-8', SUBSTR(s.mark, 18, 3), '-',
  SUBSTR(s.mark, 21, 12)
);

-- name: move_hostnames
-- Copies the hostname of their session into the events of a slice that have none.
-- copies: website_event
UPDATE website_event AS e
JOIN session AS s ON s.session_id = e.session_id AND s.website_id = e.website_id
SET e.hostname = s.hostname
WHERE (:after IS NULL OR e.event_id > :after)
  AND e.event_id <= :last
  AND e.hostname IS NULL;

-- name: move_reports
-- Umami v3's matter alone, which has no MySQL.
UPDATE report SET type = type WHERE FALSE;

-- name: move_shares
-- Umami v3's matter alone, which has no MySQL.
UPDATE website SET name = name WHERE FALSE;

-- name: move_duplicates
-- Deletes what the sessions of a slice have twice, having locked it: the newest row of a key stays.
-- collect: ids
SELECT o.session_data_id AS ids
FROM session_data AS o
JOIN (
  SELECT d.session_id, d.data_key
  FROM session_data AS d
  WHERE (:after IS NULL OR d.session_id > :after)
    AND d.session_id <= :last
  GROUP BY d.session_id, d.data_key
  HAVING COUNT(*) > 1
) AS twice ON twice.session_id = o.session_id AND twice.data_key = o.data_key
FOR UPDATE;
-- deletes: session_data
DELETE d
FROM session_data AS d
JOIN (
  SELECT s.session_data_id,
         ROW_NUMBER() OVER (
           PARTITION BY s.session_id, s.data_key ORDER BY s.created_at DESC, s.session_data_id DESC
         ) AS place
  FROM session_data AS s
  WHERE s.session_data_id IN :ids
) AS r ON r.session_data_id = d.session_data_id
WHERE r.place > 1;
