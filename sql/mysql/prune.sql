-- Retention. A slice is a range of keys past the horizon that one transaction deletes, children first. Where a
-- query gives a column `expect_<table>`, so many rows must have gone there or the transaction is rolled back
-- and tried again: somebody else was at work on the slice.
--
-- Words: website (one website), only / except (some, all but some), null_past (no time counts as past),
-- dated / undated (slices run over times, or over the ids of rows without one), partitioned, orphans, and
-- has_<table> for the tables this database has; keeps_<table> (what is deleted there is left in
-- umami_ops_kept_<table>, locked before).

-- part: event_slice
-- The events (e) of a slice.
AND e.created_at >= :since --? dated
AND e.created_at <= :until --? dated
AND (:after IS NULL OR e.created_at > :since OR e.event_id > :after) --? dated
AND (e.created_at < :until OR e.event_id <= :last) --? dated
AND e.created_at IS NULL --? undated
AND (:after IS NULL OR e.event_id > :after) --? undated
AND e.event_id <= :last --? undated
AND e.website_id = :website_id --? website
AND e.website_id NOT IN :websites --? except

-- part: in_scope
-- Of the websites chosen, for the table t.
AND t.website_id IN :websites --? only
AND t.website_id NOT IN :websites --? except

-- part: nothing_kept_refers
-- Nothing that stays mentions the session id of o: no event, revenue, replay or heatmap.
AND NOT EXISTS (
  SELECT 1 FROM website_event AS e
  WHERE e.session_id = o.session_id
    AND NOT (
      COALESCE(e.created_at < :event_horizon, :null_event_past)
      AND e.website_id IN :websites --? only
      AND e.website_id NOT IN :websites --? except
    )
)
--? has_revenue
AND NOT EXISTS (
  SELECT 1 FROM revenue AS r
  LEFT JOIN website_event AS e ON e.event_id = r.event_id
  WHERE r.session_id = o.session_id
    AND NOT (
      e.event_id IS NULL
      AND FALSE --? !orphans
      AND r.website_id IN :websites --? only
      AND r.website_id NOT IN :websites --? except
    )
    AND NOT (
      e.event_id IS NOT NULL
      AND COALESCE(e.created_at < :event_horizon, :null_event_past)
      AND e.website_id IN :websites --? only
      AND e.website_id NOT IN :websites --? except
    )
)
--? end
--? has_session_replay
AND NOT EXISTS (
  SELECT 1 FROM session_replay AS r
  WHERE r.session_id = o.session_id
    AND NOT (
      TRUE
      AND r.website_id IN :websites --? only
      AND r.website_id NOT IN :websites --? except
      AND NOT EXISTS (SELECT 1 FROM session_replay_saved AS v WHERE v.visit_id = r.visit_id) --? has_session_replay_saved
      AND NOT EXISTS (
        SELECT 1 FROM session_replay AS k
        WHERE k.website_id = r.website_id
          AND k.visit_id = r.visit_id
          AND COALESCE(k.created_at >= :replay_horizon, NOT :null_replay_past)
      )
    )
)
--? end
--? has_heatmap_event
AND NOT EXISTS (
  SELECT 1 FROM heatmap_event AS h
  WHERE h.session_id = o.session_id
    AND NOT (
      h.created_at < :heatmap_horizon
      AND h.website_id IN :websites --? only
      AND h.website_id NOT IN :websites --? except
    )
)
--? end

-- part: heatmap_slice
-- The heatmap events (h) of a slice.
WHERE h.website_id = :website_id
  AND h.created_at >= :since
  AND h.created_at <= :until
  AND (:after IS NULL OR h.created_at > :since OR h.heatmap_event_id > :after)
  AND (h.created_at < :until OR h.heatmap_event_id <= :last)

-- part: orphan_event_data
-- The event_data (d) of a slice that has no event.
WHERE (:after IS NULL OR d.website_event_id > :after)
  AND d.website_event_id <= :last
  AND d.website_id IN :websites --? only
  AND d.website_id NOT IN :websites --? except
  AND NOT EXISTS (SELECT 1 FROM website_event AS e WHERE e.event_id = d.website_event_id)

-- part: orphan_revenue
-- The revenue (r) of a slice that has no event.
WHERE (:after IS NULL OR r.session_id > :after)
  AND r.session_id <= :last
  AND r.website_id IN :websites --? only
  AND r.website_id NOT IN :websites --? except
  AND NOT EXISTS (SELECT 1 FROM website_event AS e WHERE e.event_id = r.event_id)

