-- Retention. A slice is a range of keys past the horizon that one transaction deletes, children first. Where a
-- query gives a column `expect_<table>`, so many rows must have gone there or the transaction is rolled back
-- and tried again: somebody else was at work on the slice. So it is where `returned` isn't 0.
--
-- Words: website (one website), only / except (some, all but some), null_past (no time counts as past),
-- dated / undated (slices run over times, or over the ids of rows without one), partitioned, orphans, and
-- has_<table> for the tables this database has; keeps_<table> (what is deleted
-- there is left in umami_ops_kept_<table>).

-- part: event_slice
-- The events (e) of a slice.
AND e.created_at >= CAST(:since AS timestamptz) --? dated
AND e.created_at <= CAST(:until AS timestamptz) --? dated
AND (CAST(:after AS uuid) IS NULL OR e.created_at > CAST(:since AS timestamptz) OR e.event_id > CAST(:after AS uuid)) --? dated
AND (e.created_at < CAST(:until AS timestamptz) OR e.event_id <= CAST(:last AS uuid)) --? dated
AND e.created_at IS NULL --? undated
AND (CAST(:after AS uuid) IS NULL OR e.event_id > CAST(:after AS uuid)) --? undated
AND e.event_id <= CAST(:last AS uuid) --? undated
AND e.website_id = CAST(:website_id AS uuid) --? website
AND e.website_id <> ALL(CAST(:websites AS uuid[])) --? except

-- part: in_scope
-- Of the websites chosen, for the table t.
AND t.website_id = ANY(CAST(:websites AS uuid[])) --? only
AND t.website_id <> ALL(CAST(:websites AS uuid[])) --? except

-- part: nothing_kept_refers
-- Nothing that stays mentions the session id of o: no event, revenue, replay or heatmap.
AND NOT EXISTS (
  SELECT FROM website_event AS e
  WHERE e.session_id = o.session_id
    AND NOT (
      COALESCE(e.created_at < :event_horizon, CAST(:null_event_past AS boolean))
      AND e.website_id = ANY(CAST(:websites AS uuid[])) --? only
      AND e.website_id <> ALL(CAST(:websites AS uuid[])) --? except
    )
)
--? has_revenue
AND NOT EXISTS (
  SELECT FROM revenue AS r
  LEFT JOIN website_event AS e ON e.event_id = r.event_id
  WHERE r.session_id = o.session_id
    AND NOT (
      e.event_id IS NULL
      AND FALSE --? !orphans
      AND r.website_id = ANY(CAST(:websites AS uuid[])) --? only
      AND r.website_id <> ALL(CAST(:websites AS uuid[])) --? except
    )
    AND NOT (
      e.event_id IS NOT NULL
      AND COALESCE(e.created_at < :event_horizon, CAST(:null_event_past AS boolean))
      AND e.website_id = ANY(CAST(:websites AS uuid[])) --? only
      AND e.website_id <> ALL(CAST(:websites AS uuid[])) --? except
    )
)
--? end
--? has_session_replay
AND NOT EXISTS (
  SELECT FROM session_replay AS r
  WHERE r.session_id = o.session_id
    AND NOT (
      TRUE
      AND r.website_id = ANY(CAST(:websites AS uuid[])) --? only
      AND r.website_id <> ALL(CAST(:websites AS uuid[])) --? except
      AND NOT EXISTS (SELECT FROM session_replay_saved AS v WHERE v.visit_id = r.visit_id) --? has_session_replay_saved
      AND NOT EXISTS (
        SELECT FROM session_replay AS k
        WHERE k.website_id = r.website_id
          AND k.visit_id = r.visit_id
          AND COALESCE(k.created_at >= :replay_horizon, NOT CAST(:null_replay_past AS boolean))
      )
    )
)
--? end
--? has_heatmap_event
AND NOT EXISTS (
  SELECT FROM heatmap_event AS h
  WHERE h.session_id = o.session_id
    AND NOT (
      h.created_at < :heatmap_horizon
      AND h.website_id = ANY(CAST(:websites AS uuid[])) --? only
      AND h.website_id <> ALL(CAST(:websites AS uuid[])) --? except
    )
)
--? end

