#!/usr/bin/env bash
# One machine of the cluster; hosts.sh calls it over ssh. By hand, in the foreground: `node.sh run head`, `run worker`.
set -euo pipefail
umask 077

code=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
folder=$(cd "$code/../.." && pwd)
state=$folder/state/${HOSTNAME%%.*} # homes may be shared by all machines
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$state/token RAY_USAGE_STATS_ENABLED=0
unset RAY_AUTH_TOKEN RAY_ADDRESS
account=$(id -u)
export RAY_TMPDIR=/tmp/sweep-$account SWEEP_MLFLOW_HOME=$state/mlflow
export XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-/run/user/$account} # without it `systemctl --user` finds nobody
mkdir -p "$state"
# Of root's the account postgres must reach its own; it can list nothing, and the secrets have mode 600.
[ "$account" != 0 ] || chmod 711 "$folder" "$folder/state" "$state"

fail() {
  echo "$*" >&2
  exit 2
}

# Others may write to /tmp: what is there under our name, and is not ours, is not used.
mkdir -p "$RAY_TMPDIR"
if [ -L "$RAY_TMPDIR" ] || [ ! -O "$RAY_TMPDIR" ]; then fail "$RAY_TMPDIR belongs to another: have it removed"; fi

load_settings() {
  local line
  [ -s "$state/settings" ] || fail "not set up: hosts.sh up"
  while IFS= read -r line; do export "${line?}"; done < <(cat "$state/environment" 2> /dev/null)
  { IFS= read -r own && IFS= read -r head && IFS= read -r port && IFS= read -r python && IFS= read -r options; } < "$state/settings"
  export SWEEP_PYTHON=${python:-$folder/venv/bin/python} PYTHONPATH=$code
  PATH=$(dirname "$SWEEP_PYTHON"):$PATH
  own=$(address "$own") head=$(address "$head")
}

# The IPv4 address of a host as others see it: Debian gives a host's own name a loopback address.
address() {
  local found
  found=$(getent ahostsv4 "$1" | awk '$1 !~ /^127\./ {print $1; exit}')
  [ -n "$found" ] || fail "$1 has no address that others reach; name the address itself in hosts.conf"
  echo "$found"
}

# --- what hosts.sh sends -----------------------------------------------------------------------------------------------

token() {
  cat > "$state/token.part"
  if [ -s "$state/token" ] && ! cmp -s "$state/token.part" "$state/token" && is_running; then
    rm "$state/token.part"
    fail "another token is in use here: hosts.sh down with the machine that started it, or take over its token"
  fi
  mv "$state/token.part" "$state/token"
}

