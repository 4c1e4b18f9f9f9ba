package webapp

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"

	"assent/approvals"
	"assent/approvals/keys"
	"assent/webapp/passkey"
	"assent/webapp/upstream"
)

// Config is what the pages work with. All members but Trail, Dev, Push, Devices and Upstream are required.
type Config struct {
	Desk      *approvals.Desk
	Directory *approvals.Directory
	Records   approvals.Records
	Root      *keys.Root
	Hub       *approvals.Hub
	PagesURL  string          // scheme, host and port under which browsers reach the pages, such as "https://ap.example.com"
	Trail     approvals.Trail // what is left of requests whose details are deleted; nil: nothing
	Now       func() time.Time
	Log       *slog.Logger
	Dev       bool // links sign in by themselves, weakly, and are not slow to guess; cookies work on plain HTTP

	// CanSend reports whether the person has a channel that can carry a one-time code.
	CanSend func(p *approvals.Person) bool

	// CodeArrives reports whether such a channel also takes one for the person now: numbers can be dead, or have said STOP.
	// nil: what can be sent arrives.
	CodeArrives func(ctx context.Context, p *approvals.Person) (bool, error)

	// Hold is how long a new passkey, number or device keeps its person from approving what takes a passkey; 0: not at all.
	Hold time.Duration

	// Push offers notifications in browsers; nil: there are none.
	Push Push

	// Reach knows where people can be reached; nil: in their inbox only.
	Reach Reach

	// Devices keeps devices whose app is told; nil: there are no pages for them.
	Devices Devices

	// Upstream lets people sign in elsewhere; nil: there is no provider.
	Upstream *upstream.Keeper
}

// Handler serves the pages. Its zero value is not usable; see [New].
type Handler struct {
	Config
	origin string // of PagesURL
	secure bool   // cookies are Secure and __Host-
	pages  *pages
	static *assets
	worker []byte // the service worker of notifications
	shell  []byte // the one of the shell
	lookup *limiter
	tests  *limiter // of notifications, by person
	router http.Handler

	passkeys *passkey.Keeper // nil: browsers allow none here

	stopping context.Context // ends every live stream
	stop     context.CancelFunc
	streams  streams
}

// New returns a handler, with every template and static file parsed.
func New(c Config) (*Handler, error) {
	u, err := url.Parse(c.PagesURL)
	if err != nil || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("pages URL must be a scheme and a host, without path: %w", approvals.ErrInvalid)
	}
	if u.Scheme != "https" && !(c.Dev && u.Scheme == "http") {
		return nil, fmt.Errorf("pages URL must use https: %w", approvals.ErrInvalid)
	}
	h := &Handler{Config: c, origin: u.Scheme + "://" + u.Host, secure: u.Scheme == "https",
		lookup: newLimiter(60, time.Second, c.Now), tests: newLimiter(testBurst, testEvery, c.Now), streams: streams{open: map[string]int{}, done: &sync.WaitGroup{}}}
	if h.pages, err = embedded(); err != nil {
		return nil, err
	}
	h.static = h.pages.static
	if h.worker, err = loadWorker(h.static); err != nil {
		return nil, err
	}
	if h.shell, err = loadShell(h); err != nil {
		return nil, err
	}
	if err := h.openPasskeys(); err != nil {
		return nil, err
	}
	guard := http.NewCrossOriginProtection()
	if err := guard.AddTrustedOrigin(h.origin); err != nil {
		return nil, fmt.Errorf("pages URL: %w", err)
	}
	guard.SetDenyHandler(h.page(h.crossSite))
	h.stopping, h.stop = context.WithCancel(context.Background())
	h.router = h.headers(guard.Handler(h.routes()))
	return h, nil
}

// ServeHTTP implements [http.Handler]. Paths are absolute, so the handler is mounted at the root; a door that shares
// the listener keeps its own exact paths, none of which this handler claims.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.router.ServeHTTP(w, r) }

// Close ends every live stream and waits until the last one has gone. Call it before http.Server.Shutdown, which waits
// for open answers.
func (h *Handler) Close() {
	h.stop()
	h.streams.close()
}