-- name: worker_settings
-- Makes index look-ups win over scans of whole tables as soon as a table is big, and leaves Umami the other cores:
-- counts by two indexes side by side take a third of the work of a parallel hash join.
SELECT
  set_config('random_page_cost', '1.1', false),
  set_config('work_mem', '16MB', false),
  set_config('max_parallel_workers_per_gather', '0', false);

-- name: may_make_temporary
-- Whether this user may make temporary tables here.
SELECT has_database_privilege(current_database(), 'TEMPORARY') AS allowed;

-- name: index_settings
-- Nothing needs setting: no index is built anew here.
SELECT 1 AS nothing_to_set;

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
, beyond AS MATERIALIZED (
  SELECT a.created_at AS at FROM ahead AS a ORDER BY a.created_at LIMIT 1 OFFSET :batch_rows
)
SELECT CAST(b.at AS text) AS until, CAST(NULL AS text) AS last, CAST(:batch_rows AS bigint) AS picked
FROM beyond AS b
WHERE b.at > CAST(:since AS timestamptz)
UNION ALL
SELECT CAST(CAST(:horizon AS timestamptz) AS text), NULL, r.picked
FROM (SELECT COUNT(*) AS picked FROM ahead) AS r
WHERE r.picked > 0 AND NOT EXISTS (SELECT FROM beyond)
UNION ALL
--? end
SELECT CAST(MAX(t.created_at) AS text) AS until, CAST((ARRAY_AGG(t.id))[COUNT(*)] AS text) AS last, COUNT(*) AS picked
FROM (
  SELECT a.created_at, a.id
  FROM ahead AS a
  WHERE a.created_at = (SELECT b.at FROM beyond AS b) AND a.created_at = CAST(:since AS timestamptz) --? dated
  ORDER BY a.created_at, a.id
  LIMIT :batch_rows
) AS t
HAVING COUNT(*) > 0

-- name: next_events
-- Finds the end of the next slice of events, in the order of their time.
WITH ahead AS NOT MATERIALIZED (
  SELECT e.created_at, e.event_id AS id
  FROM website_event AS e
  WHERE TRUE
    AND e.created_at >= CAST(:since AS timestamptz) --? dated
    AND (CAST(:after AS uuid) IS NULL OR e.created_at > CAST(:since AS timestamptz) OR e.event_id > CAST(:after AS uuid)) --? dated
    AND e.created_at < :horizon --? dated
    AND e.created_at IS NULL --? undated
    AND (CAST(:after AS uuid) IS NULL OR e.event_id > CAST(:after AS uuid)) --? undated
    AND e.website_id = CAST(:website_id AS uuid) --? website
    AND e.website_id <> ALL(CAST(:websites AS uuid[])) --? except
)
--+ end_of_slice
;

-- name: next_astray_events
-- Finds the next events whose revenue names another session, which the index on session_id would not find.
SELECT CAST(s.event_id AS text) AS last, s.picked
FROM (
  SELECT t.event_id, COUNT(*) OVER () AS picked
  FROM (
    SELECT DISTINCT e.event_id
    FROM revenue AS r
    JOIN website_event AS e ON e.event_id = r.event_id
    WHERE r.session_id <> e.session_id
      AND (e.created_at < :horizon OR (CAST(:null_past AS boolean) AND e.created_at IS NULL))
      AND (CAST(:after AS uuid) IS NULL OR e.event_id > CAST(:after AS uuid))
      AND e.website_id = CAST(:website_id AS uuid) --? website
      AND e.website_id <> ALL(CAST(:websites AS uuid[])) --? except
    ORDER BY e.event_id
    LIMIT :batch_rows
  ) AS t
) AS s
ORDER BY s.event_id DESC
LIMIT 1;

-- name: prepare_events
-- Nothing needs preparing: one statement finds the events of a slice and deletes them.

