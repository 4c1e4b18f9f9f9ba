package main

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What lies on the disk after a day's work: nobody who finds it can collect, decide or sign in with it, and what went
// over the bus says nothing at all (REQ-123, 128, 278 to 280, 283).
func TestAtRest(t *testing.T) {
	row(t, "REQ-123", "REQ-128", "REQ-278", "REQ-279", "REQ-280")
	data := newData(t)
	people := fmt.Sprintf(`{"clients":[{"client_id":"bot","client_name":"Travel Bot","client_secret":%q,
	  "authorization_details_types":["payment_initiation","tool_call"]}],
	  "people":[{"sub":"u_ann","login_hints":[%q],"name":%q,"locale":"en","zone":"UTC","phone":%q,"email":%q}]}`,
		canarySecret, canaryHint, canaryName, canaryPhone, canaryEmail)
	if err := os.WriteFile(filepath.Join(data, "..", "fixtures.json"), []byte(people), 0o600); err != nil {
		t.Fatal(err)
	}
	p := restartDev(t, data)
	day := newCanaryDay(t, p, data)
	day.work()
	messages := day.messages()
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	stored, bus := contents(t, filepath.Join(data, "assent.db")), contents(t, filepath.Join(data, "jetstream"))
	id, _, _ := strings.Cut(day.handles["auth_req_id"], ".")
	if !strings.Contains(stored, id) || !strings.Contains(bus, id) || !strings.Contains(stored, canaryPayee) || len(messages) < 100 {
		t.Fatalf("too little to look at: %d, %d and %d bytes", len(stored), len(bus), len(messages))
	}
	secrets := map[string]string{"client secret": canarySecret, "user code": canaryCode, "notification token": canaryPush}
	for name, value := range day.handles {
		if name != "one-time code" { // six digits are in every large file
			secrets[name] = value
		}
	}
	for i, value := range day.cookie {
		secrets[fmt.Sprintf("cookie %d", i)] = value
	}
	for name, value := range secrets {
		day.absent(map[string]string{"store": stored, "bus": bus}, name, value)
	}
	for name, value := range map[string]string{"hint": canaryHint, "name": canaryName, "payee": canaryPayee, "reason": canaryReason,
		"binding message": canaryBinding, "note": canaryNote, "phone": canaryPhone, "e-mail": canaryEmail} {
		day.absent(map[string]string{"bus": bus}, name, value)
	}
	for _, name := range []string{"auth_req_id", "second auth_req_id", "access token"} {
		day.absent(map[string]string{"messages": messages}, name, day.handles[name])
	}
}

// messages is everything that was sent to the person's phone.
func (d *canaryDay) messages() string {
	d.t.Helper()
	req, err := http.NewRequestWithContext(d.t.Context(), "GET", d.p.pages+"/dev/phone/u_ann", nil)
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header.Set("Accept", "application/json")
	a, err := do(http.DefaultClient, req)
	if err != nil || a.status != http.StatusOK {
		d.t.Fatalf("phone: %v, %d", err, a.status)
	}
	return string(a.body)
}

// contents is everything in a file or below a folder.
func contents(t *testing.T, path string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(path, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		all.Write(raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}