-- part: orphan_session_data
-- The session_data (d) of a slice that has no session, and whose session id nothing else mentions.
WHERE (:after IS NULL OR d.session_id > :after)
  AND d.session_id <= :last
  AND d.website_id IN :websites --? only
  AND d.website_id NOT IN :websites --? except
  AND NOT EXISTS (SELECT 1 FROM session AS s WHERE s.session_id = d.session_id)
  AND NOT EXISTS (SELECT 1 FROM website_event AS e WHERE e.session_id = d.session_id)
  AND NOT EXISTS (SELECT 1 FROM revenue AS r WHERE r.session_id = d.session_id) --? has_revenue
  AND NOT EXISTS (SELECT 1 FROM session_replay AS r WHERE r.session_id = d.session_id) --? has_session_replay
  AND NOT EXISTS (SELECT 1 FROM heatmap_event AS h WHERE h.session_id = d.session_id) --? has_heatmap_event

-- name: worker_settings
-- Lists of ids are looked up one by one, however long: MySQL would scan the table from some 36,000 on, MariaDB make
-- a table of more than 1,000. Each reads its own comment alone. Nor may MySQL skip through an index that begins with
-- the website: it reads all that lie ahead and sorts them, where the index on the time gives their order.
SET @@SESSION.lock_wait_timeout = @@SESSION.lock_wait_timeout
  /*!80000 , @@SESSION.range_optimizer_max_mem_size = 0 */
  /*!80013 , @@SESSION.optimizer_switch = 'skip_scan=off' */
  /*M!100300 , @@SESSION.in_predicate_conversion_threshold = 0 */;

-- name: may_make_temporary
-- Whether this user may make temporary tables here: roles can't be seen, and the first step is refused if not.
SELECT TRUE AS allowed;

-- name: index_settings
-- Gives MySQL room to sort the keys of an index: by default it merges runs of 1 MB. MariaDB has no such variable for a
-- session and doesn't read the comment.
SET @@SESSION.lock_wait_timeout = @@SESSION.lock_wait_timeout /*!80027 , @@SESSION.innodb_ddl_buffer_size = 67108864 */;

-- name: websites_of_replays
-- The website ids in session_replay, one index look-up each.
WITH RECURSIVE w AS (
  (SELECT r.website_id FROM session_replay AS r ORDER BY r.website_id LIMIT 1)
  UNION ALL
  SELECT (SELECT r.website_id FROM session_replay AS r WHERE r.website_id > w.website_id ORDER BY r.website_id LIMIT 1)
  FROM w
  WHERE w.website_id IS NOT NULL
)
SELECT w.website_id FROM w WHERE w.website_id IS NOT NULL;

-- name: websites_of_heatmaps
-- The website ids in heatmap_event, one index look-up each.
WITH RECURSIVE w AS (
  (SELECT h.website_id FROM heatmap_event AS h ORDER BY h.website_id LIMIT 1)
  UNION ALL
  SELECT (SELECT h.website_id FROM heatmap_event AS h WHERE h.website_id > w.website_id ORDER BY h.website_id LIMIT 1)
  FROM w
  WHERE w.website_id IS NOT NULL
)
SELECT w.website_id FROM w WHERE w.website_id IS NOT NULL;

-- part: end_of_slice
-- The end of a slice of what lies `ahead`: the time of the row behind it, without `last`, as an index on the time alone
-- tells; where more than a slice share one time, the last id of a slice among them.
--? dated
, beyond AS (
  SELECT a.created_at AS at FROM ahead AS a ORDER BY a.created_at LIMIT 1 OFFSET :batch_rows
)
SELECT b.at AS until, NULL AS last, :batch_rows AS picked
FROM beyond AS b
WHERE b.at > :since
UNION ALL
SELECT CAST(:horizon AS DATETIME(6)), NULL, r.picked
FROM (SELECT COUNT(*) AS picked FROM (SELECT 1 FROM ahead LIMIT :batch_rows) AS few) AS r
WHERE r.picked > 0 AND NOT EXISTS (SELECT 1 FROM beyond)
UNION ALL
--? end
SELECT MAX(t.created_at) AS until, MAX(t.id) AS last, COUNT(*) AS picked
FROM (
  SELECT a.created_at, a.id
  FROM ahead AS a
  WHERE a.created_at = (SELECT b.at FROM beyond AS b) AND a.created_at = :since --? dated
  ORDER BY a.created_at, a.id
  LIMIT :batch_rows
) AS t
HAVING COUNT(*) > 0

