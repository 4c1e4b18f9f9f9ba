package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// bench is one run: the children that are up, and what has been measured so far.
type bench struct {
	*benchCmd
	folder   string
	progress io.Writer
	report   benchReport

	empty *child
	real  *target // production settings
	dev   *target // dev mode: decisions without a person
	texts *target // dev mode, with text messages to twilio

	twilio *child
}

// target is a service under measurement, with whom it knows.
type target struct {
	*child
	dev    bool
	host   string // of the Host field
	header string // fields that every request has
	agents []madeAgent
	people []string
	asked  []handle // pending requests, in the order of their answers
}

// handle is an acknowledged request.
type handle struct {
	agent madeAgent
	id    string // auth_req_id
}

// Who is there: enough that no cache line and no limit of one person decides the figures.
const (
	benchAgents = 50
	benchPeople = 1000
)

func (b *bench) phases() map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"authorize": b.authorize, "poll": b.poll, "redeem": b.redeem, "decide": b.decide,
		"channels": b.channels}
}

func (b *bench) stop() {
	for _, t := range []*target{b.real, b.dev, b.texts} {
		if t != nil {
			t.stop()
		}
	}
	for _, c := range []*child{b.empty, b.twilio} {
		if c != nil {
			c.stop()
		}
	}
}

func (b *bench) say(text string) { fmt.Fprintln(b.progress, "bench:", text) }

func (b *bench) time() time.Duration { return time.Duration(b.Seconds * float64(time.Second)) }

// service starts the production-like service once.
func (b *bench) service(ctx context.Context) (t *target, err error) {
	if b.real == nil {
		b.real, err = b.start(ctx, "service", benchPeople, productionArgs()...)
	}
	return b.real, err
}

// devService starts the service in dev mode once.
func (b *bench) devService(ctx context.Context) (t *target, err error) {
	if b.dev == nil {
		b.dev, err = b.start(ctx, "dev", benchPeople, "--dev")
	}
	return b.dev, err
}

func (b *bench) start(ctx context.Context, name string, people int, args ...string) (*target, error) {
	b.say("start " + name)
	c, err := startService(ctx, b.folder, name, args...)
	if err != nil {
		return nil, err
	}
	dev := slices.Contains(args, "--dev")
	t := &target{child: c, dev: dev, host: "approve.example.com",
		header: "X-Forwarded-Proto: https\r\nX-Forwarded-For: 192.0.2.1\r\n"}
	if dev {
		t.header = ""
		_, port, _ := net.SplitHostPort(c.listen)
		t.host = "localhost:" + port
	}
	if err := t.populate(ctx, people); err != nil {
		c.stop()
		return nil, fmt.Errorf("add agents and people: %w", err)
	}
	return t, nil
}

// populate adds agents and people as an operator would.
func (t *target) populate(ctx context.Context, people int) error {
	api, err := newAdminClient(t.data)
	if err != nil {
		return err
	}
	defer api.http.CloseIdleConnections()
	t.agents, t.people = make([]madeAgent, benchAgents), make([]string, people)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(64)
	for i := range t.agents {
		g.Go(func() error {
			metadata := fmt.Sprintf(`{"client_name":"Agent %d","authorization_details_types":["payment_initiation"]}`, i)
			return api.call(ctx, "POST", "/agents", newAgent{Metadata: []byte(metadata)}, &t.agents[i])
		})
	}
	for i := range t.people {
		g.Go(func() error {
			t.people[i] = fmt.Sprintf("person-%d", i)
			body := newPerson{LoginHints: []string{t.people[i]}, Name: fmt.Sprintf("Person %d", i), Locale: "en", Zone: "UTC",
				Phone: benchPhone(i)}
			return api.call(ctx, "POST", "/people", body, nil)
		})
	}
	return g.Wait()
}

// form builds the bytes of one POST.
func (t *target) form(path, header string, form url.Values) []byte {
	return t.post(path, header+"Content-Type: application/x-www-form-urlencoded\r\n", form.Encode())
}

