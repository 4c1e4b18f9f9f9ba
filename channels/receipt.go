package channels

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"assent/approvals"
)

// Receipt is what a provider reports about a message after it has answered. Whoever takes the callback has checked that
// it comes from the provider.
type Receipt struct {
	Message  string           // [Message.ID], which the callback's address or the provider's own field has carried
	Provider string           // how the provider names the message
	Status   approvals.Status // accepted, sent, failed, delivered or opened
	Code     string           // the provider's code, from its closed set
	At       time.Time        // when it happened; zero: now
}

// maxReceiptText bounds what providers may put into one request.
const maxReceiptText = 100

// Receipt keeps a report. Repeats and reports that a later one has overtaken change nothing; a failure moves the ladder
// on. A message that is not ours, or whose request is gone, is
// [approvals.ErrNotFound]; there is no use in sending such a report again.
func (d *Dispatcher) Receipt(ctx context.Context, r Receipt) error {
	id, channel, attempt, err := readMessageID(r.Message)
	if err != nil {
		return err
	}
	if d.Channels[channel] == nil {
		return fmt.Errorf("receipt of an unknown channel: %w", approvals.ErrNotFound)
	}
	if err := r.check(); err != nil {
		return err
	}
	known, err := d.claimed(ctx, id, channel, attempt)
	if err == nil && !known {
		err = approvals.ErrNotFound
	}
	if err != nil { // a store that cannot be read must not look like a message that is not ours
		return fmt.Errorf("receipt by %s: %w", channel, err)
	}
	if r.At.IsZero() {
		r.At = d.Now()
	}
	report := approvals.Delivery{Channel: channel, Attempt: attempt, Status: r.Status, Code: r.Code, Provider: r.Provider,
		At: r.At}
	if r.Status == approvals.StatusFailed {
		err = d.failed(ctx, id, report)
	} else {
		_, err = d.Desk.Record(ctx, id, report)
	}
	if err != nil && !errors.Is(err, approvals.ErrDrop) { // full: nobody reads it
		return fmt.Errorf("receipt by %s: %w", channel, err)
	}
	return nil
}

// failed keeps the report of a failure, with a step that is due at once: the ladder moves on even if this process ends
// before it has done so itself.
func (d *Dispatcher) failed(ctx context.Context, id approvals.ID, report approvals.Delivery) error {
	step := deliver(id)
	step.At = d.Now()
	if _, err := d.Desk.Record(ctx, id, report, step.Put()); err != nil {
		return err
	}
	if err := d.advance(ctx, step, handsOff); err != nil {
		d.Log.WarnContext(ctx, "ladder is left to the sweep", "request", string(id), "err", err)
	}
	return nil
}

// receipts are the statuses that a provider knows. That it has accepted a message is news when its answer got lost.
var receipts = []approvals.Status{approvals.StatusAccepted, approvals.StatusSent, approvals.StatusFailed,
	approvals.StatusDelivered, approvals.StatusOpened}

func (r Receipt) check() error {
	switch {
	case !slices.Contains(receipts, r.Status):
		return &approvals.FieldError{Field: "status", Rule: "must be accepted, sent, failed, delivered or opened"}
	case len(r.Code) > maxReceiptText:
		return &approvals.FieldError{Field: "code", Rule: fmt.Sprintf("must not be longer than %d bytes", maxReceiptText)}
	case len(r.Provider) > maxReceiptText:
		return &approvals.FieldError{Field: "provider", Rule: fmt.Sprintf("must not be longer than %d bytes", maxReceiptText)}
	}
	return nil
}

// claimed reports whether we have sent that message, or are about to. Claims go when the request has ended and reports
// stay, so one of the two knows.
func (d *Dispatcher) claimed(ctx context.Context, id approvals.ID, channel string, attempt int) (bool, error) {
	r, err := d.Desk.Request(ctx, id)
	if err != nil {
		return false, err
	}
	for _, old := range r.Deliveries {
		if old.Channel == channel && old.Attempt == attempt && old.Status != approvals.StatusHeld {
			return true, nil
		}
	}
	s, err := d.readSheet(ctx, key(deliver(id)), time.Time{})
	if err != nil {
		return false, err
	}
	_, found := s.try(channel, attempt)
	return found, nil
}

// readMessageID takes the name of a message apart; see [messageID].
func readMessageID(name string) (id approvals.ID, channel string, attempt int, err error) {
	parts := strings.Split(name, "/")
	if len(parts) != 3 || len(name) > maxReceiptText {
		return "", "", 0, &approvals.FieldError{Field: "message", Rule: "must be the id of a message"}
	}
	if attempt, err = strconv.Atoi(parts[2]); err != nil || attempt < 1 {
		return "", "", 0, &approvals.FieldError{Field: "message", Rule: "must be the id of a message"}
	}
	return approvals.ID(parts[0]), parts[1], attempt, nil
}
