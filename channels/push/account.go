package push

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/jwt"

	"assent/channels"
)

// scope is all that we ask for: to send messages.
const scope = "https://www.googleapis.com/auth/firebase.messaging"

// Access tokens last an hour. One is renewed a while before its end, and not asked for again right after a refusal.
const (
	renewBefore = 5 * time.Minute
	restAfter   = time.Second
)

// maxAccount is the longest service account file; they have about 2.4 kB.
const maxAccount = 64 << 10

// accountFile is what we need of a service account file. Other kinds of credentials name programs to run and addresses
// to call, and are refused.
type accountFile struct {
	Type         string `json:"type"`
	ProjectID    string `json:"project_id"`
	PrivateKeyID string `json:"private_key_id"`
	PrivateKey   string `json:"private_key"`
	ClientEmail  string `json:"client_email"`
	TokenURI     string `json:"token_uri"`
}

// readAccount checks a service account file. plain allows a token endpoint without TLS. Errors never show what is in it.
func readAccount(raw []byte, plain bool) (*accountFile, error) {
	f := &accountFile{}
	if len(raw) > maxAccount || json.Unmarshal(raw, f) != nil {
		return nil, errors.New("must be the JSON file of a service account")
	}
	if f.TokenURI == "" {
		f.TokenURI = "https://oauth2.googleapis.com/token"
	}
	at, err := url.Parse(f.TokenURI)
	switch {
	case f.Type != "service_account":
		return nil, errors.New(`type must be "service_account"`)
	case f.ClientEmail == "":
		return nil, errors.New("client_email is missing")
	case !isRSAKey(f.PrivateKey):
		return nil, errors.New("private_key must be an RSA key in PEM")
	case err != nil || at.Host == "" || at.Scheme != "https" && !(plain && at.Scheme == "http"):
		return nil, errors.New("token_uri must be an https URL")
	}
	return f, nil
}

func isRSAKey(text string) bool {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return false
	}
	if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		_, is := key.(*rsa.PrivateKey)
		return is
	}
	_, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	return err == nil
}

// account gets access tokens (RFC 7523) and keeps the latest. One call at a time asks for one; the others wait for it no
// longer than their own time lasts.
type account struct {
	jwt  jwt.Config
	next http.RoundTripper
	now  func() time.Time
	turn chan struct{} // holds one token: whoever has it may ask

	mu      sync.Mutex
	latest  string
	until   time.Time // latest is used without asking until then
	ends    time.Time // and is worth nothing from then on
	refused *refusal
	rest    time.Time
}

func newAccount(f *accountFile, next http.RoundTripper, now func() time.Time) *account {
	return &account{next: next, now: now, turn: make(chan struct{}, 1),
		jwt: jwt.Config{Email: f.ClientEmail, PrivateKey: []byte(f.PrivateKey), PrivateKeyID: f.PrivateKeyID,
			Scopes: []string{scope}, TokenURL: f.TokenURI}}
}

// token returns an access token. Without one certainly nothing was sent.
func (a *account) token(ctx context.Context) (string, *refusal) {
	if token, no, known := a.known(); known {
		return token, no
	}
	select {
	case a.turn <- struct{}{}:
	case <-ctx.Done():
		return "", refuse(codeNoToken, channels.ErrBusy)
	}
	defer func() { <-a.turn }()
	if token, no, known := a.known(); known {
		return token, no
	}
	token, life, no := a.ask(ctx)
	return a.keep(token, life, no)
}

// keep remembers an answer of the token endpoint. When it only has no time now, the token that was to be renewed is used
// while it lasts, and asked for again after a rest.
func (a *account) keep(token string, life time.Duration, no *refusal) (string, *refusal) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	if no != nil && errors.Is(no, channels.ErrBusy) && a.latest != "" && now.Before(a.ends) {
		a.until = earliest(now.Add(restAfter), a.ends)
		return a.latest, nil
	}
	a.latest, a.until, a.ends = token, now.Add(life-renewBefore), now.Add(life)
	a.refused, a.rest = no, now.Add(restAfter)
	return token, no
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// known returns the latest token, or why there is none, as long as that holds.
func (a *account) known() (token string, no *refusal, known bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	if a.latest != "" && now.Before(a.until) {
		return a.latest, nil, true
	}
	if a.refused != nil && now.Before(a.rest) {
		return "", a.refused, true
	}
	return "", nil, false
}

// forget drops a token that the provider did not take.
func (a *account) forget(token string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.latest == token {
		a.latest = ""
	}
}

// ask calls the token endpoint. The library knows no context, so the client is bound to ours.
func (a *account) ask(ctx context.Context) (token string, life time.Duration, no *refusal) {
	client := &http.Client{Transport: bound{ctx, a.next},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	got, err := a.jwt.TokenSource(context.WithValue(ctx, oauth2.HTTPClient, client)).Token()
	var refused *oauth2.RetrieveError
	switch {
	case errors.As(err, &refused):
		return "", 0, tokenRefused(refused.Response)
	case err != nil:
		return "", 0, refuse(codeNoToken, channels.ErrBusy)
	case got.AccessToken == "":
		return "", 0, refuse(codeNoToken, channels.ErrFault)
	}
	return got.AccessToken, time.Until(got.Expiry), nil
}

// tokenRefused judges by status: what is not the endpoint's own trouble is a key or an account that is no longer good.
func tokenRefused(resp *http.Response) *refusal {
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= http.StatusInternalServerError {
		return refuse(codeNoToken, busy(resp.Header))
	}
	return refuse(codeAccount, channels.ErrFault)
}

// bound is a transport whose requests end with a context.
type bound struct {
	ctx  context.Context
	next http.RoundTripper
}

// RoundTrip implements [http.RoundTripper].
func (b bound) RoundTrip(r *http.Request) (*http.Response, error) {
	return b.next.RoundTrip(r.WithContext(b.ctx))
}
