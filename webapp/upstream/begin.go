package upstream

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"assent/approvals"
	"assent/approvals/keys"
)

// Life is how long somebody may take to sign in elsewhere.
const Life = 10 * time.Minute

// Wish is what a sign-in elsewhere is for. It travels in the state, sealed.
type Wish struct {
	Next   string             `json:"next,omitempty"` // one of our own paths, for the caller
	Lang   string             `json:"lang,omitempty"` // chosen by hand; "" when it was not
	Fresh  bool               `json:"fresh,omitempty"`
	Person approvals.PersonID `json:"person,omitempty"` // who connects an account; "" for a sign-in
	By     string             `json:"by,omitempty"`     // the sign-in of that person
}

// Connects reports whether the sign-in ties an account to a person.
func (w Wish) Connects() bool { return w.Person != "" }

// flow is one sign-in under way: what the state says.
type flow struct {
	Wish
	V        int    `json:"v"`
	ID       string `json:"id"`
	Provider string `json:"provider"`
	At       int64  `json:"at"` // Unix seconds

	state, bound string
}

const sealedState = "upstream state "

// Begin returns where to send a browser. bound is what only that browser has; the answer counts nowhere else. It writes
// nothing. [ErrNoProvider] and [ErrDown].
func (k *Keeper) Begin(ctx context.Context, name, bound, lang string, w Wish) (string, error) {
	p, err := k.provider(name)
	if err != nil {
		return "", err
	}
	m, err := p.metadata(ctx)
	if err != nil {
		return "", k.judged(ctx, p, err)
	}
	f := flow{Wish: w, V: 1, ID: rand.Text(), Provider: name, At: k.Now().Unix(), bound: bound}
	plain, _ := json.Marshal(f) // strings and numbers: cannot fail
	f.state = base64.RawURLEncoding.EncodeToString(k.Root.Seal(sealedState+bound, plain))
	return p.oauth(m).AuthCodeURL(f.state, k.asks(p, f, lang)...), nil
}

func (p *provider) oauth(m *metadata) *oauth2.Config {
	return &oauth2.Config{ClientID: p.ClientID, ClientSecret: p.Secret, Endpoint: m.Endpoint, RedirectURL: p.redirect,
		Scopes: append([]string{oidc.ScopeOpenID}, p.Scopes...)}
}

// asks are the parameters beside the usual ones (OpenID Connect Core section 3.1.2.1).
func (k *Keeper) asks(p *provider, f flow, lang string) []oauth2.AuthCodeOption {
	out := []oauth2.AuthCodeOption{oidc.Nonce(k.nonce(f)), oauth2.S256ChallengeOption(k.verifier(f)),
		oauth2.SetAuthURLParam("ui_locales", lang)}
	if len(p.ACRValues) > 0 {
		out = append(out, oauth2.SetAuthURLParam("acr_values", strings.Join(p.ACRValues, " ")))
	}
	if f.Fresh {
		return append(out, oauth2.SetAuthURLParam("prompt", "login"), oauth2.SetAuthURLParam("max_age", "0"))
	}
	if p.MaxAge > 0 {
		out = append(out, oauth2.SetAuthURLParam("max_age", strconv.Itoa(int(p.MaxAge/time.Second))))
	}
	return out
}

// nonce and verifier are derived from the state and from what only the browser has, so nothing keeps them in between.
func (k *Keeper) nonce(f flow) string {
	return k.Root.Name(keys.LabelUpstream, "nonce", f.bound, f.state)
}

func (k *Keeper) verifier(f flow) string { // 48 characters (RFC 7636 section 4.1)
	return k.Root.Name(keys.LabelUpstream, "verifier", f.bound, f.state)
}
