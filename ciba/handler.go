package ciba

import (
	"errors"
	"hash/maphash"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"assent/approvals"
	"assent/approvals/keys"
)

// Parts is what a [Handler] works with. All members are required but AnyHTTPSAudience, MTLS, Profile, ACRs,
// ClientGrant, Fetch, Register, Limits and Fresh.
type Parts struct {
	Issuer           string // used byte for byte, with or without trailing slash (REQ-002)
	DefaultAudience  string // aud of access tokens whose request named none (REQ-235)
	AnyHTTPSAudience bool   // dev mode: every https resource is known and allowed
	MTLS             *MTLS  // nil: nobody asks for certificates
	Profile          Profile
	ACRs             []string
	ClientGrant      bool // clients may have tokens of their own (RFC 6749 section 4.4)

	Desk      *approvals.Desk
	Directory *approvals.Directory
	Records   approvals.Records
	Hub       *approvals.Hub
	Root      *keys.Root
	Keyring   *Keyring
	Replay    *Replay
	Fetch     *http.Client  // for a client's jwks_uri; nil: such clients cannot prove anything
	Register  *Registration // nil: clients cannot register themselves
	Limits    Limits
	Now       func() time.Time
	Log       *slog.Logger
	Fresh     time.Duration // as in [approvals.NewDirectory]: held polls look again this often
}

// Handler answers agents. It is safe for concurrent use.
type Handler struct {
	Parts
	routes  map[string]http.HandlerFunc // by exact path, or by the folder of what has a name in its path
	clients *clients
	proofs  *proofs
	issuer  *issuer
	grants  map[string]func(*call) ([]byte, error) // by grant_type: what is here is advertised
	pace    *pace
	codes   *codes
	decoys  decoys
	gauges  gauges
	reach   approvals.Level // the highest of ACRs
	closing chan struct{}
	once    sync.Once
}

// New returns a handler for one issuer.
func New(p Parts) (*Handler, error) {
	base, err := issuerPath(p.Issuer)
	if err != nil {
		return nil, err
	}
	if p.DefaultAudience == "" {
		return nil, errors.New("ciba: a default audience is required")
	}
	known, err := newClients(p)
	if err != nil {
		return nil, err
	}
	names := []string{p.Issuer}
	if p.MTLS != nil && p.MTLS.URL != "" {
		names = append(names, p.MTLS.URL)
	}
	origins, err := originsOf(names...)
	if err != nil {
		return nil, err
	}
	h := &Handler{Parts: p, routes: map[string]http.HandlerFunc{}, clients: known, pace: newPace(),
		codes: newCodes(p.Records), decoys: decoys{of: map[approvals.AgentID][]time.Time{}},
		proofs:  &proofs{root: p.Root, replay: p.Replay, origins: origins},
		issuer:  &issuer{name: p.Issuer, audience: p.DefaultAudience, keys: p.Keyring},
		gauges:  gauges{failures: failures{seed: maphash.MakeSeed()}},
		closing: make(chan struct{})}
	h.grants = map[string]func(*call) ([]byte, error){
		GrantCIBA: h.collect,
	}
	if p.Desk.Terms.Standing > 0 {
		h.grants[GrantRefresh] = h.refresh
	}
	if p.ClientGrant {
		h.grants[GrantClient] = h.alone
	}
	for _, acr := range p.ACRs {
		h.reach = max(h.reach, approvals.LevelOf(acr))
	}
	document, err := h.discovery()
	if err != nil {
		return nil, err
	}
	h.handle(base+"/bc-authorize", h.post("authorize", h.authorize))
	h.handle(base+"/token", h.post("token", h.token))
	h.handle(base+"/oauth/token", h.post("token", h.token))
	h.handle(base+"/introspect", h.post("introspect", h.introspect))
	h.handle(base+"/revoke", h.post("revoke", h.revoke))
	h.handle(base+userinfoPath, h.reply("userinfo", h.userinfo))
	h.handle(base+"/requests/status", h.post("status", h.status))
	h.handle(base+"/requests/cancel", h.post("cancel", h.cancel))
	h.handle(base+"/.well-known/jwks.json", public(h.jwks))
	if h.Register != nil {
		h.handle(base+"/register", h.post("register", h.register))
		h.handle(base+"/register/", h.serve("registration", methods{http.MethodGet: h.readClient,
			http.MethodPut: h.changeClient, http.MethodDelete: h.deleteClient}))
	}
	for _, well := range discoveryPaths(base) {
		h.handle(well, public(func() ([]byte, error) { return document, nil }))
	}
	return h, nil
}

// issuerPath checks the issuer (RFC 8414 section 2) and returns its path without trailing slash. Nothing in it may be
// escaped: requests are matched by their decoded path.
func issuerPath(issuer string) (string, error) {
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" ||
		strings.ContainsAny(issuer, "?#{}*% ") || u.User != nil {
		return "", errors.New("ciba: the issuer must be an https URL without query, fragment and escapes")
	}
	return strings.TrimSuffix(u.Path, "/"), nil
}

func (h *Handler) handle(path string, f http.HandlerFunc) {
	h.routes[path] = f
}

// Paths lists the paths that this handler answers, so that they can be mounted beside others.
func (h *Handler) Paths() []string { return slices.Sorted(maps.Keys(h.routes)) }

