-- Sums that a dashboard is made of, by website and day, to be compared between two databases.

-- name: events
-- Views, visits and visitors.
SELECT CAST(e.website_id AS text) AS website,
       to_char(e.created_at, 'YYYY-MM-DD') AS day,
       COUNT(*) AS views,
       COUNT(DISTINCT e.visit_id) AS visits,                               --? has_visit_id
       COUNT(DISTINCT e.session_id) AS visitors
FROM website_event AS e
GROUP BY 1, 2;

-- name: event_data
-- Properties of events: how many, and the sum of those that are numbers.
SELECT CAST(d.website_id AS text) AS website,
       to_char(d.created_at, 'YYYY-MM-DD') AS day,
       COUNT(*) AS properties,
       CAST(SUM(d.number_value) AS text) AS number_sum                     --? has_number_value
FROM event_data AS d
GROUP BY 1, 2;

-- name: revenue
-- Revenue.
SELECT CAST(r.website_id AS text) AS website,
       to_char(r.created_at, 'YYYY-MM-DD') AS day,
       COUNT(*) AS payments,
       CAST(SUM(r.revenue) AS text) AS revenue_sum
FROM revenue AS r
GROUP BY 1, 2;
