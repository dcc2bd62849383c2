# What there is to do with Linkspan. "make" alone lists it.
#
# bin/ holds everything that is made here; "make clean" takes it away. What takes long to make and changes rarely (test
# images, a docker client, Go itself) is kept in ~/.cache/linkspan-lab.

# Found when first needed, so that "make deps" can bring it.
GO = $(eval GO := $(shell build/go.sh find))$(GO)
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
# What the server says that it is built from, and when: the time of the commit, so that the same source makes the same bytes.
COMMIT ?= $(shell git describe --always --exclude='*' --dirty 2>/dev/null || echo unknown)
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null)
BUILT := $(shell date -u -d '@$(SOURCE_DATE_EPOCH)' +%Y-%m-%dT%H:%M:%S.%N+00:00 2>/dev/null)
# What looks at the code compiles it as "build" does: then it need not be compiled once more.
AS_BUILT = CGO_ENABLED=0 GOFLAGS=-trimpath $(GO)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT) -X main.built=$(BUILT)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
COMPOSE := github.com/docker/compose/v5/cmd@v5.0.2
BUILDX := github.com/docker/buildx/cmd/buildx@v0.38.2
GOLANGCI_LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

PREFIX ?= /usr/local
UNITDIR ?= $(PREFIX)/lib/systemd/system
PROGRAMS := $(notdir $(wildcard cmd/*))

STORIES ?= 01 02 03 04 05 06 07 08 09 10 11 12 13 14 15 16 20 21 22 23 24 25 26 30 31 32 34 35 36 37 38 40 41 42 43 51
ACCEPTANCE ?= ../shared/acceptance
T ?= 30s
# Packages whose tests need neither root nor anything that is installed.
PURE = ./internal/model/... ./internal/facts/... ./internal/desired/... ./internal/state/... ./internal/ipam/... ./internal/ports/... \
  ./internal/names/... ./internal/firewall/... ./internal/driver/... ./internal/ops/... ./internal/plan/... ./internal/query/... \
  ./internal/engine/... ./internal/store/... ./internal/config/... ./internal/limits/...
CHAOS ?= 10m
SEED ?=
BENCH ?= .
PEER ?= .

# What tests find the programs by.
export LINKSPAND_BIN = $(CURDIR)/bin/linkspand
export DOCKER = $(CURDIR)/bin/docker

.DEFAULT_GOAL := help
.NOTPARALLEL: # what brings a thing comes before what needs it
.PHONY: help deps build demo check test lab compose buildx crash chaos many restart web conformance vm accept bench lint fuzz install uninstall package clean
.DELETE_ON_ERROR:

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## install what is missing, from Debian packages (as root)
	@build/deps.sh

build: ## make the static programs bin/linkspand and bin/linkspan
	CGO_ENABLED=0 $(GO) build -buildvcs=false -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

# The docker command that the tests are written for: docker's own, of the version in go.mod. One of its files names an
# older language than it is written in.
bin/docker: FORCE
	@CGO_ENABLED=0 $(GO) build -buildvcs=false -trimpath -gcflags='github.com/docker/cli/cmd/docker=-lang=go1.26' \
	  -ldflags "-s -w -X github.com/docker/cli/cli/version.Version=$$($(GO) list -m -f '{{slice .Version 1}}' github.com/docker/cli | cut -d+ -f1)" \
	  -o $@ github.com/docker/cli/cmd/docker
# docker's plugins, each of a version of its own. They take minutes to build, for the first time.
bin/docker-compose:
	@GOBIN='$(CURDIR)/bin/compose' GOFLAGS=-mod=mod CGO_ENABLED=0 $(GO) install $(COMPOSE)
	@mv bin/compose/cmd $@ && rmdir bin/compose
bin/docker-buildx:
	@GOBIN='$(CURDIR)/bin/buildx' GOFLAGS=-mod=mod CGO_ENABLED=0 $(GO) install \
	  -ldflags "-s -w -X github.com/docker/buildx/version.Version=$(lastword $(subst @, ,$(BUILDX)))" $(BUILDX)
	@mv bin/buildx/buildx $@ && rmdir bin/buildx
bin/labhost: FORCE
	@CGO_ENABLED=0 $(GO) build -buildvcs=false -trimpath -o $@ ./lab/cmd/labhost
bin/peer: FORCE
	@CGO_ENABLED=0 $(GO) build -buildvcs=false -trimpath -o $@ ./bench/peer
bin/benchload: FORCE
	@CGO_ENABLED=0 $(GO) build -buildvcs=false -trimpath -o $@ ./bench/load
FORCE:

demo: ## play a guided tour in a lab of network namespaces, on a bare Debian 12 (as root)
	@build/deps.sh
	@$(MAKE) --no-print-directory build bin/labhost bin/docker
	@demo/demo.sh

test: deps build bin/docker ## vet, staticcheck and all tests with the race detector, on a bare Debian 12 (as root)
	$(AS_BUILT) vet ./...
	$(AS_BUILT) run $(STATICCHECK) ./...
	@GO='$(GO)' build/test.sh -race -timeout 40m ./...

lab: build bin/docker ## only the lab and the stories that are played in it (as root)
	@GO='$(GO)' build/test.sh -timeout 30m ./lab/...

compose: build bin/docker bin/docker-compose bin/docker-buildx ## the shapes that projects of docker compose have, and a Python script (as root; minutes)
	@build/deps.sh
	@build/apt-install.sh python3-docker
	@GO='$(GO)' COMPOSE='$(CURDIR)/bin/docker-compose' BUILDX='$(CURDIR)/bin/docker-buildx' build/test.sh -timeout 20m -count 1 -run '^TestCompose$$' ./lab

buildx: build bin/docker bin/docker-buildx ## what people build with docker buildx: outputs, secrets, caches, platforms, bake (as root)
	@build/deps.sh
	@build/apt-install.sh docker-registry git openssh-client
	@GO='$(GO)' BUILDX='$(CURDIR)/bin/docker-buildx' build/test.sh -timeout 10m -count 1 -run '^TestBuildx$$' ./lab

crash: build bin/docker ## kill -9 at every stage and at 30 seeded moments, and the full disk (as root; minutes)
	@GO='$(GO)' LINKSPAN_CRASH=full build/test.sh -timeout 30m -count 1 -run 'TestCrash|TestFullDisk' ./lab

chaos: build bin/docker ## random commands while daemon, keeper and containerd are killed: CHAOS=1h SEED=number (as root)
	LINKSPAN_CHAOS='$(CHAOS)' LINKSPAN_SEED='$(SEED)' $(GO) test -timeout 0 -count 1 -v -run '^TestChaos$$' ./lab

many: build bin/docker ## 500 containers under one alias (as root; minutes)
	LINKSPAN_MANY=full $(GO) test -timeout 30m -count 1 -v -run '^TestNames$$/^Many' ./lab

web: deps ## the page of "linkspan web" in a headless Chromium (as root)
	@build/apt-install.sh chromium
	LINKSPAN_CHROMIUM="$$(command -v chromium)" $(GO) test -timeout 10m -count 1 -v -run '^TestBrowser$$' ./internal/web

conformance: build bin/docker ## the conformance suites: of CNI against linkspan-cni and the reference plugins, of plugins for networks against one on Docker's helpers and our engine (as root; minutes)
	LINKSPAN_CONFORMANCE=reference $(GO) test -timeout 20m -count 1 -v -run '^Test(CNI|Netplugin)Conformance$$' ./lab

restart: build bin/docker ## restart the daemon with 0, 10 and 300 containers, against the budgets (as root)
	LINKSPAN_RESTART=full $(GO) test -timeout 20m -count 1 -v -run '^TestRestart$$' ./lab

vm: ## install on a Debian 12 under QEMU: systemd, kernel 6.1, SCTP, reboots, a power cut; ufw, firewalld; VLANs, ipvlan; the Debian package: PLAY=package (as root; minutes)
	@build/deps.sh
	@build/apt-install.sh qemu-system-x86 e2fsprogs
	@$(MAKE) --no-print-directory build bin/labhost bin/docker
	@build/vm/vm.sh

accept: build bin/docker ## play the acceptance stories with the machine's docker command: STORIES="01 02", ACCEPTANCE=folder (as root)
	@ENGINE='$(LINKSPAND_BIN)' DOCKER="$$(command -v docker || echo '$(DOCKER)')" build/accept.sh '$(ACCEPTANCE)' $(STORIES)

bench: build bin/docker bin/peer bin/benchload ## compare with Debian's docker.io: PEER=pattern; then our own benchmarks: BENCH=pattern (as root)
	bin/peer -linkspand '$(LINKSPAND_BIN)' -dockerd "$$(build/docker-io.sh)" -load bin/benchload -only '$(PEER)'
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem ./...

lint: deps ## gofmt, golangci-lint (vet and staticcheck are in it) and shellcheck, over everything
	@build/apt-install.sh shellcheck
	@GO='$(GO)' GOLANGCI_LINT='$(GOLANGCI_LINT)' build/lint.sh

check: ## what needs no root and no kernel, in a minute: the house, its words and its thought, without the race detector
	$(AS_BUILT) vet . $(PURE)
	$(GO) test . $(PURE)

fuzz: ## run every fuzz test for T (30s) each
	@GO='$(GO)' build/fuzz.sh '$(T)'

install: build ## install the programs and the systemd unit under DESTDIR, PREFIX
	install -d '$(DESTDIR)$(PREFIX)/bin' '$(DESTDIR)$(UNITDIR)'
	install -m 755 $(PROGRAMS:%=bin/%) '$(DESTDIR)$(PREFIX)/bin/'
	sed -e 's|@BINDIR@|$(PREFIX)/bin|; s| @LISTEN@||; /^@SOCKET@/d' build/linkspand.service >'$(DESTDIR)$(UNITDIR)/linkspand.service'
	chmod 644 '$(DESTDIR)$(UNITDIR)/linkspand.service'

uninstall: ## take away what install put there, under the same DESTDIR, PREFIX; stop nothing, and say what is left
	@build/uninstall.sh '$(DESTDIR)' '$(PREFIX)/bin' '$(UNITDIR)' $(PROGRAMS)

package: build ## make bin/linkspan_VERSION_ARCH.deb; the same source makes the same bytes
	@GO='$(GO)' build/deb/package.sh bin '$(VERSION)'

clean: ## remove bin/
	rm -rf bin
