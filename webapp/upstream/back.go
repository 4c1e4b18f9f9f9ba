package upstream

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"assent/approvals"
	"assent/approvals/keys"
)

// Back is what a provider sends back with the browser (RFC 6749 section 4.1.2, RFC 9207). error_description and whatever
// else comes along are the provider's words, and are not read.
type Back struct {
	Code, State, Iss, Error string
}

// Longest values that are taken.
const (
	maxCode  = 4096
	maxState = 2048
	maxIss   = 2048
	maxError = 128
)

// ParseBack reads the query of an answer: each parameter at most once, in visible ASCII, no longer than any provider
// has it. [ErrRefused].
func ParseBack(query string) (Back, error) {
	if len(query) > 3*(maxCode+maxState+maxIss) {
		return Back{}, ErrRefused
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return Back{}, ErrRefused
	}
	var b Back
	for name, field := range map[string]struct {
		to  *string
		max int
	}{"code": {&b.Code, maxCode}, "state": {&b.State, maxState}, "iss": {&b.Iss, maxIss}, "error": {&b.Error, maxError}} {
		given := values[name]
		if len(given) > 1 || len(given) == 1 && !plain(given[0], field.max) {
			return Back{}, ErrRefused
		}
		*field.to = values.Get(name)
	}
	if (b.Code == "") == (b.Error == "") {
		return Back{}, ErrRefused
	}
	return b, nil
}

// plain reports whether a value is short and of visible ASCII and spaces (VSCHAR, RFC 6749 appendix A).
func plain(s string, most int) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] >= 0x7f {
			return false
		}
	}
	return len(s) <= most
}

// Look reports what an answer belongs to, without using it up: it calls nobody and writes nothing, so that a page can
// show it. [ErrOver] for an answer that this browser did not ask for, or too long ago; the provider's own errors as
// [ErrCancelled], [ErrDown], [ErrWeak] or [ErrRefused].
func (k *Keeper) Look(ctx context.Context, name, bound string, b Back) (Wish, error) {
	p, err := k.provider(name)
	if err != nil {
		return Wish{}, err
	}
	f, err := k.open(p, bound, b)
	return f.Wish, k.judged(ctx, p, err)
}

// open finds the sign-in under way that an answer belongs to, and whether the provider gave one at all. The wish is
// known also when it did not.
func (k *Keeper) open(p *provider, bound string, b Back) (flow, error) {
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(b.State)
	if err != nil || bound == "" {
		return flow{}, refuse(ErrOver, "state")
	}
	raw, err := k.Root.Open(sealedState+bound, sealed)
	if err != nil {
		return flow{}, refuse(ErrOver, "state")
	}
	f := flow{state: b.State, bound: bound}
	if err := json.Unmarshal(raw, &f); err != nil {
		return flow{}, refuse(ErrOver, "state")
	}
	age := k.Now().Unix() - f.At
	switch {
	case f.Provider != p.Name, b.Iss != "" && b.Iss != p.Issuer: // mix-up (RFC 9700 section 4.4)
		return flow{}, refuse(ErrRefused, "issuer")
	case age < 0 || age >= int64(Life/time.Second):
		return f, refuse(ErrOver, "late")
	case b.Error != "":
		return f, foreign(b.Error)
	}
	return f, nil
}

// foreign translates a provider's error codes (RFC 6749 section 4.1.2.1, OpenID Connect Core section 3.1.2.6, OpenID
// Connect Core Unmet Authentication Requirements 1.0). All others are one.
func foreign(code string) error {
	switch code {
	case "access_denied", "login_required", "consent_required", "interaction_required", "account_selection_required":
		return refuse(ErrCancelled, "cancelled")
	case "server_error", "temporarily_unavailable":
		return refuse(ErrDown, "unavailable")
	case "unmet_authentication_requirements":
		return refuse(ErrWeak, "acr")
	}
	return refuse(ErrRefused, "error")
}

// kindFlow holds the states that are spent, as long as they would be good otherwise.
const kindFlow = "flow"

func (k *Keeper) flowKey(f flow) string { return k.Root.Name(keys.LabelUpstream, "flow", f.ID) }

// unspent keeps a code that was traded from being sent to the provider again, which would take it for stolen. What
// decides is [Keeper.spend].
func (k *Keeper) unspent(ctx context.Context, f flow) error {
	switch _, err := k.Records.Get(ctx, kindFlow, k.flowKey(f)); {
	case err == nil:
		return refuse(ErrOver, "spent")
	case !errors.Is(err, approvals.ErrNotFound):
		return fmt.Errorf("read state: %w", err)
	}
	return nil
}

// spend makes the write that lets a state count once.
func (k *Keeper) spend(f flow) approvals.Write {
	return approvals.PutNew(kindFlow, k.flowKey(f), []byte(`{"v":1}`),
		time.Unix(f.At, 0).Add(Life))
}