-- name: next_events
-- Finds the end of the next slice of events, in the order of their time.
WITH ahead AS (
  SELECT e.created_at, e.event_id AS id
  FROM website_event AS e
  WHERE TRUE
    AND e.created_at >= :since --? dated
    AND (:after IS NULL OR e.created_at > :since OR e.event_id > :after) --? dated
    AND e.created_at < :horizon --? dated
    AND e.created_at IS NULL --? undated
    AND (:after IS NULL OR e.event_id > :after) --? undated
    AND e.website_id = :website_id --? website
    AND e.website_id NOT IN :websites --? except
)
--+ end_of_slice
;

-- name: next_astray_events
-- Finds the next events whose revenue names another session, which the index on session_id would not find.
SELECT s.event_id AS last, s.picked
FROM (
  SELECT t.event_id, COUNT(*) OVER () AS picked
  FROM (
    SELECT DISTINCT e.event_id
    FROM revenue AS r
    JOIN website_event AS e ON e.event_id = r.event_id
    WHERE r.session_id <> e.session_id
      AND (e.created_at < :horizon OR (:null_past AND e.created_at IS NULL))
      AND (:after IS NULL OR e.event_id > :after)
      AND e.website_id = :website_id --? website
      AND e.website_id NOT IN :websites --? except
    ORDER BY e.event_id
    LIMIT :batch_rows
  ) AS t
) AS s
ORDER BY s.event_id DESC
LIMIT 1;

-- name: prepare_events
-- Makes, for this worker alone, lists of a slice's events and of their revenue, in memory: what hangs on the events
-- is found by them, without another look at the events. A server that disables such tables makes them in this mode;
-- one with sql_require_primary_key wants a key, of which a number costs the least.
SET SESSION sql_mode = 'STRICT_ALL_TABLES', max_heap_table_size = 268435456;
CREATE TEMPORARY TABLE umami_ops_event (umami_ops_place BIGINT AUTO_INCREMENT PRIMARY KEY) ENGINE=MEMORY
AS SELECT event_id, session_id FROM website_event WHERE FALSE;
--? has_revenue
CREATE TEMPORARY TABLE umami_ops_revenue (umami_ops_place BIGINT AUTO_INCREMENT PRIMARY KEY) ENGINE=MEMORY
AS SELECT revenue_id FROM revenue WHERE FALSE;
--? end
SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION';

-- name: delete_events
-- Deletes a slice of events with their event_data and revenue; its rows are locked, listed and counted first. A session
-- is looked up in revenue once, however many events it has, and only what goes is locked there.
-- copies: website_event
DELETE FROM umami_ops_event;
-- copies: website_event
INSERT INTO umami_ops_event (event_id, session_id)
SELECT e.event_id, e.session_id
FROM website_event AS e
WHERE TRUE
  --+ event_slice
FOR UPDATE;
SELECT COUNT(*) AS expect_website_event FROM umami_ops_event;
--? has_revenue
-- copies: revenue
DELETE FROM umami_ops_revenue;
-- copies: revenue
INSERT INTO umami_ops_revenue (revenue_id)
SELECT r.revenue_id
FROM (SELECT DISTINCT x.session_id FROM umami_ops_event AS x) AS v
STRAIGHT_JOIN revenue AS r ON r.session_id = v.session_id
STRAIGHT_JOIN website_event AS e ON e.event_id = r.event_id AND e.session_id = r.session_id
WHERE TRUE
  --+ event_slice
;
--? end
--? keeps_event_data
-- copies: event_data
INSERT INTO umami_ops_kept_event_data
SELECT NULL, d.*
FROM umami_ops_event AS x
STRAIGHT_JOIN event_data AS d ON d.website_event_id = x.event_id
FOR UPDATE;
--? end
--? keeps_revenue
-- copies: revenue
INSERT INTO umami_ops_kept_revenue
SELECT NULL, r.*
FROM umami_ops_revenue AS x
STRAIGHT_JOIN revenue AS r ON r.revenue_id = x.revenue_id
FOR UPDATE;
--? end
--? keeps_website_event
-- copies: website_event
INSERT INTO umami_ops_kept_website_event
SELECT NULL, e.*
FROM website_event AS e
WHERE TRUE
  --+ event_slice
