package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

type benchCmd struct {
	Data        string   `default:"." placeholder:"FOLDER" help:"Folder on the disk to measure. A new folder in it is used, and removed at the end."`
	Connections int      `default:"64" help:"Connections of the load generator."`
	Seconds     float64  `default:"5" help:"Time for each phase that goes by time."`
	Requests    int      `default:"40000" help:"Pending requests to poll. Fewer than what is polled in 1.5 s bring slow_down."`
	Phases      []string `arg:"" optional:"" placeholder:"PHASE" help:"What to measure: authorize, poll, redeem, decide, channels. Default: the first four."`
	Profile     string   `placeholder:"FOLDER" help:"Write a CPU profile of the service for each phase, and what it holds after those of channels."`
	JSON        bool     `help:"Print JSON."`
}

// Help is printed below the flags.
func (benchCmd) Help() string {
	return "Starts this binary as a service of its own over a new data folder, with default settings, and loads it over loopback " +
		"from the same machine. Beside it runs an empty handler that parses the same forms: the ratio says more than the number.\n\n" +
		"authorize and poll run behind a trusted proxy, as in production. redeem and decide run in dev mode, because there " +
		"decisions can be made without a person; every request then also goes to the simulated phone. channels sends text messages " +
		"to a provider that takes 50 ms, in a process of its own; beside it runs a bare loop that posts the same."
}

// benchReport is everything that was measured.
type benchReport struct {
	Machine benchMachine `json:"machine"`
	Rows    []benchRow   `json:"rows"`
}

// benchMachine is what the figures depend on.
type benchMachine struct {
	Cores      int     `json:"cores"`
	Go         string  `json:"go"`
	Platform   string  `json:"platform"`
	Folder     string  `json:"folder"`
	Filesystem string  `json:"filesystem"`
	SyncMillis float64 `json:"sync_ms"` // median of a 4 KiB write and its sync
}

// benchRow is one measured piece of work.
type benchRow struct {
	Phase      string         `json:"phase"`
	Work       string         `json:"work"`
	Operations int            `json:"operations"`
	Errors     int            `json:"errors"`
	Problem    string         `json:"problem,omitempty"` // the first error
	Seconds    float64        `json:"seconds"`
	PerSecond  float64        `json:"per_second"`
	P50        float64        `json:"p50_ms"`
	P99        float64        `json:"p99_ms"`
	OfEmpty    float64        `json:"of_empty_handler,omitempty"` // of a bare loop where messages are sent
	Commits    int            `json:"commits"`                    // durable transactions; each one syncs the file twice
	CPUMicros  float64        `json:"service_cpu_us"`
	Memory     int            `json:"service_memory_bytes,omitempty"`
	Memories   []int          `json:"service_memory_over_time,omitempty"` // at the start, in the middle, at the end
	Held       int            `json:"service_heap_bytes,omitempty"`       // in use at the end, after a collection
	Checked    int            `json:"checked"`                            // answers that were followed to the end
	Answers    map[string]int `json:"answers,omitempty"`
}

// Run measures and prints.
func (c *benchCmd) Run(ctx context.Context, s streams) (err error) {
	if err := c.check(); err != nil {
		return &exitError{exitUsage, err}
	}
	folder, err := os.MkdirTemp(c.Data, ".assent-bench-")
	if err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	b := &bench{benchCmd: c, folder: folder, progress: s.err}
	defer b.stop()
	if b.report.Machine, err = examineMachine(folder); err != nil {
		return err
	}
	for _, p := range c.wanted() {
		if err := b.phases()[p](ctx); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
	}
	if err := b.report.print(s.out, c.JSON); err != nil {
		return err
	}
	return b.report.verdict()
}

// wanted is what to measure; text messages only by name.
func (c *benchCmd) wanted() []string {
	if len(c.Phases) == 0 {
		return []string{"authorize", "poll", "redeem", "decide"}
	}
	return c.Phases
}

