#!/bin/sh
# Makes pawl.pb.go and pawl.connect.go from pawl.proto. Needs protoc; its plugins are the versions pinned in go.mod.
set -eu
cd "$(dirname "$0")"

bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
for plugin in protoc-gen-go protoc-gen-connect-go; do
	printf '#!/bin/sh\nexec go tool %s\n' "$plugin" >"$bin/$plugin"
	chmod +x "$bin/$plugin"
done

protoc --proto_path=. \
	--plugin="$bin/protoc-gen-go" --go_out=. --go_opt=paths=source_relative \
	--plugin="$bin/protoc-gen-connect-go" --connect-go_out=. --connect-go_opt=paths=source_relative,package_suffix=,simple \
	pawl.proto
# Debian's protoc and another one write their version into a comment; the output does not depend on it otherwise.
sed -i -E 's|^(// +protoc +)v.*|\1(any)|' pawl.pb.go
gofmt -w pawl.pb.go pawl.connect.go
