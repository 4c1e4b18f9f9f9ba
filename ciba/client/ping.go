package client

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	maxPing   = 8 << 10   // bytes of a ping
	maxNotify = 1024      // CIBA section 7.1
	keepBell  = time.Hour // how long after the end late pings are still recognised
)

// Pings is what the agent serves at its backchannel_client_notification_endpoint (CIBA section 10.2). A ping is
// believed only with the token that was made for its request; it wakes [Client.Wait], which then fetches the answer,
// since a ping says nothing else. Nil without [Config.Ping].
//
// Its answers are those of REQ-223: 204, also to a ping that comes twice, and 401 to a request or a token that is not
// known. After a restart a request is known again from [Client.Wait] on.
func (c *Client) Pings() http.Handler {
	if c.pings == nil {
		return nil
	}
	return c.pings
}

// pings knows whom to wake.
type pings struct {
	mu      sync.Mutex
	asking  map[[32]byte]int // tokens of requests that are not acknowledged yet
	bells   map[string]*bell // by handle
	sweepAt int
}

// bell is rung by pings of one request. A nil bell is never rung.
type bell struct {
	digest [32]byte // of the notification token
	until  time.Time

	mu   sync.Mutex
	rang chan struct{}
}

func newPings() *pings {
	return &pings{asking: map[[32]byte]int{}, bells: map[string]*bell{}}
}

// expect lets a token be known before its request has a name. The caller calls done when the request has one.
func (p *pings) expect(digest [32]byte) (done func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asking[digest]++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.asking[digest]--; p.asking[digest] == 0 {
			delete(p.asking, digest)
		}
	}
}

// bell returns the request's bell, and hangs one up if there is none.
func (p *pings) bell(w *Waiting) *bell {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b := p.bells[w.Handle]; b != nil && b.digest == w.ping {
		return b
	}
	p.sweep()
	b := &bell{digest: w.ping, until: w.ExpiresAt.Add(keepBell), rang: make(chan struct{})}
	p.bells[w.Handle] = b
	return b
}

// sweep forgets what ended long ago, each time the number of bells has doubled.
func (p *pings) sweep() {
	if len(p.bells) < p.sweepAt {
		return
	}
	now := time.Now()
	for handle, b := range p.bells {
		if now.After(b.until) {
			delete(p.bells, handle)
		}
	}
	p.sweepAt = 2*len(p.bells) + 64
}

// listen returns a channel that the next ping closes.
func (b *bell) listen() <-chan struct{} {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rang
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.rang)
	b.rang = make(chan struct{})
}

// ServeHTTP takes one ping.
func (p *pings) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	token, ok := bearer(r.Header)
	if !ok {
		refusePing(w)
		return
	}
	handle, status := readPing(w, r)
	switch {
	case status != 0:
		w.WriteHeader(status)
	case !p.ping(handle, sha256.Sum256([]byte(token))):
		refusePing(w)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

func refusePing(w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
	w.WriteHeader(http.StatusUnauthorized)
}

// ping reports whether the token belongs to the request, and rings its bell. A ping that has overtaken the
// acknowledgement of its request is taken and needs no bell: Wait has not begun, and begins with a poll.
func (p *pings) ping(handle string, digest [32]byte) bool {
	p.mu.Lock()
	b, early := p.bells[handle], p.asking[digest] > 0
	p.mu.Unlock()
	if b == nil {
		return early
	}
	if subtle.ConstantTimeCompare(b.digest[:], digest[:]) != 1 {
		return false
	}
	b.ring()
	return true
}

// bearer takes the token out of the header (RFC 6750 section 2.1).
func bearer(h http.Header) (string, bool) {
	lines := h["Authorization"]
	if len(lines) != 1 {
		return "", false
	}
	scheme, token, ok := strings.Cut(lines[0], " ")
	return token, ok && strings.EqualFold(scheme, "Bearer") && token != "" && len(token) <= maxNotify
}

// readPing returns the request that a ping is about, or the status of a refusal.
func readPing(w http.ResponseWriter, r *http.Request) (handle string, status int) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return "", http.StatusUnsupportedMediaType
	}
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPing))
	var tooLong *http.MaxBytesError
	if errors.As(err, &tooLong) {
		return "", http.StatusRequestEntityTooLarge
	}
	if err == nil {
		handle, err = parsePing(raw)
	}
	if err != nil {
		return "", http.StatusBadRequest
	}
	return handle, 0
}

var errPing = errors.New("must be an object with auth_req_id")

// parsePing reads the body of CIBA section 10.2.
func parsePing(raw []byte) (handle string, err error) {
	var body struct {
		AuthReqID string `json:"auth_req_id"`
	}
	if err := json.Unmarshal(raw, &body); err != nil {
		return "", fmt.Errorf("read ping: %w", err)
	}
	if body.AuthReqID == "" || len(body.AuthReqID) > maxHandle {
		return "", fmt.Errorf("read ping: %w", errPing)
	}
	return body.AuthReqID, nil
}
