-- What `umami-ops export` writes, under the names that Umami's API has. Times in UTC; those of events as the
-- server writes them where a reader asks for `typed` ones, since to_char takes an eighth of a month's time.

-- part: span_of_events
-- Of events (e) those of a span, and of these websites.
WHERE e.created_at >= :since
  AND e.created_at < :until
  AND e.website_id = ANY(CAST(:websites AS uuid[])) --? chosen

-- part: page_views_of_sessions
-- The page views (e) of a span with their sessions (s).
FROM website_event AS e
JOIN session AS s ON s.session_id = e.session_id AND s.website_id = e.website_id
WHERE e.event_type = 1
  AND e.created_at >= :since
  AND e.created_at < :until
  AND e.website_id = ANY(CAST(:websites AS uuid[])) --? chosen

-- name: settings
-- Gives groups and sorts room in memory, and compiles nothing for queries that run once.
SELECT
  set_config('work_mem', '64MB', false),
  set_config('jit', 'off', false);

-- name: first_of
-- When the first event of a span happened, or the first property of one came: an index has both.
SELECT MIN(f.first_at) AS first_at
FROM (
  SELECT MIN(e.created_at) AS first_at
  FROM website_event AS e
  WHERE e.created_at >= :since AND e.created_at < :until
  UNION ALL
  SELECT MIN(d.created_at) AS first_at
  FROM event_data AS d
  WHERE d.created_at >= :since AND d.created_at < :until
) AS f;

-- name: undated
-- How many events, and properties of events, have no time or one outside of a span.
SELECT (
  SELECT COUNT(*)
  FROM website_event AS e
  WHERE (e.created_at IS NULL OR e.created_at < :since OR e.created_at >= :until)
    AND e.website_id = ANY(CAST(:websites AS uuid[])) --? chosen
) AS events, (
  SELECT COUNT(*)
  FROM event_data AS d
  WHERE (d.created_at IS NULL OR d.created_at < :since OR d.created_at >= :until)
    AND d.website_id = ANY(CAST(:websites AS uuid[])) --? chosen
) AS event_data;

-- name: held
-- How many events of a span there are at this moment, and when the first happened.
SELECT COUNT(*) AS n, MIN(e.created_at) AS first_at, CURRENT_TIMESTAMP AS taken_at
FROM website_event AS e
WHERE e.created_at >= :since
  AND e.website_id = ANY(CAST(:websites AS uuid[])) --? chosen
  AND e.created_at < :until;

-- name: held_data
-- How many properties of custom events of a span there are at this moment, and when the first came.
SELECT COUNT(*) AS n, MIN(d.created_at) AS first_at, CURRENT_TIMESTAMP AS taken_at
FROM event_data AS d
WHERE d.created_at >= :since
  AND d.website_id = ANY(CAST(:websites AS uuid[])) --? chosen
  AND d.created_at < :until;