-- name: delete_events
-- Deletes a slice of events with their event_data and revenue: one statement, one snapshot, one look at each index.
-- Of a session's revenue each row's event is looked up, in that snapshot, where it stands still: a session has few.
WITH gone_event AS (
  DELETE FROM website_event AS e
  WHERE TRUE
    --+ event_slice
  RETURNING e.event_id, e.session_id --? !keeps_website_event
  RETURNING e.* --? keeps_website_event
)
--? has_event_data
, gone_event_data AS (
  DELETE FROM event_data AS d
  WHERE d.website_event_id = ANY(ARRAY(SELECT x.event_id FROM gone_event AS x ORDER BY x.event_id))
  RETURNING 1 --? !keeps_event_data
  RETURNING d.* --? keeps_event_data
)
, noted_event_data AS (INSERT INTO umami_ops_kept_event_data SELECT * FROM gone_event_data) --? keeps_event_data
--? end
--? has_revenue
, gone_revenue AS (
  DELETE FROM revenue AS r
  WHERE r.session_id = ANY(ARRAY(SELECT DISTINCT x.session_id FROM gone_event AS x ORDER BY x.session_id))
    AND (
      SELECT TRUE FROM website_event AS e
      WHERE e.event_id = r.event_id
        AND e.session_id = r.session_id
        --+ event_slice
    )
  RETURNING 1 --? !keeps_revenue
  RETURNING r.* --? keeps_revenue
)
, noted_revenue AS (INSERT INTO umami_ops_kept_revenue SELECT * FROM gone_revenue) --? keeps_revenue
--? end
, noted_event AS (INSERT INTO umami_ops_kept_website_event SELECT * FROM gone_event) --? keeps_website_event
SELECT
  (SELECT COUNT(*) FROM gone_event_data) AS event_data, --? has_event_data
  (SELECT COUNT(*) FROM gone_revenue) AS revenue, --? has_revenue
  (SELECT COUNT(*) FROM gone_event) AS website_event;

-- name: delete_astray_events
-- Deletes a slice of events whose revenue names another session, with all that hangs on them.
WITH doomed AS MATERIALIZED (
  SELECT DISTINCT e.event_id
  FROM revenue AS r
  JOIN website_event AS e ON e.event_id = r.event_id
  WHERE r.session_id <> e.session_id
    AND (e.created_at < :horizon OR (CAST(:null_past AS boolean) AND e.created_at IS NULL))
    AND (CAST(:after AS uuid) IS NULL OR e.event_id > CAST(:after AS uuid))
    AND e.event_id <= CAST(:last AS uuid)
    AND e.website_id = CAST(:website_id AS uuid) --? website
    AND e.website_id <> ALL(CAST(:websites AS uuid[])) --? except
),
--? has_event_data
gone_event_data AS (
  DELETE FROM event_data AS d USING doomed AS x WHERE d.website_event_id = x.event_id RETURNING d.*
),
noted_event_data AS (INSERT INTO umami_ops_kept_event_data SELECT * FROM gone_event_data), --? keeps_event_data
--? end
gone_revenue AS (
  DELETE FROM revenue AS r USING doomed AS x WHERE r.event_id = x.event_id RETURNING r.*
),
noted_revenue AS (INSERT INTO umami_ops_kept_revenue SELECT * FROM gone_revenue), --? keeps_revenue
gone_event AS (
  DELETE FROM website_event AS e USING doomed AS x WHERE e.event_id = x.event_id RETURNING e.*
)
, noted_event AS (INSERT INTO umami_ops_kept_website_event SELECT * FROM gone_event) --? keeps_website_event
SELECT
  (SELECT COUNT(*) FROM gone_event_data) AS event_data, --? has_event_data
  (SELECT COUNT(*) FROM gone_revenue) AS revenue,
  (SELECT COUNT(*) FROM gone_event) AS website_event,
  (SELECT COUNT(*) FROM doomed) AS expect_website_event;

-- name: next_heatmaps
-- Finds the end of the next slice of one website's heatmap events.
SELECT CAST(s.created_at AS text) AS until, CAST(s.heatmap_event_id AS text) AS last, s.picked
FROM (
  SELECT t.created_at, t.heatmap_event_id, COUNT(*) OVER () AS picked
  FROM (
    SELECT h.created_at, h.heatmap_event_id
    FROM heatmap_event AS h
    WHERE h.website_id = CAST(:website_id AS uuid)
      AND h.created_at >= CAST(:since AS timestamptz)
      AND (CAST(:after AS uuid) IS NULL OR h.created_at > CAST(:since AS timestamptz) OR h.heatmap_event_id > CAST(:after AS uuid))
      AND h.created_at < :horizon
    ORDER BY h.created_at, h.heatmap_event_id
    LIMIT :batch_rows
  ) AS t
) AS s
ORDER BY s.created_at DESC, s.heatmap_event_id DESC
LIMIT 1;

