package main

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// refusal is what assent says when it does not start.
func refusal(t *testing.T, env []string, data string) string {
	t.Helper()
	p, err := startProcess(devArgs(data), append(os.Environ(), env...))
	if err == nil {
		p.kill()
		t.Fatal("it started")
	}
	if strings.Contains(err.Error(), "panic") || strings.Contains(err.Error(), "not ready after") {
		t.Errorf("it ended badly: %v", err)
	}
	return err.Error()
}

// command runs assent to its end.
func command(t *testing.T, args ...string) (out string, err error) {
	t.Helper()
	binary, err := exec.LookPath("assent")
	if err != nil {
		t.Fatal(err)
	}
	var both bytes.Buffer
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Stdout, cmd.Stderr = &both, &both
	err = cmd.Run()
	return both.String(), err
}

func TestSecondProcess(t *testing.T) {
	data := newData(t)
	p := restartDev(t, data)
	if got := refusal(t, nil, data); !strings.Contains(got, "another assent process (pid ") || !strings.Contains(got, "--data") {
		t.Errorf("a second process says: %s", got)
	}
	must(t, http.StatusOK)(bot(p.issuer).ask(t.Context(), nil, nil)) // the first one has not noticed
}

// What a kill leaves behind, a lock file and a socket, is no obstacle.
func TestLeftovers(t *testing.T) {
	data := newData(t)
	restartDev(t, data).kill()
	for _, name := range []string{"admin.sock", "LOCK"} {
		if _, err := os.Lstat(filepath.Join(data, name)); err != nil {
			t.Errorf("a kill leaves no %s: %v", name, err)
		}
	}
	if out, err := command(t, "doctor", "--stopped", "--data", data); err != nil || !strings.Contains(out, "not running") {
		t.Errorf("doctor on the stopped folder: %v\n%s", err, out)
	}
	restartDev(t, data)
	if out, err := command(t, "agent", "list", "--data", data); err != nil || !strings.Contains(out, "Travel Bot") {
		t.Errorf("agent list after a restart: %v\n%s", err, out)
	}
	if out, err := command(t, "doctor", "--stopped", "--data", data); err != nil {
		t.Errorf("doctor: %v\n%s", err, out)
	}
}

func TestRootKey(t *testing.T) {
	data := newData(t)
	if err := restartDev(t, data).stop(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(data, "root.key")
	kept, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	other := newData(t)
	if err := restartDev(t, other).stop(); err != nil {
		t.Fatal(err)
	}
	foreign, err := os.ReadFile(filepath.Join(other, "root.key"))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		key  []byte // nil: no file
		env  []string
		want string
	}{
		{"missing", nil, nil, "put that key back"},
		{"of another store", foreign, nil, "this is not the key that"},
		{"cut off", kept[:len(kept)/2], nil, "root key"},
		{"empty", []byte{}, nil, "root key"},
		{"elsewhere and missing", kept, []string{"ASSENT_ROOT_KEY_FILE=" + path + ".nowhere"}, "root.key.nowhere"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			os.Remove(path)
			if tt.key != nil {
				if err := os.WriteFile(path, tt.key, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got := refusal(t, tt.env, data)
			if !strings.Contains(got, tt.want) {
				t.Errorf("it says: %s", got)
			}
			if secret := strings.TrimSpace(string(tt.key)); secret != "" && strings.Contains(got, secret) {
				t.Error("it says the key")
			}
			if tt.key == nil {
				if _, err := os.Stat(path); err == nil {
					t.Error("it made another key")
				}
			}
		})
	}
	if err := os.WriteFile(path, kept, 0o600); err != nil {
		t.Fatal(err)
	}
	restartDev(t, data) // nothing of this has harmed the store
}

// Told to stop, the service sends held polls and live pages home, and is gone within two seconds.
func TestStop(t *testing.T) {
	const stopWithin = 2 * time.Second
	p := newDev(t)
	agent := bot(p.issuer)
	id := must(t, http.StatusOK)(agent.ask(t.Context(), nil, nil)).member("auth_req_id")
	ann := newBrowser()
	if err := ann.openOnPhone(t.Context(), p.pages, "u_ann", startTime); err != nil {
		t.Fatal(err)
	}
	request, _, _ := strings.Cut(id, ".")
	stream, err := http.NewRequestWithContext(context.Background(), "GET", p.pages+"/live?request="+request, nil)
	if err != nil {
		t.Fatal(err)
	}
	live, err := ann.http.Do(stream)
	if err != nil || live.StatusCode != http.StatusOK || live.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("live page: %v %v", live, err)
	}
	defer live.Body.Close()
	idle := bot(p.issuer) // a connection that is kept alive and does nothing
	must(t, http.StatusBadRequest)(idle.poll(t.Context(), "nobody", nil))

	poll, err := agent.request(t.Context(), "/token", pollForm(id), http.Header{"Prefer": {"wait=25"}})
	if err != nil {
		t.Fatal(err)
	}
	held := &rawCall{name: "held poll", req: poll}
	held.send(t)
	held.silent(t, time.Now().Add(300*time.Millisecond))

	began := time.Now()
	if err := p.stop(); err != nil {
		t.Errorf("stop: %v\n%s", err, p.log())
	}
	if took := time.Since(began); took > stopWithin {
		t.Errorf("it took %v to stop", took)
	}
	if a := held.answer(t); a.status != http.StatusBadRequest || a.member("error") != "authorization_pending" {
		t.Errorf("held poll: %d %s", a.status, a.body)
	}
	var rest bytes.Buffer
	if _, err := rest.ReadFrom(live.Body); err != nil {
		t.Errorf("live page was cut off: %v", err)
	}
	if !strings.Contains(rest.String(), "event: show") {
		t.Errorf("live page: %s", rest.String())
	}
}
