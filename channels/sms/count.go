package sms

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"assent/approvals"
	"assent/channels"
)

// Count implements [channels.Counter]: the number's caps, and what a reply would mean, commit with the claim. Parts are taken out of the day by the
// handful beforehand, and put back if the claim is not made.
func (c *Channel) Count(ctx context.Context, to approvals.Address, m channels.Message) channels.Count {
	draft, no := c.allow(to.Value, m)
	if no != nil {
		return channels.Count{Refused: no, Code: no.code}
	}
	at, parts := c.cfg.Now(), draft.parts
	taken, no := c.count(ctx, to.Value, m, parts, at)
	if no != nil {
		return channels.Count{Refused: no, Code: no.code}
	}
	writes := []approvals.Write{taken.write}
	if draft.offers {
		writes = append(writes, c.offerOf(to.Value, m, draft, at).put(m.Expires))
	}
	return channels.Count{Writes: writes, At: at,
		Done: func(committed bool) {
			taken.done()
			if !committed {
				c.purse.giveBack(isCode(m), parts, at)
			}
		},
		Back: func() { c.uncount(ctx, to.Value, m, parts, at) }}
}

func isCode(m channels.Message) bool { return m.Kind == channels.KindCode }

// countNow counts a message that no claim has counted.
func (c *Channel) countNow(ctx context.Context, to string, m channels.Message, parts int, at time.Time) *refusal {
	for range maxRaces {
		taken, no := c.count(ctx, to, m, parts, at)
		if no != nil {
			return no
		}
		err := c.cfg.Records.Apply(ctx, taken.write)
		taken.done()
		if err == nil {
			return nil
		}
		c.purse.giveBack(isCode(m), parts, at)
		if !errors.Is(err, approvals.ErrConflict) {
			return c.uncounted(ctx, err)
		}
	}
	return c.uncounted(ctx, approvals.ErrConflict)
}

// count takes the message out of the day's parts and says how the number's record changes; whoever writes it calls done.
func (c *Channel) count(ctx context.Context, to string, m channels.Message, parts int, at time.Time) (taken, *refusal) {
	got, err := c.numbers.take(ctx, to, isCode(m), c.cfg.Caps, at)
	if err != nil {
		return taken{}, c.full(ctx, err, codeBurst, at)
	}
	err = c.purse.spend(ctx, isCode(m), parts, at)
	if err == nil {
		c.trippedBy(m).Store(false)
		return got, nil
	}
	got.done()
	no := c.full(ctx, err, codeDay, at)
	if no.code == codeDay && !c.trippedBy(m).Swap(true) {
		c.cfg.Log.ErrorContext(ctx, "today's text messages are used up, none leaves before midnight UTC",
			"parts", c.cfg.Caps.DayParts, "codes", isCode(m))
	}
	return taken{}, no
}

func (c *Channel) trippedBy(m channels.Message) *atomic.Bool {
	if isCode(m) {
		return &c.codesTripped
	}
	return &c.tripped
}

// full is what the message is refused with that could not be counted.
func (c *Channel) full(ctx context.Context, err error, cap string, at time.Time) *refusal {
	var full *fullError
	switch {
	case errors.Is(err, errStopped):
		return atHome(codeStopped, channels.ErrRejected)
	case errors.Is(err, errDead):
		return atHome(codeDead, channels.ErrGone)
	case errors.As(err, &full):
		return refuse(cap, &channels.CapError{After: full.until.Sub(at)})
	}
	return c.uncounted(ctx, err)
}

// uncounted is a message that nobody could count: it does not leave, so that the caps hold.
func (c *Channel) uncounted(ctx context.Context, err error) *refusal {
	c.cfg.Log.WarnContext(ctx, "text message not counted, so not sent", "err", err)
	return atHome(codeRecords, channels.ErrBusy)
}

func (c *Channel) uncount(ctx context.Context, to string, m channels.Message, parts int, at time.Time) {
	c.purse.giveBack(isCode(m), parts, at)
	if err := c.numbers.giveBack(context.WithoutCancel(ctx), to, isCode(m), at, c.cfg.Now()); err != nil {
		c.cfg.Log.WarnContext(ctx, "text message that was not sent stays counted", "err", err)
	}
}
