# Targets need only Go and make, unless they say otherwise.
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
CACHE   := $(or $(SEALIFT_CACHE),$(HOME)/.cache/sealift)

# Go turns cgo off where there is no C compiler; the race detector needs it.
RACE := $(if $(filter 1,$(shell go env CGO_ENABLED)),-race)

# By default each test binary with the race detector sleeps for a second before it exits.
export GORACE ?= atexit_sleep_ms=0

# How many packages are tested at once, and parallel tests in each: twice the number of cores,
# because tests spend half of their time waiting. A container may be allowed fewer cores than the
# machine has.
CORES   := $(shell n=$$(getconf _NPROCESSORS_ONLN); f=/sys/fs/cgroup/cpu.max; \
  if [ -r $$f ] && read -r quota period <$$f && [ "$$quota" != max ] && [ $$(((quota + period - 1) / period)) -lt $$n ]; \
  then echo $$(((quota + period - 1) / period)); else echo $$n; fi)
AT_ONCE := $(shell echo $$((2 * $(CORES))))

# These tests start the roles as processes. There are no races to find in the tests themselves, and
# the detector would make their servers and their checker five times slower.
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

# ISAL=1 compresses level 1 with Intel's ISA-L. It needs a C compiler and libisal-dev.
CGO  := $(if $(filter 1,$(ISAL)),1,0)
TAGS := $(if $(filter 1,$(ISAL)),-tags isal$(comma)netgo$(comma)osusergo)

# go build fails if Git refuses to read the clone, as it does if another user owns it.
VCS := $(if $(shell git rev-parse HEAD 2>/dev/null),,-buildvcs=false)

build: ## build bin/sealift; ISAL=1 uses Intel's ISA-L for appender.level 1: a third less CPU for writing files (needs libisal-dev)
	@CGO_ENABLED=$(CGO) go build $(TAGS) $(VCS) -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/sealift ./workers/sealift

demo: build ## run the whole system in one process on sample events, or on yours with DEMO=FILE.ndjson
	@bin/sealift demo $(if $(DEMO),'$(DEMO)')

test: ## run all tests that need only Go, with the race detector
	@[ -n '$(RACE)' ] || echo 'make: no C compiler: testing without the race detector' >&2
	@# workers/sealift mostly waits: it starts first, and runs beside packages that compute.
	scripts/in-memory.sh go test $(RACE) -p $(AT_ONCE) -parallel $(AT_ONCE) -timeout 30m -skip '$(PROCESSES)' ./workers/sealift ./...
	scripts/in-memory.sh go test -timeout 30m -run '$(PROCESSES)' ./workers/e2e
	@# These run side by side, since each uses a single thread.
	go test -timeout 30m ./workers/e2e/simulation & simulation=$$!; \
	  go test -timeout 30m -tags ablation -run PlantedBugs ./workers/e2e/simulation; bugs=$$?; \
	  wait $$simulation && exit $$bugs

simulate: ## run the roles under a seeded scheduler; SEEDS=1000, or FOR=1h with new seeds
	go test -timeout 0 -v -run 'TestSimulation$$' ./workers/e2e/simulation $(if $(FOR),-sim.for $(FOR) -sim.from $$(date +%s),-sim.seeds $(or $(SEEDS),1000))

test-stack: ## run integration and fault tests against real Kafka, Redis and S3 (scripts/test-stack.sh -h)
	@GOTESTFLAGS='$(RACE)' scripts/test-stack.sh "$(STACK)"

test-isal: ## test the build with Intel's ISA-L (scripts/test-isal.sh -h)
	@scripts/test-isal.sh $(FUZZTIME)

schemathesis: ## send requests generated from the API's OpenAPI document to a collector on real Kafka; SEED=… EXAMPLES=…
	@scripts/test-stack.sh "$(STACK)" ./workers/e2e -run '^TestDocumentedRequestsAreAccepted$$' -v

soak: ## run the fault test for a long time; FOR=1h, NEMESIS_SEED=… replays a run
	@NEMESIS_FOR=$(or $(FOR),1h) scripts/test-stack.sh "$(STACK)" ./workers/e2e -run '^TestNemesis$$' -v

stack-up: ## start real Kafka, Redis and S3, and leave them running (scripts/stack.sh -h)
	@scripts/stack.sh up "$(STACK)"

stack-down: ## stop the servers of stack-up, and remove their data
	@scripts/stack.sh down "$(STACK)"
	@[ ! -s "$(STACK)/brokers" ] || rm -rf "$(STACK)"

lint: $(LINT) ## run go vet and golangci-lint
	go vet ./...
	go vet -tags ablation,stack ./...
	$(LINT) run ./...
	$(LINT) run --build-tags ablation,stack ./...

