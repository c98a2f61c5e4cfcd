#!/bin/bash
# Makes the database on the first start, as the official image does for a container that is not root.
set -euo pipefail

if [ "${1:0:1}" = - ]; then set -- postgres "$@"; fi

if [ "$1" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
    : "${POSTGRES_PASSWORD:?is needed to make the database}"
    user=${POSTGRES_USER:-postgres} database=${POSTGRES_DB:-${POSTGRES_USER:-postgres}}
    mkdir -p "$PGDATA"
    chmod 0700 "$PGDATA"
    # shellcheck disable=SC2086  # the variable holds several arguments
    initdb --pgdata "$PGDATA" --username="$user" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") \
        ${POSTGRES_INITDB_ARGS:-}
    printf '\nhost all all all scram-sha-256\n' >> "$PGDATA/pg_hba.conf"
    export PGPASSWORD=$POSTGRES_PASSWORD
    pg_ctl --pgdata "$PGDATA" --wait start --options "-c listen_addresses=''"
    if [ "$database" != postgres ]; then
        psql --username="$user" --dbname=postgres --command "CREATE DATABASE \"$database\""
    fi
    pg_ctl --pgdata "$PGDATA" --mode fast --wait stop
    unset PGPASSWORD
fi

exec "$@"
