package ciba

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var mutate = flag.Bool("mutants", false, "break each line of testdata/mutants in turn: its tests must fail")

// leastMutants is how many rows are broken at the least, spread over all sections of CONFORMANCE.md.
const leastMutants = 20

// mutant is one line of ours, spoiled so that one row does not hold any more.
type mutant struct {
	row, says     string   // REQ-123, and what is broken
	tests         []string // that must notice
	pkg           string   // where they are
	file          string   // that the line is in, from the top
	before, after string   // the line, without its indentation
}

// readMutants reads testdata/mutants. Each file has the five lines that a mutant needs.
func readMutants(t *testing.T) (all []mutant) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "mutants", "*.diff"))
	must(t, err)
	for _, path := range files {
		raw, err := os.ReadFile(path)
		must(t, err)
		lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
		if len(lines) != 5 {
			t.Fatalf("%s: %d lines, want 5", path, len(lines))
		}
		var m mutant
		var tests string
		for i, field := range []struct {
			prefix string
			value  *string
		}{{"row ", &m.row}, {"tests ", &tests}, {"file ", &m.file}, {"-", &m.before}, {"+", &m.after}} {
			text, ok := strings.CutPrefix(lines[i], field.prefix)
			if !ok {
				t.Fatalf("%s: line %d does not begin with %q", path, i+1, field.prefix)
			}
			*field.value = strings.TrimSpace(text)
		}
		m.row, m.says, _ = strings.Cut(m.row, ": ")
		named, pkg, _ := strings.Cut(tests, " in ")
		m.tests, m.pkg = strings.Fields(named), pkg
		if !strings.HasPrefix(filepath.Base(path), m.row) || m.says == "" {
			t.Errorf("%s: is about %s: %s", path, m.row, m.says)
		}
		all = append(all, m)
	}
	return all
}

// TestMutantsFit: every line that a mutant breaks is still there, once, and its tests are those that the table names.
func TestMutantsFit(t *testing.T) {
	named := map[string]tableRow{}
	for _, r := range conformanceTable(t) {
		named[r.name] = r
	}
	all, sections := readMutants(t), map[string]bool{}
	for _, m := range all {
		if _, err := m.spoil(); err != nil {
			t.Error(err)
		}
		r := named[m.row]
		for _, test := range m.tests {
			if !slices.Contains(r.tests, test) {
				t.Errorf("%s: %s is not among its tests in CONFORMANCE.md", m.row, test)
			}
		}
		if len(m.tests) == 0 {
			t.Errorf("%s: no tests", m.row)
		}
		sections[r.section] = true
	}
	if len(all) < leastMutants {
		t.Errorf("%d mutants, want %d or more", len(all), leastMutants)
	}
	for _, r := range named {
		if r.verdict == "done" && !sections[r.section] {
			t.Errorf("no row of section %s is broken", r.section)
			sections[r.section] = true
		}
	}
}

// spoil returns the file with the broken line.
func (m mutant) spoil() (string, error) {
	raw, err := os.ReadFile(filepath.Join("..", m.file))
	if err != nil {
		return "", fmt.Errorf("%s: %w", m.row, err)
	}
	lines, found := strings.Split(string(raw), "\n"), 0
	for i, line := range lines {
		if strings.TrimSpace(line) == m.before {
			lines[i] = m.after
			found++
		}
	}
	if found != 1 || m.before == m.after {
		return "", fmt.Errorf("%s: %s has the line %d times, want once: %s", m.row, m.file, found, m.before)
	}
	return strings.Join(lines, "\n"), nil
}

// TestMutants compiles each mutant and runs its tests. They must fail, each by its name, and pass without the mutant.
func TestMutants(t *testing.T) {
	if !*mutate {
		t.Skip("needs -mutants: compiles everything again and again")
	}
	all, tests := readMutants(t), map[string][]string{}
	for _, m := range all {
		tests[m.pkg] = append(tests[m.pkg], m.tests...)
	}
	for pkg, names := range tests {
		if out, err := goTest(t, pkg, names, ""); err != nil {
			t.Fatalf("they fail without any mutant: %v\n%s", err, out)
		}
	}
	for _, m := range all {
		t.Run(m.row, func(t *testing.T) {
			out, err := goTest(t, m.pkg, m.tests, m.overlay(t))
			if err == nil {
				t.Fatalf("%s: nobody notices", m.says)
			}
			for _, name := range m.tests {
				if !strings.Contains(out, "--- FAIL: "+name+" (") {
					t.Errorf("%s: %s does not notice\n%s", m.says, name, out)
				}
			}
		})
	}
}

// overlay writes what makes the go command see the broken file.
func (m mutant) overlay(t *testing.T) string {
	t.Helper()
	text, err := m.spoil()
	must(t, err)
	dir := t.TempDir()
	broken, path := filepath.Join(dir, "broken.go"), filepath.Join(dir, "overlay.json")
	must(t, os.WriteFile(broken, []byte(text), 0o600))
	file, err := filepath.Abs(filepath.Join("..", m.file))
	must(t, err)
	raw, err := json.Marshal(map[string]map[string]string{"Replace": {file: broken}})
	must(t, err)
	must(t, os.WriteFile(path, raw, 0o600))
	return path
}

// goTest runs some tests of a package, with an overlay or without.
func goTest(t *testing.T, pkg string, names []string, overlay string) (string, error) {
	t.Helper()
	args := []string{"test", "-count=1", "-vet=off", "-timeout", "2m", "-run", "^(" + strings.Join(names, "|") + ")$"}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	cmd := exec.CommandContext(t.Context(), "go", append(args, pkg)...)
	cmd.Dir = ".."
	out, err := cmd.CombinedOutput()
	return string(out), err
}