$(LINT):
	@echo 'make: building golangci-lint $(LINT_VERSION), once' >&2
	@GOFLAGS= GOBIN=$(@D) scripts/retry.sh go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)

vuln: $(VULN) ## check modules against their checksums, and code against known vulnerabilities (scripts/vuln.sh -h)
	@scripts/vuln-test.sh $(VULN)
	@scripts/vuln.sh $(VULN)

$(VULN):
	@echo 'make: building govulncheck $(VULN_VERSION), once' >&2
	@GOFLAGS= GOBIN=$(@D) scripts/retry.sh go install golang.org/x/vuln/cmd/govulncheck@$(VULN_VERSION)

bench: ## run Go benchmarks; BENCH=regexp
	go test -run '^$$' -bench '$(BENCH)' -benchmem -timeout 60m ./...

profile: ## profile a role under load; ROLE=appender, collector, copier or writer; OUT=profiles
	@scripts/profile.sh $(or $(ROLE),appender) $(or $(OUT),profiles)

bench-isolation: ## compare the freshness of 160 destinations with and without 40 broken ones beside them; RUNS=3
	go test -run '^$$' -bench Isolation -benchtime $(or $(RUNS),3)x -v -timeout 60m ./workers/e2e

bench-collector: ## compare the collector with bare handlers, on real Kafka; ROUNDS=3 JITSU=DIR (scripts/bench-collector.sh -h)
	@scripts/bench-collector.sh $(ROUNDS)

bench-fleet: ## measure the whole fleet on real servers, as a table and a plot; SOURCES="50 500 2000" EVENTS=1000000 ROUNDS=3 REF=… OUT=fleet.jsonl (scripts/bench-fleet.sh -h)
	$(if $(OUT),,@rm -f fleet.jsonl)
	@scripts/bench-fleet.sh --events $(or $(EVENTS),1000000) --sources "$(or $(SOURCES),50 500 2000)" --rounds $(or $(ROUNDS),3) $(if $(REF),--ref $(REF)) $(or $(OUT),fleet.jsonl)
	@go run ./workers/e2e/figures plot $(or $(OUT),fleet.jsonl) >workers/e2e/figures/fleet.svg

bench-copy: ## compare one copier with bare loops of requests for the same bytes, on real servers; REF=… DELAY=30ms OUT=copy.jsonl (scripts/bench-copy.sh -h)
	$(if $(OUT),,@rm -f copy.jsonl)
	@scripts/bench-copy.sh $(if $(REF),--ref $(REF)) $(if $(DELAY),--delay $(DELAY)) $(or $(OUT),copy.jsonl)

bench-peers: ## compare with a hand-written program and, with BENTO=PATH, Bento; SOURCES="50 2000" EVENTS=1000000 ROUNDS=3 PEERS="baseline sealift" LEVEL=6 OUT=peers.jsonl (scripts/bench-peers.sh -h)
	$(if $(OUT),,@rm -f peers.jsonl)
	@BENTO='$(BENTO)' scripts/bench-peers.sh --events $(or $(EVENTS),1000000) --sources "$(or $(SOURCES),50 2000)" --rounds $(or $(ROUNDS),3) --level $(or $(LEVEL),6) $(if $(PEERS),--peers "$(PEERS)") $(or $(OUT),peers.jsonl)

bench-scale: ## measure one appender with 100,000 open streams, sealing them all, and overloaded; REF=… OUT=scale.jsonl (scripts/bench-scale.sh -h)
	$(if $(OUT),,@rm -f scale.jsonl)
	@scripts/bench-scale.sh $(if $(REF),--ref $(REF)) streams $(or $(OUT),scale.jsonl)
	@scripts/bench-scale.sh $(if $(REF),--ref $(REF)) overload $(or $(OUT),scale.jsonl)

bench-plan: ## measure the constants of `sealift plan` again, and the table and plot of the README (scripts/bench-plan.sh -h)
	@scripts/bench-plan.sh

bench-compare: ## compare Go benchmarks of the working tree with those of REF, by benchstat; BENCH=regexp PKG=./pkg/segment COUNT=6
	@scripts/bench-compare.sh "$(REF)" "$(BENCH)" "$(or $(PKG),./pkg/...)" "$(or $(COUNT),6)"

bench-sync: build ## compare sealift files sync with aws s3 sync; ROUNDS=3 (scripts/bench-sync.sh -h)
	@scripts/bench-sync.sh $(ROUNDS)

fuzz: ## run every fuzz target for FUZZTIME (default 10s)
	@scripts/fuzz.sh $(FUZZTIME)

clean: ## remove build results
	rm -rf bin dist

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