func (c *benchCmd) check() error {
	known := (&bench{benchCmd: c}).phases()
	for _, p := range c.Phases {
		if known[p] == nil {
			return fmt.Errorf("phase %q is none of authorize, poll, redeem, decide, channels", p)
		}
	}
	switch {
	case c.Connections < 1 || c.Connections > 10_000:
		return errors.New("--connections must be 1 to 10000")
	case c.Seconds < 0.1 || c.Seconds > 300:
		return errors.New("--seconds must be 0.1 to 300")
	case c.Requests < 1 || c.Requests > 1_000_000:
		return errors.New("--requests must be 1 to 1000000")
	}
	if c.Profile == "" {
		return nil
	}
	return os.MkdirAll(c.Profile, 0o755)
}

func examineMachine(folder string) (benchMachine, error) {
	m := benchMachine{Cores: runtime.NumCPU(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
		Filesystem: filesystemOf(folder)}
	var err error
	if m.Folder, err = filepath.Abs(filepath.Dir(folder)); err != nil {
		return m, err
	}
	took, err := syncTime(filepath.Join(folder, "sync"))
	m.SyncMillis = millis(took)
	return m, err
}

// filesystemOf returns type and device of the mount that holds path, as far as the system tells.
func filesystemOf(path string) string {
	path, err := filepath.Abs(path)
	raw, readErr := os.ReadFile("/proc/self/mountinfo")
	if err != nil || readErr != nil {
		return "unknown"
	}
	best, found := "", "unknown"
	for line := range strings.Lines(string(raw)) {
		mount, source, ok := strings.Cut(line, " - ")
		left, right := strings.Fields(mount), strings.Fields(source)
		if !ok || len(left) < 5 || len(right) < 2 {
			continue
		}
		point := strings.TrimSuffix(left[4], "/") + "/"
		if strings.HasPrefix(path+"/", point) && len(point) >= len(best) {
			best, found = point, right[0]+" on "+right[1]
		}
	}
	return found
}

// syncTime is how long the disk takes to make a page durable: every durable figure hangs on it.
func syncTime(path string) (time.Duration, error) {
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	page, took := make([]byte, 4<<10), make([]time.Duration, 51)
	for i := range took {
		began := time.Now()
		if _, err := f.Write(page); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		took[i] = time.Since(began)
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (r benchReport) print(w io.Writer, asJSON bool) error {
	if asJSON {
		out := json.NewEncoder(w)
		out.SetIndent("", "  ")
		return out.Encode(r)
	}
	m := r.Machine
	fmt.Fprintf(w, "%d cores, %s, %s; data in %s on %s, sync of 4 KiB %.2f ms; load generator on the same machine\n\n",
		m.Cores, m.Go, m.Platform, m.Folder, m.Filesystem, m.SyncMillis)
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "WORK\tDONE\tPER SECOND\tOF EMPTY\tP50 ms\tP99 ms\tCOMMITS\tCPU us\tCHECKED\tERRORS\t")
	for _, row := range r.Rows {
		fmt.Fprintf(t, "%s\t%d\t%.0f\t%s\t%.1f\t%.1f\t%d\t%.0f\t%d\t%d\t\n", row.Work, row.Operations, row.PerSecond,
			ratio(row.OfEmpty), row.P50, row.P99, row.Commits, row.CPUMicros, row.Checked, row.Errors)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, row := range r.Rows {
		if len(row.Answers) > 1 || row.Problem != "" {
			fmt.Fprintf(w, "%s: answers %v %s\n", row.Work, row.Answers, row.Problem)
		}
		if m := row.Memories; len(m) == 3 {
			fmt.Fprintf(w, "%s: memory %d MiB at the start, %d in the middle, %d at the end; %d in use after a collection\n", row.Work,
				m[0]>>20, m[1]>>20, m[2]>>20, row.Held>>20)
		}
	}
	_, err := fmt.Fprintln(w, "\nOF EMPTY: share of an empty handler's rate, or a bare loop's. CPU us: of the service, for each operation. "+
		"A commit syncs twice.")
	return err
}

func ratio(r float64) string {
	if r == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", r)
}

// verdict is an error when an answer was wrong: figures of a service that errs are worth nothing.
func (r benchReport) verdict() error {
	for _, row := range r.Rows {
		if row.Errors > 0 {
			return fmt.Errorf("%s: %d of %d answers were wrong, first: %s",
				row.Work, row.Errors, row.Errors+row.Operations, row.Problem)
		}
	}
	return nil
}
