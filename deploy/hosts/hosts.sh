#!/usr/bin/env bash
# A Ray and an MLflow on machines with ssh, from the file that names them. Every command can be repeated.
#
#   hosts.sh up           sends the code, makes the tokens, starts what does not run yet
#   hosts.sh status       what runs where
#   hosts.sh sweep ...    a `sweep` command on the head, with the cluster's Ray, MLflow and secrets
#   hosts.sh job ...      submit SPEC, status, logs, stop: a sweep as a job of the cluster, sent from this machine
#   hosts.sh tunnel       MLflow and Ray's dashboard on this machine, until it is stopped
#   hosts.sh down         ends what `up` started; results, database and tokens stay
#
# SWEEP_HOSTS names the file (hosts.conf beside this script), SWEEP_SSH the ssh command.
set -euo pipefail
umask 077

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
file=${SWEEP_HOSTS:-$here/hosts.conf}
read -r -a ssh_command <<< "${SWEEP_SSH:-ssh}"
ssh_command+=(-o BatchMode=yes -o ConnectTimeout=10 -o ServerAliveInterval=15)

fail() {
  echo "hosts.sh: $*" >&2
  exit 2
}

# --- the file: read, never executed ------------------------------------------------------------------------------------

name=lab user='' folder=.local/share/sweep-cluster python='' ray_port=6379 ray_options='' environment='' head=
workers=()

read_file() {
  [ -f "$file" ] || fail "$file is not there: copy hosts.example.conf and put your machines in"
  local number=0 line key value
  while IFS= read -r line || [ -n "$line" ]; do
    number=$((number + 1))
    line=${line%%#*}
    [[ $line =~ [^[:space:]] ]] || continue
    [[ $line =~ ^[[:space:]]*([a-z_]+)[[:space:]]*=[[:space:]]*(.*[^[:space:]])?[[:space:]]*$ ]] ||
      fail "$file:$number: expected 'key = value'"
    key=${BASH_REMATCH[1]} value=${BASH_REMATCH[2]}
    [[ $value =~ ^[-A-Za-z0-9_./:=@,\ ]*$ ]] || fail "$file:$number: $key holds a character that no host, path or option has"
    # ssh would take it for an option.
    case $key:$value in head:-* | worker:-* | user:-*) fail "$file:$number: $key begins with '-'" ;; esac
    case $key in
      name | user | folder | python | ray_port | ray_options | environment | head) printf -v "$key" %s "$value" ;;
      worker) workers+=("$value") ;;
      *) fail "$file:$number: $key is unknown; there are name, user, head, worker, folder, python, ray_port, ray_options, environment" ;;
    esac
  done < "$file"
  [ -n "$head" ] || fail "$file names no head"
  case " $head ${workers[*]-} " in
    *" 0.0.0.0 "* | *" localhost "* | *" 127."*) fail "$file: a host needs the address by which the others reach it" ;;
  esac
}

# --- on a host ---------------------------------------------------------------------------------------------------------

on() {
  local host=$1
  shift
  "${ssh_command[@]}" "${user:+$user@}$host" "$(printf '%q ' "$@")"
}

node() {
  local host=$1
  shift
  on "$host" "$folder/current/deploy/hosts/node.sh" "$@"
}

# Each line of a host's output with its name before it; fails if the host does.
named() {
  local host=$1 code=0
  shift
  "$@" 2>&1 | sed "s|^|$host: |" || code=$?
  return "$code"
}

everywhere() {
  local host pids=() code=0 pid
  for host in "$@"; do
    named "$host" "$action" "$host" &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid" || code=1; done
  return "$code"
}

# --- commands ----------------------------------------------------------------------------------------------------------

# Made by `up` alone: a token that no cluster has would only hide that this machine lacks the cluster's.
token_file() {
  local path=${XDG_CONFIG_HOME:-$HOME/.config}/sweep/$name.token
  if [ ! -s "$path" ]; then
    [ "$1" = make ] || fail "$path is not there: copy it from the machine where 'hosts.sh up' was called (mode 600)"
    mkdir -p "$(dirname "$path")"
    od -An -tx1 -N32 /dev/urandom | tr -d ' \n' > "$path.part"
    mv "$path.part" "$path"
  fi
  [ "$(stat -c %a "$path")" = 600 ] || fail "$path holds the token and others may read it: chmod 600 '$path'"
  echo "$path"
}

# What all hosts get as environment variables; travels as the token does, never as an argument.
environment_file() {
  if [ -z "$environment" ]; then
    echo /dev/null
    return
  fi
  [ -f "$environment" ] || fail "$file: environment = $environment: no such file"
  [ "$(stat -c %a "$environment")" = 600 ] || fail "$environment may hold secrets and others may read it: chmod 600 '$environment'"
  echo "$environment"
}

