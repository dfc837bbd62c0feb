#!/bin/sh
# Makes the mesh `colors`: two versions of a service behind one name, and a caller.
# Works with the AWS command line as well: APPMESH='aws appmesh' ./make.sh
set -eu
cd "$(dirname "$0")"
appmesh=${APPMESH:-selvedge appmesh}

$appmesh create-mesh --mesh-name colors --spec file://mesh.json
$appmesh create-virtual-node --mesh-name colors --virtual-node-name blue --spec file://node.json
$appmesh create-virtual-node --mesh-name colors --virtual-node-name green --spec file://node.json
$appmesh create-virtual-router --mesh-name colors --virtual-router-name colors --spec file://router.json
$appmesh create-route --mesh-name colors --virtual-router-name colors --route-name split --spec file://route-split.json
$appmesh create-route --mesh-name colors --virtual-router-name colors --route-name green-first --spec file://route-green-first.json
$appmesh create-virtual-service --mesh-name colors --virtual-service-name colors.local --spec file://service.json
$appmesh create-virtual-node --mesh-name colors --virtual-node-name caller --spec file://caller.json
