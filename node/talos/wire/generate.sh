#!/bin/sh
# Makes pawl_talos.pb.go from pawl_talos.proto. Needs protoc; its plugin is the version pinned in go.mod.
set -eu
cd "$(dirname "$0")"

bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
printf '#!/bin/sh\nexec go tool protoc-gen-go\n' >"$bin/protoc-gen-go"
chmod +x "$bin/protoc-gen-go"

protoc --proto_path=. --proto_path=../../pawlv1 \
	--plugin="$bin/protoc-gen-go" --go_out=. --go_opt=paths=source_relative pawl_talos.proto
# Debian's protoc and another one write their version into a comment; the output does not depend on it otherwise.
sed -i -E 's|^(// +protoc +)v.*|\1(any)|' pawl_talos.pb.go
gofmt -w pawl_talos.pb.go
