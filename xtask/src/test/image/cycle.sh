# The life of a container, in a root folder that holds what the image holds and nothing else, and in a network of its own.
#   ROOT   the folder
#   OWNER  user:group, as the image's USER says
#   ENTRY  the image's program
# What asks from outside is this machine's.
set -eu
ip link set lo up

# A program of the image, with nothing of this shell's environment.
inside() {
    env -i SELVEDGE_STATE_DIR=/var/lib/selvedge \
        AWS_ENDPOINT_URL=http://127.0.0.1:7070 APPMESH_XDS_ENDPOINT=127.0.0.1:7070 \
        APPMESH_RESOURCE_ARN=mesh/m/virtualNode/n SELVEDGE_INTERCEPTION=none \
        /usr/sbin/chroot --groups= --userspec="$OWNER" "$ROOT" "$ENTRY" "$@"
}
fact() {
    echo "ok: $1"
    facts=$((facts + 1))
}
facts=0

inside version | grep -q '^selvedge '
fact "it says its version"
inside proxy --help | grep -q 'APPMESH_RESOURCE_ARN'
fact "the sidecar has its help"
inside redirect install --dry-run --backend nft --app-ports 8080 | grep -q 'APPMESH_EGRESS'
fact "rules are printed where nothing could install them"

inside up --listen 127.0.0.1:7070 --data-dir /var/lib/selvedge/data >"$LOGS/up" 2>&1 &
control=$!
curl -fsS --retry 60 --retry-connrefused --retry-delay 1 --max-time 60 http://127.0.0.1:7070/readyz >/dev/null
fact "a control plane serves from the image's own folder"
inside appmesh create-mesh --mesh-name m --query mesh.status.status | grep -q ACTIVE
inside appmesh create-virtual-node --mesh-name m --virtual-node-name n \
    --spec 'listeners=[{portMapping={port=8080,protocol=http}}]' --query virtualNode.status.status | grep -q ACTIVE
fact "its command line reaches it"

python3 -m http.server --bind 127.0.0.1 --directory "$ROOT/tmp" 8080 >"$LOGS/application" 2>&1 &
application=$!
# As in a container, it is the first process of its processes' namespace.
export ROOT OWNER ENTRY
unshare --pid --fork env -i SELVEDGE_STATE_DIR=/var/lib/selvedge APPMESH_XDS_ENDPOINT=127.0.0.1:7070 \
    APPMESH_RESOURCE_ARN=mesh/m/virtualNode/n SELVEDGE_INTERCEPTION=none \
    /usr/sbin/chroot --groups= --userspec="$OWNER" "$ROOT" "$ENTRY" proxy >"$LOGS/sidecar" 2>&1 &
sidecar=$!
inside proxy wait --timeout 60
fact "wait ends when the sidecar serves"
inside proxy wait --timeout 0
fact "wait is a health check"
curl -fsS --retry 20 --retry-connrefused --retry-delay 1 http://127.0.0.1:8080/ >/dev/null
curl -fsS --max-time 20 http://127.0.0.1:15000/ | grep -q 'Directory listing'
fact "a request reaches the application through the sidecar"
inside proxy drain
fact "what preStop calls returns"
curl -fsS -X POST http://127.0.0.1:9901/quitquitquit >/dev/null
wait "$sidecar"
fact "quitquitquit ends it, with zero"
if inside proxy wait --timeout 0 2>/dev/null; then
    echo "a sidecar that is gone is healthy"
    exit 1
fi
fact "a sidecar that is gone is not healthy"
kill -TERM "$(cat "/proc/$control/task/$control/children")" 2>/dev/null || kill -TERM "$control"
wait "$control"
fact "a control plane ends when it is told to, with zero"
kill "$application"
echo "$facts passed, 0 failed"
