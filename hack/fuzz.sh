#!/bin/sh
# Runs every fuzz target of the repository for the given time, one after the other. A target without seeds fails, and so does
# a repository without targets.
set -eu
time=${1:-30s}
list=$(mktemp)
said=$(mktemp)
trap 'rm -f "$list" "$said"' EXIT
go list -f '{{.Dir}}' ./... | while read -r dir; do
	grep -ho '^func Fuzz[A-Za-z0-9_]*' "$dir"/*_test.go 2>/dev/null | sed "s|^func |$dir |"
done >"$list"
[ -s "$list" ] || { echo "fuzz: no targets"; exit 1; }
while read -r dir target; do
	seeds=$(cd "$dir" && go test -count=1 -v -run "^$target\$" . | grep -c "^ *--- PASS: $target/" || true)
	[ "$seeds" -gt 0 ] || { echo "fuzz: $dir $target has no seeds, or fails on one of them"; exit 1; }
	echo "fuzz: $dir $target seeds=$seeds $time"
	if ! (cd "$dir" && go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 10x . </dev/null) >"$said" 2>&1; then
		cat "$said"
		# Before Go 1.27 the end of the time may count as a failure (go.dev/issue/75804); what it finds, it writes down.
		grep -q 'context deadline exceeded' "$said" && ! grep -q 'Failing input written' "$said" || exit 1
	fi
	grep '^fuzz: elapsed' "$said" | tail -1
done <"$list"
echo "fuzz: ok targets=$(wc -l <"$list")"