-- name: delete_heatmaps
-- Deletes a slice of one website's heatmap events.
-- deletes: heatmap_event
WITH gone AS ( --? keeps_heatmap_event
DELETE FROM heatmap_event AS h
WHERE h.website_id = CAST(:website_id AS uuid)
  AND h.created_at >= CAST(:since AS timestamptz)
  AND h.created_at <= CAST(:until AS timestamptz)
  AND (CAST(:after AS uuid) IS NULL OR h.created_at > CAST(:since AS timestamptz) OR h.heatmap_event_id > CAST(:after AS uuid))
  AND (h.created_at < CAST(:until AS timestamptz) OR h.heatmap_event_id <= CAST(:last AS uuid))
--? keeps_heatmap_event
RETURNING h.*
)
INSERT INTO umami_ops_kept_heatmap_event SELECT * FROM gone
--? end
;

-- name: next_replays
-- Finds the end of the next slice of one website's replay chunks.
SELECT CAST(s.created_at AS text) AS until, CAST(s.replay_id AS text) AS last, s.picked
FROM (
  SELECT t.created_at, t.replay_id, COUNT(*) OVER () AS picked
  FROM (
    SELECT r.created_at, r.replay_id
    FROM session_replay AS r
    WHERE r.website_id = CAST(:website_id AS uuid)
      AND r.created_at >= CAST(:since AS timestamptz) --? dated
      AND (CAST(:after AS uuid) IS NULL OR r.created_at > CAST(:since AS timestamptz) OR r.replay_id > CAST(:after AS uuid)) --? dated
      AND r.created_at < :horizon --? dated
      AND r.created_at IS NULL --? undated
      AND (CAST(:after AS uuid) IS NULL OR r.replay_id > CAST(:after AS uuid)) --? undated
    ORDER BY r.created_at, r.replay_id
    LIMIT :batch_rows
  ) AS t
) AS s
ORDER BY s.created_at DESC, s.replay_id DESC
LIMIT 1;

-- name: delete_replays
-- Deletes all chunks of the visits in a slice whose newest chunk is past the horizon, saved visits excepted.
WITH doomed AS MATERIALIZED (
  SELECT DISTINCT r.visit_id
  FROM session_replay AS r
  WHERE r.website_id = CAST(:website_id AS uuid)
    AND r.created_at >= CAST(:since AS timestamptz) --? dated
    AND r.created_at <= CAST(:until AS timestamptz) --? dated
    AND (CAST(:after AS uuid) IS NULL OR r.created_at > CAST(:since AS timestamptz) OR r.replay_id > CAST(:after AS uuid)) --? dated
    AND (r.created_at < CAST(:until AS timestamptz) OR r.replay_id <= CAST(:last AS uuid)) --? dated
    AND r.created_at IS NULL --? undated
    AND (CAST(:after AS uuid) IS NULL OR r.replay_id > CAST(:after AS uuid)) --? undated
    AND r.replay_id <= CAST(:last AS uuid) --? undated
    AND NOT EXISTS (SELECT FROM session_replay_saved AS v WHERE v.visit_id = r.visit_id) --? has_session_replay_saved
    AND NOT EXISTS (
      SELECT FROM session_replay AS k
      WHERE k.website_id = r.website_id
        AND k.visit_id = r.visit_id
        AND COALESCE(k.created_at >= :horizon, NOT CAST(:null_past AS boolean))
    )
), gone AS (
  DELETE FROM session_replay AS r
  USING doomed AS x
  WHERE r.website_id = CAST(:website_id AS uuid) AND r.visit_id = x.visit_id
  RETURNING 1 --? !keeps_session_replay
  RETURNING r.* --? keeps_session_replay
)
, noted AS (INSERT INTO umami_ops_kept_session_replay SELECT * FROM gone) --? keeps_session_replay
SELECT COUNT(*) AS session_replay FROM gone;

