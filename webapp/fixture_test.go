package webapp

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/html"

	"assent/approvals"
	"assent/approvals/keys"
	"assent/store"
)

var start = time.Date(2026, 3, 2, 13, 26, 0, 0, time.UTC)

// testHold is how long what is new is held.
const testHold = 24 * time.Hour

// world is a whole service without its other doors: real store, real desk, pages over HTTP, and a clock that tests move.
type world struct {
	t       testing.TB
	store   store.Store
	dsn     string
	hub     *approvals.Hub
	desk    *approvals.Desk
	people  *approvals.Directory
	root    *keys.Root
	pages   *Handler
	server  *httptest.Server
	logged  *bytes.Buffer
	drawer  *drawer
	canSend bool
	pushes  *pushes
	quiet   bool         // no server: for tests in a bubble of fake time
	listed  atomic.Int64 // requests that lists have given
	lose    atomic.Bool  // the next commits of requests succeed, and nobody hears of it
	network atomic.Pointer[between]

	mu  sync.Mutex
	now time.Time
}

// between is a network that does what it likes with what passes through it.
type between func(rw http.ResponseWriter, r *http.Request, to http.Handler)

// gone is a network on which nothing passes.
func gone(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) }

func (w *world) clock() time.Time {
	if w.quiet {
		return time.Now()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// newWorld starts a service with Ann (English, Berlin), Min (Korean, Seoul) and one agent.
func newWorld(t testing.TB, dev bool) *world {
	t.Helper()
	return startWorld(t, dev, false)
}

func startWorld(t testing.TB, dev, quiet bool) *world {
	t.Helper()
	w := &world{t: t, dsn: "bolt:" + filepath.Join(t.TempDir(), "assent.db"), now: start, canSend: true, quiet: quiet}
	root, err := keys.New(bytes.Repeat([]byte{7}, keys.Size))
	check(t, err)
	w.root = root
	w.open(dev)
	t.Cleanup(func() { w.close() })
	check(t, w.people.SavePerson(t.Context(), &approvals.Person{ID: "ann", Name: "Ann", Locale: "en", Zone: "Europe/Berlin"}))
	check(t, w.people.SavePerson(t.Context(), &approvals.Person{ID: "min", Name: "민", Locale: "ko", Zone: "Asia/Seoul"}))
	check(t, w.people.SaveAgent(t.Context(), &approvals.Agent{ID: "travel-bot", Name: "Travel Bot", Generic: true,
		Types: approvals.BuiltinTypes().Names()}))
	return w
}

func (w *world) open(dev bool) {
	t := w.t
	t.Helper()
	db, err := store.Open(t.Context(), w.dsn, w.clock)
	check(t, err)
	w.store, w.hub, w.logged = db, approvals.NewHub(), &bytes.Buffer{}
	w.people = approvals.NewDirectory(db, w.hub, 0, w.clock)
	log := slog.New(slog.NewTextHandler(w.logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	w.desk = approvals.NewDesk(approvals.DeskParts{Store: deaf{db, &w.lose, &w.listed}, Records: db, Directory: w.people, Hub: w.hub,
		Hash: func(s string) []byte {
			m := hmac.New(sha256.New, []byte("test"))
			m.Write([]byte(s))
			return m.Sum(nil)
		}, Now: w.clock, Log: log})
	if dev {
		w.desk.Ceiling = approvals.LevelLink
	}
	w.server = httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if n := w.network.Load(); n != nil {
			(*n)(rw, r, w.pages)
			return
		}
		w.pages.ServeHTTP(rw, r)
	}))
	at := "https://ap.example.com"
	if !w.quiet {
		if dev {
			w.server.Start()
		} else {
			w.server.StartTLS()
		}
		at = w.server.URL
	}
	if w.pushes == nil {
		w.pushes = &pushes{}
	}
	w.pushes.records = db
	w.drawer = &drawer{records: db, now: w.clock, kept: map[string]kept{}}
	w.pages, err = New(Config{Push: w.pushes, Devices: w.drawer, Desk: w.desk, Directory: w.people, Records: db,
		Root: w.root, Hub: w.hub, Trail: db,
		PagesURL: at, Hold: testHold, Now: w.clock, Log: log, Dev: dev,
		CanSend: func(*approvals.Person) bool { return w.canSend }})
	check(t, err)
}

func (w *world) close() {
	w.pages.Close()
	w.server.Close()
	check(w.t, w.store.Close())
}

// deaf is a store whose commits succeed without anybody hearing of it, as when the machine's answer is lost.
type deaf struct {
	store.Store
	on     *atomic.Bool
	listed *atomic.Int64
}

func (d deaf) List(ctx context.Context, q approvals.Query) ([]*approvals.Request, error) {
	list, err := d.Store.List(ctx, q)
	d.listed.Add(int64(len(list)))
	return list, err
}

func (d deaf) Update(ctx context.Context, id approvals.ID, change func(*approvals.Request) error) (
	*approvals.Request, error) {
	r, err := d.Store.Update(ctx, id, change)
	if err == nil && d.on.Load() {
		return nil, approvals.ErrUnavailable
	}
	return r, err
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const payment = `[{"type":"payment_initiation","instructedAmount":{"currency":"EUR","amount":"480.00"},` +
	`"creditorName":"Example Travel","creditorAccount":{"iban":"DE02120300000000202051"},` +
	`"remittanceInformationUnstructured":"Flight and hotel, 4 nights"}]`

// ask opens a request for a person, with a link in a message.
func (w *world) ask(to approvals.PersonID, details string, change ...func(*approvals.Ask)) *approvals.Request {
	t := w.t
	t.Helper()
	agent, err := w.people.Agent(t.Context(), "travel-bot")
	check(t, err)
	person, err := w.people.Person(t.Context(), to)
	check(t, err)
	parsed, err := w.desk.Renderer.Types.Parse([]byte(details), agent.MayAsk)
	check(t, err)
	a := approvals.Ask{Agent: agent, Subject: person, Details: parsed, Scope: []string{"openid"}, Binding: "H3-91"}
	for _, c := range change {
		c(&a)
	}
	r, _, err := w.desk.Open(t.Context(), a)
	check(t, err)
	link := approvals.Link{Request: r.ID, Person: to, Channel: "sms", Attempt: 1}
	check(t, w.store.Apply(t.Context(), link.Put(w.root.Name(keys.LabelLookup, w.handle(r)), r.ExpiresAt)))
	return r
}

func (w *world) handle(r *approvals.Request) string { return w.root.Handle(string(r.ID), "1") }

func (w *world) read(r *approvals.Request) *approvals.Request {
	w.t.Helper()
	got, err := w.store.Request(w.t.Context(), r.ID)
	check(w.t, err)
	return got
}

// browserOf is one browser: it keeps cookies, follows no redirect by itself, and sends what a browser sends.
type browserOf struct {
	w      *world
	client *http.Client
	header http.Header
}

func (w *world) browser() *browserOf {
	jar, _ := cookiejar.New(nil)
	client := *w.server.Client()
	client.Jar = jar
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &browserOf{w, &client, http.Header{"User-Agent": {
		"Mozilla/5.0 (Linux; Android 16) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/148.0 Mobile Safari/537.36"}}}
}

// page is one answer of the server.
type page struct {
	t      testing.TB
	status int
	header http.Header
	body   string
	at     string // path and query
	doc    *html.Node
}

func (b *browserOf) send(method, at, body string, header http.Header) *page {
	t := b.w.t
	t.Helper()
	target, err := url.Parse(b.w.server.URL)
	check(t, err)
	ref, err := url.Parse(at)
	check(t, err)
	target = target.ResolveReference(ref)
	req, err := http.NewRequestWithContext(t.Context(), method, target.String(), strings.NewReader(body))
	check(t, err)
	for _, h := range []http.Header{b.header, header} {
		for name, values := range h {
			req.Header[name] = values
		}
	}
	resp, err := b.client.Do(req)
	check(t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	check(t, err)
	doc, err := html.Parse(bytes.NewReader(raw))
	check(t, err)
	return &page{t, resp.StatusCode, resp.Header, string(raw), req.URL.RequestURI(), doc}
}

func (b *browserOf) get(at string) *page { b.w.t.Helper(); return b.send("GET", at, "", nil) }

// visit gets a page and follows redirects.
func (b *browserOf) visit(at string) *page { b.w.t.Helper(); return b.follow(b.get(at)) }

func (b *browserOf) follow(p *page) *page {
	b.w.t.Helper()
	for range 5 {
		if p.status != http.StatusSeeOther {
			return p
		}
		p = b.get(p.header.Get("Location"))
	}
	b.w.t.Fatal("more than five redirects")
	return nil
}

func (b *browserOf) post(at string, values url.Values) *page {
	b.w.t.Helper()
	return b.send("POST", at, values.Encode(), http.Header{"Content-Type": {"application/x-www-form-urlencoded"},
		"Sec-Fetch-Site": {"same-origin"}})
}

// press submits the form whose action holds the given words, the way a browser without script does: with every field
// that the page has for it.
func (b *browserOf) press(p *page, action string, typed ...string) *page {
	b.w.t.Helper()
	f := p.form(action)
	for i := 0; i+1 < len(typed); i += 2 {
		if !f.fields.Has(typed[i]) {
			b.w.t.Fatalf("form %s has no field %s", f.action, typed[i])
		}
		f.fields.Set(typed[i], typed[i+1])
	}
	return b.post(f.action, f.fields)
}

type formOf struct {
	action string
	fields url.Values
}

// form finds a form by its action: the whole of it, or else a part.
func (p *page) form(action string) formOf {
	p.t.Helper()
	forms := p.all("form")
	slices.SortStableFunc(forms, func(a, b *html.Node) int {
		return cmp.Compare(len(attr(a, "action")), len(attr(b, "action")))
	})
	for _, n := range forms {
		if strings.Contains(attr(n, "action"), action) {
			f := formOf{attr(n, "action"), url.Values{}}
			for _, tag := range []string{"input", "textarea"} {
				for _, in := range p.all(tag) {
					if inside(in, n) || attr(in, "form") != "" && attr(in, "form") == attr(n, "id") {
						if kind := attr(in, "type"); (kind == "checkbox" || kind == "radio") && !has(in, "checked") {
							continue
						}
						value := attr(in, "value")
						if tag == "textarea" {
							value = textOf(in)
						}
						f.fields.Set(attr(in, "name"), value)
					}
				}
			}
			return f
		}
	}
	p.t.Fatalf("%s: %d: no form for %q in\n%s", p.at, p.status, action, p.words())
	return formOf{}
}

func (p *page) hasForm(action string) bool {
	for _, n := range p.all("form") {
		if strings.Contains(attr(n, "action"), action) {
			return true
		}
	}
	return false
}

func (p *page) all(tag string) []*html.Node {
	var out []*html.Node
	for n := range p.doc.Descendants() {
		if n.Type == html.ElementNode && n.Data == tag {
			out = append(out, n)
		}
	}
	return out
}

func (p *page) byID(id string) string {
	p.t.Helper()
	for n := range p.doc.Descendants() {
		if n.Type == html.ElementNode && attr(n, "id") == id {
			return textOf(n)
		}
	}
	p.t.Fatalf("%s: no element #%s", p.at, id)
	return ""
}

// words is the visible text of the page, with single spaces.
func (p *page) words() string { return strings.Join(strings.Fields(textOf(p.doc)), " ") }

func (p *page) want(status int, words ...string) *page {
	p.t.Helper()
	if p.status != status {
		p.t.Fatalf("%s: status %d, want %d: %s", p.at, p.status, status, p.words())
	}
	for _, w := range words {
		if !strings.Contains(p.words(), w) {
			p.t.Errorf("%s: no %q in\n%s", p.at, w, p.words())
		}
	}
	return p
}

func (p *page) lacks(words ...string) *page {
	p.t.Helper()
	for _, w := range words {
		if strings.Contains(p.body, w) {
			p.t.Errorf("%s: %q must not be in\n%s", p.at, w, p.words())
		}
	}
	return p
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func has(n *html.Node, name string) bool {
	return slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == name })
}

func inside(n, outer *html.Node) bool {
	for ; n != nil; n = n.Parent {
		if n == outer {
			return true
		}
	}
	return false
}

func textOf(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode && d.Parent.Data != "script" && d.Parent.Data != "style" {
			b.WriteString(d.Data)
		}
	}
	return b.String()
}

// signedIn is a browser on which a person has accepted an invitation.
func (w *world) signedIn(who approvals.PersonID) *browserOf {
	w.t.Helper()
	b := w.browser()
	inv, err := w.pages.Invite(w.t.Context(), who)
	check(w.t, err)
	p := b.follow(b.press(b.get(inv.URL), "/i/"))
	code := inv.Code
	if inv.ByCode {
		code = w.code(who)
	}
	done := b.press(p, "/code", "code", code)
	done.want(http.StatusSeeOther)
	return b
}

// code reads the last code that went to a person, the way a channel does.
func (w *world) code(who approvals.PersonID) string {
	w.t.Helper()
	steps, err := approvals.Due(w.t.Context(), w.store, approvals.StepCode, w.clock(), 100)
	check(w.t, err)
	last := ""
	for _, s := range steps {
		c, err := approvals.CodeOf(s)
		check(w.t, err)
		if c.Person == who {
			last = w.root.Code(c.ID)
		}
		check(w.t, w.store.Apply(w.t.Context(), s.Done()))
	}
	if last == "" {
		w.t.Fatal("no code is on its way")
	}
	return last
}
