package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// benchEmptyCmd is the yardstick: what net/http alone costs on this machine, as a process of its own like the service.
type benchEmptyCmd struct {
	Listen string `default:"127.0.0.1:0" help:"Loopback address."`
}

// Run serves a handler that parses the form and answers a small JSON object, with the service's own server settings.
func (c *benchEmptyCmd) Run(ctx context.Context, s streams) error {
	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	answer := []byte(`{"auth_req_id":"` + strings.Repeat("0", 70) + `","expires_in":300,"interval":2}`)
	log := newLogger(s.err, "info")
	server := (&service{log: log}).server(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil || r.PostForm.Get("client_id") == "" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = w.Write(answer)
	}))
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	log.Info("ready", "listen", listener.Addr().String())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// child is a process of this same binary that the benchmark measures.
type child struct {
	cmd    *exec.Cmd
	log    string // file with its standard error: writing it costs what it costs anywhere
	listen string
	issuer string
	data   string
	ended  chan struct{} // closed when the process is over
	err    error         // how it ended
}

// childStart is how long a child may take to say that it is ready, childStop to end.
const (
	childStart = 20 * time.Second
	childStop  = 20 * time.Second
)

// startChild runs this binary with args and waits for its line "ready".
func startChild(ctx context.Context, folder, name string, args ...string) (*child, error) {
	binary, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.CommandContext(ctx, binary, args...), log: filepath.Join(folder, name+".log"),
		ended: make(chan struct{})}
	out, err := os.OpenFile(c.log, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close() // the child has its own
	c.cmd.Args[0] = os.Args[0]
	c.cmd.Stderr = out
	c.cmd.Cancel = func() error { return c.cmd.Process.Signal(syscall.SIGTERM) }
	c.cmd.WaitDelay = childStop
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		c.err = c.cmd.Wait()
		close(c.ended)
	}()
	if err := c.ready(ctx); err != nil {
		c.stop()
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return c, nil
}

// ready waits for the line that says where the child listens.
func (c *child) ready(ctx context.Context) error {
	deadline := time.Now().Add(childStart)
	for time.Now().Before(deadline) {
		if line, ok := c.logged("ready"); ok {
			c.listen, c.issuer = line.Listen, line.Issuer
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.ended:
			return fmt.Errorf("it ended: %w; it said: %s", c.err, c.lastLine())
		case <-time.After(10 * time.Millisecond): // another process: there is nothing to be woken by
		}
	}
	return fmt.Errorf("not ready after %v", childStart)
}

// logLine is what we read of a child's log.
type logLine struct {
	Msg    string `json:"msg"`
	Listen string `json:"listen"`
	Issuer string `json:"issuer"`
}

func (c *child) logged(msg string) (line logLine, found bool) {
	raw, err := os.ReadFile(c.log)
	if err != nil {
		return line, false
	}
	for text := range strings.Lines(string(raw)) {
		line = logLine{}
		if json.Unmarshal([]byte(text), &line) == nil && line.Msg == msg {
			return line, true
		}
	}
	return line, false
}

func (c *child) lastLine() string {
	raw, _ := os.ReadFile(c.log)
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	return lines[len(lines)-1]
}

// stop asks the child to end and waits until it has.
func (c *child) stop() {
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	select {
	case <-c.ended:
	case <-time.After(childStop):
		_ = c.cmd.Process.Kill()
		<-c.ended
	}
}

// startService runs `assent serve` over a new data folder.
func startService(ctx context.Context, folder, name string, args ...string) (*child, error) {
	data := filepath.Join(folder, name)
	if err := os.Mkdir(data, 0o700); err != nil {
		return nil, err
	}
	args = append([]string{"serve", "--data", data, "--listen", "127.0.0.1:0"}, args...)
	c, err := startChild(ctx, folder, name, args...)
	if err != nil {
		return nil, err
	}
	c.data = data
	return c, nil
}

// productionArgs put a service behind the load generator as behind a TLS terminator. A few people are asked by everybody.
func productionArgs() []string {
	return []string{"--issuer", "https://approve.example.com", "--trusted-proxy", "127.0.0.1/32",
		"--people-per-minute", "0", "--prompts-per-minute", "0", "--prompts-open", "0", "--cool-down", "0", "--person-messages", "0"}
}

// counters are the metrics of a running service by name and labels, as /metrics writes them.
type counters map[string]float64

// Names of the counters that the benchmark reads.
const (
	countCommits = "approvals_store_commits_total"
	countWrites  = "approvals_store_writes_total"
	countCPU     = "process_cpu_seconds_total"
	countMemory  = "process_resident_memory_bytes"
	countHeap    = "go_memstats_heap_alloc_bytes"
	countOpen    = "approvals_http_open_answers"
	countEvents  = `approvals_bus_messages{stream="EVENTS"}`
	queuedPrefix = "approvals_bus_unacknowledged_messages"
)

func (c *child) counters(ctx context.Context) (counters, error) {
	api, err := newAdminClient(c.data)
	if err != nil {
		return nil, err
	}
	defer api.http.CloseIdleConnections()
	resp, err := api.open(ctx, "GET", "/metrics", nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return parseCounters(resp.Body)
}

func parseCounters(r io.Reader) (counters, error) {
	out := counters{}
	for lines := bufio.NewScanner(r); lines.Scan(); {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return nil, fmt.Errorf("read metrics: %s is not a number", name)
		}
		out[name] = n
	}
	return out, nil
}

// queued is how much the bus has not seen done.
func (c counters) queued() (n float64) {
	for name, v := range c {
		if strings.HasPrefix(name, queuedPrefix) {
			n += v
		}
	}
	return n
}

// drained waits until the bus has had that many more events since before, and everything on it is done.
func (c *child) drained(ctx context.Context, before counters, events int) (counters, error) {
	for {
		now, err := c.counters(ctx)
		if err != nil {
			return nil, err
		}
		sum, known := now[countEvents] // a bus that is too busy to be asked is not known to be empty
		if known && sum-before[countEvents] >= float64(events) && now.queued() == 0 {
			return now, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-c.ended:
			return nil, fmt.Errorf("the service ended: %w", c.err)
		case <-time.After(20 * time.Millisecond): // counters cannot be watched
		}
	}
}

// profile writes a CPU profile of the service while a phase runs; done waits for it.
func (c *child) profile(ctx context.Context, file string, seconds int) (done func() error) {
	result := make(chan error, 1)
	go func() { result <- c.writeProfile(ctx, file, "profile?seconds="+strconv.Itoa(seconds)) }()
	return func() error { return <-result }
}

// writeProfile writes one of the profiles of net/http/pprof, such as "heap?gc=1".
func (c *child) writeProfile(ctx context.Context, file, which string) error {
	api, err := newAdminClient(c.data)
	if err != nil {
		return err
	}
	defer api.http.CloseIdleConnections()
	resp, err := api.open(ctx, "GET", "/debug/pprof/"+which, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, resp.Body)
	return errors.Join(err, f.Close())
}
