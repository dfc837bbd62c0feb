#!/bin/sh
# Makes the mesh `shop`: a gateway for the outside world, with two services behind it.
# Works with the AWS command line as well: APPMESH='aws appmesh' ./make.sh
set -eu
cd "$(dirname "$0")"
appmesh=${APPMESH:-selvedge appmesh}

$appmesh create-mesh --mesh-name shop
for service in catalog cart; do
    $appmesh create-virtual-node --mesh-name shop --virtual-node-name "$service" --spec file://node.json
    $appmesh create-virtual-service --mesh-name shop --virtual-service-name "$service.shop.local" \
        --spec "provider={virtualNode={virtualNodeName=$service}}"
done
$appmesh create-virtual-gateway --mesh-name shop --virtual-gateway-name front --spec file://gateway.json
for service in catalog cart; do
    $appmesh create-gateway-route --mesh-name shop --virtual-gateway-name front --gateway-route-name "$service" \
        --spec "httpRoute={match={prefix=/$service/},action={target={virtualService={virtualServiceName=$service.shop.local}}}}"
done
