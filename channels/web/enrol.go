package web

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"assent/approvals"
	"assent/approvals/keys"
	"assent/channels"
)

// maxLabel is how long the name of a browser may be.
const maxLabel = 64

// proofLife is how long a test may take to come back.
const proofLife = 10 * time.Minute

// Key is what browsers subscribe to: our public key, in base64url (RFC 8292, 3.2).
func (c *Channel) Key() string { return c.vapid.public }

// Subscribe keeps what a browser of that person hands in, and sends it a test. A browser that is known is tested again
// and stays what it was. One that somebody else has used changes hands, if it shows the keys that only it can know. label is
// what the person will know it by, such as "Firefox (Linux)".
func (c *Channel) Subscribe(ctx context.Context, person approvals.PersonID, label string, raw []byte) error {
	sub, err := c.rules.parse(raw)
	if err != nil {
		return err
	}
	if len(label) > maxLabel || approvals.Visible(label) != label {
		return &approvals.FieldError{Field: "label", Rule: fmt.Sprintf("must have at most %d bytes and no invisible characters", maxLabel)}
	}
	p, err := c.directory.Person(ctx, person)
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	var k *kept
	var proof string
	err = change(func() (err error) {
		k, proof, err = c.expect(ctx, person, label, sub)
		return err
	})
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	m := channels.TestMessage("test", p.Locale, c.now().Add(proofLife))
	_, err = c.push(ctx, k, m, proof)
	return err
}

// expect keeps a subscription with a proof to come back.
func (c *Channel) expect(ctx context.Context, person approvals.PersonID, label string, sub *subscription) (*kept, string,
	error) {
	name := c.nameOf(sub.Endpoint)
	k, err := c.find(ctx, name)
	switch {
	case errors.Is(err, approvals.ErrNotFound):
		k = &kept{V: 1, read: approvals.Record{Kind: kindSubscription, Key: name}}
	case err != nil:
		return nil, "", err
	case !k.sub.same(sub):
		return nil, "", &approvals.FieldError{Field: "keys", Rule: "must be those that the endpoint was made with"}
	}
	if k.Person != person {
		k.Person, k.Address, k.Verified, k.Session = person, name+"."+random(9), time.Time{}, ""
	}
	plain, err := json.Marshal(sub)
	if err != nil {
		return nil, "", err
	}
	secret := random(24)
	k.Label, k.Used = label, c.now()
	k.sub, k.Sealed = sub, c.root.Seal(sealOf(name), plain)
	k.Proof, k.ProofEnd = c.proofOf(k, secret), c.now().Add(proofLife)
	if err := c.records.Apply(ctx, k.write()); err != nil {
		return nil, "", err
	}
	k.read.Revision++ // for whoever finds out that it is gone
	return k, name + "." + secret, nil
}

// same compares the keys of one endpoint, which never change.
func (s *subscription) same(other *subscription) bool {
	ours, theirs := s.Keys.P256DH+"."+s.Keys.Auth, other.Keys.P256DH+"."+other.Keys.Auth
	return subtle.ConstantTimeCompare([]byte(ours), []byte(theirs)) == 1
}

func (c *Channel) proofOf(k *kept, secret string) []byte {
	return c.root.MAC(keys.LabelPush, "proof", k.Address, secret)
}

