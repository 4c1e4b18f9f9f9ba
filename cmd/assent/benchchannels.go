package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"assent/channels"
	"assent/channels/sms"
	"assent/channels/sms/twiliosim"
)

// benchTwilioCmd is a provider of text messages, as a process of its own like the real one.
type benchTwilioCmd struct {
	Listen string        `default:"127.0.0.1:0" help:"Loopback address."`
	Slow   time.Duration `default:"50ms" help:"How long each answer takes."`
}

// Who we are at that provider.
const (
	benchAccount = "AC0123456789abcdef0123456789abcdef"
	benchToken   = "0123456789abcdef0123456789abcdef"
	benchSender  = "+15005550006"
)

// Run serves the simulator, with the service's own server settings.
func (c *benchTwilioCmd) Run(ctx context.Context, s streams) error {
	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	log := newLogger(s.err, "info")
	sim := twiliosim.New(benchAccount, benchToken, http.DefaultClient, time.Now)
	defer sim.Close()
	sim.Behave(twiliosim.Behaviour{Slow: c.Slow})
	server := (&service{log: log}).server(sim)
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	log.Info("ready", "listen", listener.Addr().String())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// How text messages are measured: each request is for a person of its own, within the caps that hold by default for a
// number, and sends one message for each round, from the second on when the ladder's wait is over. What the service keeps
// of requests it keeps in the first round; that messages leave nothing behind is to be seen in the memory of the later ones.
const (
	benchTexts  = 2000 // requests for each second of the phase
	mostTexts   = 9900 // all that the simulator remembers is checked
	benchRounds = 4
	benchLadder = "[[ladder]]\nchannel = \"sms\"\nwait = 600\nrepeat = 4\n"
	benchWait   = 601 * time.Second
	benchExpiry = "7200" // seconds: no reminder before the end of the last round
)

// benchPhone is the number of person i, which nobody has.
func benchPhone(i int) string { return fmt.Sprintf("+49151%08d", 23400000+i) }

// channels measures how fast text messages leave by a provider that takes its time: first while the requests come in,
// then when the next message of everybody is due at once, round after round.
func (b *bench) channels(ctx context.Context) error {
	n := min(int(benchTexts*b.Seconds), mostTexts)
	t, err := b.textService(ctx, n)
	if err != nil {
		return err
	}
	requests := t.askingAnew(n)
	first, err := b.messages(ctx, t, "text message, while requests come in", n, func() error {
		got, err := load{addr: t.listen, conns: b.Connections, most: n, request: func(i int) []byte { return requests[i] },
			check: t.authorized()}.run(ctx)
		return errors.Join(err, got.problem)
	})
	if err != nil {
		return err
	}
	rows := []benchRow{first}
	for round := 2; round <= benchRounds; round++ {
		row, err := b.messages(ctx, t, fmt.Sprintf("text message %d, all due at once", round), n, func() error {
			_, err := t.postJSON(ctx, "/dev/clock", fmt.Sprintf(`{"advance":%q}`, benchWait))
			return err
		})
		if err != nil {
			return err
		}
		rows = append(rows, row)
	}
	if rows[benchRounds-1].Checked, err = b.checkTexts(ctx, n); err != nil {
		return err
	}
	bare, err := b.bareLoop(ctx)
	if err != nil {
		return err
	}
	for i := range rows {
		rows[i].OfEmpty = rows[i].PerSecond / bare.PerSecond
	}
	b.report.Rows = append(append(b.report.Rows, bare), rows...)
	return nil
}

// textService starts the provider, and a service that sends by it to so many people.
func (b *bench) textService(ctx context.Context, people int) (t *target, err error) {
	if b.twilio, err = startChild(ctx, b.folder, "twilio", "bench-twilio"); err != nil {
		return nil, err
	}
	config, token := filepath.Join(b.folder, "texts.toml"), filepath.Join(b.folder, "token")
	if err := errors.Join(os.WriteFile(config, []byte(benchLadder), 0o600), os.WriteFile(token, []byte(benchToken), 0o600)); err != nil {
		return nil, err
	}
	b.texts, err = b.start(ctx, "texts", people, "--dev", "--config", config, "--twilio-account", benchAccount, "--twilio-token-file", token,
		"--twilio-sender", benchSender, "--twilio-url", "http://"+b.twilio.listen, "--sms-countries", "DE",
		"--sms-day-parts", "1000000")
	return b.texts, err
}

// askingAnew builds requests of which no two are equal, so that each has messages of its own.
func (t *target) askingAnew(n int) [][]byte {
	requests := make([][]byte, n)
	for i := range requests {
		agent := t.agents[i%len(t.agents)]
		details := strings.Replace(demoDetails, "480.00", fmt.Sprintf("%d.00", i+1), 1)
		requests[i] = t.form("/bc-authorize", "", url.Values{"client_id": {agent.ClientID}, "client_secret": {agent.ClientSecret},
			"scope": {"openid"}, "login_hint": {t.people[i]}, "binding_message": {demoCode}, "requested_expiry": {benchExpiry},
			"authorization_details": {details}})
	}
	return requests
}

// The counters of text messages.
const countTexts = `approvals_channel_calls_total{channel="` + sms.Name + `",outcome="`

// texted counts the messages that the provider has taken, and the calls that came to another end.
func (c counters) texted() (taken, wrong int) {
	for name, n := range c {
		switch outcome, found := strings.CutPrefix(name, countTexts); {
		case !found:
		case strings.HasPrefix(outcome, string(channels.Accepted)):
			taken += int(n)
		default:
			wrong += int(n)
		}
	}
	return taken, wrong
}

// messages starts what makes n messages leave, and measures until the last one is taken.
func (b *bench) messages(ctx context.Context, t *target, work string, n int, start func() error) (benchRow, error) {
	b.say(work)
	before, err := t.counters(ctx)
	if err != nil {
		return benchRow{}, err
	}
	if b.Profile != "" {
		name := filepath.Join(b.Profile, strings.ReplaceAll(strings.ReplaceAll(work, ",", ""), " ", "-"))
		done := t.profile(ctx, name+".pprof", max(1, int(b.Seconds)))
		defer func() { _, _ = done(), t.writeProfile(ctx, name+".heap.pprof", "heap?gc=1") }() // a profile is an extra
	}
	taken, wrong := before.texted()
	memories := []int{t.memory(before)}
	began, started := time.Now(), make(chan error, 1)
	go func() { started <- start() }()
	middle, err := t.taken(ctx, taken+n/2)
	if err != nil {
		return benchRow{}, errors.Join(err, <-started)
	}
	memories = append(memories, t.memory(middle))
	after, err := t.taken(ctx, taken+n)
	took := time.Since(began)
	if err = errors.Join(err, <-started); err != nil {
		return benchRow{}, err
	}
	memories = append(memories, t.memory(after))
	_, wrongAfter := after.texted()
	row := benchRow{Phase: "channels", Work: work, Operations: n, Errors: wrongAfter - wrong, Seconds: took.Seconds(),
		PerSecond: float64(n) / took.Seconds(), Memories: memories}
	row.cost(before, after)
	row.Held, err = t.held(ctx)
	return row, err
}

// held is what is in use of the service's heap. Writing a heap profile collects first.
func (t *target) held(ctx context.Context) (int, error) {
	if err := t.writeProfile(ctx, os.DevNull, "heap?gc=1"); err != nil {
		return 0, err
	}
	now, err := t.counters(ctx)
	return int(now[countHeap]), err
}

// memory is what the service holds beside the pages of its store, which the system may take back; all of it where that is
// not told.
func (c *child) memory(all counters) int {
	raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid)) // only Linux has it
	_, rest, _ := strings.Cut(string(raw), "\nRssAnon:")
	var kib int
	if _, err := fmt.Sscanf(rest, "%d kB", &kib); err != nil {
		return int(all[countMemory])
	}
	return kib << 10
}

