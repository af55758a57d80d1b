-- One run at a time (an advisory lock of the session), and never beside a migration of Prisma's.
-- The key: the class is 'umop' in ASCII, the object a hash of the schema; advisory locks know their database.

-- name: acquire
-- Takes the lock of umami-ops if nobody holds it.
SELECT pg_try_advisory_lock(1970106224, hashtext(current_schema())) AS acquired;

-- name: release
-- Lets go of the lock: the end of the session does, too, but the server may take a moment to notice that.
SELECT pg_advisory_unlock(1970106224, hashtext(current_schema())) AS released;

-- name: holder
-- Who holds the lock, and since when.
SELECT a.backend_start AS since, a.application_name AS purpose, l.pid AS session_id
FROM pg_locks AS l
LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE l.locktype = 'advisory'
  AND l.granted
  AND l.classid = 1970106224
  AND l.objid = CAST(hashtext(current_schema()) AS oid)
  AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database());

-- name: unfinished
-- A statement of a run that is gone: the server goes on with it, and looks for its client at its end. Only what
-- changes one of Umami's tables counts, so that nobody waits for a reader.
SELECT a.pid AS session_id, a.query AS statement, EXTRACT(EPOCH FROM clock_timestamp() - a.query_start) AS seconds
FROM pg_stat_activity AS a
WHERE a.pid <> pg_backend_pid()
  AND a.datname = current_database()
  AND a.application_name LIKE 'umami-ops%'
  AND EXISTS (
    SELECT 1
    FROM pg_locks AS l
    JOIN pg_class AS c ON c.oid = l.relation
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE l.pid = a.pid
      AND l.mode NOT IN ('AccessShareLock', 'RowShareLock')
      AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
      AND n.nspname = current_schema()
  )
ORDER BY a.query_start
LIMIT 1;

-- name: session
-- The number under which `holder` shows this session.
SELECT pg_backend_pid() AS session_id;

-- name: prisma_held
-- Whether Prisma migrates this database now: 72707369 is the lock of its migration engine, which takes it
-- exclusively; our own batches hold it shared.
SELECT EXISTS (
  SELECT 1
  FROM pg_locks AS l
  WHERE l.locktype = 'advisory'
    AND l.mode = 'ExclusiveLock'
    AND l.objid = 72707369
    AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
) AS held;

-- name: fence_prisma
-- Keeps Prisma's migration out until this transaction ends; false if it already runs.
SELECT pg_try_advisory_xact_lock_shared(72707369) AS fenced;

-- name: cancel
-- Ends the statement that another session of ours is running.
SELECT pg_cancel_backend(:session_id);

-- name: queues
-- Whether a session waits for a table for too long: never, its own lock_timeout is as short as can be wished for.
SELECT CAST(:session_id AS integer) IS NULL AS queues;

-- name: impatient
-- Lets DDL of this session give up after so long a wait, so that writers don't queue behind it.
SELECT set_config('lock_timeout', (:seconds)::text || 's', false);

-- name: outlast
-- Waits for a lock until the server ends an autovacuum that is in its way, which it does for whoever has waited for
-- deadlock_timeout; in a transaction, whose end takes the wish back.
SELECT set_config(
  'lock_timeout',
  (EXTRACT(EPOCH FROM CAST(current_setting('deadlock_timeout') AS interval)) * 1000 + 500)::int || 'ms',
  true
);

-- name: end_vacuum
-- Stands in nobody's way but that of a VACUUM or another change; partitions are locked as well.
LOCK TABLE website_event IN SHARE UPDATE EXCLUSIVE MODE;

-- name: holder_as
-- The session that holds a lock of the daemon's, by its number; nothing where none does.
SELECT MAX(l.pid) AS session_id
FROM pg_locks AS l
WHERE l.locktype = 'advisory'
  AND l.granted
  AND l.objsubid = 1
  AND (CAST(l.classid AS bigint) << 32) + CAST(l.objid AS bigint)
    = hashtextextended('umami_ops ' || current_schema() || ' ' || (:role)::text, 0)
  AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database());

-- name: missed
-- Lets the server end this session so long after its client is gone without a word; in use or idle it stays.
SELECT set_config(s.name, w.value, false)
FROM (VALUES
  ('tcp_keepalives_idle', GREATEST((:seconds)::int / 2, 1)::text),
  ('tcp_keepalives_interval', GREATEST((:seconds)::int / 6, 1)::text),
  ('tcp_keepalives_count', '3'),
  ('tcp_user_timeout', ((:seconds)::int * 1000)::text)
) AS w (name, value)
JOIN pg_settings AS s ON s.name = w.name;

-- name: acquire_as
-- Takes a lock of the daemon's if nobody holds it: `daemon` is that of the one which runs jobs, `job` that of a run,
-- a job's name and a moment that of a run which is over. Many of the last kind, hence all 64 bits of a key.
SELECT pg_try_advisory_lock(hashtextextended('umami_ops ' || current_schema() || ' ' || (:role)::text, 0)) AS acquired;

-- name: release_as
-- Lets go of a lock of the daemon's.
SELECT pg_advisory_unlock(hashtextextended('umami_ops ' || current_schema() || ' ' || (:role)::text, 0)) AS released;