FOR UPDATE;
--? end
--? has_event_data
-- deletes: event_data
DELETE d
FROM umami_ops_event AS x
STRAIGHT_JOIN event_data AS d ON d.website_event_id = x.event_id;
--? end
--? has_revenue
-- deletes: revenue
DELETE r
FROM umami_ops_revenue AS x
STRAIGHT_JOIN revenue AS r ON r.revenue_id = x.revenue_id;
--? end
-- deletes: website_event
DELETE e
FROM website_event AS e
WHERE TRUE
  --+ event_slice
;

-- name: delete_astray_events
-- Deletes a slice of events whose revenue names another session, with all that hangs on them.
-- collect: doomed
SELECT DISTINCT e.event_id AS doomed
FROM revenue AS r
JOIN website_event AS e ON e.event_id = r.event_id
WHERE r.session_id <> e.session_id
  AND (e.created_at < :horizon OR (:null_past AND e.created_at IS NULL))
  AND (:after IS NULL OR e.event_id > :after)
  AND e.event_id <= :last
  AND e.website_id = :website_id --? website
  AND e.website_id NOT IN :websites --? except
FOR UPDATE;
--? keeps_event_data
-- copies: event_data
INSERT INTO umami_ops_kept_event_data
SELECT NULL, event_data.* FROM event_data WHERE website_event_id IN :doomed
FOR UPDATE;
--? end
--? keeps_revenue
-- copies: revenue
INSERT INTO umami_ops_kept_revenue
SELECT NULL, revenue.* FROM revenue WHERE event_id IN :doomed
FOR UPDATE;
--? end
--? keeps_website_event
-- copies: website_event
INSERT INTO umami_ops_kept_website_event
SELECT NULL, website_event.* FROM website_event WHERE event_id IN :doomed
FOR UPDATE;
--? end
--? has_event_data
-- deletes: event_data
DELETE FROM event_data WHERE website_event_id IN :doomed;
--? end
-- deletes: revenue
DELETE FROM revenue WHERE event_id IN :doomed;
-- deletes: website_event
DELETE FROM website_event WHERE event_id IN :doomed;

-- name: next_heatmaps
-- Finds the end of the next slice of one website's heatmap events.
SELECT s.created_at AS until, s.heatmap_event_id AS last, s.picked
FROM (
  SELECT t.created_at, t.heatmap_event_id, COUNT(*) OVER () AS picked
  FROM (
    SELECT h.created_at, h.heatmap_event_id
    FROM heatmap_event AS h
    WHERE h.website_id = :website_id
      AND h.created_at >= :since
      AND (:after IS NULL OR h.created_at > :since OR h.heatmap_event_id > :after)
      AND h.created_at < :horizon
    ORDER BY h.created_at, h.heatmap_event_id
    LIMIT :batch_rows
  ) AS t
) AS s
ORDER BY s.created_at DESC, s.heatmap_event_id DESC
LIMIT 1;

-- name: delete_heatmaps
-- Deletes a slice of one website's heatmap events.
--? keeps_heatmap_event
-- copies: heatmap_event
INSERT INTO umami_ops_kept_heatmap_event
SELECT NULL, h.* FROM heatmap_event AS h
--+ heatmap_slice
FOR UPDATE;
--? end
-- deletes: heatmap_event
DELETE h FROM heatmap_event AS h
--+ heatmap_slice
;

-- name: next_replays
-- Finds the end of the next slice of one website's replay chunks.
SELECT s.created_at AS until, s.replay_id AS last, s.picked
FROM (
  SELECT t.created_at, t.replay_id, COUNT(*) OVER () AS picked
  FROM (
    SELECT r.created_at, r.replay_id
    FROM session_replay AS r
    WHERE r.website_id = :website_id
      AND r.created_at >= :since --? dated
      AND (:after IS NULL OR r.created_at > :since OR r.replay_id > :after) --? dated
      AND r.created_at < :horizon --? dated
      AND r.created_at IS NULL --? undated
      AND (:after IS NULL OR r.replay_id > :after) --? undated
    ORDER BY r.created_at, r.replay_id
    LIMIT :batch_rows
  ) AS t
) AS s
ORDER BY s.created_at DESC, s.replay_id DESC
LIMIT 1;

