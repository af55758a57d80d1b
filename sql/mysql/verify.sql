-- Sums that a dashboard is made of, by website and day, to be compared between two databases.

-- name: visitors
-- Views and visitors. Ids are grouped as the 16 bytes that they are: the server is twice as fast with those.
SELECT LOWER(INSERT(INSERT(INSERT(INSERT(HEX(g.w), 21, 0, '-'), 17, 0, '-'), 13, 0, '-'), 9, 0, '-')) AS website,
       CAST(FROM_DAYS(g.d) AS CHAR) AS day,
       SUM(g.views) AS views,
       COUNT(*) AS visitors
FROM (SELECT UNHEX(REPLACE(e.website_id, '-', '')) AS w,
             UNHEX(REPLACE(e.session_id, '-', '')) AS s,
             TO_DAYS(e.created_at) AS d,
             COUNT(*) AS views
      FROM website_event AS e
      GROUP BY 1, 2, 3) AS g
GROUP BY g.w, g.d;

-- name: visits
-- Visits.
SELECT LOWER(INSERT(INSERT(INSERT(INSERT(HEX(g.w), 21, 0, '-'), 17, 0, '-'), 13, 0, '-'), 9, 0, '-')) AS website,
       CAST(FROM_DAYS(g.d) AS CHAR) AS day,
       COUNT(*) AS visits
FROM (SELECT DISTINCT UNHEX(REPLACE(e.website_id, '-', '')) AS w,
             UNHEX(REPLACE(e.visit_id, '-', '')) AS v,
             TO_DAYS(e.created_at) AS d
      FROM website_event AS e) AS g
GROUP BY g.w, g.d;

-- name: event_data
-- Properties of events: how many, and the sum of those that are numbers.
SELECT LOWER(d.website_id) AS website,
       CAST(DATE(d.created_at) AS CHAR) AS day,
       COUNT(*) AS properties,
       CAST(SUM(d.number_value) AS CHAR) AS number_sum                     --? has_number_value
FROM event_data AS d
GROUP BY 1, 2;

-- name: revenue
-- Revenue.
SELECT LOWER(r.website_id) AS website,
       CAST(DATE(r.created_at) AS CHAR) AS day,
       COUNT(*) AS payments,
       CAST(SUM(r.revenue) AS CHAR) AS revenue_sum
FROM revenue AS r
GROUP BY 1, 2;
