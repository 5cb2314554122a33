# SPDX-License-Identifier: Apache-2.0
# Every target is a line that a person could type.

.DEFAULT_GOAL := targets
GO ?= go

.PHONY: targets
targets: ## print the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## bin/gregor, a static binary
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags=-s -o bin/gregor ./cmd/gregor

.PHONY: test
test: ## the tests, as the README has them
	$(GO) test ./...

.PHONY: race
race: ## the tests under the race detector
	$(GO) test -race ./...

.PHONY: lint
lint: ## go vet, golangci-lint and the arrows
	$(GO) vet ./... && golangci-lint run --allow-parallel-runners ./... && $(GO) test -count=1 ./docs/architecture

.PHONY: arrows
arrows: ## each package's imports of ours, its files and lines
	$(GO) test -count=1 -v -run TestArrows ./docs/architecture

.PHONY: cross
cross: ## compile for every system and processor we promise
	@set -e; for os in linux darwin windows; do for arch in amd64 arm64; do \
	  echo $$os/$$arch; CGO_ENABLED=0 GOOS=$$os GOARCH=$$arch $(GO) build -o /dev/null ./cmd/gregor; done; done

.PHONY: fuzz
fuzz: ## every fuzz target, FUZZTIME each (default 20000x)
	./.ci/fuzz

.PHONY: sim
sim: ## simulations of rooms and of whole clusters; SEEDS of them (internal/seeds)
	SEEDS=$${SEEDS:-2000} $(GO) test -tags synctests -count=1 -timeout 60m -run Sim ./internal/... ./broker/...

.PHONY: interop
interop: ## real foreign clients and Kafka's own tools against gregor
	./interop/run

.PHONY: cluster
cluster: ## three and five real processes in network namespaces, broken in turn (root, Linux); RUN=name: one of them
	$(GO) test -tags cluster -count=1 -timeout 20m -parallel 3 -run "Ordeals/$${RUN:-}" ./cluster

.PHONY: failover
failover: ## how long clients wait when a broker goes, as a table (root, Linux); TRIALS of each kind
	TRIALS=$${TRIALS:-30} $(GO) test -tags cluster -count=1 -timeout 60m -v -run Failover ./cluster

.PHONY: soak
soak: ## what takes too long for CI: an hour of simulations, kill -9, foreign clients on three nodes, flipped bits
	SEEDS=$${SEEDS:-50000} $(MAKE) sim
	ROUNDS=$${ROUNDS:-10} $(GO) test -tags cluster -count=1 -timeout 60m -parallel 3 -run Ordeals ./cluster
	INTEROP_NODES=3 INTEROP_ROUNDS=$${INTEROP_ROUNDS:-3} ./interop/run -timeout 90m
	KILLS=$${KILLS:-50} FLIPS=$${FLIPS:-20} $(GO) test -count=1 -timeout 60m -run 'Kill|Flipped' ./broker/...

.PHONY: bench
bench: ## kbench's workloads against bin/gregor (see bench/README.md)
	./bench/run

.PHONY: docs
docs: ## regenerate docs/reference from the code
	$(GO) generate ./...
