-- Sums that a dashboard is made of, by website and day, to be compared between two databases.

-- name: sum_settings
-- What a session wants that sums: memory for the groups. On a disk they take ten times as long.
SET SESSION tmp_table_size = 134217728, max_heap_table_size = 134217728;

-- name: visitors
-- Views and visitors. Ids are grouped as bytes, a website's and a session's as one key, and not sorted: as text they
-- took three times as long. As they are stored they are quicker still, if capitals and small letters don't mix.
SELECT CAST(FROM_DAYS(g.d) AS CHAR) AS day,
       LOWER(CONVERT(g.w USING utf8mb4)) AS website,                                             --? as_stored
       LOWER(INSERT(INSERT(INSERT(INSERT(HEX(g.w), 21, 0, '-'), 17, 0, '-'), 13, 0, '-'), 9, 0, '-')) --? !as_stored
       AS website,                                                                               --? !as_stored
       SUM(g.views) AS views,
       COUNT(*) AS visitors
FROM (SELECT h.d,
             h.views,
             LEFT(h.ids, 36) AS w                                                                --? as_stored
             LEFT(h.ids, 16) AS w                                                                --? !as_stored
      FROM (SELECT TO_DAYS(e.created_at) AS d,
                   CAST(CONCAT(e.website_id, e.session_id) AS BINARY(72)) AS ids,                --? as_stored
                   UNHEX(REPLACE(CONCAT(e.website_id, e.session_id), '-', '')) AS ids,           --? !as_stored
                   COUNT(*) AS views
            FROM website_event AS e
            GROUP BY 1, 2
            ORDER BY NULL) AS h) AS g
GROUP BY g.w, g.d;

-- name: visits
-- Visits.
SELECT CAST(FROM_DAYS(g.d) AS CHAR) AS day,
       LOWER(CONVERT(g.w USING utf8mb4)) AS website,                                             --? as_stored
       LOWER(INSERT(INSERT(INSERT(INSERT(HEX(g.w), 21, 0, '-'), 17, 0, '-'), 13, 0, '-'), 9, 0, '-')) --? !as_stored
       AS website,                                                                               --? !as_stored
       COUNT(*) AS visits
FROM (SELECT h.d,
             LEFT(h.ids, 36) AS w                                                                --? as_stored
             LEFT(h.ids, 16) AS w                                                                --? !as_stored
      FROM (SELECT DISTINCT
                   CAST(CONCAT(e.website_id, e.visit_id) AS BINARY(72)) AS ids,                  --? as_stored
                   UNHEX(REPLACE(CONCAT(e.website_id, e.visit_id), '-', '')) AS ids,             --? !as_stored
                   TO_DAYS(e.created_at) AS d
            FROM website_event AS e) AS h) AS g
GROUP BY g.w, g.d;

-- name: event_data
-- Properties of events: how many, and the sum of those that are numbers.
SELECT LOWER(INSERT(INSERT(INSERT(INSERT(HEX(g.w), 21, 0, '-'), 17, 0, '-'), 13, 0, '-'), 9, 0, '-')) AS website,
       CAST(FROM_DAYS(g.d) AS CHAR) AS day,
       CAST(g.number_sum AS CHAR) AS number_sum,                          --? has_number_value
       g.properties
FROM (SELECT UNHEX(REPLACE(d.website_id, '-', '')) AS w,
             TO_DAYS(d.created_at) AS d,
             SUM(d.number_value) AS number_sum,                           --? has_number_value
             COUNT(*) AS properties
      FROM event_data AS d
      GROUP BY 1, 2) AS g;

-- name: revenue
-- Revenue.
SELECT LOWER(r.website_id) AS website,
       CAST(DATE(r.created_at) AS CHAR) AS day,
       COUNT(*) AS payments,
       CAST(SUM(r.revenue) AS CHAR) AS revenue_sum
FROM revenue AS r
GROUP BY 1, 2;
