# syntax=docker/dockerfile:1
#
# umami-ops with the client programs of PostgreSQL 18 and MariaDB, for the sidecar and for single commands:
#
#   docker build -t umami-ops .
#   docker run --rm -e DATABASE_URL -v umami-ops:/var/lib/umami-ops umami-ops backup --verify
#
# It runs as user and group 10001, works with a read-only root file system (give it a tmpfs at /tmp), and keeps
# history and backups in the volume /var/lib/umami-ops. umami-ops.toml is looked for in /etc/umami-ops.

FROM python:3.13-slim-trixie AS build
WORKDIR /src
COPY pyproject.toml README.md CHANGELOG.md LICENSE ./
COPY umami_ops umami_ops
COPY sql sql
RUN python -m venv /opt/umami-ops \
    && /opt/umami-ops/bin/pip install --no-cache-dir '.[daemon,encrypt,s3]'

FROM python:3.13-slim-trixie
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="umami-ops" \
      org.opencontainers.image.description="Runs the database of a self-hosted Umami: retention, health, backup" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}"

# PostgreSQL's own archive has clients new enough for every server; Debian's package brings its key and script.
# Versions are not pinned: a build is to have today's security fixes, and an archive drops what it has replaced.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates mariadb-client postgresql-client-common tini \
    && /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y \
    && apt-get install -y --no-install-recommends postgresql-client-18 \
    && rm -rf /var/lib/apt/lists/*

RUN groupadd --gid 10001 umami-ops \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/umami-ops umami-ops \
    && install -d -o umami-ops -g umami-ops -m 0700 /var/lib/umami-ops /var/lib/umami-ops/backups \
    && install -d -m 0755 /etc/umami-ops

COPY --from=build /opt/umami-ops /opt/umami-ops

ENV PATH=/opt/umami-ops/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    UMAMI_OPS_STATE_DIR=/var/lib/umami-ops/state \
    UMAMI_OPS_STORE=/var/lib/umami-ops/backups \
    UMAMI_OPS_DAEMON_HTTP=127.0.0.1:8080

USER 10001:10001
WORKDIR /etc/umami-ops
VOLUME /var/lib/umami-ops

# Green while no job is overdue and none has failed; the address is that of UMAMI_OPS_DAEMON_HTTP.
HEALTHCHECK --interval=1m --timeout=10s --start-period=1m CMD ["umami-ops", "daemon", "--probe"]

# tini hands SIGTERM on and reaps what is left behind; the daemon ends within ten seconds.
ENTRYPOINT ["tini", "--", "umami-ops"]
CMD ["daemon"]