-- name: delete_replays
-- Deletes all chunks of the visits in a slice whose newest chunk is past the horizon, saved visits excepted.
-- collect: doomed
SELECT DISTINCT r.visit_id AS doomed
FROM session_replay AS r
WHERE r.website_id = :website_id
  AND r.created_at >= :since --? dated
  AND r.created_at <= :until --? dated
  AND (:after IS NULL OR r.created_at > :since OR r.replay_id > :after) --? dated
  AND (r.created_at < :until OR r.replay_id <= :last) --? dated
  AND r.created_at IS NULL --? undated
  AND (:after IS NULL OR r.replay_id > :after) --? undated
  AND r.replay_id <= :last --? undated
  AND NOT EXISTS (SELECT 1 FROM session_replay_saved AS v WHERE v.visit_id = r.visit_id) --? has_session_replay_saved
  AND NOT EXISTS (
    SELECT 1 FROM session_replay AS k
    WHERE k.website_id = r.website_id
      AND k.visit_id = r.visit_id
      AND COALESCE(k.created_at >= :horizon, NOT :null_past)
  );
--? keeps_session_replay
-- copies: session_replay
INSERT INTO umami_ops_kept_session_replay
SELECT NULL, session_replay.* FROM session_replay WHERE website_id = :website_id AND visit_id IN :doomed
FOR UPDATE;
--? end
-- deletes: session_replay
DELETE FROM session_replay WHERE website_id = :website_id AND visit_id IN :doomed;

-- name: prepare_archive
-- Makes, for this worker alone, tables for the rows that a batch deletes: they are written into the archive from
-- there. What was allowed when a row was written is, whatever the server is set to now.
SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION';
--? keeps_website_event
CREATE TEMPORARY TABLE umami_ops_kept_website_event (umami_ops_place BIGINT AUTO_INCREMENT PRIMARY KEY) ENGINE=InnoDB
AS SELECT * FROM website_event WHERE FALSE;
--? end
--? keeps_event_data
CREATE TEMPORARY TABLE umami_ops_kept_event_data (umami_ops_place BIGINT AUTO_INCREMENT PRIMARY KEY) ENGINE=InnoDB
AS SELECT * FROM event_data WHERE FALSE;
--? end
--? keeps_revenue
CREATE TEMPORARY TABLE umami_ops_kept_revenue (umami_ops_place BIGINT AUTO_INCREMENT PRIMARY KEY) ENGINE=InnoDB
AS SELECT * FROM revenue WHERE FALSE;
--? end
--? keeps_heatmap_event
CREATE TEMPORARY TABLE umami_ops_kept_heatmap_event (umami_ops_place BIGINT AUTO_INCREMENT PRIMARY KEY) ENGINE=InnoDB
AS SELECT * FROM heatmap_event WHERE FALSE;
--? end
--? keeps_session_replay
CREATE TEMPORARY TABLE umami_ops_kept_session_replay (umami_ops_place BIGINT AUTO_INCREMENT PRIMARY KEY) ENGINE=InnoDB
AS SELECT * FROM session_replay WHERE FALSE;
--? end
--? keeps_session
CREATE TEMPORARY TABLE umami_ops_kept_session (umami_ops_place BIGINT AUTO_INCREMENT PRIMARY KEY) ENGINE=InnoDB
AS SELECT * FROM session WHERE FALSE;
--? end
--? keeps_session_data
CREATE TEMPORARY TABLE umami_ops_kept_session_data (umami_ops_place BIGINT AUTO_INCREMENT PRIMARY KEY) ENGINE=InnoDB
AS SELECT * FROM session_data WHERE FALSE;
--? end
--? keeps_session_link
CREATE TEMPORARY TABLE umami_ops_kept_session_link (umami_ops_place BIGINT AUTO_INCREMENT PRIMARY KEY) ENGINE=InnoDB
AS SELECT * FROM session_link WHERE FALSE;
--? end

-- name: prepare_sessions
-- Notes, for this worker alone, the old sessions that only a heatmap event still refers to: no index finds those.
--? has_heatmap_event
CREATE TEMPORARY TABLE umami_ops_heatmap_session (PRIMARY KEY (session_id)) AS
SELECT DISTINCT h.session_id
FROM heatmap_event AS h
JOIN session AS s ON s.session_id = h.session_id
WHERE COALESCE(s.created_at < :horizon, TRUE)
  AND NOT EXISTS (SELECT 1 FROM website_event AS e WHERE e.session_id = h.session_id);
--? end

-- name: next_sessions
-- Finds the end of the next slice of sessions first seen before the horizon.
WITH ahead AS (
  SELECT s.created_at, s.session_id AS id
  FROM session AS s
  WHERE TRUE
    AND s.created_at >= :since --? dated
    AND (:after IS NULL OR s.created_at > :since OR s.session_id > :after) --? dated
    AND s.created_at < :horizon --? dated
    AND s.created_at IS NULL --? undated
    AND (:after IS NULL OR s.session_id > :after) --? undated
    AND s.website_id = :website_id --? website
    AND s.website_id NOT IN :websites --? except
)
--+ end_of_slice
;