# Lines of NAME=VALUE for all that runs here, such as what an object store asks for: neither executed nor shown.
environment() {
  local line number=0
  while IFS= read -r line || [ -n "$line" ]; do
    number=$((number + 1))
    [[ $line =~ ^[[:space:]]*(#.*)?$ ]] && continue
    [[ $line =~ ^[A-Za-z_][A-Za-z0-9_]*= ]] || fail "line $number of the file of environment variables is no NAME=VALUE"
    [[ $line != RAY_AUTH_* ]] || fail "line $number of the file of environment variables: the token is hosts.sh's to send"
    printf '%s\n' "$line"
  done > "$state/environment.part"
  mv "$state/environment.part" "$state/environment"
}

settings() {
  printf '%s\n' "$@" > "$state/settings"
}

install() {
  load_settings
  if [ -n "$python" ]; then
    "$python" -c 'import ray, mlflow, torch' || fail "$python lacks ray, mlflow or torch"
    return
  fi
  exec 9> "$folder/lock"
  flock 9
  cmp -s "$code/constraints.txt" "$folder/venv/constraints.txt" && return
  python3 -m venv "$folder/venv" || fail "python3 cannot make a virtual environment: apt-get install python3-venv"
  "$folder/venv/bin/pip" install -q -c "$code/constraints.txt" "${code}[dev,s3]"
  cp "$code/constraints.txt" "$folder/venv/constraints.txt"
}

# --- services: units of systemd where this user has them, else a process of its own session ----------------------------

has_systemd() {
  systemctl --user show-environment > /dev/null 2>&1
}

pid_of() {
  local pid
  pid=$(cat "$state/$1.pid" 2> /dev/null) || return 1
  # A number may belong to another process by now.
  tr '\0' ' ' 2> /dev/null < "/proc/$pid/cmdline" | grep -Eq "node.sh run $1|$1.sh serve" && echo "$pid"
}

is_up() {
  if has_systemd; then systemctl --user is-active --quiet "sweep-node@$1"; else pid_of "$1" > /dev/null; fi
}

is_running() {
  local role
  for role in head worker mlflow; do ! is_up "$role" || return 0; done
  return 1
}

start() {
  load_settings
  local role=$1 end=$((SECONDS + 300)) log=$state/$1.log
  if is_up "$role"; then
    [ "$(cat "$state/$role.code")" = "$code" ] || echo "$role: runs an older code; hosts.sh down and up change it"
    echo "$role: runs"
    return
  fi
  echo "$code" > "$state/$role.code"
  if has_systemd; then
    log="journalctl --user -u sweep-node@$role"
    mkdir -p "$HOME/.config/systemd/user"
    sed "s|@CODE@|$code|g" "$code/deploy/hosts/sweep-node@.service" > "$HOME/.config/systemd/user/sweep-node@.service"
    systemctl --user daemon-reload
    systemctl --user enable --quiet --now "sweep-node@$role"
    loginctl enable-linger 2> /dev/null || echo "$role: ends when you log out: ask for 'loginctl enable-linger $(id -un)'"
  else
    setsid "$code/deploy/hosts/node.sh" run "$role" < /dev/null >> "$log" 2>&1 9>&- &
    echo $! > "$state/$role.pid"
  fi
  until answers "$role"; do
    is_up "$role" || fail "$role: ended at once; see $log: $(tail -n 3 "$log" 2> /dev/null)"
    [ "$SECONDS" -lt "$end" ] || fail "$role: does not answer after 300 s; see $log"
    sleep 1
  done
  echo "$role: started"
}

answers() {
  case $1 in
    mlflow) "$code/deploy/mlflow/mlflow.sh" status > /dev/null ;;
    *) nodes | grep -qx "$own" ;;
  esac
}

# The addresses of the nodes that Ray's head knows to be alive.
nodes() {
  timeout 60 python - "$head:$port" << 'END' 2> /dev/null || true
import sys
from ray._raylet import GcsClient
for node in GcsClient(address=sys.argv[1]).get_all_node_info(timeout=10).values():
    if node.state == 0:
        print(node.node_manager_address)
END
}

stop() {
  local role pid
  for role in worker head mlflow; do
    if has_systemd; then
      ! is_up "$role" || echo "$role: ending"
      systemctl --user disable --quiet --now "sweep-node@$role" 2> /dev/null || true
    elif pid=$(pid_of "$role"); then
      kill -TERM "$pid"
      timeout 60 tail --pid="$pid" -f /dev/null || kill -KILL -- "-$pid" 2> /dev/null || true
      rm -f "$state/$role.pid"
      echo "$role: ended"
    fi
  done
}

status() {
  load_settings
  local role there=false wrong=0
  for role in head worker mlflow; do
    is_up "$role" || continue
    there=true
    if answers "$role"; then
      echo "$role: runs"
    else
      echo "$role: is there, does not answer (yet)"
      wrong=1
    fi
    [ "$role" != head ] || echo "Ray's nodes: $(nodes | sort | tr '\n' ' ')"
  done
  $there || fail "nothing runs"
  return "$wrong"
}

# --- the foreground ----------------------------------------------------------------------------------------------------

# Ray again and again until asked to end: a head that restarts, or a cable that was out, ends `ray start`.
run() {
  load_settings
  local ended=false ray='' where
  [ "$1" != mlflow ] || exec "$code/deploy/mlflow/mlflow.sh" serve
  where=(--address "$head:$port")
  # The dashboard runs what it is told: on this machine only, others come through ssh.
  if [ "$1" = head ]; then
    where=(--head --port "$port" --dashboard-host 127.0.0.1)
    client_settings # the drivers that are submitted write to MLflow
  fi
  read -r -a more <<< "$options"
  trap 'ended=true; [ -z "$ray" ] || kill -TERM "$ray" 2> /dev/null || true' TERM INT
  until $ended; do
    ray start "${where[@]}" --node-ip-address "$own" --block "${more[@]}" &
    ray=$!
    while kill -0 "$ray" 2> /dev/null; do wait "$ray" || true; done
    $ended || sleep 5
  done
}

# What MLflow asks of its users, for the processes started from here.
client_settings() {
  [ -s "$SWEEP_MLFLOW_HOME/client.env" ] || return 0 # no MLflow was started here
  set -a
  # shellcheck source=/dev/null
  . "$SWEEP_MLFLOW_HOME/client.env"
  set +a
}

# A command of this project with the cluster's Ray, MLflow and secrets; a `run` is told where they are.
sweep() {
  load_settings
  local more=() # before what was asked for: the last of two equal options counts
  [ "${1:-}" != run ] || more=(--address "$head:$port" --tracking-uri http://127.0.0.1:5000 --yes)
  client_settings
  cd "$code"
  exec python -m orchestrator.cli "${@:1:1}" "${more[@]}" "${@:2}"
}

command=${1:-}
[ $# = 0 ] || shift
case $command in
  token | environment | settings | install | start | stop | status | run | sweep) "$command" "$@" ;;
  *) fail "usage: node.sh run head | run worker | run mlflow | status | stop" ;;
esac
