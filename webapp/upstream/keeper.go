package upstream

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"assent/approvals"
	"assent/approvals/keys"
)

// What can become of a sign-in elsewhere, beside success. A page says each in a plain sentence.
var (
	ErrNoProvider   = errors.New("no such provider")
	ErrDown         = errors.New("provider does not answer")
	ErrCancelled    = errors.New("given up at the provider")
	ErrRefused      = errors.New("provider's answer refused")
	ErrWeak         = errors.New("provider did not confirm the sign-in that was asked for")
	ErrOver         = errors.New("sign-in is too old, was finished already, or began on another browser")
	ErrNotConnected = errors.New("account belongs to nobody")
	ErrTaken        = errors.New("account belongs to another person")
	ErrOther        = errors.New("person has another account there")
	ErrLast         = errors.New("last way in cannot go")
)

// Config is what sign-ins elsewhere work with. All members but Loopback are required.
type Config struct {
	Records approvals.Records
	Root    *keys.Root
	Now     func() time.Time
	Log     *slog.Logger
	HTTP    *http.Client // with limits of time and size; it follows no redirect
	Origin  string       // of the pages, such as "https://ap.example.com"

	Providers []Settings
	Loopback  bool // dev mode: providers on this machine, over plain HTTP

	// Since is when a person was last signed out everywhere: accounts that were connected before it lead nowhere.
	Since func(ctx context.Context, p approvals.PersonID) (time.Time, error)
}

// Keeper sends people to providers and knows whose the accounts there are. It is safe for concurrent use.
type Keeper struct {
	Config
	providers []*provider

	mu     sync.Mutex
	counts map[Outcome]uint64
}

// New returns a keeper, or an error that names the setting and the rule. It calls nobody: a provider that is down does
// not keep the service from starting.
func New(c Config) (*Keeper, error) {
	if err := Check(c.Providers, c.Loopback); err != nil {
		return nil, err
	}
	k := &Keeper{Config: c, counts: map[Outcome]uint64{}}
	for _, s := range c.Providers {
		k.providers = append(k.providers, newProvider(s, c))
	}
	return k, nil
}

// Offer is a provider as a page shows it.
type Offer struct {
	Name  string // in paths
	Title string // in the language of the page
}

// Offers lists the providers in the operator's order.
func (k *Keeper) Offers(lang string) []Offer {
	var out []Offer
	for _, p := range k.providers {
		out = append(out, Offer{p.Name, p.Title(lang)})
	}
	return out
}

// Title is what people read for a provider's name; the name itself when there is none such.
func (k *Keeper) Title(name, lang string) string {
	p, err := k.provider(name)
	if err != nil {
		return name
	}
	return p.Title(lang)
}

func (k *Keeper) provider(name string) (*provider, error) {
	for _, p := range k.providers {
		if p.Name == name {
			return p, nil
		}
	}
	return nil, ErrNoProvider
}

// Outcome is a provider and how a sign-in there ended: "signed_in", "connected", or why it was refused. Both are from
// closed sets.
type Outcome struct{ Provider, What string }

// Counts is how often each outcome was seen.
func (k *Keeper) Counts() map[Outcome]uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := make(map[Outcome]uint64, len(k.counts))
	for o, n := range k.counts {
		out[o] = n
	}
	return out
}

// What a sign-in can end with beside a refusal.
const (
	signedIn  = "signed_in"
	connected = "connected"
)

func (k *Keeper) count(provider, what string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.counts[Outcome{provider, what}]++
}

// refusal is one of the errors above and, for the log, one of the words that this package writes. What a provider wrote
// is in neither.
type refusal struct {
	error
	why string
}

func (r *refusal) Unwrap() error { return r.error }

func refuse(as error, why string) error { return &refusal{as, why} }

// judged logs and counts a refusal, once, where it leaves the package.
func (k *Keeper) judged(ctx context.Context, p *provider, err error) error {
	var r *refusal
	if errors.As(err, &r) {
		level := slog.LevelWarn
		if errors.Is(err, ErrOver) || errors.Is(err, ErrCancelled) { // people and robots do that by themselves
			level = slog.LevelInfo
		}
		k.Log.Log(ctx, level, "upstream sign-in refused", "provider", p.Name, "why", r.why)
		k.count(p.Name, r.why)
	}
	return err
}