-- name: delete_sessions
-- Deletes those sessions of a slice, with session_data and session_link, that nothing refers to any more. Once
-- they are locked a visitor who returns waits and gets a new row; who did so just before is seen by a second look.
-- They are locked one by one, as a range would lock its neighbours, on which another worker may be.
-- collect: doomed
SELECT s.session_id AS doomed
FROM session AS s
WHERE TRUE
  AND s.created_at >= :since --? dated
  AND s.created_at <= :until --? dated
  AND (:after IS NULL OR s.created_at > :since OR s.session_id > :after) --? dated
  AND (s.created_at < :until OR s.session_id <= :last) --? dated
  AND s.created_at IS NULL --? undated
  AND (:after IS NULL OR s.session_id > :after) --? undated
  AND s.session_id <= :last --? undated
  AND s.website_id = :website_id --? website
  AND s.website_id NOT IN :websites --? except
  AND NOT EXISTS (SELECT 1 FROM website_event AS e WHERE e.session_id = s.session_id)
  AND NOT EXISTS (SELECT 1 FROM revenue AS r WHERE r.session_id = s.session_id) --? has_revenue
  AND NOT EXISTS (SELECT 1 FROM session_replay AS r WHERE r.session_id = s.session_id) --? has_session_replay
  AND NOT EXISTS (SELECT 1 FROM umami_ops_heatmap_session AS h WHERE h.session_id = s.session_id) --? has_heatmap_event
  --? has_session_data
  AND NOT EXISTS (
    SELECT 1 FROM session_data AS d
    WHERE d.session_id = s.session_id AND COALESCE(d.created_at >= :horizon, NOT :null_past)
  )
  --? end
  --? has_session_link
  AND NOT EXISTS (
    SELECT 1 FROM session_link AS l
    WHERE l.session_id = s.session_id AND COALESCE(l.created_at >= :horizon, NOT :null_past)
  )
  --? end
;
-- collect: doomed
SELECT s.session_id AS doomed FROM session AS s WHERE s.session_id IN :doomed FOR UPDATE;
-- collect: doomed
SELECT s.session_id AS doomed
FROM session AS s
WHERE s.session_id IN :doomed
  AND NOT EXISTS (SELECT 1 FROM website_event AS e WHERE e.session_id = s.session_id)
  --? has_session_data
  AND NOT EXISTS (
    SELECT 1 FROM session_data AS d
    WHERE d.session_id = s.session_id AND COALESCE(d.created_at >= :horizon, NOT :null_past)
  )
  --? end
  --? has_session_link
  AND NOT EXISTS (
    SELECT 1 FROM session_link AS l
    WHERE l.session_id = s.session_id AND COALESCE(l.created_at >= :horizon, NOT :null_past)
  )
  --? end
;
--? keeps_session_data
-- copies: session_data
INSERT INTO umami_ops_kept_session_data
SELECT NULL, session_data.* FROM session_data WHERE session_id IN :doomed
FOR UPDATE;
--? end
--? keeps_session_link
-- copies: session_link
INSERT INTO umami_ops_kept_session_link
SELECT NULL, session_link.* FROM session_link WHERE session_id IN :doomed
FOR UPDATE;
--? end
--? keeps_session
-- copies: session
INSERT INTO umami_ops_kept_session
SELECT NULL, session.* FROM session WHERE session_id IN :doomed
FOR UPDATE;
--? end
--? has_session_data
-- deletes: session_data
DELETE FROM session_data WHERE session_id IN :doomed;
--? end
--? has_session_link
-- deletes: session_link
DELETE FROM session_link WHERE session_id IN :doomed;
--? end
-- deletes: session
DELETE FROM session WHERE session_id IN :doomed;

-- name: next_orphan_event_data
-- Finds the end of the next slice of event_data, in the order of the event ids it hangs on.
SELECT s.id AS last, s.picked
FROM (
  SELECT t.id, COUNT(*) OVER () AS picked
  FROM (
    SELECT d.website_event_id AS id FROM event_data AS d
    WHERE :after IS NULL OR d.website_event_id > :after
    ORDER BY d.website_event_id
    LIMIT :batch_rows
  ) AS t
) AS s
ORDER BY s.id DESC
LIMIT 1;

