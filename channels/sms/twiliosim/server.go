package twiliosim

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
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
const maxKept = 40_000

// Behaviour is how the server answers a message. The zero value accepts it at once.
type Behaviour struct {
	Status int           `json:"status,omitempty"` // HTTP status; 0: 201, the message is taken
	Code   int           `json:"code,omitempty"`   // the provider's code of an error
	HTML   bool          `json:"html,omitempty"`   // the body is a page of some gateway instead of JSON
	After  int           `json:"after,omitempty"`  // Retry-After, seconds
	Slow   time.Duration `json:"slow,omitempty"`   // before the answer, nanoseconds
	Hang   bool          `json:"hang,omitempty"`   // the message is taken and no answer comes
	Break  bool          `json:"break,omitempty"`  // the message is taken and the answer breaks off
	Early  []string      `json:"early,omitempty"`  // statuses that are reported before the answer
	Late   []string      `json:"late,omitempty"`   // statuses that are reported after it, in this order
}

// takes reports whether the message is accepted.
func (b Behaviour) takes() bool { return b.Status == 0 || b.Status == http.StatusCreated }

// magic is the vendor's own numbers for tests.
var magic = map[string]Behaviour{
	"+15005550001": {Status: 400, Code: 21211},
	"+15005550002": {Status: 400, Code: 21612},
	"+15005550003": {Status: 400, Code: 21408},
	"+15005550004": {Status: 400, Code: 21610},
	"+15005550009": {Status: 400, Code: 21614},
}

// magicSenders are the same for senders.
var magicSenders = map[string]Behaviour{
	"+15005550001": {Status: 400, Code: 21212},
	"+15005550007": {Status: 400, Code: 21606},
	"+15005550008": {Status: 400, Code: 21611},
}

// Message is one message that the provider has.
type Message struct {
	SID      string    `json:"sid"`
	To       string    `json:"to"`
	From     string    `json:"from,omitempty"`
	Service  string    `json:"messaging_service_sid,omitempty"`
	Body     string    `json:"body"`
	Callback string    `json:"status_callback,omitempty"`
	Validity int       `json:"validity_period,omitempty"` // seconds
	Status   string    `json:"status"`
	Code     int       `json:"error_code,omitempty"`
	At       time.Time `json:"at"`
}

// Server is the provider. It is an [http.Handler]; close it with [Server.Close].
type Server struct {
	account, token string
	client         *http.Client
	now            func() time.Time
	mux            *http.ServeMux

	mu        sync.Mutex
	behaviour Behaviour
	byNumber  map[string]Behaviour
	stopped   map[string]bool
	inbound   string // URL of whoever gets inbound messages
	messages  []Message
	calls     int
	closed    chan struct{}
	reports   sync.WaitGroup
}

// New returns a provider with one account. client makes its callbacks.
func New(account, token string, client *http.Client, now func() time.Time) *Server {
	s := &Server{account: account, token: token, client: client, now: now, mux: http.NewServeMux(),
		byNumber: map[string]Behaviour{}, stopped: map[string]bool{}, closed: make(chan struct{})}
	s.mux.HandleFunc("POST /2010-04-01/Accounts/{account}/Messages.json", s.authenticated(s.create))
	s.mux.HandleFunc("GET /2010-04-01/Accounts/{account}/Messages/{file}", s.authenticated(s.fetch))
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fail(w, Behaviour{Status: 404, Code: 20404}) })
	s.control(s.mux)
	return s
}

// Close ends what hangs and waits for reports under way.
func (s *Server) Close() {
	s.mu.Lock()
	select {
	case <-s.closed:
	default:
		close(s.closed)
	}
	s.mu.Unlock()
	s.reports.Wait()
}

// Behave sets how messages to numbers without a behaviour of their own are answered from now on.
func (s *Server) Behave(b Behaviour) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.behaviour = b
}

// BehaveTo sets how messages to one number are answered.
func (s *Server) BehaveTo(number string, b Behaviour) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byNumber[number] = b
}

// DeliverInbound sets the URL that gets inbound messages.
func (s *Server) DeliverInbound(url string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inbound = url
}

// Messages returns what the provider has, oldest first.
func (s *Server) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages)
}

// Calls returns how often messages were handed in, taken or not.
func (s *Server) Calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

func (s *Server) authenticated(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		account, token, _ := r.BasicAuth()
		same := subtle.ConstantTimeCompare([]byte(account), []byte(s.account)) &
			subtle.ConstantTimeCompare([]byte(token), []byte(s.token))
		switch {
		case same != 1:
			fail(w, Behaviour{Status: 401, Code: 20003})
		case r.PathValue("account") != s.account:
			fail(w, Behaviour{Status: 404, Code: 20404})
		default:
			next(w, r)
		}
	}
}

