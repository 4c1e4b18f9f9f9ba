package main

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// The benchmark measures every phase without a wrong answer, follows some answers to the end, and leaves nothing behind.
// What it measures is no business of a test.
func TestBench(t *testing.T) {
	folder, err := os.MkdirTemp("", "assent") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	binary, err := exec.LookPath("assent")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary, "bench", "--json", "--data", folder, "--seconds", "0.2",
		"--connections", "4", "--requests", "20", "authorize", "poll", "redeem", "decide", "channels")
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	var report benchReport
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if len(report.Rows) != 15 {
		t.Errorf("%d rows, want 15: %s", len(report.Rows), out.String())
	}
	for _, row := range report.Rows {
		if row.Operations == 0 || row.PerSecond <= 0 || row.Errors > 0 {
			t.Errorf("%s: %d done, %d wrong: %s", row.Work, row.Operations, row.Errors, row.Problem)
		}
		if (row.Phase == "poll" && row.OfEmpty > 0 || row.Phase == "decide") && row.Checked == 0 {
			t.Errorf("%s: no answer was followed to the end", row.Work)
		}
	}
	if left, _ := os.ReadDir(folder); len(left) > 0 {
		t.Errorf("%s was left behind", left[0].Name())
	}
}

func TestBenchRefuses(t *testing.T) {
	for name, c := range map[string]benchCmd{
		"phase":       {Phases: []string{"guess"}, Connections: 1, Seconds: 1, Requests: 1},
		"connections": {Connections: 0, Seconds: 1, Requests: 1},
		"seconds":     {Connections: 1, Seconds: 0, Requests: 1},
		"requests":    {Connections: 1, Seconds: 1, Requests: 0},
	} {
		if err := c.check(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The load generator reads answers as RFC 9112 frames them, several on one connection, and takes no other for an answer.
func TestWire(t *testing.T) {
	tests := []struct {
		name, answer, body string
		status             int
		wrong              bool
	}{
		{name: "length", answer: "HTTP/1.1 400 Bad Request\r\ncontent-length: 4\r\nX: y\r\n\r\nbody", status: 400, body: "body"},
		{name: "chunks", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\na\r\n0123456789\r\n0\r\n\r\n", status: 200, body: "abc0123456789"},
		{name: "no body", answer: "HTTP/1.1 204 No Content\r\n\r\n", status: 204},
		{name: "other protocol", answer: "SMTP/1.1 200 OK\r\n\r\n", wrong: true},
		{name: "no status", answer: "HTTP/1.1 abc\r\n\r\n", wrong: true},
		{name: "length below nothing", answer: "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", wrong: true},
		{name: "cut", answer: "HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nshort", wrong: true},
		{name: "chunk of no size", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", wrong: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := wireTo(t, strings.Repeat(tt.answer, 2))
			for range 2 {
				status, body, err := w.do([]byte("GET / HTTP/1.1\r\n\r\n"))
				if tt.wrong {
					if err == nil {
						t.Errorf("accepted with status %d", status)
					}
					return
				}
				if err != nil || status != tt.status || string(body) != tt.body {
					t.Errorf("got %d %q %v", status, body, err)
				}
			}
		})
	}
}

// wireTo connects to a server that says answer, whatever it is asked, and hangs up.
func wireTo(t *testing.T, answer string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		conn.Write([]byte(answer))
		conn.(*net.TCPConn).CloseWrite()
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		conn.Read(make([]byte, 1<<10))
		conn.Read(make([]byte, 1<<10))
		conn.Close()
	}()
	w, err := dialWire(t.Context(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.conn.Close() })
	return w
}

func TestCounters(t *testing.T) {
	got, err := parseCounters(strings.NewReader("# HELP x y\nx 3\nx_total{a=\"b\"} 1.5e+02\n" + queuedPrefix + "{consumer=\"c\"} 7\n"))
	if err != nil || got["x"] != 3 || got[`x_total{a="b"}`] != 150 || got.queued() != 7 {
		t.Errorf("%v %v", got, err)
	}
	if _, err := parseCounters(strings.NewReader("x many\n")); err == nil {
		t.Error("a counter that is no number was accepted")
	}
}