-- name: prepare_archive
-- Makes, for this worker alone, tables for the rows that a batch deletes, empty again after each transaction: they
-- are written into the archive from there.
CREATE TEMPORARY TABLE umami_ops_kept_website_event (LIKE website_event) ON COMMIT DELETE ROWS; --? keeps_website_event
CREATE TEMPORARY TABLE umami_ops_kept_event_data (LIKE event_data) ON COMMIT DELETE ROWS; --? keeps_event_data
CREATE TEMPORARY TABLE umami_ops_kept_revenue (LIKE revenue) ON COMMIT DELETE ROWS; --? keeps_revenue
CREATE TEMPORARY TABLE umami_ops_kept_heatmap_event (LIKE heatmap_event) ON COMMIT DELETE ROWS; --? keeps_heatmap_event
CREATE TEMPORARY TABLE umami_ops_kept_session_replay (LIKE session_replay) ON COMMIT DELETE ROWS; --? keeps_session_replay
CREATE TEMPORARY TABLE umami_ops_kept_session (LIKE session) ON COMMIT DELETE ROWS; --? keeps_session
CREATE TEMPORARY TABLE umami_ops_kept_session_data (LIKE session_data) ON COMMIT DELETE ROWS; --? keeps_session_data
CREATE TEMPORARY TABLE umami_ops_kept_session_link (LIKE session_link) ON COMMIT DELETE ROWS; --? keeps_session_link

-- name: prepare_sessions
-- Makes, for this worker alone, the list of a slice's sessions that went, empty again after each transaction; and
-- notes the old sessions that only a heatmap event still refers to: no index finds those.
CREATE TEMPORARY TABLE umami_ops_gone_session (session_id uuid NOT NULL) ON COMMIT DELETE ROWS;
--? has_heatmap_event
CREATE TEMPORARY TABLE umami_ops_heatmap_session ON COMMIT PRESERVE ROWS AS
SELECT DISTINCT h.session_id
FROM heatmap_event AS h
JOIN session AS s ON s.session_id = h.session_id
WHERE COALESCE(s.created_at < :horizon, TRUE)
  AND NOT EXISTS (SELECT FROM website_event AS e WHERE e.session_id = h.session_id);
--? end

-- name: next_sessions
-- Finds the end of the next slice of sessions first seen before the horizon.
WITH ahead AS NOT MATERIALIZED (
  SELECT s.created_at, s.session_id AS id
  FROM session AS s
  WHERE TRUE
    AND s.created_at >= CAST(:since AS timestamptz) --? dated
    AND (CAST(:after AS uuid) IS NULL OR s.created_at > CAST(:since AS timestamptz) OR s.session_id > CAST(:after AS uuid)) --? dated
    AND s.created_at < :horizon --? dated
    AND s.created_at IS NULL --? undated
    AND (CAST(:after AS uuid) IS NULL OR s.session_id > CAST(:after AS uuid)) --? undated
    AND s.website_id = CAST(:website_id AS uuid) --? website
    AND s.website_id <> ALL(CAST(:websites AS uuid[])) --? except
)
--+ end_of_slice
;

