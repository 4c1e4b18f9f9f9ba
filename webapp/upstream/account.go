package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"assent/approvals"
)

// Record kinds: whose an account is, and all accounts of one person.
const (
	kindOwner = "upstream"
	kindShelf = "upstreams"
)

// Account is one account that a person has connected.
type Account struct {
	Provider string    `json:"provider"` // its name here
	Key      string    `json:"key"`      // keyed hash of issuer and subject: a copy of the store names nobody
	Label    string    `json:"label,omitempty"`
	Since    time.Time `json:"since"`
	UsedAt   time.Time `json:"used_at,omitzero"`
}

// shelf is every account of one person, in one record: one account at each provider, and the last way in, are then a
// matter of compare-and-set.
type shelf struct {
	V        int                `json:"v"`
	Person   approvals.PersonID `json:"person"`
	Accounts []Account          `json:"accounts"`

	rec approvals.Record
}

func (s *shelf) find(key string) int {
	return slices.IndexFunc(s.Accounts, func(a Account) bool { return a.Key == key })
}

// add puts an account on the shelf, unless there is another one of its provider.
func (s *shelf) add(a Account) bool {
	at := slices.IndexFunc(s.Accounts, func(b Account) bool { return b.Key == a.Key || b.Provider == a.Provider })
	switch {
	case at < 0:
		s.Accounts = append(s.Accounts, a)
	case s.Accounts[at].Key != a.Key:
		return false
	default:
		s.Accounts[at].Provider, s.Accounts[at].Label = a.Provider, a.Label // which the operator may have renamed
	}
	return true
}

func (s *shelf) put() approvals.Write {
	value, _ := json.Marshal(s) // strings and times: cannot fail
	return approvals.Replace(s.rec, value, time.Time{})
}