-- name: delete_orphan_event_data
-- Deletes the event_data of a slice that has no event.
--? keeps_event_data
-- copies: event_data
INSERT INTO umami_ops_kept_event_data
SELECT NULL, d.* FROM event_data AS d
--+ orphan_event_data
FOR UPDATE;
--? end
-- deletes: event_data
DELETE d FROM event_data AS d
--+ orphan_event_data
;

-- name: next_orphan_revenue
-- Finds the end of the next slice of revenue, in the order of its session ids.
SELECT s.id AS last, s.picked
FROM (
  SELECT t.id, COUNT(*) OVER () AS picked
  FROM (
    SELECT r.session_id AS id FROM revenue AS r
    WHERE :after IS NULL OR r.session_id > :after
    ORDER BY r.session_id
    LIMIT :batch_rows
  ) AS t
) AS s
ORDER BY s.id DESC
LIMIT 1;

-- name: delete_orphan_revenue
-- Deletes the revenue of a slice that has no event.
--? keeps_revenue
-- copies: revenue
INSERT INTO umami_ops_kept_revenue
SELECT NULL, r.* FROM revenue AS r
--+ orphan_revenue
FOR UPDATE;
--? end
-- deletes: revenue
DELETE r FROM revenue AS r
--+ orphan_revenue
;

-- name: next_orphan_session_data
-- Finds the end of the next slice of session_data, in the order of its session ids.
SELECT s.id AS last, s.picked
FROM (
  SELECT t.id, COUNT(*) OVER () AS picked
  FROM (
    SELECT d.session_id AS id FROM session_data AS d
    WHERE :after IS NULL OR d.session_id > :after
    ORDER BY d.session_id
    LIMIT :batch_rows
  ) AS t
) AS s
ORDER BY s.id DESC
LIMIT 1;

-- name: delete_orphan_session_data
-- Deletes the session_data of a slice that has no session, and whose session id nothing else mentions.
--? keeps_session_data
-- copies: session_data
INSERT INTO umami_ops_kept_session_data
SELECT NULL, d.* FROM session_data AS d
--+ orphan_session_data
FOR UPDATE;
--? end
-- deletes: session_data
DELETE d FROM session_data AS d
--+ orphan_session_data
;

-- name: count_events
-- Events past their horizon.
SELECT COUNT(*) AS website_event
FROM website_event AS t
WHERE (t.created_at < :event_horizon OR (:null_past AND t.created_at IS NULL))
  --+ in_scope
;

-- name: count_event_details
-- What hangs on the events past their horizon.
WITH doomed AS (
  SELECT e.event_id, e.session_id
  FROM website_event AS e
  WHERE (e.created_at < :event_horizon OR (:null_past AND e.created_at IS NULL))
    AND e.website_id IN :websites --? only
    AND e.website_id NOT IN :websites --? except
)
SELECT
  (SELECT COUNT(*) FROM event_data AS d JOIN doomed AS x ON x.event_id = d.website_event_id) AS event_data, --? has_event_data
  (SELECT COUNT(*) FROM revenue AS r JOIN doomed AS x ON x.event_id = r.event_id) AS revenue, --? has_revenue
  0 AS nothing;

-- name: count_astray_revenue
-- Revenue past the horizon that names another session than its event does.
SELECT COUNT(*) AS revenue
FROM revenue AS r
JOIN website_event AS e ON e.event_id = r.event_id
WHERE r.session_id <> e.session_id
  AND (e.created_at < :event_horizon OR (:null_past AND e.created_at IS NULL));

-- name: count_heatmaps
-- Heatmap events past their horizon.
SELECT COUNT(*) AS heatmap_event
FROM heatmap_event AS t
WHERE t.created_at < :heatmap_horizon
  --+ in_scope
;

-- name: count_replays
-- Replay chunks of visits that are past their horizon as a whole.
SELECT COUNT(*) AS session_replay
FROM session_replay AS c
JOIN (
  SELECT r.website_id, r.visit_id
  FROM session_replay AS r
  WHERE TRUE
    AND r.website_id IN :websites --? only
    AND r.website_id NOT IN :websites --? except
    AND NOT EXISTS (SELECT 1 FROM session_replay_saved AS v WHERE v.visit_id = r.visit_id) --? has_session_replay_saved
  GROUP BY r.website_id, r.visit_id
  HAVING MIN(COALESCE(r.created_at < :replay_horizon, :null_past))
) AS x ON x.website_id = c.website_id AND x.visit_id = c.visit_id;