-- name: delete_sessions
-- Deletes those sessions of a slice, with session_data and session_link, that nothing refers to any more. From
-- the delete on a visitor who returns waits and gets a new row; who did so just before is seen by `returned`.
-- Events are looked for in one pass along the index (of each partition), in its order; where those that stay are many
-- it ends early, and session by session is quicker.
-- deletes: session
WITH picked AS MATERIALIZED (
  SELECT s.ctid, s.session_id
  FROM session AS s
  WHERE TRUE
    AND s.created_at >= CAST(:since AS timestamptz) --? dated
    AND s.created_at <= CAST(:until AS timestamptz) --? dated
    AND (CAST(:after AS uuid) IS NULL OR s.created_at > CAST(:since AS timestamptz) OR s.session_id > CAST(:after AS uuid)) --? dated
    AND (s.created_at < CAST(:until AS timestamptz) OR s.session_id <= CAST(:last AS uuid)) --? dated
    AND s.created_at IS NULL --? undated
    AND (CAST(:after AS uuid) IS NULL OR s.session_id > CAST(:after AS uuid)) --? undated
    AND s.session_id <= CAST(:last AS uuid) --? undated
    AND s.website_id = CAST(:website_id AS uuid) --? website
    AND s.website_id <> ALL(CAST(:websites AS uuid[])) --? except
  ORDER BY s.session_id
), with_events AS MATERIALIZED (
  SELECT e.session_id
  FROM website_event AS e
  WHERE e.session_id = ANY(ARRAY(SELECT p.session_id FROM picked AS p))
  LIMIT :batch_rows
), doomed AS MATERIALIZED (
  SELECT p.ctid, p.session_id
  FROM picked AS p
  WHERE CASE
      WHEN (SELECT COUNT(*) FROM with_events) < :batch_rows
      THEN p.session_id NOT IN (SELECT x.session_id FROM with_events AS x)
      ELSE NOT EXISTS (SELECT FROM website_event AS e WHERE e.session_id = p.session_id)
    END
    AND NOT EXISTS (SELECT FROM revenue AS r WHERE r.session_id = p.session_id) --? has_revenue
    AND NOT EXISTS (SELECT FROM session_replay AS r WHERE r.session_id = p.session_id) --? has_session_replay
    AND NOT EXISTS (SELECT FROM umami_ops_heatmap_session AS h WHERE h.session_id = p.session_id) --? has_heatmap_event
    --? has_session_data
    AND NOT EXISTS (
      SELECT FROM session_data AS d
      WHERE d.session_id = p.session_id AND COALESCE(d.created_at >= :horizon, NOT CAST(:null_past AS boolean))
    )
    --? end
    --? has_session_link
    AND NOT EXISTS (
      SELECT FROM session_link AS l
      WHERE l.session_id = p.session_id AND COALESCE(l.created_at >= :horizon, NOT CAST(:null_past AS boolean))
    )
    --? end
), gone AS (
  DELETE FROM ONLY session AS s
  WHERE s.ctid = ANY(ARRAY(SELECT x.ctid FROM doomed AS x))
  RETURNING s.session_id --? !keeps_session
  RETURNING s.* --? keeps_session
)
, noted AS (INSERT INTO umami_ops_kept_session SELECT * FROM gone) --? keeps_session
INSERT INTO umami_ops_gone_session SELECT g.session_id FROM gone AS g;
SELECT
  (SELECT COUNT(*) FROM website_event AS e WHERE e.session_id = ANY(ARRAY(SELECT g.session_id FROM umami_ops_gone_session AS g)))
  --? has_session_data
  + (
    SELECT COUNT(*) FROM session_data AS d
    WHERE d.session_id = ANY(ARRAY(SELECT g.session_id FROM umami_ops_gone_session AS g))
      AND COALESCE(d.created_at >= :horizon, NOT CAST(:null_past AS boolean))
  )
  --? end
  --? has_session_link
  + (
    SELECT COUNT(*) FROM session_link AS l
    WHERE l.session_id = ANY(ARRAY(SELECT g.session_id FROM umami_ops_gone_session AS g))
      AND COALESCE(l.created_at >= :horizon, NOT CAST(:null_past AS boolean))
  )
  --? end
  AS returned;
--? has_session_data
-- deletes: session_data
WITH gone AS ( --? keeps_session_data
DELETE FROM session_data WHERE session_id = ANY(ARRAY(SELECT g.session_id FROM umami_ops_gone_session AS g))
RETURNING * --? keeps_session_data
) INSERT INTO umami_ops_kept_session_data SELECT * FROM gone --? keeps_session_data
;
--? end
--? has_session_link
-- deletes: session_link
WITH gone AS ( --? keeps_session_link
DELETE FROM session_link WHERE session_id = ANY(ARRAY(SELECT g.session_id FROM umami_ops_gone_session AS g))
RETURNING * --? keeps_session_link
) INSERT INTO umami_ops_kept_session_link SELECT * FROM gone --? keeps_session_link
;
--? end

-- name: next_orphan_event_data
-- Finds the end of the next slice of event_data, in the order of the event ids it hangs on.
SELECT CAST(s.id AS text) AS last, s.picked
FROM (
  SELECT t.id, COUNT(*) OVER () AS picked
  FROM (
    SELECT d.website_event_id AS id FROM event_data AS d
    WHERE CAST(:after AS uuid) IS NULL OR d.website_event_id > CAST(:after AS uuid)
    ORDER BY d.website_event_id
    LIMIT :batch_rows
  ) AS t
) AS s
ORDER BY s.id DESC
LIMIT 1;

