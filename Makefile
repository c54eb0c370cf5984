# Everything here needs only Go and make, except what says otherwise.
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
CACHE   := $(or $(SEALIFT_CACHE),$(HOME)/.cache/sealift)

# Go turns cgo off where there is no C compiler; the race detector needs it.
RACE := $(if $(filter 1,$(shell go env CGO_ENABLED)),-race)

# Else each test binary sleeps for a second before it ends.
export GORACE ?= atexit_sleep_ms=0

# Packages, and parallel tests of each, at a time: half of what they take is waiting.
AT_ONCE := $(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN))))

# These start the roles as processes. There is nothing to race in the test
# itself, and the detector would make its servers and its judge five times
# slower.
PROCESSES := ^TestEverythingArrivesOnce

LINT_VERSION := v2.15.0
LINT         := $(CACHE)/golangci-lint-$(LINT_VERSION)/golangci-lint

VULN_VERSION := v1.9.0
VULN         := $(CACHE)/govulncheck-$(VULN_VERSION)/govulncheck

comma := ,

BENCH    ?= .
FUZZTIME ?= 10s
STACK    ?= $(CURDIR)/.stack

.PHONY: build demo test simulate test-stack test-isal schemathesis soak stack-up stack-down lint vuln bench bench-sync bench-isolation profile fuzz clean help bench-collector bench-fleet bench-copy bench-peers bench-scale bench-plan bench-compare

# Level 1 by Intel's ISA-L: for ISAL=1, which needs a C compiler and libisal-dev.
CGO  := $(if $(filter 1,$(ISAL)),1,0)
TAGS := $(if $(filter 1,$(ISAL)),-tags isal$(comma)netgo$(comma)osusergo)

# Go ends where Git refuses to read a clone that is another user's.
VCS := $(if $(shell git rev-parse HEAD 2>/dev/null),,-buildvcs=false)

build: ## build bin/sealift; ISAL=1: appender.level 1 by Intel's ISA-L, a third less CPU for writing files (needs libisal-dev)
	@CGO_ENABLED=$(CGO) go build $(TAGS) $(VCS) -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/sealift ./workers/sealift

demo: build ## run the whole system in one process on sample events; DEMO=FILE.ndjson for your own
	@bin/sealift demo $(if $(DEMO),'$(DEMO)')

test: ## all tests that Go alone can run, with the race detector
	@[ -n '$(RACE)' ] || echo 'make: no C compiler: testing without the race detector' >&2
	@# The one that waits longest goes first, beside those that compute.
	scripts/in-memory.sh go test $(RACE) -p $(AT_ONCE) -parallel $(AT_ONCE) -timeout 30m -skip '$(PROCESSES)' ./workers/sealift ./...
	scripts/in-memory.sh go test -timeout 30m -run '$(PROCESSES)' ./workers/e2e
	@# Each has one thread.
	go test -timeout 30m ./workers/e2e/simulation & simulation=$$!; \
	  go test -timeout 30m -tags ablation -run PlantedBugs ./workers/e2e/simulation; bugs=$$?; \
	  wait $$simulation && exit $$bugs

simulate: ## the roles under a seeded scheduler; SEEDS=1000, or FOR=1h of new ones
	go test -timeout 0 -v -run 'TestSimulation$$' ./workers/e2e/simulation $(if $(FOR),-sim.for $(FOR) -sim.from $$(date +%s),-sim.seeds $(or $(SEEDS),1000))

test-stack: ## integration and fault tests against real Kafka, Redis and S3 (scripts/stack.sh -h)
	@GOTESTFLAGS='$(RACE)' scripts/test-stack.sh "$(STACK)"

test-isal: ## the build with Intel's ISA-L (scripts/test-isal.sh -h)
	@scripts/test-isal.sh $(FUZZTIME)

schemathesis: ## requests made from the API's document, against a collector on real Kafka; SEED=… EXAMPLES=…
	@scripts/test-stack.sh "$(STACK)" ./workers/e2e -run '^TestWhatTheDocumentSaysIsTaken$$' -v

soak: ## the fault test for long; FOR=1h, NEMESIS_SEED=… to replay
	@NEMESIS_FOR=$(or $(FOR),1h) scripts/test-stack.sh "$(STACK)" ./workers/e2e -run '^TestNemesis$$' -v

stack-up: ## start real Kafka, Redis and S3 and leave them running
	@scripts/stack.sh up "$(STACK)"

stack-down: ## stop them, and remove their data
	@scripts/stack.sh down "$(STACK)"
	@[ ! -s "$(STACK)/brokers" ] || rm -rf "$(STACK)"