# What git knows or would: neither results, nor data, nor an environment.
pack() {
  git -C "$repository" ls-files -z --cached --others --exclude-standard |
    (cd "$repository" && while IFS= read -r -d '' path; do [ ! -f "$path" ] || printf '%s\0' "$path"; done) |
    sort -z | tar -C "$repository" --null -T - --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -czf "$1"
}

# Joined by &&, as all that `everywhere` calls: bash does not end a function at its first failure there.
send() {
  local host=$1
  # shellcheck disable=SC2016 # expanded on the host
  on "$host" bash -c '
    set -euo pipefail
    umask 077
    mkdir -p "$1/code" && cd "$1"
    exec 9> lock && flock 9
    if [ ! -e "code/$2/deploy/hosts/node.sh" ]; then
      rm -rf "code/$2.part"
      mkdir "code/$2.part"
      tar -C "code/$2.part" -xzf -
      mv "code/$2.part" "code/$2"
    else
      cat > /dev/null
    fi
    ln -sfn "code/$2" current' send "$folder" "$version" < "$archive" &&
    node "$host" token < "$token" &&
    node "$host" environment < "$variables" &&
    node "$host" settings "$host" "$head" "$ray_port" "$python" "$ray_options" &&
    node "$host" install
}

bring_head() { send "$1" && node "$1" start mlflow && node "$1" start head; }
bring_worker() { send "$1" && node "$1" start worker; }
show() { node "$1" status; }
stop_one() { node "$1" stop; }

up() {
  token=$(token_file make)
  variables=$(environment_file)
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  archive=$scratch/code.tar.gz
  pack "$archive"
  version=$(sha256sum "$archive" | cut -c 1-16)
  action=bring_head
  everywhere "$head" || fail "without its head there is no cluster"
  # A worker that is away does not keep the others from work; `up` again brings it in.
  action=bring_worker
  local code=0
  [ ${#workers[@]} = 0 ] || everywhere "${workers[@]}" || code=1
  echo "a sweep: deploy/hosts/hosts.sh job submit sweeps/quickstart.yaml --store FOLDER_THAT_ALL_SEE"
  return "$code"
}

# A local `sweep` command that speaks to the cluster's job server, through ssh for as long as it takes.
job() {
  local action=${1:-} port tunnel end more=() code=0 sweep=("${SWEEP_PYTHON:-python3}" -m orchestrator.cli)
  case $action in
    submit) more=(--tracking-uri http://127.0.0.1:5000) ;;
    status | logs | stop) ;;
    *) fail "usage: hosts.sh job submit SPEC | status [NAME] | logs NAME | stop NAME" ;;
  esac
  token=$(token_file take)
  [ -n "${SWEEP_PYTHON:-}" ] || [ ! -x "$repository/.venv/bin/python" ] || sweep[0]=$repository/.venv/bin/python
  port=$("${sweep[0]}" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  "${ssh_command[@]}" -N -o ExitOnForwardFailure=yes -L "127.0.0.1:$port:127.0.0.1:8265" "${user:+$user@}$head" < /dev/null &
  tunnel=$!
  # shellcheck disable=SC2064 # its number as it is now
  trap "kill $tunnel 2> /dev/null || true" EXIT
  end=$((SECONDS + 30))
  until (: < "/dev/tcp/127.0.0.1/$port") 2> /dev/null; do
    if ! kill -0 "$tunnel" 2> /dev/null || [ "$SECONDS" -ge "$end" ]; then fail "ssh makes no tunnel to $head"; fi
    sleep 0.2
  done
  export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$token PYTHONPATH=$repository${PYTHONPATH:+:$PYTHONPATH}
  unset RAY_AUTH_TOKEN
  # What it says to do next is said for this script: the tunnel is gone by then. Of two equal options the later one counts.
  "${sweep[@]}" "$1" "${more[@]}" "${@:2}" --address "http://127.0.0.1:$port" |
    sed -u "s|sweep \(.*\) --address http://127.0.0.1:$port|deploy/hosts/hosts.sh job \1|" || code=$?
  return "$code"
}

read_file
command=${1:-}
[ $# = 0 ] || shift
case $command in
  up) up ;;
  status)
    action=show
    everywhere "$head" "${workers[@]}"
    ;;
  down)
    # All are asked, also when one is away; the workers first, so that the head sees them leave.
    action=stop_one code=0
    [ ${#workers[@]} = 0 ] || everywhere "${workers[@]}" || code=1
    everywhere "$head" || code=1
    exit "$code"
    ;;
  sweep) node "$head" sweep "$@" ;;
  job) job "$@" ;;
  tunnel)
    echo "MLflow: http://127.0.0.1:5000; Ray: http://127.0.0.1:8265 (Ctrl-C ends it)"
    exec "${ssh_command[@]}" -N -o ExitOnForwardFailure=yes -L 127.0.0.1:5000:127.0.0.1:5000 -L 127.0.0.1:8265:127.0.0.1:8265 \
      "${user:+$user@}$head"
    ;;
  *) fail "usage: hosts.sh up | status | sweep ... | job ... | tunnel | down" ;;
esac