-- name: delete_orphan_event_data
-- Deletes the event_data of a slice that has no event.
-- deletes: event_data
WITH gone AS ( --? keeps_event_data
DELETE FROM event_data AS d
WHERE (CAST(:after AS uuid) IS NULL OR d.website_event_id > CAST(:after AS uuid))
  AND d.website_event_id <= CAST(:last AS uuid)
  AND d.website_id = ANY(CAST(:websites AS uuid[])) --? only
  AND d.website_id <> ALL(CAST(:websites AS uuid[])) --? except
  AND NOT EXISTS (SELECT FROM website_event AS e WHERE e.event_id = d.website_event_id)
RETURNING d.* --? keeps_event_data
) INSERT INTO umami_ops_kept_event_data SELECT * FROM gone --? keeps_event_data
;

-- name: next_orphan_revenue
-- Finds the end of the next slice of revenue, in the order of its session ids.
SELECT CAST(s.id AS text) AS last, s.picked
FROM (
  SELECT t.id, COUNT(*) OVER () AS picked
  FROM (
    SELECT r.session_id AS id FROM revenue AS r
    WHERE CAST(:after AS uuid) IS NULL OR r.session_id > CAST(:after AS uuid)
    ORDER BY r.session_id
    LIMIT :batch_rows
  ) AS t
) AS s
ORDER BY s.id DESC
LIMIT 1;

-- name: delete_orphan_revenue
-- Deletes the revenue of a slice that has no event.
-- deletes: revenue
WITH gone AS ( --? keeps_revenue
DELETE FROM revenue AS r
WHERE (CAST(:after AS uuid) IS NULL OR r.session_id > CAST(:after AS uuid))
  AND r.session_id <= CAST(:last AS uuid)
  AND r.website_id = ANY(CAST(:websites AS uuid[])) --? only
  AND r.website_id <> ALL(CAST(:websites AS uuid[])) --? except
  AND NOT EXISTS (SELECT FROM website_event AS e WHERE e.event_id = r.event_id)
RETURNING r.* --? keeps_revenue
) INSERT INTO umami_ops_kept_revenue SELECT * FROM gone --? keeps_revenue
;

-- name: next_orphan_session_data
-- Finds the end of the next slice of session_data, in the order of its session ids.
SELECT CAST(s.id AS text) AS last, s.picked
FROM (
  SELECT t.id, COUNT(*) OVER () AS picked
  FROM (
    SELECT d.session_id AS id FROM session_data AS d
    WHERE CAST(:after AS uuid) IS NULL OR d.session_id > CAST(:after AS uuid)
    ORDER BY d.session_id
    LIMIT :batch_rows
  ) AS t
) AS s
ORDER BY s.id DESC
LIMIT 1;

-- name: delete_orphan_session_data
-- Deletes the session_data of a slice that has no session, and whose session id nothing else mentions.
-- deletes: session_data
WITH gone AS ( --? keeps_session_data
DELETE FROM session_data AS d
WHERE (CAST(:after AS uuid) IS NULL OR d.session_id > CAST(:after AS uuid))
  AND d.session_id <= CAST(:last AS uuid)
  AND d.website_id = ANY(CAST(:websites AS uuid[])) --? only
  AND d.website_id <> ALL(CAST(:websites AS uuid[])) --? except
  AND NOT EXISTS (SELECT FROM session AS s WHERE s.session_id = d.session_id)
  AND NOT EXISTS (SELECT FROM website_event AS e WHERE e.session_id = d.session_id)
  AND NOT EXISTS (SELECT FROM revenue AS r WHERE r.session_id = d.session_id) --? has_revenue
  AND NOT EXISTS (SELECT FROM session_replay AS r WHERE r.session_id = d.session_id) --? has_session_replay
  AND NOT EXISTS (SELECT FROM heatmap_event AS h WHERE h.session_id = d.session_id) --? has_heatmap_event
RETURNING d.* --? keeps_session_data
) INSERT INTO umami_ops_kept_session_data SELECT * FROM gone --? keeps_session_data
;

-- name: count_events
-- Events past their horizon.
SELECT COUNT(*) AS website_event
FROM website_event AS t
WHERE (t.created_at < :event_horizon OR (CAST(:null_past AS boolean) AND t.created_at IS NULL))
  --+ in_scope
;