lint: $(LINT) ## go vet and golangci-lint
	go vet ./...
	go vet -tags ablation,stack ./...
	$(LINT) run ./...
	$(LINT) run --build-tags ablation,stack ./...

$(LINT):
	@echo 'make: building golangci-lint $(LINT_VERSION), once' >&2
	@GOFLAGS= GOBIN=$(@D) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)

vuln: $(VULN) ## modules against their sums, code against known vulnerabilities (scripts/vuln.sh -h)
	@scripts/vuln-test.sh $(VULN)
	@scripts/vuln.sh $(VULN)

$(VULN):
	@echo 'make: building govulncheck $(VULN_VERSION), once' >&2
	@GOFLAGS= GOBIN=$(@D) go install golang.org/x/vuln/cmd/govulncheck@$(VULN_VERSION)

bench: ## benchmarks; BENCH=regexp
	go test -run '^$$' -bench '$(BENCH)' -benchmem -timeout 60m ./...

profile: ## profiles of a role under load: ROLE=appender, collector, copier or writer; OUT=profiles
	@scripts/profile.sh $(or $(ROLE),appender) $(or $(OUT),profiles)

bench-isolation: ## freshness of 160 destinations beside 40 broken ones, and without these; RUNS=3
	go test -run '^$$' -bench Isolation -benchtime $(or $(RUNS),3)x -v -timeout 60m ./workers/e2e

bench-collector: ## the collector beside bare handlers, on real Kafka; ROUNDS=3, JITSU=DIR (scripts/bench-collector.sh -h)
	@scripts/bench-collector.sh $(ROUNDS)

bench-fleet: ## the whole fleet on real servers, table and plot; SOURCES="50 500 2000" EVENTS=1000000 ROUNDS=3 REF=… OUT=fleet.jsonl
	$(if $(OUT),,@rm -f fleet.jsonl)
	@scripts/bench-fleet.sh --events $(or $(EVENTS),1000000) --sources "$(or $(SOURCES),50 500 2000)" --rounds $(or $(ROUNDS),3) $(if $(REF),--ref $(REF)) $(or $(OUT),fleet.jsonl)
	@go run ./workers/e2e/figures plot $(or $(OUT),fleet.jsonl) >workers/e2e/figures/fleet.svg

bench-copy: ## one copier beside bare loops of requests over the same bytes, on real servers; OUT=copy.jsonl, REF=… DELAY=30ms (scripts/bench-copy.sh -h)
	$(if $(OUT),,@rm -f copy.jsonl)
	@scripts/bench-copy.sh $(if $(REF),--ref $(REF)) $(if $(DELAY),--delay $(DELAY)) $(or $(OUT),copy.jsonl)

bench-peers: ## beside a program by hand and, with BENTO=PATH, Bento: SOURCES="50 2000" EVENTS=1000000 ROUNDS=3 PEERS="baseline sealift" LEVEL=6 OUT=peers.jsonl
	$(if $(OUT),,@rm -f peers.jsonl)
	@BENTO='$(BENTO)' scripts/bench-peers.sh --events $(or $(EVENTS),1000000) --sources "$(or $(SOURCES),50 2000)" --rounds $(or $(ROUNDS),3) --level $(or $(LEVEL),6) $(if $(PEERS),--peers "$(PEERS)") $(or $(OUT),peers.jsonl)

bench-scale: ## 100,000 open streams, their turn, and overload, of one appender; OUT=scale.jsonl, REF=… (scripts/bench-scale.sh -h)
	$(if $(OUT),,@rm -f scale.jsonl)
	@scripts/bench-scale.sh $(if $(REF),--ref $(REF)) streams $(or $(OUT),scale.jsonl)
	@scripts/bench-scale.sh $(if $(REF),--ref $(REF)) overload $(or $(OUT),scale.jsonl)

bench-plan: ## measures the constants of `sealift plan`, and the table and plot of the README, anew
	@scripts/bench-plan.sh

bench-compare: ## benchmarks of the working tree against REF's, by benchstat; BENCH=regexp PKG=./pkg/segment COUNT=6
	@scripts/bench-compare.sh "$(REF)" "$(BENCH)" "$(or $(PKG),./pkg/...)" "$(or $(COUNT),6)"

bench-sync: build ## sealift files sync against aws s3 sync, side by side; ROUNDS=3
	@scripts/bench-sync.sh $(ROUNDS)

fuzz: ## every fuzz target for FUZZTIME (default 10s)
	@scripts/fuzz.sh $(FUZZTIME)

clean: ## remove what was built
	rm -rf bin dist

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
