#!/usr/bin/env bash
# The tracking server of a group: MLflow with basic authentication over a PostgreSQL of its own that listens on no port.
#
#   mlflow.sh serve           in the foreground until it is stopped; makes what is missing
#   mlflow.sh status          whether it answers, and where
#   mlflow.sh backup [FILE]   while it runs or not; the newest BACKUPS_KEPT stay
#   mlflow.sh restore FILE    while it does not run; what was there is kept under another name
#   mlflow.sh install         the units of systemd, for this user
#
# Settings are environment variables: README.md. No secret is ever an argument: they would show in `ps`.
set -euo pipefail
umask 077

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
home=${SWEEP_MLFLOW_HOME:-$HOME/.local/share/sweep-mlflow}
python=${SWEEP_PYTHON:-$repository/.venv/bin/python}
export MLFLOW_HOST=${MLFLOW_HOST:-127.0.0.1} MLFLOW_PORT=${MLFLOW_PORT:-5000} MLFLOW_WORKERS=${MLFLOW_WORKERS:-2}
export MLFLOW_ARTIFACTS_DESTINATION=${MLFLOW_ARTIFACTS_DESTINATION:-$home/artifacts}
export MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
own_database=true
[ -z "${MLFLOW_BACKEND_STORE_URI:-}" ] || own_database=false

fail() {
  echo "mlflow.sh: $*" >&2
  exit 2
}

# --- what is refused ---------------------------------------------------------------------------------------------------

check_settings() {
  local uri password='://[^@]*:[^@]*@|[?&](ssl)?password='
  local every='^(::[Ff]{4}:)?[][0xX.:*]+$' # as C reads it, 0 and 0x0 too are 0.0.0.0
  local any='(^|,)[[:space:]]*[*?.]+[[:space:]]*(:[^,]*)?(,|$)'
  [[ ! $MLFLOW_HOST =~ $every ]] || fail "MLFLOW_HOST=$MLFLOW_HOST would listen on every interface; name the private address instead"
  [[ ! ${MLFLOW_SERVER_ALLOWED_HOSTS:-} =~ $any ]] ||
    fail "MLFLOW_SERVER_ALLOWED_HOSTS=$MLFLOW_SERVER_ALLOWED_HOSTS allows every name; list those by which the server is reached"
  case $MLFLOW_HOST in
    127.* | localhost | ::1) ;;
    *) [ -n "${MLFLOW_SERVER_ALLOWED_HOSTS:-}" ] ||
      fail "MLFLOW_HOST=$MLFLOW_HOST leaves this machine: set MLFLOW_SERVER_ALLOWED_HOSTS, such as '$MLFLOW_HOST:$MLFLOW_PORT'" ;;
  esac
  for uri in "${MLFLOW_BACKEND_STORE_URI:-}" "${AUTH_DATABASE_URI:-}"; do
    [[ ! $uri =~ $password ]] ||
      fail "MLFLOW_BACKEND_STORE_URI or AUTH_DATABASE_URI holds a password; put it into the file that PGPASSFILE names (mode 600)"
  done
  $own_database || [ -n "${AUTH_DATABASE_URI:-}" ] ||
    fail "MLFLOW_BACKEND_STORE_URI is set: set AUTH_DATABASE_URI too, the database of MLflow's users"
  [ -x "$python" ] || fail "$python is not there: run 'make install', or set SWEEP_PYTHON"
}

check_private() {
  [ "$(stat -c %a "$1")" = 600 ] || fail "$1 holds secrets and others may read it: chmod 600 '$1'"
}

# --- secrets -----------------------------------------------------------------------------------------------------------

random() {
  "$python" -c 'import secrets; print(secrets.token_urlsafe(32))'
}

# Those of the environment go first; else they are made once and kept in a file of mode 600.
load_secrets() {
  mkdir -p "$home"
  if [ ! -e "$home/server.env" ]; then
    local password=${MLFLOW_AUTH_ADMIN_PASSWORD:-$(random)}
    # A shell reads client.env: what it would run or split does not get in.
    [[ $password =~ ^[A-Za-z0-9_-]+$ ]] || fail "MLFLOW_AUTH_ADMIN_PASSWORD may hold letters, digits, _ and - only"
    printf 'MLFLOW_TRACKING_USERNAME=admin\nMLFLOW_TRACKING_PASSWORD=%s\n' "$password" > "$home/client.env"
    printf 'admin_password=%s\nsession_key=%s\n' "$password" "${MLFLOW_FLASK_SERVER_SECRET_KEY:-$(random)}" \
      > "$home/server.env.part"
    mv "$home/server.env.part" "$home/server.env"
  fi
  check_private "$home/server.env"
  local name value
  while IFS='=' read -r name value; do
    case $name in
      admin_password) export MLFLOW_AUTH_ADMIN_PASSWORD=${MLFLOW_AUTH_ADMIN_PASSWORD:-$value} ;;
      session_key) export MLFLOW_FLASK_SERVER_SECRET_KEY=${MLFLOW_FLASK_SERVER_SECRET_KEY:-$value} ;;
    esac
  done < "$home/server.env"
}