-- name: count_event_details
-- What hangs on the events past their horizon.
WITH doomed AS NOT MATERIALIZED (
  SELECT e.event_id, e.session_id
  FROM website_event AS e
  WHERE (e.created_at < :event_horizon OR (CAST(:null_past AS boolean) AND e.created_at IS NULL))
    AND e.website_id = ANY(CAST(:websites AS uuid[])) --? only
    AND e.website_id <> ALL(CAST(:websites AS uuid[])) --? except
)
SELECT
  (SELECT COUNT(*) FROM event_data AS d JOIN doomed AS x ON x.event_id = d.website_event_id) AS event_data, --? has_event_data
  (SELECT COUNT(*) FROM revenue AS r JOIN doomed AS x ON x.event_id = r.event_id) AS revenue, --? has_revenue
  0 AS nothing;

-- name: count_astray_revenue
-- Revenue past the horizon that names another session than its event does: a look-up for each row of revenue, where
-- a join would walk through all events.
SELECT COUNT(*) FILTER (WHERE EXISTS (
    SELECT FROM website_event AS e
    WHERE e.event_id = r.event_id
      AND e.session_id <> r.session_id
      AND (e.created_at < :event_horizon OR (CAST(:null_past AS boolean) AND e.created_at IS NULL))
  )) AS revenue
FROM revenue AS r;

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
    AND r.website_id = ANY(CAST(:websites AS uuid[])) --? only
    AND r.website_id <> ALL(CAST(:websites AS uuid[])) --? except
    AND NOT EXISTS (SELECT FROM session_replay_saved AS v WHERE v.visit_id = r.visit_id) --? has_session_replay_saved
  GROUP BY r.website_id, r.visit_id
  HAVING BOOL_AND(COALESCE(r.created_at < :replay_horizon, CAST(:null_past AS boolean)))
) AS x ON x.website_id = c.website_id AND x.visit_id = c.visit_id;

-- name: count_sessions
-- Sessions past the horizon that nothing kept refers to, with what goes with them.
WITH doomed AS MATERIALIZED (
  SELECT o.session_id
  FROM session AS o
  WHERE (o.created_at < :session_horizon OR (CAST(:null_past AS boolean) AND o.created_at IS NULL))
    AND o.website_id = ANY(CAST(:websites AS uuid[])) --? only
    AND o.website_id <> ALL(CAST(:websites AS uuid[])) --? except
    --+ nothing_kept_refers
    --? has_session_data
    AND NOT EXISTS (
      SELECT FROM session_data AS d
      WHERE d.session_id = o.session_id AND COALESCE(d.created_at >= :session_horizon, NOT CAST(:null_past AS boolean))
    )
    --? end
    --? has_session_link
    AND NOT EXISTS (
      SELECT FROM session_link AS l
      WHERE l.session_id = o.session_id AND COALESCE(l.created_at >= :session_horizon, NOT CAST(:null_past AS boolean))
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
    AND o.website_id = ANY(CAST(:websites AS uuid[])) --? only
    AND o.website_id <> ALL(CAST(:websites AS uuid[])) --? except
    AND NOT EXISTS (SELECT FROM session AS s WHERE s.session_id = o.session_id)
    --+ nothing_kept_refers
;

-- name: count_orphans
-- Rows whose event is gone, as they were left by earlier deletes.
SELECT
  --? has_event_data
  (
    SELECT COUNT(*) FROM event_data AS t
    WHERE NOT EXISTS (SELECT FROM website_event AS e WHERE e.event_id = t.website_event_id)
      --+ in_scope
  ) AS event_data,
  --? end
  --? has_revenue
  (
    SELECT COUNT(*) FROM revenue AS t
    WHERE NOT EXISTS (SELECT FROM website_event AS e WHERE e.event_id = t.event_id)
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
  WHERE (t.created_at < :event_horizon OR (CAST(:null_past AS boolean) AND t.created_at IS NULL))
    --+ in_scope
  LIMIT 100000
) AS t;

-- name: websites
-- Websites, and links and pixels where there are any, by their ids and names.
SELECT CAST(w.website_id AS text) AS id, 'website' AS kind, w.name, w.domain FROM website AS w
--? has_link
UNION ALL
SELECT CAST(l.link_id AS text), 'link', l.name, l.slug FROM link AS l
--? end
--? has_pixel
UNION ALL
SELECT CAST(p.pixel_id AS text), 'pixel', p.name, p.slug FROM pixel AS p
--? end
;
