#!/bin/sh
# Takes apart what make.sh made: what others name goes last.
set -eu
appmesh=${APPMESH:-selvedge appmesh}

for service in catalog cart; do
    $appmesh delete-gateway-route --mesh-name shop --virtual-gateway-name front --gateway-route-name "$service"
done
$appmesh delete-virtual-gateway --mesh-name shop --virtual-gateway-name front
for service in catalog cart; do
    $appmesh delete-virtual-service --mesh-name shop --virtual-service-name "$service.shop.local"
    $appmesh delete-virtual-node --mesh-name shop --virtual-node-name "$service"
done
$appmesh delete-mesh --mesh-name shop
