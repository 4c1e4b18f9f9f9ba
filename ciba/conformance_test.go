package ciba

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"assent/ciba/rowtest"
)

var rowsFolder = flag.String("rows", "", "folder with the rows that a run has reached: check them against CONFORMANCE.md")

// rowsWritten is how many rows CONFORMANCE.md has: REQ-001 to this one, none left out and none twice.
const rowsWritten = 292

// verdicts is what a row can be, and whether a test must reach it.
var verdicts = map[string]bool{"done": true, "refused": true, "not offered": true, "elsewhere": false, "not yet": false}

// tableRow is one line of CONFORMANCE.md.
type tableRow struct {
	section, name, what, verdict string
	tests                        []string // where it is pinned
}

var tableLine = regexp.MustCompile(`^\| (REQ-[0-9]{3}) \| (.+) \| ([a-z ]+) \| (.*) \|$`)

var pinned = regexp.MustCompile("`([^`]+)`")

func conformanceTable(t *testing.T) []tableRow {
	t.Helper()
	raw, err := os.ReadFile("CONFORMANCE.md")
	must(t, err)
	var table []tableRow
	section := ""
	for line := range strings.Lines(string(raw)) {
		line = strings.TrimRight(line, "\n")
		if title, ok := strings.CutPrefix(line, "## "); ok {
			section = title
		}
		m := tableLine.FindStringSubmatch(line)
		if m == nil && strings.HasPrefix(line, "| REQ-") {
			t.Errorf("cannot read %q", line)
		}
		if m == nil {
			continue
		}
		r := tableRow{section: section, name: m[1], what: m[2], verdict: m[3]}
		for _, p := range pinned.FindAllStringSubmatch(m[4], -1) {
			r.tests = append(r.tests, p[1])
		}
		table = append(table, r)
	}
	return table
}

// TestConformanceTable: every row is there once, says what we do, and names tests that exist.
func TestConformanceTable(t *testing.T) {
	table := conformanceTable(t)
	declared := declaredTests(t)
	for i, r := range table {
		if want := fmt.Sprintf("REQ-%03d", i+1); r.name != want {
			t.Fatalf("row %d is %s, want %s", i+1, r.name, want)
		}
		must, known := verdicts[r.verdict]
		if !known {
			t.Errorf("%s: %q is not a verdict", r.name, r.verdict)
		}
		if must && len(r.tests) == 0 {
			t.Errorf("%s: %s, and no test is named", r.name, r.verdict)
		}
		for _, name := range r.tests {
			if !declared[name] {
				t.Errorf("%s: %s does not exist", r.name, name)
			}
		}
	}
	if len(table) != rowsWritten {
		t.Errorf("%d rows, want %d", len(table), rowsWritten)
	}
}

var declaration = regexp.MustCompile(`(?m)^func ((?:Test|Benchmark|Fuzz)\w+)\(`)

// declaredTests is the names of all tests of this module.
func declaredTests(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for _, depth := range []string{"*", "*/*", "*/*/*"} {
		files, err := filepath.Glob(filepath.Join("..", depth, "*_test.go"))
		must(t, err)
		for _, file := range files {
			raw, err := os.ReadFile(file)
			must(t, err)
			for _, m := range declaration.FindAllSubmatch(raw, -1) {
				names[string(m[1])] = true
			}
		}
	}
	return names
}

// TestConformanceReached compares the rows that a run has reached with the table; `make conformance` does that run.
func TestConformanceReached(t *testing.T) {
	if *rowsFolder == "" {
		t.Skip("needs -rows and the folder of a run with " + rowtest.Folder)
	}
	reached, err := rowtest.Reached(*rowsFolder)
	must(t, err)
	counts := map[string]int{}
	for _, r := range conformanceTable(t) {
		counts[r.verdict]++
		tests := reached[r.name]
		delete(reached, r.name)
		if !verdicts[r.verdict] {
			if len(tests) > 0 {
				t.Logf("%s is %q, and %s reaches it", r.name, r.verdict, tests[0])
			}
			continue
		}
		for _, want := range r.tests {
			if !strings.HasPrefix(want, "Benchmark") && !slices.ContainsFunc(tests, func(got string) bool { return got == want || strings.HasPrefix(got, want+"/") }) {
				t.Errorf("%s is %s, and %s has not reached it, only %q", r.name, r.verdict, want, tests)
			}
		}
	}
	for r, tests := range reached {
		t.Errorf("%s reaches %s, which is not in the table", tests[0], r)
	}
	for _, v := range []string{"done", "refused", "not offered", "elsewhere", "not yet"} {
		t.Logf("%-12s %d", v, counts[v])
	}
}
