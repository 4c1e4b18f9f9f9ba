package pushsim

import (
	"cmp"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Answer is how the service answers from now on. The zero value accepts.
type Answer struct {
	Status     int           // instead of 201; messages are taken only with a status of the 200s
	RetryAfter time.Duration // with Status
	Slow       time.Duration // before any answer
	Hang       bool          // takes the message and never answers
	Break      bool          // takes the message and breaks the answer off
}

// Message is one message that the service has taken.
type Message struct {
	ID       string        `json:"id"`
	Browser  string        `json:"browser"`
	Payload  []byte        `json:"payload"` // decrypted
	TTL      time.Duration `json:"ttl"`
	Urgency  string        `json:"urgency"`
	Topic    string        `json:"topic"`
	Contact  string        `json:"contact"` // sub of the sender's token
	Size     int           `json:"size"`    // of the body
	Replaced bool          `json:"replaced"`
}

// Service is a push service. It is an [http.Handler] for a path that ends with Prefix.
type Service struct {
	Prefix string // of every path, such as "/dev/push"; may be empty
	Now    func() time.Time

	mu       sync.Mutex
	answer   Answer
	browsers map[string]*browser
	outbox   []Message
	refused  []string
	tokens   map[string]bool
	calls    int
}

// browser is one subscription of a browser.
type browser struct {
	private *ecdh.PrivateKey
	auth    []byte
	sender  string // applicationServerKey
	gone    bool
}

// Bounds of a service.
const (
	maxBody    = 4096 // RFC 8030, 7.2
	maxOutbox  = 10_000
	maxBrowser = 1000
)

// New returns a service without browsers.
func New(prefix string, now func() time.Time) *Service {
	return &Service{Prefix: prefix, Now: now, browsers: map[string]*browser{}, tokens: map[string]bool{}}
}

// Subscription is what PushSubscription.toJSON gives.
type Subscription struct {
	Endpoint string `json:"endpoint"`
	Expires  *int64 `json:"expirationTime"`
	Keys     struct {
		P256DH string `json:"p256dh"`
		Auth   string `json:"auth"`
	} `json:"keys"`
}

// JSON is the subscription as a page hands it in.
func (s Subscription) JSON() []byte {
	raw, _ := json.Marshal(s) // strings: cannot fail
	return raw
}

// Subscribe makes a browser listen to the holder of applicationServerKey. origin is where the service is reached.
func (s *Service) Subscribe(origin, applicationServerKey string) (Subscription, error) {
	private, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return Subscription{}, fmt.Errorf("subscribe: %w", err)
	}
	b := &browser{private: private, auth: make([]byte, 16), sender: applicationServerKey}
	rand.Read(b.auth)
	id := rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.browsers) >= maxBrowser {
		return Subscription{}, errors.New("subscribe: too many browsers")
	}
	s.browsers[id] = b
	out := Subscription{Endpoint: origin + s.Prefix + "/push/" + id}
	out.Keys.P256DH = base64.RawURLEncoding.EncodeToString(private.PublicKey().Bytes())
	out.Keys.Auth = base64.RawURLEncoding.EncodeToString(b.auth)
	return out, nil
}

// Drop ends a subscription: its endpoint answers 410 from now on.
func (s *Service) Drop(endpoint string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.browsers[endpoint[strings.LastIndexByte(endpoint, '/')+1:]]; b != nil {
		b.gone = true
	}
}

// Set changes how the service answers.
func (s *Service) Set(a Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = a
}

// Outbox returns what the service has taken, oldest first.
func (s *Service) Outbox() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.outbox)
}

// Refused says what was wrong with the messages that the service has not taken by itself.
func (s *Service) Refused() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.refused)
}

// Calls is how many messages were brought, and Tokens how many different tokens with them.
func (s *Service) Calls() (calls, tokens int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls, len(s.tokens)
}

// refusal is why the service does not take a message.
type refusal struct {
	status int
	why    string
}

