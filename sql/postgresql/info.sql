-- What `umami-ops info` shows of the data itself. A query of rows, with `SELECT 1`, serves twice: Connection.count
-- counts them, Connection.estimate asks the planner how many it expects.

-- name: website_event
-- The events of all kinds; of one website, before or since a moment.
SELECT 1 AS one
FROM website_event AS t
WHERE
  t.website_id = :website AND  --? website
  t.created_at < :before AND  --? before
  t.created_at >= :since AND  --? since
  1 = 1;

-- name: event_data
-- The properties of events; of one website, before or since a moment.
SELECT 1 AS one
FROM event_data AS t
WHERE
  t.website_id = :website AND  --? website
  t.created_at < :before AND  --? before
  t.created_at >= :since AND  --? since
  1 = 1;

-- name: revenue
-- The revenue; of one website, before or since a moment.
SELECT 1 AS one
FROM revenue AS t
WHERE
  t.website_id = :website AND  --? website
  t.created_at < :before AND  --? before
  t.created_at >= :since AND  --? since
  1 = 1;

-- name: session
-- The sessions; of one website, before or since a moment.
SELECT 1 AS one
FROM session AS t
WHERE
  t.website_id = :website AND  --? website
  t.created_at < :before AND  --? before
  t.created_at >= :since AND  --? since
  1 = 1;

-- name: session_data
-- The properties of sessions; of one website, before or since a moment.
SELECT 1 AS one
FROM session_data AS t
WHERE
  t.website_id = :website AND  --? website
  t.created_at < :before AND  --? before
  t.created_at >= :since AND  --? since
  1 = 1;

-- name: session_link
-- The links of sessions to people; of one website, before or since a moment.
SELECT 1 AS one
FROM session_link AS t
WHERE
  t.website_id = :website AND  --? website
  t.created_at < :before AND  --? before
  t.created_at >= :since AND  --? since
  1 = 1;

-- name: session_replay
-- The chunks of recordings; of one website, before or since a moment.
SELECT 1 AS one
FROM session_replay AS t
WHERE
  t.website_id = :website AND  --? website
  t.created_at < :before AND  --? before
  t.created_at >= :since AND  --? since
  1 = 1;

-- name: session_replay_saved
-- The saved recordings; of one website, before or since a moment.
SELECT 1 AS one
FROM session_replay_saved AS t
WHERE
  t.website_id = :website AND  --? website
  t.created_at < :before AND  --? before
  t.created_at >= :since AND  --? since
  1 = 1;

-- name: session_replay_view
-- The viewed recordings; of one website, before or since a moment.
SELECT 1 AS one
FROM session_replay_view AS t
WHERE
  t.website_id = :website AND  --? website
  t.created_at < :before AND  --? before
  t.created_at >= :since AND  --? since
  1 = 1;

-- name: heatmap_event
-- The clicks and scrolls; of one website, before or since a moment.
SELECT 1 AS one
FROM heatmap_event AS t
WHERE
  t.website_id = :website AND  --? website
  t.created_at < :before AND  --? before
  t.created_at >= :since AND  --? since
  1 = 1;

-- name: configuration
-- The rows of the tables that stay small, each counted.
SELECT '' AS name, 0 AS row_count
UNION ALL SELECT 'user', COUNT(*) FROM "user"  --? user
UNION ALL SELECT 'team', COUNT(*) FROM "team"  --? team
UNION ALL SELECT 'team_user', COUNT(*) FROM "team_user"  --? team_user
UNION ALL SELECT 'team_website', COUNT(*) FROM "team_website"  --? team_website
UNION ALL SELECT 'report', COUNT(*) FROM "report"  --? report
UNION ALL SELECT 'segment', COUNT(*) FROM "segment"  --? segment
UNION ALL SELECT 'annotation', COUNT(*) FROM "annotation"  --? annotation
UNION ALL SELECT 'share', COUNT(*) FROM "share"  --? share
UNION ALL SELECT 'board', COUNT(*) FROM "board"  --? board
UNION ALL SELECT 'api_key', COUNT(*) FROM "api_key"  --? api_key
UNION ALL SELECT 'app_setting', COUNT(*) FROM "app_setting"  --? app_setting
UNION ALL SELECT 'two_factor_auth', COUNT(*) FROM "two_factor_auth"  --? two_factor_auth
UNION ALL SELECT 'two_factor_backup_code', COUNT(*) FROM "two_factor_backup_code"  --? two_factor_backup_code
UNION ALL SELECT 'two_factor_otp_used', COUNT(*) FROM "two_factor_otp_used"  --? two_factor_otp_used
UNION ALL SELECT 'two_factor_rate_limit', COUNT(*) FROM "two_factor_rate_limit"  --? two_factor_rate_limit
UNION ALL SELECT 'website', COUNT(*) FROM "website"  --? website
UNION ALL SELECT 'link', COUNT(*) FROM "link"  --? link
UNION ALL SELECT 'pixel', COUNT(*) FROM "pixel"  --? pixel
UNION ALL SELECT '_prisma_migrations', COUNT(*) FROM "_prisma_migrations"  --? _prisma_migrations
ORDER BY name;

-- name: websites
-- The websites, deleted ones included.
SELECT w.website_id AS id, w.name, w.domain AS address, w.deleted_at
FROM website AS w
ORDER BY w.name, w.website_id;

-- name: links
-- The short links, deleted ones included.
SELECT l.link_id AS id, l.name, l.url AS address, l.deleted_at
FROM link AS l
ORDER BY l.name, l.link_id;

-- name: pixels
-- The pixels, deleted ones included.
SELECT p.pixel_id AS id, p.name, p.slug AS address, p.deleted_at
FROM pixel AS p
ORDER BY p.name, p.pixel_id;

-- name: events_by_website
-- Exact numbers of events by website: all, and those since a moment.
SELECT e.website_id AS id, COUNT(*) AS row_count, COUNT(*) FILTER (WHERE e.created_at >= :since) AS recent
FROM website_event AS e
GROUP BY e.website_id;

-- name: sessions_by_website
-- Exact numbers of sessions by website.
SELECT s.website_id AS id, COUNT(*) AS row_count
FROM session AS s
GROUP BY s.website_id;

-- name: spans
-- First and last event of each website, by walking from one website to the next in the index on both columns.
WITH RECURSIVE source(id) AS (
  (SELECT e.website_id FROM website_event AS e ORDER BY e.website_id LIMIT 1)
  UNION ALL
  SELECT (SELECT e.website_id FROM website_event AS e WHERE e.website_id > source.id ORDER BY e.website_id LIMIT 1)
  FROM source
  WHERE source.id IS NOT NULL
)
SELECT source.id,
       (SELECT MIN(e.created_at) FROM website_event AS e WHERE e.website_id = source.id) AS first_event,
       (SELECT MAX(e.created_at) FROM website_event AS e WHERE e.website_id = source.id) AS last_event
FROM source
WHERE source.id IS NOT NULL;