// idPath matches what [approvals.NewID] makes, and so leaves /requests/status and /requests/cancel to the agents' door.
const idPath = "/requests/{id:[0-9a-z]{26}}"

func (h *Handler) routes() http.Handler {
	r := chi.NewRouter()
	get := func(path string, f func(*visit) (answer, error)) {
		r.Get(path, h.page(f))
		r.Head(path, h.page(f))
	}
	post := func(path string, f func(*visit) (answer, error)) { r.Post(path, h.page(f)) }

	get("/r/{handle}", h.landing)
	post("/r/{handle}", h.follow)
	get("/i/{token}", h.invited)
	post("/i/{token}", h.accept)
	get("/i/{token}/code", h.invitedCode)
	post("/i/{token}/code", h.acceptCode)
	get("/signin", h.signin)
	post("/signin", h.sendCode)
	get("/signin/code", h.signinCode)
	post("/signin/code", h.checkCode)
	post("/signout", h.signout)
	h.sessionRoutes(get, post)
	h.settingsRoutes(get, post)
	get("/", h.inbox)
	get("/inbox", h.inbox)
	h.agentRoutes(get, post)
	get("/history", h.atSession(h.history))
	get("/history/{id:[0-9a-z]{26}}", h.atSession(h.stored))
	get(idPath, h.request)
	get(idPath+"/narrow", h.narrow)
	post(idPath+"/narrow", h.narrowed)
	post(idPath+"/approve", h.approve)
	post(idPath+"/deny", h.deny)
	post(idPath+"/report", h.report)
	post(idPath+"/withdraw", h.withdraw)
	post(idPath+"/opened", h.opened)
	if h.Devices != nil {
		h.deviceRoutes(r, get, post)
	}
	if h.passkeys != nil {
		post("/signin/passkey", h.passkeyIn)
		post("/signin/passkey/begin", h.beginPasskeyIn)
		post(idPath+"/confirm", h.beginConfirm)
		get("/passkeys", h.listPasskeys)
		post("/passkeys", h.addPasskey)
		post("/passkeys/begin", h.beginPasskey)
		post("/passkeys/remove", h.removePasskey)
	}
	if h.Upstream != nil {
		get("/signin/{provider}", h.setOut)
		get("/signin/{provider}/connect", h.setOutToConnect)
		get("/signin/{provider}/back", h.back)
		post("/signin/{provider}/back", h.comeBack)
		get("/accounts", h.accounts)
		post("/accounts/disconnect", h.forgetAccount)
	}
	r.Get("/live", h.live)
	if h.Push != nil {
		post("/push/subscribe", h.subscribe)
		post("/push/arrived", h.arrived)
		post("/push/check", h.verified)
		post("/push/unsubscribe", h.unsubscribe)
		r.Get("/sw.js", h.serveWorker)
	}
	for _, p := range offlinePages {
		get(p.path, offline(p.view))
	}
	r.Get("/shell.js", h.serveShell)
	r.Get("/manifest.webmanifest", h.manifest)
	r.Get("/static/{file}", h.static.serve)
	r.Head("/static/{file}", h.static.serve)
	r.Get("/favicon.ico", h.static.favicon)
	r.Get("/robots.txt", robots)
	r.NotFound(h.page(func(*visit) (answer, error) { return answer{}, errNoPage }))
	r.MethodNotAllowed(func(w http.ResponseWriter, req *http.Request) {
		for _, m := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodDelete} {
			if r.Match(chi.NewRouteContext(), m, req.URL.Path) {
				w.Header().Add("Allow", m)
			}
		}
		h.page(func(*visit) (answer, error) { return answer{}, errMethod })(w, req)
	})
	return r
}

// csp allows our own files and nothing else: no inline script or style, no frames, no foreign origins, and script may
// write HTML only through the one Trusted Types policy "app", and name service workers only through that and "push".
const csp = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"manifest-src 'self'; worker-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types app push"

func (h *Handler) headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		head := w.Header()
		head.Set("Content-Security-Policy", csp)
		head.Set("Referrer-Policy", "no-referrer") // a link's handle and an invitation's token stay in their URLs
		head.Set("X-Content-Type-Options", "nosniff")
		head.Set("Cross-Origin-Opener-Policy", "same-origin")
		head.Set("Cross-Origin-Resource-Policy", "same-origin")
		head.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=(), payment=()")
		if h.secure {
			head.Set("Strict-Transport-Security", "max-age=31536000") // RFC 6797
		}
		head.Set("X-Robots-Tag", "noindex")
		head.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// visit is one request of a browser: in which language, and by whom.
