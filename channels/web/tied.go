package web

import (
	"context"
	"errors"
	"slices"

	"assent/approvals"
)

// Tie notes the sign-in that the browser which listens there is on now, under the condition that this goes on. It does
// nothing about a browser that is not that person's.
func (c *Channel) Tie(ctx context.Context, person approvals.PersonID, endpoint, session string, still ...approvals.Write) error {
	return change(func() error {
		k, err := c.find(ctx, c.nameOf(endpoint))
		if errors.Is(err, approvals.ErrNotFound) || err == nil && (k.Person != person || k.Verified.IsZero()) {
			return nil
		}
		if err != nil {
			return err
		}
		return c.tie(ctx, k, session, still)
	})
}

func (c *Channel) tie(ctx context.Context, k *kept, session string, still []approvals.Write) error {
	if k.Session == session {
		return nil
	}
	k.Session = session
	return c.records.Apply(ctx, append(slices.Clone(still), k.write())...)
}

// Silence forgets the browsers of a person that are on sign-ins which end, in the one transaction that ends them: also.
// What no sign-in is known of stays. It looks at the person as the store has them, and commits only if nothing has been
// added since, so that a browser which comes meanwhile is seen.
func (c *Channel) Silence(ctx context.Context, person approvals.PersonID, ends func(session string) bool, also ...approvals.Write) error {
	return change(func() error {
		p, err := c.directory.Reread(ctx, person)
		if errors.Is(err, approvals.ErrNotFound) {
			return c.records.Apply(ctx, also...)
		}
		if err != nil {
			return err
		}
		changed, writes := *p, slices.Clone(also)
		for _, a := range p.Addresses {
			if a.Channel != Name {
				continue
			}
			k, err := c.at(ctx, a)
			if errors.Is(err, approvals.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			if k.Session != "" && ends(k.Session) {
				changed.Addresses, writes = without(changed.Addresses, a.Value), append(writes, k.forget())
			}
		}
		if len(changed.Addresses) == len(p.Addresses) {
			return c.records.Apply(ctx, append(writes, approvals.Expect(approvals.KindPerson, string(p.ID), p.Revision))...)
		}
		return c.directory.SavePerson(ctx, &changed, writes...)
	})
}
