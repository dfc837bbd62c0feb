#!/bin/sh
# Takes apart what make.sh made: what others name goes last.
set -eu
appmesh=${APPMESH:-selvedge appmesh}

$appmesh delete-virtual-node --mesh-name colors --virtual-node-name caller
$appmesh delete-virtual-service --mesh-name colors --virtual-service-name colors.local
for route in split green-first; do
    $appmesh delete-route --mesh-name colors --virtual-router-name colors --route-name "$route"
done
$appmesh delete-virtual-router --mesh-name colors --virtual-router-name colors
for node in blue green; do
    $appmesh delete-virtual-node --mesh-name colors --virtual-node-name "$node"
done
$appmesh delete-mesh --mesh-name colors
