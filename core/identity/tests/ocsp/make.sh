#!/bin/sh
# Makes the certificates and answers of `tests/ocsp.rs` anew, with OpenSSL. They live a hundred years from the day they are made;
# the tests say themselves what time it is.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
days=36500
key() { openssl ecparam -name prime256v1 -genkey -noout -out "$work/$1.key"; }
request() { openssl req -new -key "$work/$1.key" -subj "/CN=$1" -out "$work/$1.csr"; }
issue() { # name issuer serial extensions
    printf '%s\n' "$4" > "$work/ext"
    openssl x509 -req -in "$work/$1.csr" -CA "$work/$2.pem" -CAkey "$work/$2.key" -set_serial "$3" -days $days -extfile "$work/ext" -out "$work/$1.pem" 2>/dev/null
    openssl x509 -in "$work/$1.pem" -outform DER -out "$1.der"
}
answer() { # name signer index [more]
    name=$1 signer=$2 index=$3
    shift 3
    openssl ocsp -index "$work/$index" -CA "$work/issuer.pem" -rsigner "$work/$signer.pem" -rkey "$work/$signer.key" \
        -reqin "$work/request.der" -respout "$name.der" "$@" >/dev/null 2>&1
}
for name in issuer other leaf responder pretender; do key $name; done
for name in issuer other; do
    openssl req -x509 -key "$work/$name.key" -subj "/CN=$name" -days $days -out "$work/$name.pem"
    openssl x509 -in "$work/$name.pem" -outform DER -out "$name.der"
done
for name in leaf responder pretender; do request $name; done
issue leaf issuer 0x1001 'authorityInfoAccess=OCSP;URI:http://ocsp.example/
1.3.6.1.5.5.7.1.24=DER:30:03:02:01:05
subjectAltName=DNS:leaf.example'
issue responder issuer 0x1002 'extendedKeyUsage=OCSPSigning'
issue pretender issuer 0x1003 'extendedKeyUsage=serverAuth'
printf 'V\t21250101000000Z\t\t1001\tunknown\t/CN=leaf\n' > "$work/good"
printf 'R\t21250101000000Z\t251101000000Z\t1001\tunknown\t/CN=leaf\n' > "$work/revoked"
printf 'V\t21250101000000Z\t\t2001\tunknown\t/CN=nobody\n' > "$work/unknown"
openssl ocsp -issuer "$work/issuer.pem" -cert "$work/leaf.pem" -no_nonce -reqout "$work/request.der"
cp "$work/request.der" request.der
answer good responder good -ndays 7
answer by-issuer issuer good -ndays 7
answer by-pretender pretender good -ndays 7
answer by-other other good -ndays 7
answer endless responder good
answer revoked responder revoked -ndays 7
answer unknown responder unknown -ndays 7
openssl ocsp -respin good.der -noverify -resp_text 2>/dev/null | sed -n 's/ *This Update: //p' | head -1 | xargs -I{} date -u -d {} +%s > this-update
rm -r "$work"