func random(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

// Arrived takes the proof that a test has brought to a browser of that person. From then on the browser is one of the
// person's addresses, before all others: they have just asked for it. A proof that is wrong, over or somebody else's is
// [approvals.ErrNotFound]; the same one twice is not. session is the sign-in it came on, with which [Channel.Silence] ends
// it; still is the condition that it goes on, and commits with the change.
func (c *Channel) Arrived(ctx context.Context, person approvals.PersonID, proof, session string, still ...approvals.Write) error {
	name, secret, _ := strings.Cut(proof, ".")
	if name == "" || len(proof) > 128 {
		return approvals.ErrNotFound
	}
	return change(func() error {
		k, err := c.find(ctx, name)
		if err != nil {
			return err
		}
		proven := subtle.ConstantTimeCompare(k.Proof, c.proofOf(k, secret)) == 1
		if k.Person != person || !proven || !c.now().Before(k.ProofEnd) {
			return approvals.ErrNotFound
		}
		return c.verify(ctx, k, session, still)
	})
}

// verify makes a subscription an address, in one transaction.
func (c *Channel) verify(ctx context.Context, k *kept, session string, still []approvals.Write) error {
	p, err := c.directory.Person(ctx, k.Person)
	if err != nil {
		return err
	}
	isThis := func(a approvals.Address) bool { return a.Channel == Name && a.Value == k.Address }
	if k.told(p) && slices.ContainsFunc(p.Addresses, isThis) {
		return c.tie(ctx, k, session, still)
	}
	if !k.ProofEnd.Add(-proofLife).After(p.SignedOutAt) { // the browser may be in the hands that were signed out
		return approvals.ErrNotFound
	}
	k.Verified, k.Session = c.now(), session
	changed := *p
	changed.Addresses = slices.Insert(without(p.Addresses, k.Address), 0,
		approvals.Address{Channel: Name, Value: k.Address, VerifiedAt: k.Verified})
	writes, err := c.crowd(ctx, &changed)
	if err != nil {
		return err
	}
	writes = append(append(writes, still...), k.write(), approvals.NewNotice(approvals.Notice{Person: p.ID,
		What: approvals.NoticeBrowser, Where: k.Label, New: changed.Addresses[0]}, c.now()))
	return c.directory.SavePerson(ctx, &changed, writes...)
}

// crowd lets the browsers go that were added longest ago when there are too many.
func (c *Channel) crowd(ctx context.Context, p *approvals.Person) (writes []approvals.Write, err error) {
	var browsers []approvals.Address
	for _, a := range p.Addresses {
		if a.Channel == Name {
			browsers = append(browsers, a)
		}
	}
	slices.SortStableFunc(browsers, func(a, b approvals.Address) int { return b.VerifiedAt.Compare(a.VerifiedAt) })
	for _, a := range browsers[min(len(browsers), maxBrowsers):] {
		p.Addresses = without(p.Addresses, a.Value)
		k, err := c.at(ctx, a)
		if errors.Is(err, approvals.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		writes = append(writes, k.forget())
	}
	return writes, nil
}

// Verified reports whether that person is told in the browser that listens there.
func (c *Channel) Verified(ctx context.Context, person approvals.PersonID, endpoint string) (bool, error) {
	k, err := c.find(ctx, c.nameOf(endpoint))
	if errors.Is(err, approvals.ErrNotFound) {
		return false, nil
	}
	if err != nil || k.Person != person {
		return false, err
	}
	p, err := c.directory.Person(ctx, person)
	return err == nil && k.told(p), err
}

// told reports whether messages for a person go there: the test has come back since they were last signed out
// everywhere.
func (k *kept) told(p *approvals.Person) bool {
	return Told(p, approvals.Address{VerifiedAt: k.Verified})
}

// Told reports whether an address of this channel counts. Being signed out everywhere ends what browsers are told as
// well: one of them may be lost.
func Told(p *approvals.Person, a approvals.Address) bool { return a.VerifiedAt.After(p.SignedOutAt) }

// Unsubscribe forgets the browser that listens there, if it is one of that person's. It bears repeats.
func (c *Channel) Unsubscribe(ctx context.Context, person approvals.PersonID, endpoint string) error {
	err := change(func() error {
		k, err := c.find(ctx, c.nameOf(endpoint))
		if err != nil {
			return err
		}
		if k.Person != person {
			return nil
		}
		return c.retire(ctx, k, nil)
	})
	if errors.Is(err, approvals.ErrNotFound) {
		return nil
	}
	return err
}

// Browser is one of a person's browsers that are told, as its owner sees it.
type Browser struct {
	ID    string
	Label string // empty if it was added before there were labels
	Added time.Time
	Used  time.Time // when it last took a message or came to the pages, to the day
}

// Browsers lists the browsers that a person is told in, the latest first.
func (c *Channel) Browsers(ctx context.Context, person approvals.PersonID) (browsers []Browser, err error) {
	p, err := c.directory.Person(ctx, person)
	if err != nil {
		return nil, fmt.Errorf("list browsers: %w", err)
	}
	for _, a := range p.Addresses {
		if a.Channel != Name || !Told(p, a) {
			continue
		}
		k, err := c.at(ctx, a)
		if errors.Is(err, approvals.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list browsers: %w", err)
		}
		browsers = append(browsers, Browser{ID: k.read.Key, Label: k.Label, Added: k.Verified, Used: k.Used})
	}
	slices.SortStableFunc(browsers, func(a, b Browser) int { return b.Added.Compare(a.Added) })
	return browsers, nil
}

// Remove forgets a browser of that person; it is told no more, which the person is told everywhere else. One that is not theirs is [approvals.ErrNotFound].
func (c *Channel) Remove(ctx context.Context, person approvals.PersonID, id string) error {
	if person == "" || id == "" || len(id) > 64 {
		return approvals.ErrNotFound
	}
	err := change(func() error {
		k, err := c.find(ctx, id)
		if err != nil {
			return err
		}
		if k.Person != person {
			return approvals.ErrNotFound
		}
		return c.retire(ctx, k, func(p *approvals.Person) approvals.Write {
			return p.Removed(approvals.NoticeBrowserGone, k.Label, c.now())
		})
	})
	if err != nil {
		return fmt.Errorf("remove browser: %w", err)
	}
	return nil
}

// usedEvery is how precisely it is kept when a browser was heard of: a write for each message would be too much.
const usedEvery = 24 * time.Hour

// used notes that a browser's push service has taken a message. Whoever was faster may be right.
func (c *Channel) used(ctx context.Context, k *kept) {
	if c.now().Sub(k.Used) < usedEvery {
		return
	}
	k.Used = c.now()
	if err := c.records.Apply(ctx, k.write()); err != nil && !errors.Is(err, approvals.ErrConflict) {
		c.log.WarnContext(ctx, "not kept when a browser was used", "err", err)
	}
}