-- name: websites
-- Every website that isn't deleted.
SELECT w.website_id AS "id",
       w.name AS "name",
       w.domain AS "domain",
       w.user_id AS "userId",
       w.team_id AS "teamId",
       w.created_by AS "createdBy",
       to_char(w.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS "createdAt",
       to_char(w.updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS "updatedAt",
       to_char(w.deleted_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS "deletedAt",
       to_char(w.reset_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS "resetAt"
FROM website AS w
WHERE w.deleted_at IS NULL
  AND w.website_id = ANY(CAST(:websites AS uuid[])) --? chosen
ORDER BY w.website_id;

-- name: events
-- Every event of a span.
SELECT e.event_id AS "id",
       e.website_id AS "websiteId",
       e.session_id AS "sessionId",
       e.visit_id AS "visitId",
       to_char(e.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS "createdAt",  --? !typed
       e.created_at AS "createdAt",                                                               --? typed
       e.hostname AS "hostname",
       e.url_path AS "urlPath",
       e.url_query AS "urlQuery",
       e.referrer_domain AS "referrerDomain",
       e.referrer_path AS "referrerPath",
       e.referrer_query AS "referrerQuery",
       e.page_title AS "pageTitle",
       e.event_type AS "eventType",
       e.event_name AS "eventName",
       e.tag AS "tag",
       e.utm_source AS "utmSource",
       e.utm_medium AS "utmMedium",
       e.utm_campaign AS "utmCampaign",
       e.utm_content AS "utmContent",
       e.utm_term AS "utmTerm",
       e.gclid AS "gclid",
       e.fbclid AS "fbclid",
       e.msclkid AS "msclkid",
       e.ttclid AS "ttclid",
       e.li_fat_id AS "liFatId",
       e.twclid AS "twclid"
FROM website_event AS e
--+ span_of_events
ORDER BY e.created_at, e.event_id;

-- name: event_data
-- Every property of the custom events of a span.
SELECT d.website_id AS "websiteId",
       d.website_event_id AS "eventId",
       e.session_id AS "sessionId",
       e.event_name AS "eventName",
       e.url_path AS "urlPath",
       d.data_key AS "dataKey",
       d.string_value AS "stringValue",
       d.number_value AS "numberValue",
       to_char(d.date_value AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS "dateValue",
       d.data_type AS "dataType",
       to_char(d.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS "createdAt"
FROM event_data AS d
JOIN website_event AS e ON e.event_id = d.website_event_id
WHERE d.created_at >= :since
  AND d.created_at < :until
  AND d.website_id = ANY(CAST(:websites AS uuid[])) --? chosen
ORDER BY d.created_at, d.event_data_id;

-- name: sessions
-- Every visitor with events in a span, as Umami's session list and session page count them: performance
-- measurements don't, and the time is the sum over visits of last minus first. Visits are grouped by the
-- session's id alone, and the session's texts joined to what comes out: to sort by them takes far longer. Sums
-- are of int and of double precision, which are exact here, since sums of bigint are made as slow numeric ones.
SELECT v.session_id AS "id",
       v.website_id AS "websiteId",
       s.distinct_id AS "distinctId",
       s.browser, s.os, s.device, s.screen,
       s.language, s.country, s.region, s.city,
       to_char(v.first_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS "firstAt",      --? !typed
       v.first_at AS "firstAt",                                                                   --? typed
       to_char(v.last_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS "lastAt",        --? !typed
       v.last_at AS "lastAt",                                                                     --? typed
       v.visits,
       v.views,
       v.events,
       v.totaltime,
       v.visit_ids AS "visitIds"
FROM (
  SELECT w.website_id, w.session_id,
         MIN(w.min_time) AS first_at,
         MAX(w.max_time) AS last_at,
         COUNT(*) AS visits,
         SUM(CAST(w.views AS int)) AS views,
         SUM(CAST(w.events AS int)) AS events,
         CAST(SUM(FLOOR(date_part('epoch', w.max_time - w.min_time))) AS bigint) AS totaltime,
         STRING_AGG(CAST(w.visit_id AS text), ' ' ORDER BY w.min_time, w.visit_id) AS visit_ids
  FROM (
    SELECT e.session_id, e.website_id, e.visit_id,
           MIN(e.created_at) AS min_time,
           MAX(e.created_at) AS max_time,
           COUNT(*) FILTER (WHERE e.event_type = 1) AS views,
           COUNT(*) FILTER (WHERE e.event_type = 2) AS events
    FROM website_event AS e
    --+ span_of_events
      AND e.event_type <> 5
    GROUP BY e.session_id, e.website_id, e.visit_id
  ) AS w
  GROUP BY w.website_id, w.session_id
) AS v
JOIN session AS s ON s.session_id = v.session_id AND s.website_id = v.website_id
ORDER BY v.website_id, v.session_id;

-- name: session_stats
-- Each website's figures of a span, as Umami's overview has them: a visit of one page view is a bounce.
SELECT v.website_id AS "websiteId",
       SUM(v.views) AS "pageviews",
       COUNT(DISTINCT v.session_id) AS "visitors",
       COUNT(DISTINCT v.visit_id) AS "visits",
       SUM(CASE WHEN v.views = 1 THEN 1 ELSE 0 END) AS "bounces",
       SUM(FLOOR(EXTRACT(EPOCH FROM v.max_time - v.min_time))) AS "totaltime"
FROM (
  SELECT e.website_id, e.session_id, e.visit_id,
         COUNT(*) AS views,
         MIN(e.created_at) AS min_time,
         MAX(e.created_at) AS max_time
  FROM website_event AS e
  --+ span_of_events
    AND e.event_type = 1
  GROUP BY e.website_id, e.session_id, e.visit_id
) AS v
GROUP BY v.website_id
ORDER BY v.website_id;

-- name: event_stats
-- Custom events of a span by name: how many, and of how many visitors.
SELECT e.website_id AS "websiteId",
       e.event_name AS "eventName",
       COUNT(*) AS "events",
       COUNT(DISTINCT e.session_id) AS "visitors",
       COUNT(DISTINCT e.visit_id) AS "visits"
FROM website_event AS e
--+ span_of_events
  AND e.event_type = 2
GROUP BY e.website_id, e.event_name
ORDER BY e.website_id, e.event_name;

-- name: pageviews
-- Page views and visitors of each day, in UTC.
SELECT e.website_id AS "websiteId",
       to_char(e.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS "x",
       COUNT(*) AS "y",
       COUNT(DISTINCT e.session_id) AS "sessions"
FROM website_event AS e
--+ span_of_events
  AND e.event_type = 1
GROUP BY e.website_id, to_char(e.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')
ORDER BY e.website_id, to_char(e.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD');

-- name: metrics_url
-- Visitors by url, as Umami's tables of metrics count them.
SELECT e.website_id AS "websiteId", e.url_path AS "x", COUNT(DISTINCT e.session_id) AS "y"
FROM website_event AS e
--+ span_of_events
  AND e.event_type = 1
GROUP BY e.website_id, e.url_path
ORDER BY e.website_id, COUNT(DISTINCT e.session_id) DESC, e.url_path;

-- name: metrics_referrer
-- Visitors by referrer, as Umami's tables of metrics count them.
SELECT e.website_id AS "websiteId", e.referrer_domain AS "x", COUNT(DISTINCT e.session_id) AS "y"
FROM website_event AS e
--+ span_of_events
  AND e.event_type = 1
  AND e.referrer_domain <> e.hostname
  AND e.referrer_domain <> ''
GROUP BY e.website_id, e.referrer_domain
ORDER BY e.website_id, COUNT(DISTINCT e.session_id) DESC, e.referrer_domain;

-- name: metrics_event
-- Visitors by event, as Umami's tables of metrics count them.
SELECT e.website_id AS "websiteId", e.event_name AS "x", COUNT(DISTINCT e.session_id) AS "y"
FROM website_event AS e
--+ span_of_events
  AND e.event_type = 2
GROUP BY e.website_id, e.event_name
ORDER BY e.website_id, COUNT(DISTINCT e.session_id) DESC, e.event_name;

-- name: metrics_country
-- Visitors by country, as Umami's tables of metrics count them.
SELECT e.website_id AS "websiteId", s.country AS "x", COUNT(DISTINCT e.session_id) AS "y"
--+ page_views_of_sessions
GROUP BY e.website_id, s.country
ORDER BY e.website_id, COUNT(DISTINCT e.session_id) DESC, s.country;

-- name: metrics_device
-- Visitors by device, as Umami's tables of metrics count them.
SELECT e.website_id AS "websiteId", s.device AS "x", COUNT(DISTINCT e.session_id) AS "y"
--+ page_views_of_sessions
GROUP BY e.website_id, s.device
ORDER BY e.website_id, COUNT(DISTINCT e.session_id) DESC, s.device;

-- name: metrics_browser
-- Visitors by browser, as Umami's tables of metrics count them.
SELECT e.website_id AS "websiteId", s.browser AS "x", COUNT(DISTINCT e.session_id) AS "y"
--+ page_views_of_sessions
GROUP BY e.website_id, s.browser
ORDER BY e.website_id, COUNT(DISTINCT e.session_id) DESC, s.browser;

-- name: metrics_os
-- Visitors by os, as Umami's tables of metrics count them.
SELECT e.website_id AS "websiteId", s.os AS "x", COUNT(DISTINCT e.session_id) AS "y"
--+ page_views_of_sessions
GROUP BY e.website_id, s.os
ORDER BY e.website_id, COUNT(DISTINCT e.session_id) DESC, s.os;
