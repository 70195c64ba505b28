# Few targets, each a call of a standard tool. `make demo` and `make test` work on a fresh Debian machine with Go.

TAGS := tools,root,vm,long

.PHONY: build test unit demo proof boots machines loaders soak bench bench-delta fuzz lint lint-more vuln generate \
	deps cluster explore demo-cluster deps-cluster browser talosctl release tutorial systemd

build:
	CGO_ENABLED=0 go build -trimpath -o bin/ ./cmd/...

# Where tests start machines.
MACHINES = $(sort $(dir $(shell find . -name '*_vm_test.go')))

# All tiers: unit and crash tests, foreign tools as judges, then real firmware and loaders in QEMU.
test: deps lint deps-cluster
	go test -tags tools,root $$(go list ./... | grep -vxF "$$(go list $(MACHINES))")
	go test -tags tools,root,vm -p 1 -count 1 -timeout 40m $(MACHINES)
	cd cluster && go test -p 1 ./...
	cd cluster/controller && go test -p 1 ./...

# No root, no network, no other programs.
unit:
	go test ./...

demo: deps
	go run ./internal/lab/demo

# The power is cut at every write: docs/proof.md. Then every read, write and flush of an operation fails, one at a time.
# Then the loader's rules for a disk that UEFI and a BIOS alike start: `make test` has those of the others.
proof:
	go run ./internal/lab/proof/run
	PAWL_LONG=1 go test -count 1 -run TestAFaultAtAnyOperation ./upgrade
	go test -tags long -count 1 -run TestConformanceBoth ./bootloader/grub

# Disks of the proof, booted in QEMU: the model of firmware and loader has to agree on each. Then every way to die, on every
# loader: docs/explanation/deaths.md. Then the power of whole machines is cut in every phase of an upgrade: docs/sequence.md. Then the
# sequences of the example system, on every loader: `make test` leaves some out.
boots: deps
	go run ./internal/lab/proof/boots
	PAWL_LONG=1 go test -tags vm -count 1 -timeout 60m -run TestTheModelAgrees ./internal/lab/proof
	go run ./internal/lab/deaths/run
	go run ./internal/lab/cuts/run
	PAWL_LONG=1 go test -tags vm,long -count 1 -timeout 120m ./examples/os/

# Machines whose disks, age, memory, clock and firmware differ: docs/reference/machines.md.
machines: deps
	go run ./internal/lab/machines/run

# The loaders of other suites of Debian: docs/reference/machines.md.
SUITES := bookworm-backports trixie sid
loaders: deps
	@set -e; for suite in $(SUITES); do \
		hack/loaders.sh $$suite; \
		export PAWL_LOADERS=$$suite PAWL_LONG=1; \
		go run ./internal/lab/proof/boots -cases 24 -grub-bios 8 -grub-uefi 8; \
		go run ./internal/lab/deaths/run -only sample; \
		go test -tags vm -count 1 -timeout 60m -run 'TestCountedEntries|TestTheModelAgreesOnNames' ./internal/lab/proof; \
	done; echo "loaders: ok suites=$(words $(SUITES))"

# Ten upgrades of nodes that are under attack: docs/sequence.md.
soak: deps
	go run ./internal/lab/soak/run

# Speed is a ratio within one run; the last line counts the bounds.
bench: deps
	hack/bench.sh

# What an upgrade downloads of Debian's packages when some got updates: fetches them. Needs squashfs-tools and
# cpio.
bench-delta: deps
	hack/bench-delta.sh

FUZZTIME := 30s
fuzz:
	hack/fuzz.sh $(FUZZTIME)

lint:
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo "lint: run gofmt -w on these files"; exit 1; }
	go vet -tags $(TAGS) ./...
	go tool staticcheck -tags $(TAGS) ./...
	@! go tool deadcode -test -tags $(TAGS) ./... | grep -v ': Example$$'
	go run ./internal/lab/protocompat
	cd cluster && go vet -tags long ./... && $(shell go tool -n staticcheck) -tags long ./...
	cd cluster/controller && go vet ./... && $(shell go tool -n staticcheck) ./...

# More linters, of a module that takes minutes to build: .golangci.yml says which.
lint-more:
	go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.8.0 run ./...

# Every test of the module cluster, with real servers: docs/explanation/lock.md.
cluster: deps-cluster
	cd cluster && go test -tags long -p 1 -count 1 -timeout 20m ./...
	cd cluster && PAWL_LONG=1 go test -count 1 -timeout 90m -parallel 4 -v -run FaultsInEveryPhase .

# The lock's decisions, in every order of events: docs/explanation/lock.md.
explore:
	cd cluster && go run ./lock/explore/run

# Needs its database from the internet.
vuln:
	go tool govulncheck -tags $(TAGS) ./...

# Needs Debian's packages protobuf-compiler and libprotobuf-dev.
generate:
	go generate ./...

deps:
	@hack/deps.sh

# Programs, Debian's packages, checksums, from what is committed: docs/how-to/release.md.
release:
	go run ./internal/lab/release $(if $(SIGN_KEY),-sign-key $(SIGN_KEY)) $(if $(QUICK),-shared-cache)

# The commands of docs/tutorial.md, as they stand there, with two machines in QEMU.
tutorial: deps
	go run ./internal/lab/tutorial

# pawld's package under Debian's systemd: docs/how-to/service.md. Needs root, debootstrap, systemd-container, and what
# `make release` makes.
systemd:
	go run ./internal/lab/systemd

# The page at /ui in a real browser: docs/how-to/page.md. Needs Debian's package chromium, which is too large for deps.
browser:
	@command -v chromium >/dev/null || { echo "browser: there is no chromium (apt-get install chromium)"; exit 1; }
	cd internal/lab/browser && go vet ./... && go test -count 1 -timeout 10m ./...

# What Talos's own client makes of a node: docs/reference/talosctl.md. Builds that client's modules, some 500 packages.
talosctl:
	cd internal/lab/talosctl && go vet ./... && go test -count 1 -timeout 10m ./...

# Three machines in QEMU, each a member of etcd: one command upgrades them while a writer writes, and a broken version
# stops at the first.
demo-cluster: deps deps-cluster
	cd cluster && go run ./internal/demo

# The servers that the tests of the module cluster start, etcd and Kubernetes, built from their modules into a cache:
# half an hour of CPU time, once.
deps-cluster:
	cd cluster && go run ./internal/real/build
