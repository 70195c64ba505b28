#!/bin/sh
# Makes the keys in this directory with the cosign in PATH (v3.1.3: go install github.com/sigstore/cosign/v3/cmd/cosign@v3.1.3).
# Their password is "correct horse"; "empty" has an empty one.
set -eu
cd "$(dirname "$0")"
rm -f ./*.key ./*.pub
export COSIGN_PASSWORD="correct horse"
cosign generate-key-pair --output-key-prefix generated
openssl genrsa -out rsa.pem 2048
openssl genpkey -algorithm ed25519 -out ed25519.pem
for name in rsa ed25519; do
	cosign import-key-pair --yes --key $name.pem --output-key-prefix $name
	rm $name.pem
done
COSIGN_PASSWORD="" cosign generate-key-pair --output-key-prefix empty
