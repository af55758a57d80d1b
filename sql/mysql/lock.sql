-- One run at a time (a named lock of the session), and never beside a migration of Prisma's.
-- A name holds 64 characters, hence the hash of the database's name (MySQL 9.6 has no MD5 any more).

-- name: acquire
-- Takes the lock of umami-ops if nobody holds it.
SELECT GET_LOCK(CONCAT('umami_ops.', LEFT(SHA2(DATABASE(), 256), 40)), 0) AS acquired;

-- name: release
-- Lets go of the lock: the end of the session does, too, but the server may take a moment to notice that.
SELECT RELEASE_LOCK(CONCAT('umami_ops.', LEFT(SHA2(DATABASE(), 256), 40))) AS released;

-- name: holder
-- Who holds the lock, and since when: its session does nothing else, so it has idled since then. MySQL's own list in
-- information_schema fails as long as any session runs a statement with an emoji in it.
SELECT UTC_TIMESTAMP(6) - INTERVAL p.time SECOND AS since,
       p.user AS purpose,
       IS_USED_LOCK(CONCAT('umami_ops.', LEFT(SHA2(DATABASE(), 256), 40))) AS session_id
FROM (SELECT 1 AS one) AS always
LEFT JOIN /*!80022 performance_schema.*/ /*M!100000 information_schema.*/ processlist AS p
  ON p.id = IS_USED_LOCK(CONCAT('umami_ops.', LEFT(SHA2(DATABASE(), 256), 40)))
WHERE IS_USED_LOCK(CONCAT('umami_ops.', LEFT(SHA2(DATABASE(), 256), 40))) IS NOT NULL;

-- name: unfinished
-- A statement of a run that is gone: the server goes on with it, and looks for its client at its end. What a run
-- executes begins with a comment that names it. MySQL's own list as in `holder`.
SELECT p.id AS session_id, SUBSTRING(p.info, LENGTH('/* umami-ops */ ') + 1) AS statement, p.time AS seconds
FROM /*!80022 performance_schema.*/ /*M!100000 information_schema.*/ processlist AS p
WHERE p.id <> CONNECTION_ID() AND p.db = DATABASE() AND p.info LIKE '/* umami-ops */ %'
ORDER BY p.time DESC
LIMIT 1;

-- name: session
-- The number under which `holder` shows this session.
SELECT CONNECTION_ID() AS session_id;

-- name: prisma_held
-- Whether Prisma migrates on this server now: the name is that of its migration engine's lock.
SELECT IS_USED_LOCK('prisma_migrate') IS NOT NULL AS held;

-- name: fence_prisma
-- False if Prisma migrates; its DDL waits for our open transaction by itself.
SELECT IS_USED_LOCK('prisma_migrate') IS NULL AS fenced;

-- name: cancel
-- Ends the statement that another session of ours is running.
KILL QUERY :session_id;

-- name: queues
-- Whether a session waits for a table: all who come later queue behind its DDL.
SELECT COUNT(*) > 0 AS queues
FROM /*!80022 performance_schema.*/ /*M!100000 information_schema.*/ processlist AS p
WHERE p.id = :session_id AND p.state LIKE 'Waiting for table%';

-- name: impatient
-- Lets DDL of this session give up after so long a wait, so that writers don't queue behind it.
SET SESSION lock_wait_timeout = :seconds;

-- name: outlast
-- Nothing that the server does by itself is in the way of DDL.
SELECT 0 AS nothing;

-- name: end_vacuum
-- There is none.
SELECT 0 AS nothing;

-- name: holder_as
-- The session that holds a lock of the daemon's, by its number; nothing where none does.
SELECT IS_USED_LOCK(CONCAT('umami_ops.', LEFT(SHA2(CONCAT(DATABASE(), ' ', :role), 256), 40))) AS session_id;

-- name: missed
-- Lets the server end this session when it hears nothing of it for so long.
SET SESSION wait_timeout = :seconds;

-- name: acquire_as
-- Takes a lock of the daemon's if nobody holds it: `daemon` is that of the one which runs jobs, `job` that of a run,
-- a job's name and a moment that of a run which is over.
SELECT GET_LOCK(CONCAT('umami_ops.', LEFT(SHA2(CONCAT(DATABASE(), ' ', :role), 256), 40)), 0) AS acquired;

-- name: release_as
-- Lets go of a lock of the daemon's.
SELECT RELEASE_LOCK(CONCAT('umami_ops.', LEFT(SHA2(CONCAT(DATABASE(), ' ', :role), 256), 40))) AS released;