func (k *Keeper) shelf(ctx context.Context, person approvals.PersonID) (*shelf, error) {
	rec, err := k.Records.Get(ctx, kindShelf, string(person))
	if errors.Is(err, approvals.ErrNotFound) {
		return &shelf{V: 1, Person: person, rec: approvals.Record{Kind: kindShelf, Key: string(person)}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read accounts: %w", err)
	}
	s := &shelf{rec: rec}
	if err := json.Unmarshal(rec.Value, s); err != nil {
		return nil, fmt.Errorf("read accounts: %w", err)
	}
	since, err := k.Since(ctx, person)
	if err != nil {
		return nil, fmt.Errorf("read person of accounts: %w", err)
	}
	s.Accounts = slices.DeleteFunc(s.Accounts, func(a Account) bool { return !since.IsZero() && !a.Since.After(since) })
	return s, nil
}

// List returns a person's accounts at providers that there are, in the order in which they were connected.
func (k *Keeper) List(ctx context.Context, person approvals.PersonID) ([]Account, error) {
	s, err := k.shelf(ctx, person)
	if err != nil {
		return nil, err
	}
	return k.usable(s.Accounts), nil
}

// Any reports whether a person can sign in with an account. same is the condition that nothing about that has changed.
func (k *Keeper) Any(ctx context.Context, person approvals.PersonID) (some bool, same approvals.Write, err error) {
	s, err := k.shelf(ctx, person)
	if err != nil {
		return false, same, err
	}
	return len(k.usable(s.Accounts)) > 0, approvals.Expect(kindShelf, string(person), s.rec.Revision), nil
}

// usable are the accounts at providers that the operator has not taken away.
func (k *Keeper) usable(all []Account) (out []Account) {
	for _, a := range all {
		if _, err := k.provider(a.Provider); err == nil {
			out = append(out, a)
		}
	}
	return out
}

// owner is whose an account is.
type owner struct {
	V      int                `json:"v"`
	Person approvals.PersonID `json:"person"`

	rec approvals.Record
}

// owned finds the person of an account and their accounts. An account that its person has disconnected, or that is older
// than their last sign-out everywhere, is nobody's: [ErrNotConnected], with the record that a new owner replaces.
func (k *Keeper) owned(ctx context.Context, account string) (*owner, *shelf, error) {
	o := &owner{V: 1, rec: approvals.Record{Kind: kindOwner, Key: account}}
	rec, err := k.Records.Get(ctx, kindOwner, account)
	if errors.Is(err, approvals.ErrNotFound) {
		return o, nil, ErrNotConnected
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read owner of account: %w", err)
	}
	o.rec = rec
	if err := json.Unmarshal(rec.Value, o); err != nil {
		return nil, nil, fmt.Errorf("read owner of account: %w", err)
	}
	s, err := k.shelf(ctx, o.Person)
	if errors.Is(err, approvals.ErrNotFound) || err == nil && s.find(account) < 0 {
		return o, nil, ErrNotConnected
	}
	if err != nil {
		return nil, nil, err
	}
	return o, s, nil
}

// Proof is a person who was recognised by a provider just now. It counts only once its writes are made, which must
// commit together with what it is for: they spend the state and note the use.
type Proof struct {
	Wish
	Person   approvals.PersonID
	Level    approvals.Level // at most [approvals.LevelSession]
	AMR      []string        // of RFC 8176, as the provider said
	At       time.Time
	AuthTime time.Time // when the person signed in there; zero when the provider does not say
	Writes   []approvals.Write

	provider *provider
}

// SignIn finds out whose account an answer is about. Beside the errors of [Keeper.Look]: [ErrNotConnected].
func (k *Keeper) SignIn(ctx context.Context, name, bound string, b Back) (Proof, error) {
	p, err := k.provider(name)
	if err != nil {
		return Proof{}, err
	}
	proof, err := k.signIn(ctx, p, bound, b)
	return proof, k.judged(ctx, p, err)
}

func (k *Keeper) signIn(ctx context.Context, p *provider, bound string, b Back) (Proof, error) {
	who, err := k.identify(ctx, p, bound, b)
	if err != nil {
		return Proof{}, err
	}
	if who.Connects() {
		return Proof{}, refuse(ErrOver, "purpose")
	}
	_, s, err := k.owned(ctx, who.account)
	if errors.Is(err, ErrNotConnected) {
		return Proof{Wish: who.Wish}, refuse(ErrNotConnected, "not_connected")
	}
	if err != nil {
		return Proof{}, err
	}
	now := k.Now()
	a := &s.Accounts[s.find(who.account)]
	a.UsedAt = now
	if who.label != "" {
		a.Label = who.label
	}
	if who.authTime.After(now) { // within the leeway
		who.authTime = now
	}
	return Proof{Wish: who.Wish, Person: s.Person, Level: who.level, AMR: who.amr, At: now, AuthTime: who.authTime,
		Writes: []approvals.Write{k.spend(who.flow), s.put()}, provider: p}, nil
}

// Commit makes the writes of a proof and of what it is for. A state that was spent meanwhile, and an account that was
// disconnected, is [ErrOver].
func (k *Keeper) Commit(ctx context.Context, proof Proof, also ...approvals.Write) error {
	err := k.Records.Apply(ctx, append(proof.Writes, also...)...)
	if errors.Is(err, approvals.ErrConflict) {
		return k.judged(ctx, proof.provider, refuse(ErrOver, "spent"))
	}
	if err != nil {
		return fmt.Errorf("sign in by provider: %w", err)
	}
	k.count(proof.provider.Name, signedIn)
	return nil
}

// Connect ties the account that an answer is about to the person who set out from the sign-in by, together with the given
// record writes. Beside the errors of [Keeper.Look]: [ErrTaken] and [ErrOther]. An account that is theirs already stays so.
func (k *Keeper) Connect(ctx context.Context, name, bound string, person approvals.PersonID, by string, b Back, also ...approvals.Write) error {
	p, err := k.provider(name)
	if err != nil {
		return err
	}
	return k.judged(ctx, p, k.connect(ctx, p, bound, person, by, b, also))
}

func (k *Keeper) connect(ctx context.Context, p *provider, bound string, person approvals.PersonID, by string, b Back, also []approvals.Write) error {
	who, err := k.identify(ctx, p, bound, b)
	if err != nil {
		return err
	}
	if who.Person != person || who.By != by {
		return refuse(ErrOver, "purpose")
	}
	o, _, err := k.owned(ctx, who.account)
	switch {
	case err == nil && o.Person != person:
		return refuse(ErrTaken, "taken")
	case err != nil && !errors.Is(err, ErrNotConnected):
		return err
	}
	s, err := k.shelf(ctx, person)
	if err != nil {
		return err
	}
	if !s.add(Account{Provider: p.Name, Key: who.account, Label: who.label, Since: k.Now()}) {
		return refuse(ErrOther, "other")
	}
	o.Person = person
	value, _ := json.Marshal(o) // strings and numbers: cannot fail
	err = k.Records.Apply(ctx, append(also, k.spend(who.flow), s.put(), approvals.Replace(o.rec, value, time.Time{}))...)
	if errors.Is(err, approvals.ErrConflict) {
		return refuse(ErrOver, "spent")
	}
	if err != nil {
		return fmt.Errorf("connect account: %w", err)
	}
	k.Log.InfoContext(ctx, "upstream account connected", "provider", p.Name, "person", person)
	k.count(p.Name, connected)
	return nil
}

// Disconnect forgets an account, together with the given record writes. The last one stays, with [ErrLast], unless the
// person has another way in. One that is gone already is no error.
func (k *Keeper) Disconnect(ctx context.Context, person approvals.PersonID, key string, otherWay bool, also ...approvals.Write) error {
	s, err := k.shelf(ctx, person)
	if err != nil {
		return err
	}
	at := s.find(key)
	if at < 0 {
		return nil
	}
	name := s.Accounts[at].Provider
	s.Accounts = slices.Delete(s.Accounts, at, at+1)
	if len(k.usable(s.Accounts)) == 0 && !otherWay {
		return ErrLast
	}
	err = k.Records.Apply(ctx, append(also, s.put(), approvals.Delete(kindOwner, key, approvals.AnyRevision))...)
	if err != nil {
		return fmt.Errorf("disconnect account: %w", err)
	}
	k.Log.InfoContext(ctx, "upstream account disconnected", "provider", name, "person", person)
	return nil
}