type visit struct {
	*http.Request
	h     *Handler
	lang  string
	asked bool     // lang comes from the query, so links keep it
	who   *session // nil: nobody is signed in

	cookies []*http.Cookie // for every answer to it; those of the answer itself come later and win
}

// device names the browser of the visit.
func (v *visit) device() string {
	if v.Request == nil {
		return ""
	}
	return device(v.UserAgent())
}

// answer is what a page function returns: a page, a redirect, data for script, or nothing but a status.
type answer struct {
	status  int // 0: 200, or 303 with to
	page    string
	data    any
	json    any // for script, in the place of a page
	to      string
	cookies []*http.Cookie
}

// atSession makes a page that takes more than a link, unless dev mode takes links for everything: one that gives an agent
// something back, or shows what is long past.
func (h *Handler) atSession(page func(*visit) (answer, error)) func(*visit) (answer, error) {
	return func(v *visit) (answer, error) {
		if v.who == nil || v.who.Level < min(approvals.LevelSession, h.Desk.Ceiling) {
			return answer{}, errSignIn
		}
		return page(v)
	}
}

// page turns a page function into a handler: it finds out who asks, writes the answer, and is the one place that
// translates and logs errors.
func (h *Handler) page(f func(*visit) (answer, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := h.visit(r)
		var a answer
		if err == nil {
			a, err = f(v)
		}
		if err != nil {
			a = h.explain(w, v, err)
		}
		if err := h.write(w, v, a); err != nil {
			h.Log.ErrorContext(r.Context(), "page not rendered", "err", err)
		}
	}
}

// visit reads language and session. It always returns a visit, so that an error has a page too.
func (h *Handler) visit(r *http.Request) (*visit, error) {
	v := &visit{Request: r, h: h, lang: approvals.Locale(firstLanguage(r.Header.Get("Accept-Language")))}
	if l := r.URL.Query().Get("lang"); l == approvals.English || l == approvals.Korean {
		v.lang, v.asked = l, true
	}
	who, err := h.session(r)
	if err != nil {
		return v, err
	}
	v.who = who
	if who != nil && who.late {
		h.carry(v, *who)
	}
	if who != nil && !v.asked {
		v.lang = approvals.Locale(who.person.Locale)
	}
	return v, nil
}

func firstLanguage(accept string) string {
	first, _, _ := strings.Cut(accept, ",")
	first, _, _ = strings.Cut(first, ";")
	return strings.TrimSpace(first)
}

// speak turns to the language of a person who is known before signing in.
func (v *visit) speak(p *approvals.Person) {
	if !v.asked && v.who == nil {
		v.lang = approvals.Locale(p.Locale)
	}
}

// path adds the language to one of our own paths when the visitor chose it by hand.
func (v *visit) path(p string) string {
	if !v.asked {
		return p
	}
	sep := "?"
	if strings.Contains(p, "?") {
		sep = "&"
	}
	return p + sep + "lang=" + v.lang
}

func (h *Handler) write(w http.ResponseWriter, v *visit, a answer) error {
	for _, c := range slices.Concat(v.cookies, a.cookies) {
		http.SetCookie(w, c)
	}
	if a.to != "" {
		w.Header().Set("Location", a.to)
		w.WriteHeader(http.StatusSeeOther)
		return nil
	}
	if a.json != nil {
		w.Header().Set("Content-Type", "application/json")
		return json.NewEncoder(w).Encode(a.json)
	}
	if a.page == "" {
		w.WriteHeader(a.status)
		return nil
	}
	var body bytes.Buffer
	if err := h.pages.render(&body, a.page, v, a.data); err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Language", v.lang)
	if a.status != 0 {
		w.WriteHeader(a.status)
	}
	_, _ = w.Write(body.Bytes()) // a browser that has gone is no error of ours
	return nil
}

func robots(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("User-agent: *\nDisallow: /\n"))
}