// taken waits until the provider has taken that many messages.
func (t *target) taken(ctx context.Context, want int) (counters, error) {
	for {
		now, err := t.counters(ctx)
		if err != nil {
			return nil, err
		}
		if n, _ := now.texted(); n >= want {
			return now, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-t.ended:
			return nil, fmt.Errorf("the service ended: %w", t.err)
		case <-time.After(100 * time.Millisecond): // counters cannot be watched, and cost something to read
		}
	}
}

// postJSON posts to an endpoint of dev mode on a connection of its own.
func (t *target) postJSON(ctx context.Context, path, body string) ([]byte, error) {
	w, err := dialWire(ctx, t.listen)
	if err != nil {
		return nil, err
	}
	defer w.conn.Close()
	status, answer, err := w.do(t.post(path, "Content-Type: application/json\r\n", body))
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%s: status %d", path, status)
	}
	return answer, err
}

// checkTexts looks at the provider whether everybody got one message a round for each request, no more and no less.
func (b *bench) checkTexts(ctx context.Context, requests int) (int, error) {
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+b.twilio.listen+"/control/messages", nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, fmt.Errorf("check messages: %w", err)
	}
	defer resp.Body.Close()
	var messages []twiliosim.Message
	if err := json.NewDecoder(resp.Body).Decode(&messages); err != nil {
		return 0, fmt.Errorf("check messages: %w", err)
	}
	got := map[string]int{}
	for _, m := range messages {
		got[m.To]++
	}
	for i := range requests {
		got[benchPhone(i)] -= benchRounds
	}
	for number, n := range got {
		if n != 0 {
			return 0, fmt.Errorf("check messages: number …%s has %+d more than one a round for each request", number[len(number)-4:], n)
		}
	}
	return len(messages), nil
}

// bareLoop is the yardstick: as many connections as the service may have, and nothing but the posts.
func (b *bench) bareLoop(ctx context.Context) (benchRow, error) {
	const work = "bare loop, same posts"
	b.say(work)
	form := url.Values{"To": {benchPhone(0)}, "From": {benchSender}, "ValidityPeriod": {"1800"},
		"Body": {"Approvals: Travel Bot asks for your OK. Code H3-91. " + b.texts.issuer + "/r/0123456789ab Until 12:00 UTC."}}.Encode()
	req, err := http.NewRequest("POST", "http://"+b.twilio.listen, nil)
	if err != nil {
		return benchRow{}, err
	}
	req.SetBasicAuth(benchAccount, benchToken)
	post := fmt.Appendf(nil, "POST /2010-04-01/Accounts/%s/Messages.json HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\n"+
		"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s",
		benchAccount, b.twilio.listen, req.Header.Get("Authorization"), len(form), form)
	got, err := load{addr: b.twilio.listen, conns: channels.InFlight, time: b.time(), request: func(int) []byte { return post },
		check: func(_, status int, _ []byte) (string, error) {
			if status != http.StatusCreated {
				return "", fmt.Errorf("status %d", status)
			}
			return "ok", nil
		}}.run(ctx)
	return got.row("channels", work), err
}