write_authentication() {
  # auth_cache_ttl_seconds: without it MLflow hashes the password anew for each request, up to a second each.
  cat > "$home/auth.ini" << END
[mlflow]
default_permission = READ
database_uri = $AUTH_DATABASE_URI
admin_username = admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 60
END
  export MLFLOW_AUTH_CONFIG_PATH=$home/auth.ini
}

# --- the database ------------------------------------------------------------------------------------------------------

# PostgreSQL refuses to run as root: there it runs as the account that its package made.
as_postgres() {
  if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi
}

find_postgres() {
  $own_database || return 0
  binaries=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
  [ -x "$binaries/initdb" ] || binaries=$(pg_config --bindir 2> /dev/null || true)
  [ -x "$binaries/initdb" ] || fail "PostgreSQL is not installed: apt-get install postgresql"
  sockets=$home/postgres
  [ ${#sockets} -le 90 ] || fail "$sockets is too long for the socket of PostgreSQL: set SWEEP_MLFLOW_HOME to a shorter path"
  MLFLOW_BACKEND_STORE_URI="postgresql+psycopg://mlflow@/mlflow?host=$sockets"
  AUTH_DATABASE_URI="postgresql+psycopg://mlflow@/mlflow_auth?host=$sockets"
  export MLFLOW_BACKEND_STORE_URI AUTH_DATABASE_URI
}

make_database() {
  mkdir -p "$sockets"
  if [ "$(id -u)" = 0 ]; then
    chmod 711 "$home"
    chown postgres "$sockets"
    (cd / && runuser -u postgres -- test -w "$sockets") ||
      fail "the account postgres cannot reach $sockets: set SWEEP_MLFLOW_HOME to a folder outside $HOME"
  fi
  [ ! -e "$sockets/data/made" ] || return 0
  rm -rf "$sockets/data" # one that was not finished
  as_postgres "$binaries/initdb" -D "$sockets/data" -U mlflow --auth-local=peer --auth-host=reject -E UTF8 --no-instructions > /dev/null
  # Whoever may open the socket, in a folder of mode 700, and is this account: no password, and no port to guess it at.
  printf 'local all mlflow peer map=sweep\n' > "$sockets/data/pg_hba.conf"
  printf 'sweep %s mlflow\n' "$(id -un)" "$(as_postgres id -un)" > "$sockets/data/pg_ident.conf"
  as_postgres touch "$sockets/data/made"
}

database_runs() {
  (cd / && as_postgres "$binaries/pg_ctl" -D "$sockets/data" status > /dev/null 2>&1)
}

start_database() {
  $own_database || return 0
  make_database
  # A server that was killed leaves its database behind: it may go on.
  database_runs ||
    (cd / && as_postgres "$binaries/pg_ctl" -D "$sockets/data" -w -s -l "$sockets/log" \
      -o "-c listen_addresses= -c unix_socket_directories='$sockets'" start 9>&-) || fail "PostgreSQL does not start: $sockets/log"
  local name
  for name in mlflow mlflow_auth; do
    (psql_own -tAc "select 1 from pg_database where datname = '$name'" | grep -q 1) || psql_own -qc "create database $name"
  done
}

stop_database() {
  $own_database || return 0
  (cd / && as_postgres "$binaries/pg_ctl" -D "$sockets/data" -w -s -m fast stop) || true
}

psql_own() {
  "$binaries/psql" -X -q -v ON_ERROR_STOP=1 -h "$sockets" -U mlflow -d postgres "$@"
}

# One process at a time may hold the server's place, and starts and stops the database.
try_lock() {
  exec 9> "$home/lock"
  flock -n 9
}

take_lock() {
  try_lock || fail "another server, restore or backup holds $home; stop it first"
}

# For a backup: the database of whoever holds the lock, once it answers; else one that is `started` for it, under the lock.
reach_database() {
  local end=$((SECONDS + 60))
  until "$binaries/pg_isready" -q -h "$sockets"; do
    if ! database_runs && try_lock; then
      started=true
      start_database
    elif [ "$SECONDS" -ge "$end" ]; then
      fail "PostgreSQL does not answer in $sockets after 60 s; a backup does not start it while another holds $home"
    else
      sleep 1
    fi
  done
}

# --- commands ----------------------------------------------------------------------------------------------------------

serve() {
  load_secrets
  take_lock
  start_database
  write_authentication
  local server='' asked=false
  trap 'asked=true; [ -z "$server" ] || kill -TERM "$server" 2> /dev/null || true' TERM INT
  trap stop_database EXIT
  [ "$MLFLOW_ARTIFACTS_DESTINATION" != "$home/artifacts" ] || mkdir -p "$home/artifacts"
  echo "MLflow: http://$MLFLOW_HOST:$MLFLOW_PORT (user and password: $home/client.env)"
  (cd "$home" && exec "$python" -m mlflow server --app-name basic-auth 9>&-) &
  server=$!
  local code=0
  # `wait` ends when a signal comes; the second one waits for the server's own end.
  wait "$server" || code=$?
  wait "$server" 2> /dev/null || true
  # One that was killed, for want of memory perhaps, has failed: systemd starts it again.
  ! $asked || code=0
  return "$code"
}

status() {
  # Through no proxy, whatever http_proxy says.
  if "$python" -c 'import sys, urllib.request as r; r.build_opener(r.ProxyHandler({})).open(sys.argv[1], timeout=5)' \
    "http://$MLFLOW_HOST:$MLFLOW_PORT/health" 2> /dev/null; then
    echo "MLflow answers at http://$MLFLOW_HOST:$MLFLOW_PORT"
  else
    echo "MLflow does not answer at http://$MLFLOW_HOST:$MLFLOW_PORT"
    return 1
  fi
}

# pg_dump knows no SQLAlchemy driver.
plain() {
  echo "${1/+psycopg:/:}"
}

backup() {
  local target=${1:-$home/backups/mlflow-$(date -u +%Y%m%dT%H%M%S%NZ).tar} pg_dump=pg_dump
  mkdir -p "$(dirname "$target")"
  ! $own_database || [ -e "$sockets/data/made" ] || fail "$home holds no database yet"
  work=$(mktemp -d "$home/backup.XXXXXX") part=$target.part started=false
  trap 'rm -rf "$work" "$part"; ! $started || stop_database' EXIT
  if $own_database; then
    pg_dump=$binaries/pg_dump
    reach_database
  fi
  # The databases first: then each artifact that they name is in the archive.
  "$pg_dump" --format=custom --file="$work/mlflow.dump" "$(plain "$MLFLOW_BACKEND_STORE_URI")"
  "$pg_dump" --format=custom --file="$work/mlflow_auth.dump" "$(plain "$AUTH_DATABASE_URI")"
  if $started; then
    stop_database
    started=false
    exec 9>&-
  fi
  local artifacts=()
  [ ! -d "$home/artifacts" ] || artifacts=(-C "$home" artifacts)
  local code=0
  tar -cf "$part" -C "$work" mlflow.dump mlflow_auth.dump "${artifacts[@]}" || code=$?
  [ "$code" -le 1 ] || fail "tar could not write $part" # 1: a file grew meanwhile
  sync "$part"
  mv "$part" "$target"
  [ "$MLFLOW_ARTIFACTS_DESTINATION" = "$home/artifacts" ] ||
    echo "without the artifacts, which are in $MLFLOW_ARTIFACTS_DESTINATION" >&2
  if [ $# = 0 ]; then
    find "$home/backups" -name 'mlflow-*.tar' | sort -r | tail -n "+$((${BACKUPS_KEPT:-14} + 1))" | xargs -r -d '\n' rm --
  fi
  echo "$target"
}

restore() {
  [ -f "${1:-}" ] || fail "restore needs the file of a backup"
  $own_database || fail "this restores into a PostgreSQL of its own; with MLFLOW_BACKEND_STORE_URI use pg_restore into empty databases"
  mkdir -p "$home"
  take_lock
  work=$(mktemp -d "$home/restore.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  tar -xf "$1" -C "$work" || fail "$1 is no backup of this script"
  start_database
  trap 'rm -rf "$work"; stop_database' EXIT
  local name before
  before=before_$(date -u +%Y%m%d_%H%M%S)
  for name in mlflow mlflow_auth; do
    psql_own -c "drop database if exists ${name}_restored" -c "create database ${name}_restored" 2> /dev/null
    "$binaries/pg_restore" --exit-on-error -h "$sockets" -U mlflow -d "${name}_restored" "$work/$name.dump" ||
      fail "$1 could not be read; nothing was changed"
  done
  # Nothing above touched what was there; the names change at once.
  psql_own -1 -c "alter database mlflow rename to mlflow_$before" -c "alter database mlflow_restored rename to mlflow" \
    -c "alter database mlflow_auth rename to mlflow_auth_$before" -c "alter database mlflow_auth_restored rename to mlflow_auth"
  [ ! -d "$home/artifacts" ] || mv "$home/artifacts" "$home/artifacts_$before"
  [ ! -d "$work/artifacts" ] || mv "$work/artifacts" "$home/artifacts"
  echo "restored $1; what was there: databases mlflow_$before and mlflow_auth_$before, folder artifacts_$before"
}

install_units() {
  local units=${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user source=$repository/deploy/mlflow unit
  mkdir -p "$units"
  for unit in sweep-mlflow.service sweep-mlflow-backup.service sweep-mlflow-backup.timer; do
    sed "s|@REPOSITORY@|$repository|g" "$source/$unit" > "$units/$unit"
  done
  echo "now: systemctl --user daemon-reload; systemctl --user enable --now sweep-mlflow.service sweep-mlflow-backup.timer"
  echo "and once, so that it runs while you are away: loginctl enable-linger"
}

command=${1:-}
[ $# = 0 ] || shift
case $command in
  serve | status | backup | restore)
    check_settings
    find_postgres
    "$command" "$@"
    ;;
  install) install_units ;;
  *) fail "usage: mlflow.sh serve | status | backup [FILE] | restore FILE | install" ;;
esac
