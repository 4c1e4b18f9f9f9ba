package fcmsim

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// maxKept is how many messages the outbox holds; older ones go.
const maxKept = 20_000

// Behaviour is how the server answers a message. The zero value accepts it at once.
type Behaviour struct {
	Status int           `json:"status,omitempty"` // HTTP status; 0: 200, the message is taken
	Code   string        `json:"code,omitempty"`   // errorCode of an FcmError
	Field  string        `json:"field,omitempty"`  // of the message, that an INVALID_ARGUMENT is about
	HTML   bool          `json:"html,omitempty"`   // the body is a page of some gateway instead of JSON
	After  int           `json:"after,omitempty"`  // Retry-After, seconds
	Slow   time.Duration `json:"slow,omitempty"`   // before the answer, nanoseconds
	Hang   bool          `json:"hang,omitempty"`   // the message is taken and no answer comes
	Break  bool          `json:"break,omitempty"`  // the message is taken and the answer breaks off
}

// takes reports whether the message is accepted.
func (b Behaviour) takes() bool { return b.Status == 0 || b.Status == http.StatusOK && !b.HTML }

// Answers are what messages to tokens that start with these words are answered, as in "unregistered-1".
var Answers = map[string]Behaviour{
	"unregistered":    {Status: 404, Code: "UNREGISTERED"},
	"sender-mismatch": {Status: 403, Code: "SENDER_ID_MISMATCH"},
	"invalid-token":   {Status: 400, Code: "INVALID_ARGUMENT", Field: "message.token"},
	"invalid":         {Status: 400, Code: "INVALID_ARGUMENT", Field: "message.android.ttl"},
	"quota":           {Status: 429, Code: "QUOTA_EXCEEDED", After: 60},
	"unavailable":     {Status: 503, Code: "UNAVAILABLE"},
	"internal":        {Status: 500, Code: "INTERNAL"},
	"gateway":         {Status: 502, HTML: true},
	"third-party":     {Status: 401, Code: "THIRD_PARTY_AUTH_ERROR"},
	"slow":            {Slow: 3 * time.Second},
	"hang":            {Hang: true},
	"break":           {Break: true},
}

// Sent is one message that the provider has.
type Sent struct {
	Name    string    `json:"name"`
	Message Message   `json:"message"`
	At      time.Time `json:"at"`
}

// Server is the provider. It is an [http.Handler]; close it with [Server.Close].
type Server struct {
	project  string
	accounts *accounts
	now      func() time.Time
	mux      *http.ServeMux

	mu        sync.Mutex
	behaviour Behaviour
	byToken   map[string]Behaviour
	sent      []Sent
	calls     int
	closed    chan struct{}
}

// New returns a provider with one project.
func New(project string, now func() time.Time) (*Server, error) {
	a, err := newAccounts()
	if err != nil {
		return nil, fmt.Errorf("simulated fcm: %w", err)
	}
	s := &Server{project: project, accounts: a, now: now, mux: http.NewServeMux(), byToken: map[string]Behaviour{},
		closed: make(chan struct{})}
	s.mux.HandleFunc("POST /v1/projects/{project}/{method}", s.send)
	s.mux.HandleFunc("POST /token", a.token)
	s.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fail(w, Behaviour{Status: 404, HTML: true}) })
	s.control(s.mux)
	return s, nil
}

// Close ends what hangs.
func (s *Server) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.closed:
	default:
		close(s.closed)
	}
}

// Behave sets how messages to tokens without a behaviour of their own are answered from now on.
func (s *Server) Behave(b Behaviour) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.behaviour = b
}

// BehaveTo sets how messages to one token are answered.
func (s *Server) BehaveTo(token string, b Behaviour) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byToken[token] = b
}

// Sent returns what the provider has, oldest first.
func (s *Server) Sent() []Sent {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.sent)
}

// Calls returns how often messages were handed in, taken or not.
func (s *Server) Calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// send takes a message, or not, as it is told to.
func (s *Server) send(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.calls++
	s.mu.Unlock()
	bearer, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case r.PathValue("method") != "messages:send":
		fail(w, Behaviour{Status: 404, HTML: true})
		return
	case !s.accounts.gave(bearer):
		fail(w, Behaviour{Status: 401})
		return
	case r.PathValue("project") != s.project:
		fail(w, Behaviour{Status: 403})
		return
	}
	var body struct {
		Message Message `json:"message"`
	}
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&body); err != nil {
		fail(w, Behaviour{Status: 400, Code: "INVALID_ARGUMENT", Field: "message"})
		return
	}
	s.answer(w, r, body.Message)
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request, m Message) {
	b := s.behaviourOf(m)
	s.wait(r, b.Slow)
	if !b.takes() {
		fail(w, b)
		return
	}
	name := fmt.Sprintf("projects/%s/messages/0:%d%%%s", s.project, s.now().UnixMicro(), strings.ToLower(rand.Text()[:16]))
	s.keep(Sent{Name: name, Message: m, At: s.now()})
	switch {
	case b.Hang:
		s.wait(r, time.Hour)
	case b.Break:
		w.Header().Set("Content-Length", "1000")
		fmt.Fprint(w, `{"name":`)
	default:
		writeJSON(w, http.StatusOK, map[string]string{"name": name})
	}
}

// behaviourOf is what the API itself refuses, then what was said for the token, the tokens that say it themselves, and
// what was said for all.
func (s *Server) behaviourOf(m Message) Behaviour {
	if field := m.fault(); field != "" {
		return Behaviour{Status: 400, Code: "INVALID_ARGUMENT", Field: field}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if b, found := s.byToken[m.Token]; found {
		return b
	}
	longest := ""
	for word := range Answers {
		if strings.HasPrefix(m.Token, word+"-") && len(word) > len(longest) {
			longest = word
		}
	}
	if longest != "" {
		return Answers[longest]
	}
	return s.behaviour
}

func (s *Server) keep(m Sent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sent) == maxKept {
		s.sent = slices.Delete(s.sent, 0, maxKept/2)
	}
	s.sent = append(s.sent, m)
}

func (s *Server) wait(r *http.Request, d time.Duration) {
	if d == 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
	case <-s.closed:
	}
}

// statuses are the canonical codes beside the HTTP status (google.rpc.Code).
var statuses = map[int]string{400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
	429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE"}

// fail answers as the API does, or as some gateway in front of it.
func fail(w http.ResponseWriter, b Behaviour) {
	if b.After > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(b.After))
	}
	if b.Status >= 300 && b.Status < 400 {
		w.Header().Set("Location", "/elsewhere")
	}
	if b.HTML {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(b.Status)
		fmt.Fprint(w, "<html><body><h1>"+http.StatusText(b.Status)+"</h1></body></html>")
		return
	}
	var details []any
	if b.Code != "" {
		details = append(details, map[string]string{"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError",
			"errorCode": b.Code})
	}
	if b.Field != "" {
		details = append(details, map[string]any{"@type": "type.googleapis.com/google.rpc.BadRequest",
			"fieldViolations": []any{map[string]string{"field": b.Field, "description": "simulated: " + b.Field}}})
	}
	writeJSON(w, b.Status, map[string]any{"error": map[string]any{"code": b.Status, "message": "simulated: " + b.Code,
		"status": statuses[b.Status], "details": details}})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}
