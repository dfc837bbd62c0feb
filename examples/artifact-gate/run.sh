#!/usr/bin/env bash
# The artifact gate on this machine: a provider, the control plane with its workflow, the edge. Ends with Ctrl-C, and all three with it.
#
#   PORT=8080 API_PORT=7070 PROVIDER_PORT=9080 APPROVAL_SECONDS=600 GRANT_SECONDS=60 ./run.sh
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
port=${PORT:-8080} api_port=${API_PORT:-7070} provider_port=${PROVIDER_PORT:-9080}
selvedge=${SELVEDGE_BIN:-selvedge} modules=${OIDC_MODULES:-$root/target/node}
home=$(mktemp -d)
site=http://127.0.0.1:$port issuer=http://127.0.0.1:$provider_port
export AWS_ENDPOINT_URL=http://127.0.0.1:$api_port AWS_DEFAULT_REGION=us-west-2 AWS_ACCESS_KEY_ID=AKIDEXAMPLE AWS_SECRET_ACCESS_KEY=secret

for program in "$selvedge" aws node curl; do
    command -v "$program" >/dev/null || { echo "run.sh: $program is not on the path" >&2; exit 1; }
done
[ -d "$modules/node_modules/oidc-provider" ] || {
    echo "run.sh: no oidc-provider in $modules: npm install --prefix '$modules' oidc-provider, or OIDC_MODULES says where it is" >&2
    exit 1
}
trap 'trap - EXIT; kill $(jobs -p) 2>/dev/null || true' EXIT
trap 'exit 0' INT TERM

# Waits until something answers at an address, however long the machine takes.
answers() { curl --silent --output /dev/null --retry 120 --retry-delay 1 --retry-connrefused "$1"; }

GRANT_SECONDS=${GRANT_SECONDS:-60} node "$root/tests/conformance/oidc/provider.mjs" "$modules" "$provider_port" \
    "$site/.selvedge/staff/callback" "$site/" >"$home/provider.log" 2>&1 &
# The workflow may fetch tokens from the provider, though that is on loopback here.
SELVEDGE_TASK_ALLOW=127.0.0.1:$provider_port "$selvedge" up --listen "127.0.0.1:$api_port" --data-dir "$home/data" \
    --workflow-logs "$home/states" >"$home/control.log" 2>&1 &
answers "$issuer/.well-known/openid-configuration"
answers "$AWS_ENDPOINT_URL/readyz"

activity=$(aws stepfunctions create-activity --name approve-artifacts --query activityArn --output text)
connection=$(curl --silent --fail --request PUT --json '{"AuthorizationType": "BASIC", "AuthParameters": {"BasicAuthParameters":
    {"Username": "gate", "Password": "a%20secret%20of%20the%20gate"}}}' "$AWS_ENDPOINT_URL/selvedge/v1/connections/token-desk" |
    sed -n 's/.*"ConnectionArn": *"\([^"]*\)".*/\1/p')
sed "s|ACTIVITY|$activity|; s|CONNECTION|$connection|; s|TOKEN_ENDPOINT|$issuer/token|; s|RUN_SECONDS|3600|
     s|APPROVAL_SECONDS|${APPROVAL_SECONDS:-600}|" "$here/machine.json" >"$home/machine.json"
machine=$(aws stepfunctions create-state-machine --name artifact-gate --definition "file://$home/machine.json" \
    --logging-configuration "file://$here/logging.json" --role-arn arn:aws:iam::123456789012:role/gate --query stateMachineArn --output text)

mkdir -p "$home/www/artifacts"
echo "the bytes of app-1.tar" >"$home/www/artifacts/app-1.tar"
printf 'a secret between the two of us' >"$home/secret"
head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$home/cookie-keys"
sed "s|HERE|$home|g; s|PORT|$port|; s|ISSUER|$issuer|" "$here/lighttpd.conf" >"$home/lighttpd.conf"
"$selvedge" edge -D -f "$home/lighttpd.conf" --endpoint-url "$AWS_ENDPOINT_URL" >"$home/edge.log" 2>&1 &
answers "$site/"

cat <<TOLD
The artifact gate is open.

  ask for a file      $site/artifacts/app-1.tar      as ann, with any password
  answer a question   $site/approvals                as bob, with any password
  the workflow        export AWS_ENDPOINT_URL=$AWS_ENDPOINT_URL AWS_DEFAULT_REGION=us-west-2 AWS_ACCESS_KEY_ID=AKIDEXAMPLE AWS_SECRET_ACCESS_KEY=secret
                      aws stepfunctions list-executions --state-machine-arn $machine
  the next question   aws stepfunctions get-activity-task --activity-arn $activity
  each state's lines  $home/states/artifact-gate.jsonl
  logs, files         $home

Ctrl-C ends it.
TOLD
wait -n
echo "run.sh: one of the three has ended: see the logs in $home" >&2
exit 1
