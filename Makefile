# Everything a developer does here. `make` alone prints this list.

GO ?= go
TOOLS := -modfile=cmd/assent/tools/tools.mod

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

demo: ## a whole approval on this machine; open the printed link
	@$(GO) run ./cmd/assent demo

test: ## all tests, two minutes at most
	$(GO) test ./...

check: ## what CI runs: format, vet, staticcheck, race tests, conformance
	@unformatted="$$(gofmt -l .)"; test -z "$$unformatted" || { echo "gofmt would change: $$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) tool $(TOOLS) staticcheck ./...
	@$(MAKE) --no-print-directory conformance RACE=-race

conformance: ## all tests, and whether they reach the rows of ciba/CONFORMANCE.md
	@rows="$$(mktemp -d)"; trap 'rm -rf "$$rows"' EXIT; \
	  echo "$(GO) test $(RACE) ./..."; ASSENT_ROWS="$$rows" $(GO) test -timeout 20m $(RACE) ./... && \
	  $(GO) test -v -run '^TestConformanceReached$$' ./ciba -rows "$$rows"

screenshots: ## every screen as a picture, in OUT (default: a new folder)
	@out="$${OUT:-$$(mktemp -d)}"; mkdir -p "$$out"; out="$$(cd "$$out" && pwd)"; \
	  $(GO) test -count=1 -timeout 30m -run '^TestScreenshots$$' ./webapp -screens "$$out" && echo "written to $$out"

mutants: ## whether tests notice when one line of a row is broken
	$(GO) test -v -timeout 1h -run '^TestMutants' ./ciba -mutants

build: ## the release binary, ./assent
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w' -o assent ./cmd/assent

bench: build ## figures of README, on this machine
	./assent bench

long: ## crash and race tests with all their rounds (an hour)
	$(GO) test -timeout 3h ./store/... ./cmd/assent -long

fuzz: ## each fuzz target for T (default 1m)
	@for p in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz'); do \
	    echo "$$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $${T:-1m} $$p || exit 1; \
	  done; \
	done

.PHONY: help demo test check conformance screenshots mutants build bench long fuzz
.DEFAULT_GOAL := help
