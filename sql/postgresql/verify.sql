-- Sums that a dashboard is made of, by website and day, to be compared between two databases.

-- name: sum_settings
-- What a session wants that sums: memory for the groups; a move's has no transaction at the target.
SELECT set_config('work_mem', CAST(GREATEST(pg_size_bytes(current_setting('work_mem')), 33554432) / 1024 AS text) || 'kB',
                  false) AS work_mem;

-- name: visitors
-- Views and visitors.
SELECT CAST(g.website_id AS text) AS website,
       CAST(g.day AS text) AS day,
       CAST(SUM(g.views) AS bigint) AS views,
       COUNT(*) AS visitors
FROM (SELECT e.website_id, e.session_id, CAST(e.created_at AS date) AS day, COUNT(*) AS views
      FROM website_event AS e
      GROUP BY 1, 2, 3) AS g
GROUP BY g.website_id, g.day;

-- name: visits
-- Visits.
SELECT CAST(g.website_id AS text) AS website,
       CAST(g.day AS text) AS day,
       COUNT(*) AS visits
FROM (SELECT DISTINCT e.website_id, e.visit_id, CAST(e.created_at AS date) AS day
      FROM website_event AS e) AS g
GROUP BY g.website_id, g.day;

-- name: event_data
-- Properties of events: how many, and the sum of those that are numbers.
SELECT CAST(d.website_id AS text) AS website,
       CAST(CAST(d.created_at AS date) AS text) AS day,
       CAST(SUM(d.number_value) AS text) AS number_sum,                    --? has_number_value
       COUNT(*) AS properties
FROM event_data AS d
GROUP BY 1, 2;

-- name: revenue
-- Revenue.
SELECT CAST(r.website_id AS text) AS website,
       CAST(CAST(r.created_at AS date) AS text) AS day,
       COUNT(*) AS payments,
       CAST(SUM(r.revenue) AS text) AS revenue_sum
FROM revenue AS r
GROUP BY 1, 2;