-- name: count_sessions
-- Sessions past the horizon that nothing kept refers to, with what goes with them.
WITH doomed AS (
  SELECT o.session_id
  FROM session AS o
  WHERE (o.created_at < :session_horizon OR (:null_past AND o.created_at IS NULL))
    AND o.website_id IN :websites --? only
    AND o.website_id NOT IN :websites --? except
    --+ nothing_kept_refers
    --? has_session_data
    AND NOT EXISTS (
      SELECT 1 FROM session_data AS d
      WHERE d.session_id = o.session_id AND COALESCE(d.created_at >= :session_horizon, NOT :null_past)
    )
    --? end
    --? has_session_link
    AND NOT EXISTS (
      SELECT 1 FROM session_link AS l
      WHERE l.session_id = o.session_id AND COALESCE(l.created_at >= :session_horizon, NOT :null_past)
    )
    --? end
)
SELECT
  (SELECT COUNT(*) FROM session_data AS d JOIN doomed AS x ON x.session_id = d.session_id) AS session_data, --? has_session_data
  (SELECT COUNT(*) FROM session_link AS l JOIN doomed AS x ON x.session_id = l.session_id) AS session_link, --? has_session_link
  (SELECT COUNT(*) FROM doomed) AS session;

-- name: count_orphan_session_data
-- Session properties without a session, of a session id that nothing kept mentions.
SELECT COUNT(*) AS session_data
FROM session_data AS o
WHERE TRUE
    AND o.website_id IN :websites --? only
    AND o.website_id NOT IN :websites --? except
    AND NOT EXISTS (SELECT 1 FROM session AS s WHERE s.session_id = o.session_id)
    --+ nothing_kept_refers
;

-- name: count_orphans
-- Rows whose event is gone, as they were left by earlier deletes.
SELECT
  --? has_event_data
  (
    SELECT COUNT(*) FROM event_data AS t
    WHERE NOT EXISTS (SELECT 1 FROM website_event AS e WHERE e.event_id = t.website_event_id)
      --+ in_scope
  ) AS event_data,
  --? end
  --? has_revenue
  (
    SELECT COUNT(*) FROM revenue AS t
    WHERE NOT EXISTS (SELECT 1 FROM website_event AS e WHERE e.event_id = t.event_id)
      --+ in_scope
  ) AS revenue,
  --? end
  0 AS nothing;

-- name: count_undated
-- Rows without a time, by table.
SELECT
  --? has_event_data
  (
    SELECT COUNT(*) FROM event_data AS t
    WHERE t.created_at IS NULL
      --+ in_scope
  ) AS event_data,
  --? end
  --? has_revenue
  (
    SELECT COUNT(*) FROM revenue AS t
    WHERE t.created_at IS NULL
      --+ in_scope
  ) AS revenue,
  --? end
  --? has_session_data
  (
    SELECT COUNT(*) FROM session_data AS t
    WHERE t.created_at IS NULL
      --+ in_scope
  ) AS session_data,
  --? end
  --? has_session_link
  (
    SELECT COUNT(*) FROM session_link AS t
    WHERE t.created_at IS NULL
      --+ in_scope
  ) AS session_link,
  --? end
  --? has_session_replay
  (
    SELECT COUNT(*) FROM session_replay AS t
    WHERE t.created_at IS NULL
      --+ in_scope
  ) AS session_replay,
  --? end
  (
    SELECT COUNT(*) FROM session AS t
    WHERE t.created_at IS NULL
      --+ in_scope
  ) AS session,
  (
    SELECT COUNT(*) FROM website_event AS t
    WHERE t.created_at IS NULL
      --+ in_scope
  ) AS website_event;

-- name: left_over
-- Events that are past their horizon still, after the run.
SELECT COUNT(*) AS website_event
FROM (
  SELECT t.event_id
  FROM website_event AS t
  WHERE (t.created_at < :event_horizon OR (:null_past AND t.created_at IS NULL))
    --+ in_scope
  LIMIT 100000
) AS t;

-- name: websites
-- Websites, and links and pixels where there are any, by their ids and names.
SELECT w.website_id AS id, 'website' AS kind, w.name, w.domain FROM website AS w
--? has_link
UNION ALL
SELECT l.link_id, 'link', l.name, l.slug FROM link AS l
--? end
--? has_pixel
UNION ALL
SELECT p.pixel_id, 'pixel', p.name, p.slug FROM pixel AS p
--? end
;
