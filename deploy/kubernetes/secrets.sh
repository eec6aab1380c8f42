#!/usr/bin/env bash
# Makes the secrets that kustomization.yaml reads: random, once, in files of mode 600 that git ignores.
# The keys of the object store come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, with AWS_SESSION_TOKEN where they are
# temporary; without them the pods need a role.
set -euo pipefail
umask 077
folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/secrets
mkdir -p "$folder"

random() {
  od -An -tx1 -N24 /dev/urandom | tr -d ' \n'
}

[ ! -e "$folder/client.env" ] || {
  echo "$folder holds secrets already; remove it to make others, which the database then does not know" >&2
  exit 2
}
[ "${AWS_ACCESS_KEY_ID:+set}" = "${AWS_SECRET_ACCESS_KEY:+set}" ] || {
  echo "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together: set both, or neither where the pods have a role" >&2
  exit 2
}
password=$(random) database=$(random)
printf 'POSTGRES_PASSWORD=%s\n' "$database" > "$folder/postgres.env"
{
  printf 'PGPASSWORD=%s\nMLFLOW_AUTH_ADMIN_PASSWORD=%s\nMLFLOW_FLASK_SERVER_SECRET_KEY=%s\n' "$database" "$password" "$(random)"
  for name in AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN; do
    [ -z "${!name:-}" ] || printf '%s=%s\n' "$name" "${!name}"
  done
} > "$folder/mlflow.env"
printf 'MLFLOW_TRACKING_USERNAME=admin\nMLFLOW_TRACKING_PASSWORD=%s\n' "$password" > "$folder/client.env"
echo "made $folder"
