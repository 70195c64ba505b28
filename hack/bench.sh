#!/bin/bash
# Runs every measurement, one after the other. Each prints a row a case; a row with a bound ends in "ok" or "falls short". The
# last line counts those of all.
set -euo pipefail
rows=$(mktemp)
trap 'rm -f "$rows"' EXIT
begin=$SECONDS
{
	go test -run '^$' -bench . -benchmem ./...
	go run ./internal/lab/bench/bootfs
	go run ./internal/lab/bench/diskimage
	go run ./internal/lab/bench/rehearsal
	go run ./internal/lab/bench/pull
	go run ./internal/lab/bench/downtime
} 2>&1 | grep --line-buffered -v '\[no test files\]' | tee "$rows"
ok=$(grep -c ' at most .* ok$' "$rows" || true)
short=$(grep -c ' at most .* falls short$' "$rows" || true)
verdict=ok
[ "$short" = 0 ] || verdict='falls short'
echo "bench: bounds=$((ok + short)) short=$short seconds=$((SECONDS - begin)) $verdict"
