// Package rowtest lets tests say which rows of ciba/CONFORMANCE.md they assert. It refuses to judge them: the table and
// the check that compares it with a run are in package ciba.
package rowtest

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Folder is the environment variable that names the folder for the rows a run has reached. Without it nothing is
// written.
const Folder = "ASSENT_ROWS"

var name = regexp.MustCompile(`^REQ-[0-9]{3}$`)

// Row says that t asserts these rows. They are reached when t has ended and has neither failed nor been skipped. The
// names may come from a table of tests: of "REQ-123 empty" the first word counts, and what does not begin with REQ,
// such as the section of a specification, is no row.
func Row(t testing.TB, names ...string) {
	t.Helper()
	var rows []string
	for _, n := range names {
		r, _, _ := strings.Cut(n, " ")
		if !strings.HasPrefix(r, "REQ") {
			continue
		}
		if !name.MatchString(r) {
			t.Errorf("%q is not the name of a row", r)
		}
		rows = append(rows, r)
	}
	dir := os.Getenv(Folder)
	if dir == "" {
		return
	}
	t.Cleanup(func() {
		if t.Failed() || t.Skipped() {
			return
		}
		if err := note(dir, t.Name(), rows); err != nil {
			t.Errorf("note reached rows: %v", err)
		}
	})
}

// note adds rows to the file of this process. One write a call, so that parallel tests do not mix their lines.
func note(dir, test string, rows []string) error {
	process := filepath.Base(os.Args[0]) + "." + strconv.Itoa(os.Getpid())
	f, err := os.OpenFile(filepath.Join(dir, process), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	var lines strings.Builder
	for _, r := range rows {
		lines.WriteString(r + " " + test + "\n")
	}
	_, err = f.WriteString(lines.String())
	return err
}

// Reached is which tests have reached which row, as the processes of a run have noted it in dir.
func Reached(dir string) (map[string][]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return nil, err
	}
	reached := map[string][]string{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(raw)) {
			r, test, _ := strings.Cut(strings.TrimSpace(line), " ")
			reached[r] = append(reached[r], test)
		}
	}
	return reached, nil
}