// create takes a message, or not, as it is told to.
func (s *Server) create(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	if err := r.ParseForm(); err != nil {
		fail(w, Behaviour{Status: 400, Code: 20001})
		return
	}
	m, b := s.judge(r)
	s.pause(r, b.Slow)
	if !b.takes() {
		fail(w, b)
		return
	}
	s.keep(m)
	s.report(r.Context(), m.SID, b.Early)
	switch {
	case b.Hang:
		s.hang(r)
		return
	case b.Break:
		breakOff(w)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	json.NewEncoder(w).Encode(s.resource(m))
	s.reportLater(m.SID, b.Late)
}

// judge reads a message and says how it is answered.
func (s *Server) judge(r *http.Request) (Message, Behaviour) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	validity, _ := strconv.Atoi(r.PostForm.Get("ValidityPeriod"))
	m := Message{SID: newSID(), To: r.PostForm.Get("To"), From: r.PostForm.Get("From"),
		Service: r.PostForm.Get("MessagingServiceSid"), Body: r.PostForm.Get("Body"),
		Callback: r.PostForm.Get("StatusCallback"), Validity: validity, Status: "queued", At: s.now()}
	if m.Service != "" {
		m.Status = "accepted"
	}
	return m, s.behaviourOf(m, r.PostForm.Has("ValidityPeriod"))
}

// behaviourOf is what the API itself refuses, then what was said for the number, the vendor's numbers, and what was said
// for all. The caller holds mu.
func (s *Server) behaviourOf(m Message, bounded bool) Behaviour {
	switch {
	case m.To == "":
		return Behaviour{Status: 400, Code: 21604}
	case m.Body == "":
		return Behaviour{Status: 400, Code: 21602}
	case len([]rune(m.Body)) > 1600:
		return Behaviour{Status: 400, Code: 21617}
	case m.From == "" && m.Service == "":
		return Behaviour{Status: 400, Code: 21603}
	case bounded && (m.Validity < 1 || m.Validity > 36_000):
		return Behaviour{Status: 400, Code: 20001}
	case s.stopped[m.To]:
		return Behaviour{Status: 400, Code: 21610}
	}
	if b, found := s.byNumber[m.To]; found {
		return b
	}
	if b, found := magic[m.To]; found {
		return b
	}
	if b, found := magicSenders[m.From]; found {
		return b
	}
	return s.behaviour
}

func (s *Server) keep(m Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.messages) == maxKept {
		s.messages = slices.Delete(s.messages, 0, maxKept/2)
	}
	s.messages = append(s.messages, m)
}

// find returns the message of a SID; the caller holds mu.
func (s *Server) find(sid string) *Message {
	for i := len(s.messages) - 1; i >= 0; i-- {
		if s.messages[i].SID == sid {
			return &s.messages[i]
		}
	}
	return nil
}

// Message returns the message of a SID.
func (s *Server) Message(sid string) (Message, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.find(sid); m != nil {
		return *m, true
	}
	return Message{}, false
}

func (s *Server) fetch(w http.ResponseWriter, r *http.Request) {
	sid, ok := strings.CutSuffix(r.PathValue("file"), ".json")
	m, found := s.Message(sid)
	if !ok || !found {
		fail(w, Behaviour{Status: 404, Code: 20404})
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(s.resource(m))
}

func (s *Server) pause(r *http.Request, d time.Duration) {
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

func (s *Server) hang(r *http.Request) {
	select {
	case <-r.Context().Done():
	case <-s.closed:
	}
}

// breakOff promises more than it sends.
func breakOff(w http.ResponseWriter) {
	w.Header().Set("Content-Length", "1000")
	w.WriteHeader(http.StatusCreated)
	fmt.Fprint(w, `{"sid":`)
}

// resource is a message as the API shows it.
func (s *Server) resource(m Message) map[string]any {
	out := map[string]any{"sid": m.SID, "account_sid": s.account, "to": m.To, "body": m.Body, "status": m.Status,
		"direction": "outbound-api", "api_version": "2010-04-01", "num_media": "0", "num_segments": "1", "error_code": nil,
		"error_message": nil, "price": nil, "price_unit": "USD", "from": nil, "messaging_service_sid": nil,
		"date_created": m.At.UTC().Format(time.RFC1123Z), "date_updated": m.At.UTC().Format(time.RFC1123Z), "date_sent": nil,
		"uri": "/2010-04-01/Accounts/" + s.account + "/Messages/" + m.SID + ".json"}
	if m.From != "" {
		out["from"] = m.From
	}
	if m.Service != "" {
		out["messaging_service_sid"], out["num_segments"] = m.Service, "0"
	}
	if m.Code != 0 {
		out["error_code"] = m.Code
	}
	return out
}

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
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(b.Status)
	json.NewEncoder(w).Encode(map[string]any{"code": b.Code, "message": "refused: " + strconv.Itoa(b.Code), "status": b.Status,
		"more_info": "https://www.twilio.com/docs/errors/" + strconv.Itoa(b.Code)})
}

func newSID() string {
	var b [16]byte
	rand.Read(b[:])
	return "SM" + hex.EncodeToString(b[:])
}
