#!/bin/sh
# The official image's, for a container that is not root.
set -e
if [ "${1#-}" != "$1" ] || [ "${1%.conf}" != "$1" ]; then set -- valkey-server "$@"; fi
umask 0077
exec "$@"
