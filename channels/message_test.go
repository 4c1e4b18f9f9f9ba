package channels

import (
	"bytes"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"assent/approvals"
	"assent/approvals/keys"

	"github.com/google/go-cmp/cmp"
)

const testPages = "https://approve.example.com"

var update = flag.Bool("update", false, "rewrite the golden files")

func testRoot(t testing.TB) *keys.Root {
	t.Helper()
	root, err := keys.New(make([]byte, keys.Size))
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func testRequest(locale string) *approvals.Request {
	return &approvals.Request{ID: "06bq2m8k3n5p7r9t1v3w5x7y9z", Agent: "bot", AgentName: "Travel Bot\u202e", Subject: "ann",
		Locale: locale, Zone: "Asia/Seoul", CreatedAt: noon, DecideBy: noon.Add(290 * time.Second),
		ExpiresAt: noon.Add(5 * time.Minute)}
}

// TestTexts keeps every text of every language in a file that is read by people. Transaction details have no place in it.
func TestTexts(t *testing.T) {
	for _, locale := range []string{approvals.English, approvals.Korean} {
		t.Run(locale, func(t *testing.T) {
			var out bytes.Buffer
			r := testRequest(locale)
			for _, kind := range []Kind{KindRequest, KindReminder, KindClosed} {
				at := noon.Add(150 * time.Second)
				write(&out, requestMessage(testRoot(t), testPages, r, Next{Kind: kind, Channel: "phone", Attempt: 1}, at))
			}
			r.DecideBy = noon.Add(30 * time.Hour)
			for _, kind := range []Kind{KindRequest, KindReminder} {
				write(&out, requestMessage(testRoot(t), testPages, r, Next{Kind: kind, Channel: "phone", Attempt: 2}, noon))
			}
			c := approvals.Code{ID: "code1", Person: "ann", Locale: locale, Expires: noon.Add(5 * time.Minute)}
			write(&out, codeMessage(testRoot(t), c, Next{Kind: KindCode, Channel: "phone", Attempt: 1}))
			write(&out, TestMessage("test1", locale, noon.Add(5*time.Minute)))
			golden(t, filepath.Join("testdata", "texts."+locale+".golden"), out.Bytes())
		})
	}
}

func write(out *bytes.Buffer, m Message) {
	fmt.Fprintf(out, "%s\n  %s\n  %s\n  url %s\n  code %s\n  expires %s\n\n", m.Kind, m.Title, m.Text, m.URL, m.Code,
		m.Expires.Format(time.RFC3339))
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("texts differ (-want +got):\n%s", diff)
	}
}

func TestLanguagesSayTheSame(t *testing.T) {
	for _, locale := range []string{approvals.English, approvals.Korean} {
		say := texts[locale]
		all := []string{say.title, say.request, say.reminder, say.reminderBy, say.closed, say.codeTitle, say.code,
			say.testTitle, say.test, say.day}
		for i, text := range all {
			if text == "" {
				t.Errorf("%s: text %d is missing", locale, i)
			}
		}
	}
}

// TestLinksDiffer: every message has a handle of its own, always the same one, and one tag for the whole request.
func TestLinksDiffer(t *testing.T) {
	root, r := testRoot(t), testRequest("en")
	message := func(channel string, attempt int) Message {
		return requestMessage(root, "https://a.example", r, Next{Kind: KindRequest, Channel: channel, Attempt: attempt}, noon)
	}
	first := message("phone", 1)
	if again := message("phone", 1); !cmp.Equal(again, first) {
		t.Errorf("the same message differs: %+v and %+v", first, again)
	}
	for _, other := range []Message{message("phone", 2), message("mail", 1)} {
		if other.URL == first.URL || other.ID == first.ID || other.Tag != first.Tag {
			t.Errorf("%+v beside %+v: want another URL and id, and the same tag", other, first)
		}
	}
}

// TestLogsSayNothing: a message that ends up in a log shows no text, link or code.
func TestLogsSayNothing(t *testing.T) {
	var out strings.Builder
	next := Next{Kind: KindRequest, Channel: "phone", Attempt: 1}
	m := requestMessage(testRoot(t), testPages, testRequest("en"), next, noon)
	m.Code = "123456"
	to := approvals.Address{Channel: "sms", Value: "+4930123456"}
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "message", m, "to", to)
	for _, secret := range []string{m.URL, m.Text, m.Title, m.Code, m.Tag, "+49"} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("log tells %q", secret)
		}
	}
}

// FuzzWork: whatever lies on the bus, a worker refuses it or finds nothing to do.
func FuzzWork(f *testing.F) {
	for _, seed := range []string{"", "{}", `{"name":"deliver","of":"x","channel":"phone"}`,
		`{"name":"code","of":"x","at":"0001-01-01T00:00:00Z","channel":"phone"}`,
		`{"name":"expire","of":"x","channel":"phone"}`, `{"name":"deliver","of":"","channel":"none"}`, `[1]`, "\x00"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		d := &Dispatcher{Channels: map[string]Channel{}}
		if err := d.Work(t.Context(), "k", payload); err == nil {
			t.Errorf("a job of no channel is accepted: %q", payload)
		}
	})
}