// ServeHTTP answers one request. A route that ends in a slash serves what lies right below it.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	serve, known := h.routes[r.URL.Path]
	if !known {
		folder, _ := path.Split(r.URL.Path)
		serve, known = h.routes[folder]
	}
	if !known {
		serve = http.NotFound
	}
	serve(w, r)
}

// Close sends held polls home with authorization_pending and holds no more. It does not wait.
func (h *Handler) Close() { h.once.Do(func() { close(h.closing) }) }

// call is one request on its way through an endpoint.
type call struct {
	w    http.ResponseWriter
	r    *http.Request
	at   time.Time // of arrival; polls are paced by it (REQ-185)
	form *params
	*caller
	id     approvals.ID // of the request it is about
	secret string
	cnf    *confirmation     // the key that the caller has shown to hold; nil: none
	decoy  *approvals.Record // what stands in for the request; nil: it is a real one
	status int               // of the answer unless it is a fault
}

// methods says what an endpoint does for each method that it serves.
type methods map[string]func(*call) ([]byte, error)

// post serves an endpoint of the back channel.
func (h *Handler) post(name string, do func(*call) ([]byte, error)) http.HandlerFunc {
	return h.serve(name, methods{http.MethodPost: do})
}

func (h *Handler) serve(name string, do methods) http.HandlerFunc {
	return h.reply(name, func(c *call) ([]byte, error) { return h.answer(c, do) })
}

// reply gives one answer in JSON that nobody may store, and writes one log line.
func (h *Handler) reply(name string, do func(*call) ([]byte, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := &call{w: w, r: r, at: h.Now(), status: http.StatusOK}
		body, err := do(c)
		header := w.Header()
		header["Content-Type"] = jsonType
		header["Cache-Control"] = noStore
		header["Pragma"] = noCache
		var f *fault
		if err != nil {
			f = faultOf(err)
			c.status, body = f.status, f.body()
			f.headers(header)
		}
		if c.status == http.StatusNoContent { // which has neither type nor length (RFC 9110 section 8.6)
			delete(header, "Content-Type")
			w.WriteHeader(c.status)
			h.logCall(name, c, f, err)
			return
		}
		header["Content-Length"] = []string{strconv.Itoa(len(body))} // net/http would cut answers over 2 KiB into chunks
		w.WriteHeader(c.status)
		_, _ = w.Write(body) // the client is gone: nobody to tell
		h.logCall(name, c, f, err)
	}
}

func (h *Handler) answer(c *call, do methods) ([]byte, error) {
	serve, ok := do[c.r.Method]
	if !ok {
		allowed := strings.Join(slices.Sorted(maps.Keys(do)), ", ")
		c.w.Header().Set("Allow", allowed)
		return nil, &fault{status: http.StatusMethodNotAllowed, code: "invalid_request", text: "The method must be " + allowed + "."}
	}
	return serve(c)
}

// Header values that every answer shares; net/http only reads them.
var (
	jsonType = []string{"application/json"}
	noStore  = []string{"no-store"}
	noCache  = []string{"no-cache"}
	anyCache = []string{"public, max-age=" + strconv.Itoa(int(cacheAge/time.Second))}
)

func (f *fault) headers(header http.Header) {
	if f.retry > 0 {
		header.Set("Retry-After", strconv.Itoa(f.retry))
	}
	if f.challenge != "" {
		header.Set("WWW-Authenticate", f.challenge)
	}
}

// gone reports whether a call has come to nothing because its client left.
func (c *call) gone(err error) bool {
	left := c.r.Context().Err()
	return left != nil && errors.Is(err, left)
}

// logCall writes the one line of a call. Polls that only hear that there is nothing yet are lines for debugging.
func (h *Handler) logCall(name string, c *call, f *fault, err error) {
	level, code := slog.LevelInfo, ""
	if f != nil {
		code = f.code
	}
	switch {
	case f == nil && (name == "status" || name == "introspect"), code == errPending.code, code == errSlowDown.code, c.gone(err):
		level = slog.LevelDebug // nothing new, or nobody there to hear it
	case f != nil && f.status >= 500:
		level = slog.LevelError
	}
	ctx := c.r.Context()
	if !h.Log.Enabled(ctx, level) {
		return
	}
	attrs := make([]slog.Attr, 0, 7)
	attrs = append(attrs, slog.String("endpoint", name), slog.Duration("took", h.Now().Sub(c.at)))
	if c.caller != nil {
		attrs = append(attrs, slog.String("agent", string(c.agent.ID)))
	}
	if c.caller != nil && c.compat {
		attrs = append(attrs, slog.Bool("compat", true))
	}
	if c.id != "" {
		attrs = append(attrs, slog.String("request", string(c.id)))
	}
	if code != "" {
		attrs = append(attrs, slog.String("error", code))
	}
	if level == slog.LevelError {
		attrs = append(attrs, slog.Any("cause", err))
	}
	h.Log.LogAttrs(ctx, level, "agent call", attrs...)
}

// public serves a document that anybody may read and keep for a while.
func public(document func() ([]byte, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			header.Set("Allow", "GET, HEAD")
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		body, err := document()
		if err != nil {
			f := faultOf(err)
			header["Content-Type"] = jsonType
			f.headers(header)
			w.WriteHeader(f.status)
			body = f.body()
		} else {
			header["Content-Type"] = jsonType
			header["Cache-Control"] = anyCache
		}
		_, _ = w.Write(body)
	}
}
