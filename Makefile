# `make help` lists what there is. Nothing here needs root, Docker or Node, but
# gen: clang-14, llvm-14 and libbpf-dev, for the programs in internal/kernel;
# verifier and bench-kernel: root, to load them;
# kernels: QEMU and a Debian's apt.
SHELL := /bin/bash
export CGO_ENABLED := 0
export GOTOOLCHAIN := local

# Cloud service discovery would add 200 packages to the scrape receiver; those
# that we support are imported by name in collector/components.go.
TAGS    := remove_all_sd
VERSION ?= 0.1.0-dev
LDFLAGS := -s -w -X main.version=$(VERSION)
GO_BUILD = go build -tags $(TAGS) -ldflags '$(LDFLAGS)'

.DEFAULT_GOAL := help
.PHONY: help build demo test race check gen verifier kernels kube ui torture fuzz clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'
	@ls bench/suites 2>/dev/null | sed 's/^/  make bench-/' || true

build: ## build bin/guanlan
	@mkdir -p bin
	$(GO_BUILD) -o bin/guanlan ./cmd/guanlan

demo: build ## build all, start Guanlan and a shop of live services, print the links
	cd examples/shop && go build -o ../../bin/ . ./cmd/demo
	@exec bin/demo --guanlan bin/guanlan --shop bin/shop

test: ## run all tests that this machine can run
	@./.ci/test

race: ## run the tests of the root module and the SDK under the race detector (needs gcc)
	CGO_ENABLED=1 go test -race -tags $(TAGS) ./internal/...
	for m in $$(.ci/modules | grep ^sdk | grep -v sdk/stock); do (cd $$m && CGO_ENABLED=1 go test -race ./...) || exit 1; done

check: ## formatting, vet, staticcheck, house rules, UI types and lint
	@./.ci/check

gen: ## bring generated files up to date
	go generate ./internal/...
	go test ./internal/api -run Golden -update

verifier: ## say what the kernel verifies of each BPF program: instructions, states, stack (needs root)
	@go test -count=1 -run TestVerifier -v ./internal/kernel | grep -v '^=== '

# Some of the matrix, or ALL=1, or WHICH='5.10 amd64 tests': what is in the name.
WHICH ?= $(if $(ALL),all,some)
kernels: ## boot other kernels under QEMU and run the tests of internal/kernel there (ALL=1: the whole matrix, hours)
	@GUANLAN_KERNELS='$(WHICH)' go test -count=1 -run TestKernels -v -timeout 12h ./internal/kernel/vm

KUBE = $(CURDIR)/bin/kubeapi
kube: ## build a Kubernetes API server, which takes minutes the first time, and test with it
	@mkdir -p bin
	cd internal/testkit/kubeapi/server && go build -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$$(go list -m -f '{{.Version}}' k8s.io/kubernetes)" -o $(KUBE) .
	GUANLAN_KUBE=$(KUBE) go test -tags $(TAGS) -count=1 -timeout 30m -run Cluster ./internal/kube ./internal/kernel/telemetry

ui: ## rebuild the web UI (needs Node)
	cd ui && npm ci --no-audit --no-fund && npm run build

torture: build ## kill -9 and corrupt the store 200 times
	GUANLAN_TORTURE=200 go test -tags $(TAGS) -count=1 -timeout 60m -run 'Crash|Kill' ./internal/journal ./internal/store/... ./cmd/guanlan

fuzz: ## fuzz every parser of outside bytes for 30 s each
	@./.ci/fuzz 30s

bench-%: build ## run one benchmark suite, for example make bench-store
	cd bench && go run ./suites/$*

clean: ## remove what was built
	rm -rf bin bench/bin bench/data
