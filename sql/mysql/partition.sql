-- The partitions of website_event: what is there, and what stands in their way.

-- name: partitions
-- Every partition with its bounds as the catalogue writes them, and the key of the partitioned table.
SELECT p.partition_name AS name,
       p.partition_description AS bounds,
       CASE WHEN p.partition_description <> 'MAXVALUE'
            THEN FROM_UNIXTIME(CAST(p.partition_description AS UNSIGNED)) END AS until,
       CONCAT(p.partition_method, ' ', p.partition_expression) AS `key`,
       COALESCE(p.table_rows, 0) AS rows_estimate,
       COALESCE(p.data_length, 0) AS table_bytes,
       COALESCE(p.index_length, 0) AS index_bytes
FROM information_schema.partitions AS p
WHERE p.table_schema = DATABASE()
  AND p.table_name = 'website_event'
  AND p.partition_name IS NOT NULL
ORDER BY p.partition_ordinal_position;

-- name: leftovers
-- What of ours stands in the database: the tables of a run that works, or that was interrupted.
SELECT t.table_name AS name, FALSE AS is_index, TRUE AS is_valid
FROM information_schema.tables AS t
WHERE t.table_schema = DATABASE() AND t.table_name LIKE '\\_umami\\_ops\\_%'
ORDER BY t.table_name;

-- name: obstacles
-- What hangs on website_event and would be lost, or must not be where there are partitions.
SELECT CONCAT('the trigger ', t.trigger_name) AS what
FROM information_schema.triggers AS t
WHERE t.trigger_schema = DATABASE()
  AND t.event_object_table = 'website_event'
  AND t.trigger_name NOT LIKE '\\_umami\\_ops\\_%'
UNION ALL
SELECT CONCAT('the foreign key ', k.constraint_name)
FROM information_schema.referential_constraints AS k
WHERE k.constraint_schema = DATABASE() AND 'website_event' IN (k.table_name, k.referenced_table_name)
UNION ALL
SELECT DISTINCT CONCAT('the unique index ', s.index_name)
FROM information_schema.statistics AS s
WHERE s.table_schema = DATABASE()
  AND s.table_name = 'website_event'
  AND s.non_unique = 0
  AND s.index_name <> 'PRIMARY'
UNION ALL
SELECT CONCAT('the ', s.index_type, ' index ', s.index_name)
FROM information_schema.statistics AS s
WHERE s.table_schema = DATABASE()
  AND s.table_name = 'website_event'
  AND s.index_type <> 'BTREE';

-- name: is_analyzed
-- Whether the optimizer knows anything about the rows of website_event: InnoDB always does.
SELECT TRUE AS known;

-- name: undated
-- Events without a time, and those among them whose session has none either.
SELECT COUNT(*) AS undated, COALESCE(SUM(s.created_at IS NULL), 0) AS undatable
FROM website_event AS e
LEFT JOIN session AS s ON s.session_id = e.session_id
WHERE e.created_at IS NULL;

-- name: date_events
-- Gives a slice of events without a time that of their session.
-- copies: website_event
UPDATE website_event AS e
JOIN session AS s ON s.session_id = e.session_id
SET e.created_at = s.created_at
WHERE e.created_at IS NULL
  AND (:after IS NULL OR e.event_id > :after)
  AND e.event_id <= :last;

-- name: spread
-- Events by day in UTC, of a range of time.
SELECT TIMESTAMP(DATE(e.created_at)) AS day, COUNT(*) AS events
FROM website_event AS e
WHERE e.created_at >= :since AND e.created_at < :until
GROUP BY 1
ORDER BY 1;

-- name: shape
-- PostgreSQL's matter alone: here a copy knows the shape of its table.
SELECT '' AS shape;
