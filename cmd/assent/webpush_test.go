package main

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"assent/approvals"
	"assent/approvals/keys"
	"assent/channels"
	"assent/channels/web"
	"assent/store"
)

// browserSubscription is one that a push service would give out, with the keys of RFC 8291, appendix A.
func browserSubscription(endpoint string) []byte {
	raw, _ := json.Marshal(map[string]any{"endpoint": endpoint, "keys": map[string]string{"auth": "BTBZMqHH6r4Tts7J_aSIgg",
		"p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"}})
	return raw
}

// TestPushTrap: where a browser says that it listens is a URL that a client chooses. Nothing inside is reached by it:
// neither by a host that is no push service, nor by the name of one that leads inside.
func TestPushTrap(t *testing.T) {
	tr := newTrap(t)
	inside := newDNS(t, func(string) []string { return []string{"127.0.0.1", "::1"} })
	now := time.Now
	db, err := store.Open(t.Context(), "bolt:"+filepath.Join(t.TempDir(), "assent.db"), now)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	root, err := keys.New(make([]byte, keys.Size))
	if err != nil {
		t.Fatal(err)
	}
	people := approvals.NewDirectory(db, approvals.NewHub(), 0, now)
	if err := people.SavePerson(t.Context(), &approvals.Person{ID: "ann", Name: "Ann"}); err != nil {
		t.Fatal(err)
	}
	guard := guardRules{resolver: inside, ports: []uint16{tr.port, 443}}
	channel, err := web.New(t.Context(), web.Parts{Records: db, Directory: people, Root: root,
		HTTP:    newGuardedClient(guard),
		Contact: "mailto:push@example.com", PagesURL: "https://approve.example.com", Now: now,
		Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for _, endpoint := range []string{tr.url("127.0.0.1"), tr.url("localhost"), tr.url("[::1]"),
		tr.url("fcm.googleapis.com"),
		strings.Replace(tr.url("127.0.0.1"), "https", "http", 1), "https://fcm.googleapis.com@127.0.0.1/",
		"https://metadata.internal/x"} {
		if err := channel.Subscribe(t.Context(), "ann", "Firefox (Linux)", browserSubscription(endpoint)); !errors.Is(err,
			approvals.ErrInvalid) {
			t.Errorf("%s: %v", endpoint, err)
		}
	}
	err = channel.Subscribe(t.Context(), "ann", "Firefox (Linux)", browserSubscription("https://fcm.googleapis.com/fcm/send/x"))
	if !errors.Is(err, channels.ErrBusy) {
		t.Errorf("push service that leads inside: %v", err)
	}
	if n := tr.count.Load(); n != 0 {
		t.Errorf("%d connections to the inside", n)
	}
}

// A one-time code needs another way than the browser that may ask for it, and a lost browser or device is told nothing.
func TestWaysToReach(t *testing.T) {
	s := &service{channels: map[string]channels.Channel{web.Name: nil, "push": nil, "sms": nil}}
	at := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	browser := approvals.Address{Channel: web.Name, Value: "b", VerifiedAt: at}
	device := approvals.Address{Channel: "push", Value: "d", VerifiedAt: at}
	tests := []struct {
		name       string
		person     approvals.Person
		ways       int
		takesACode bool
	}{
		{"nothing", approvals.Person{}, 0, false},
		{"a browser", approvals.Person{Addresses: []approvals.Address{browser}}, 1, false},
		{"a browser that proved nothing", approvals.Person{Addresses: []approvals.Address{{Channel: web.Name}}}, 0, false},
		{"a browser and a device", approvals.Person{Addresses: []approvals.Address{browser, device}}, 2, false},
		{"a browser and a number", approvals.Person{Addresses: []approvals.Address{browser, {Channel: "sms"}}}, 2, true},
		{"a browser, signed out since", approvals.Person{Addresses: []approvals.Address{browser}, SignedOutAt: at}, 0, false},
		{"a browser, signed out before", approvals.Person{Addresses: []approvals.Address{browser}, SignedOutAt: at.Add(-1)},
			1, false},
		{"a device, signed out since", approvals.Person{Addresses: []approvals.Address{device}, SignedOutAt: at}, 0, false},
		{"a device, signed out before", approvals.Person{Addresses: []approvals.Address{device}, SignedOutAt: at.Add(-1)},
			1, false},
	}
	for _, tt := range tests {
		if ways := len(s.addresses(&tt.person)); ways != tt.ways {
			t.Errorf("%s: %d ways, want %d", tt.name, ways, tt.ways)
		}
		if s.canCode(&tt.person) != tt.takesACode {
			t.Errorf("%s: takes a code: %t", tt.name, !tt.takesACode)
		}
	}
}

func TestWebPushConfig(t *testing.T) {
	base := []string{"--issuer", "https://a.example"}
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"contact is an address alone", []string{"--web-push-contact", "push@example.com"},
			"--web-push-contact must be https"},
		{"contact that nobody can reach", []string{"--web-push-contact", "mailto:push@localhost"},
			"--web-push-contact must be https"},
		{"hosts without contact", []string{"--web-push-hosts", "push.example.com"}, "--web-push-contact is missing"},
		{"host is a URL", []string{"--web-push-contact", "mailto:push@example.com", "--web-push-hosts",
			"https://push.example.com"}, "--web-push-hosts: host[0]"},
		{"host is everything", []string{"--web-push-contact", "mailto:push@example.com", "--web-push-hosts",
			"push.example.com,*"}, "--web-push-hosts: host[1]"},
		{"good, so the next rule speaks", []string{"--web-push-contact", "mailto:push@example.com", "--web-push-hosts",
			"*.push.example.com"}, "give --tls-cert"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if code, said := parseConfig(t, nil, append(base, tt.args...)...); code != exitUsage || !strings.Contains(said,
				tt.want) {
				t.Errorf("code %d, said %q, want %q", code, said, tt.want)
			}
		})
	}
}