func (r *refusal) Error() string { return r.why }

// ServeHTTP implements [http.Handler]: POST to an endpoint.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id, found := strings.CutPrefix(r.URL.Path, s.Prefix+"/push/")
	if !found || r.Method != http.MethodPost {
		http.NotFound(w, r)
		return
	}
	answer := s.called()
	if answer.Slow > 0 {
		select {
		case <-time.After(answer.Slow):
		case <-r.Context().Done():
			return
		}
	}
	if answer.Status >= 300 {
		if answer.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(answer.RetryAfter/time.Second)))
		}
		http.Error(w, "told to answer so", answer.Status)
		return
	}
	m, err := s.take(r, id)
	if refused := (*refusal)(nil); errors.As(err, &refused) {
		http.Error(w, refused.why, refused.status)
		return
	}
	switch {
	case answer.Hang:
		<-r.Context().Done()
		panic(http.ErrAbortHandler) // returning would be an answer
	case answer.Break:
		panic(http.ErrAbortHandler)
	default:
		w.Header().Set("Location", "https://"+r.Host+s.Prefix+"/m/"+m.ID)
		w.WriteHeader(cmp.Or(answer.Status, http.StatusCreated))
	}
}

func (s *Service) called() Answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	return s.answer
}

// take checks a message and keeps it, in place of an undelivered one with its topic (RFC 8030, 5.4).
func (s *Service) take(r *http.Request, id string) (Message, error) {
	m, err := s.check(r, id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.refused = append(s.refused, err.Error())
		return m, err
	}
	for i := range s.outbox {
		if old := &s.outbox[i]; m.Topic != "" && old.Topic == m.Topic && old.Browser == m.Browser {
			old.Replaced = true
		}
	}
	s.outbox = append(s.outbox, m)
	s.outbox = s.outbox[max(0, len(s.outbox)-maxOutbox):]
	return m, nil
}

func (s *Service) check(r *http.Request, id string) (Message, error) {
	b, err := s.browser(id)
	if err != nil {
		return Message{}, err
	}
	m := Message{ID: rand.Text(), Browser: id, Urgency: r.Header.Get("Urgency"), Topic: r.Header.Get("Topic")}
	if m.Contact, err = s.sender(r, b.sender); err != nil {
		return m, &refusal{http.StatusForbidden, err.Error()}
	}
	if m.TTL, err = checkHeaders(r); err != nil {
		return m, &refusal{http.StatusBadRequest, err.Error()}
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody))
	if err != nil {
		return m, &refusal{http.StatusRequestEntityTooLarge, "message is too large"}
	}
	m.Size = len(body)
	if m.Payload, err = open(b, body); err != nil {
		return m, &refusal{http.StatusBadRequest, err.Error()}
	}
	return m, nil
}

func (s *Service) browser(id string) (*browser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.browsers[id]
	switch {
	case b == nil:
		return nil, &refusal{http.StatusNotFound, "no such subscription"}
	case b.gone:
		return nil, &refusal{http.StatusGone, "subscription has ended"}
	}
	return b, nil
}

var topicShape = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)

// checkHeaders reads what RFC 8030 says about a message.
func checkHeaders(r *http.Request) (time.Duration, error) {
	ttl, err := strconv.ParseUint(r.Header.Get("TTL"), 10, 31)
	switch {
	case err != nil:
		return 0, errors.New("TTL must be a number of seconds")
	case r.Header.Get("Content-Encoding") != "aes128gcm":
		return 0, errors.New("encoding must be aes128gcm")
	case !slices.Contains([]string{"", "very-low", "low", "normal", "high"}, r.Header.Get("Urgency")):
		return 0, errors.New("unknown Urgency")
	case r.Header.Get("Topic") != "" && !topicShape.MatchString(r.Header.Get("Topic")):
		return 0, errors.New("header Topic must be 1 to 32 characters of base64url")
	}
	return time.Duration(ttl) * time.Second, nil
}
