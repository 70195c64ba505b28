#!/bin/sh
# Runs every fuzz target of the repository for the given time, one after the other.
set -eu
time=${1:-30s}
go list -f '{{.Dir}}' ./... | while read -r dir; do
	grep -ho '^func Fuzz[A-Za-z0-9_]*' "$dir"/*_test.go 2>/dev/null | sed 's/^func //' | while read -r target; do
		echo "fuzz: $dir $target $time"
		(cd "$dir" && go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 10x . </dev/null)
	done
done