func (t *target) post(path, header, body string) []byte {
	return []byte("POST " + path + " HTTP/1.1\r\nHost: " + t.host + "\r\n" + t.header + header +
		"Content-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body)
}

// asking builds as many different requests as there are people.
func (t *target) asking() [][]byte {
	requests := make([][]byte, len(t.people))
	for i, person := range t.people {
		agent := t.agents[i%len(t.agents)]
		requests[i] = t.form("/bc-authorize", "", url.Values{"client_id": {agent.ClientID}, "client_secret": {agent.ClientSecret},
			"scope": {"openid"}, "login_hint": {person}, "binding_message": {demoCode}, "requested_expiry": {"1800"},
			"authorization_details": {demoDetails}})
	}
	return requests
}

// polling builds one poll for each handle.
func (t *target) polling(asked []handle, header string) [][]byte {
	requests := make([][]byte, len(asked))
	for i, h := range asked {
		requests[i] = t.form("/token", header, url.Values{"client_id": {h.agent.ClientID}, "client_secret": {h.agent.ClientSecret},
			"grant_type": {"urn:openid:params:grant-type:ciba"}, "auth_req_id": {h.id}})
	}
	return requests
}

// answer is what the load generator reads of every body.
type benchAnswer struct {
	AuthReqID   string `json:"auth_req_id"`
	AccessToken string `json:"access_token"`
	IDToken     string `json:"id_token"`
	Interval    int    `json:"interval"`
	Error       string `json:"error"`
}

// read decodes an answer and refuses every status but the expected one.
func readAnswer(status, want int, body []byte) (a benchAnswer, err error) {
	if status != want {
		return a, fmt.Errorf("status %d, want %d: %s", status, want, bytes.TrimSpace(body[:min(len(body), 200)]))
	}
	if err := json.Unmarshal(body, &a); err != nil {
		return a, fmt.Errorf("answer: %w", err)
	}
	return a, nil
}

// authorized is the check of an acknowledgement; it remembers the handle.
func (t *target) authorized() func(i, status int, body []byte) (string, error) {
	var mu sync.Mutex
	return func(i, status int, body []byte) (string, error) {
		a, err := readAnswer(status, 200, body)
		if err != nil {
			return "", err
		}
		if a.AuthReqID == "" || a.Interval <= 0 {
			return "", errors.New("acknowledgement without auth_req_id or interval")
		}
		mu.Lock()
		t.asked = append(t.asked, handle{t.agents[i%len(t.people)%len(t.agents)], a.AuthReqID})
		mu.Unlock()
		return "ok", nil
	}
}

// isPending is the check of a poll: nothing but authorization_pending and slow_down is expected, and what the service says
// after ten of those in a row.
func isPending(_, status int, body []byte) (string, error) {
	a, err := readAnswer(status, 400, body)
	if err != nil {
		return "", err
	}
	if a.Error == "invalid_request" && bytes.Contains(body, []byte("too early")) {
		return "slow_down", nil
	}
	if a.Error != "authorization_pending" && a.Error != "slow_down" {
		return "", fmt.Errorf("unexpected error %s", a.Error)
	}
	return a.Error, nil
}

// measure runs a load against a service and makes a row of it.
func (b *bench) measure(ctx context.Context, t *target, phase, work string, l load) (benchRow, error) {
	b.say(work)
	before, err := t.counters(ctx)
	if err != nil {
		return benchRow{}, err
	}
	if b.Profile != "" {
		done := t.profile(ctx, filepath.Join(b.Profile, phase+".pprof"), max(1, int(b.Seconds)))
		defer func() { _ = done() }() // a profile is an extra
	}
	l.addr, l.conns = t.listen, b.Connections
	got, err := l.run(ctx)
	if err != nil {
		return benchRow{}, err
	}
	after, err := t.counters(ctx)
	if err != nil {
		return benchRow{}, errors.Join(err, got.problem)
	}
	row := got.row(phase, work)
	row.cost(before, after)
	return row, nil
}

func (o loaded) row(phase, work string) benchRow {
	n := len(o.each)
	row := benchRow{Phase: phase, Work: work, Operations: n - min(n, o.errors), Errors: o.errors, Seconds: o.took.Seconds(),
		P50: millis(at(o.each, 0.5)), P99: millis(at(o.each, 0.99)), Answers: o.codes}
	row.PerSecond = float64(row.Operations) / row.Seconds
	if o.problem != nil {
		row.Problem = o.problem.Error()
	}
	return row
}

func (row *benchRow) cost(before, after counters) {
	row.Commits = int(after[countCommits] - before[countCommits])
	row.Memory = int(after[countMemory])
	if row.Operations > 0 {
		row.CPUMicros = (after[countCPU] - before[countCPU]) * 1e6 / float64(row.Operations)
	}
}

// emptyHandler measures the yardstick with the same requests, right before the service.
func (b *bench) emptyHandler(ctx context.Context, phase string, requests [][]byte) (float64, error) {
	if b.empty == nil {
		var err error
		if b.empty, err = startChild(ctx, b.folder, "empty", "bench-empty"); err != nil {
			return 0, err
		}
	}
	work := "empty handler, same forms (" + phase + ")"
	b.say(work)
	l := load{addr: b.empty.listen, conns: b.Connections, time: b.time(),
		request: func(i int) []byte { return requests[i%len(requests)] },
		check: func(_, status int, body []byte) (string, error) {
			_, err := readAnswer(status, 200, body)
			return "ok", err
		}}
	got, err := l.run(ctx)
	if err != nil {
		return 0, err
	}
	row := got.row(phase, work)
	b.report.Rows = append(b.report.Rows, row)
	return row.PerSecond, nil
}

// authorize measures durable requests, and how fast the queue behind them empties.
func (b *bench) authorize(ctx context.Context) error {
	t, err := b.service(ctx)
	if err != nil {
		return err
	}
	requests := t.asking()
	empty, err := b.emptyHandler(ctx, "authorize", requests)
	if err != nil {
		return err
	}
	before, err := t.counters(ctx)
	if err != nil {
		return err
	}
	first, began := len(t.asked), time.Now()
	row, err := b.measure(ctx, t, "authorize", "authorize, one payment, durable",
		load{time: b.time(), request: func(i int) []byte { return requests[i%len(requests)] }, check: t.authorized()})
	if err != nil {
		return err
	}
	drain, err := b.drain(ctx, t, before, row.Operations, began, row.Work)
	if err != nil {
		return err
	}
	row.OfEmpty = row.PerSecond / empty
	if row.Checked, err = t.stillPending(ctx, sample(t.asked[first:])); err != nil {
		return err
	}
	b.report.Rows = append(b.report.Rows, row, drain)
	return nil
}

// drain waits for the queue; its rate counts from the first request to the last one planned.
func (b *bench) drain(ctx context.Context, t *target, before counters, events int, began time.Time, of string) (benchRow, error) {
	b.say("queue after: " + of)
	after, err := t.drained(ctx, before, events)
	if err != nil {
		return benchRow{}, err
	}
	row := benchRow{Phase: "drain", Work: "  its queue, until empty", Operations: events, Seconds: time.Since(began).Seconds()}
	row.PerSecond = float64(events) / row.Seconds
	row.cost(before, after)
	return row, nil
}

// sample takes one of a hundred, and always the first.
func sample(asked []handle) (some []handle) {
	for i := 0; i < len(asked); i += 100 {
		some = append(some, asked[i])
	}
	return some
}

// stillPending polls each request once: what was acknowledged must be there.
func (t *target) stillPending(ctx context.Context, some []handle) (int, error) {
	return t.each(ctx, some, func(_ handle, status int, body []byte) error {
		_, err := isPending(0, status, body)
		return err
	})
}

// each polls requests one after the other on one connection.
func (t *target) each(ctx context.Context, some []handle, check func(h handle, status int, body []byte) error) (int, error) {
	w, err := dialWire(ctx, t.listen)
	if err != nil {
		return 0, err
	}
	defer w.conn.Close()
	for i, request := range t.polling(some, "Prefer: wait=0\r\n") {
		if err := ctx.Err(); err != nil {
			return i, err
		}
		status, body, err := w.do(request)
		if err == nil {
			err = check(some[i], status, body)
		}
		if err != nil {
			return i, fmt.Errorf("check request %s: %w", requestOf(some[i].id), err)
		}
	}
	return len(some), nil
}

// requestOf is the part of a handle that is no secret.
func requestOf(handle string) string {
	id, _, _ := strings.Cut(handle, ".")
	return id
}

// fill opens requests until n are pending, and waits until nothing is left to do for them.
func (b *bench) fill(ctx context.Context, t *target, n int) error {
	missing := n - len(t.asked)
	if missing <= 0 {
		return nil
	}
	b.say("open " + strconv.Itoa(missing) + " requests")
	before, err := t.counters(ctx)
	if err != nil {
		return err
	}
	requests := t.asking()
	got, err := load{addr: t.listen, conns: b.Connections, most: missing,
		request: func(i int) []byte { return requests[i%len(requests)] }, check: t.authorized()}.run(ctx)
	if err = errors.Join(err, got.problem); err != nil {
		return fmt.Errorf("open requests: %w", err)
	}
	_, err = t.drained(ctx, before, missing)
	return err
}

// poll measures polls of pending requests. Every request is polled in its turn, so that none comes too early.
func (b *bench) poll(ctx context.Context) error {
	t, err := b.service(ctx)
	if err != nil {
		return err
	}
	if err := b.fill(ctx, t, b.Requests); err != nil {
		return err
	}
	requests := t.polling(t.asked, "Prefer: wait=0\r\n")
	empty, err := b.emptyHandler(ctx, "poll", requests)
	if err != nil {
		return err
	}
	row, err := b.measure(ctx, t, "poll", "poll of a pending request",
		load{time: b.time(), request: func(i int) []byte { return requests[i%len(requests)] }, check: isPending})
	if err != nil {
		return err
	}
	row.OfEmpty = row.PerSecond / empty
	if row.Commits > 0 {
		row.Errors, row.Problem = row.Errors+1, "polls wrote to the store"
	}
	if row.Checked, err = t.stillPending(ctx, sample(t.asked)); err != nil {
		return err
	}
	b.report.Rows = append(b.report.Rows, row)
	return nil
}