// aMessage is one at the simulated push service of dev mode.
type aMessage struct {
	Urgency string
	Topic   string
	Raw     json.RawMessage `json:"payload"`

	Note  note
	Proof string
}

// note is what the service worker shows of a message.
type note struct{ Title, Body, Tag, Navigate string }

// pushedTo waits until the simulated push service has at least n messages.
func pushedTo(t *testing.T, p *process, n int) []aMessage {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; <-time.After(20 * time.Millisecond) {
		var all []aMessage
		resp, err := http.Get(p.pages + "/dev/push/messages")
		if err != nil {
			t.Fatal(err)
		}
		err = json.NewDecoder(resp.Body).Decode(&all)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		for i := range all {
			var text struct {
				Notification note
				Proof        string
			}
			if err := json.Unmarshal(all[i].Raw, &text); err != nil {
				t.Fatal(err)
			}
			all[i].Note, all[i].Proof = text.Notification, text.Proof
		}
		if len(all) >= n {
			return all
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d messages at the push service, want %d\n%s", len(all), n, p.log())
		}
	}
}

// simulatedSubscription is one at the simulated push service.
func simulatedSubscription(t *testing.T, p *process) string {
	t.Helper()
	resp, err := http.Post(p.pages+"/dev/push/subscriptions", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var s json.RawMessage
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("subscribe: %d, %v", resp.StatusCode, err)
	}
	return string(s)
}

// TestWebPush: the whole way in the binary, from the offer to the quiet word after the decision.
func TestWebPush(t *testing.T) {
	ctx := t.Context()
	data := newData(t)
	p := restartDev(t, data)
	agent := bot(p.issuer)
	must(t, 200)(agent.ask(ctx, nil, nil))
	b := newBrowser()
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%v\n%s", err, p.log())
		}
	}
	ok(b.openOnPhone(ctx, p.pages, "u_ann", 10*time.Second))
	ok(b.press(ctx, b.page.url.Path+"/deny", nil))
	offer := findNode(b.page.root, func(n *html.Node) bool { return attr(n, "id") == "push" })
	if offer == nil {
		t.Fatal("no offer after the first decision")
	}
	post := func(path string, fields url.Values) int {
		t.Helper()
		req, err := http.NewRequestWithContext(ctx, "POST", p.pages+path, strings.NewReader(fields.Encode()))
		ok(err)
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Sec-Fetch-Site", "same-origin")
		resp, err := b.http.Do(req)
		ok(err)
		resp.Body.Close()
		return resp.StatusCode
	}
	subscription := simulatedSubscription(t, p)
	fields := url.Values{"token": {attr(offer, "data-token")}, "subscription": {subscription}}
	if got := post("/push/subscribe", fields); got != http.StatusAccepted {
		t.Fatalf("subscribe: %d\n%s", got, p.log())
	}
	test := pushedTo(t, p, 1)[0]
	if got := post("/push/arrived", url.Values{"proof": {test.Proof}}); got != http.StatusNoContent {
		t.Fatalf("arrived: %d\n%s", got, p.log())
	}

	id := must(t, 200)(agent.ask(ctx, nil, nil)).member("auth_req_id")
	told := pushedTo(t, p, 2)[1]
	if n := told.Note; n.Title != "Approval request from Travel Bot" || strings.Contains(n.Body, "480.00") ||
		!strings.HasPrefix(n.Navigate, p.pages+"/r/") || told.Urgency != "high" {
		t.Errorf("notification is %+v", told)
	}
	ok(b.open(ctx, told.Note.Navigate))
	ok(b.press(ctx, b.page.url.Path, nil))
	ok(b.press(ctx, b.page.url.Path+"/deny", nil))
	if a := must(t, 400)(agent.poll(ctx, id, nil)); a.member("error") != "access_denied" {
		t.Errorf("after the denial: %s", a.body)
	}
	closed := pushedTo(t, p, 3)[2]
	if closed.Topic != told.Topic || closed.Note.Tag != told.Note.Tag || closed.Urgency != "normal" {
		t.Errorf("after the denial the browser gets %+v", closed)
	}
	if secret := strings.Split(told.Note.Navigate, "/r/")[1]; strings.Contains(p.log(), secret) ||
		strings.Contains(p.log(), "/dev/push/push/") {
		t.Error("log tells a link or where the browser listens")
	}
	if out, err := command(t, "doctor", "--data", data); !strings.Contains(out,
		"on; push services may turn to mailto:dev@") {
		t.Errorf("doctor: %v\n%s", err, out)
	}
}
