package channels

import (
	"context"
	"errors"
	"fmt"
	"time"

	"assent/approvals"
)

// Outlook is what the dispatcher will do about a request next, for whoever asks why nothing happens.
type Outlook struct {
	Next      Next
	Channels  int                  // that this installation has, outside the inbox
	Addresses int                  // outside the inbox, of channels that this installation has
	Told      bool                 // a provider has a message
	Under     bool                 // a call is under way, or its process has died
	Down      map[string]time.Time // channels of this person whose provider is left alone, until when
	Due       time.Time            // of the step in the store; zero: there is none
}

// Outlook plans a request as the next worker would, and changes nothing.
func (d *Dispatcher) Outlook(ctx context.Context, id approvals.ID) (Outlook, error) {
	t, err := d.look(ctx, approvals.Step{Name: approvals.StepDeliver, Of: string(id)})
	if err != nil {
		return Outlook{}, fmt.Errorf("look at %s: %w", id, err)
	}
	o := Outlook{Next: t.next, Channels: len(d.Channels), Addresses: len(t.task.Ladder), Down: map[string]time.Time{}}
	tries := t.task
	tries.Tries = overlay(tries.Tries, tries.Reports)
	_, o.Told = tries.told()
	_, o.Under = tries.open()
	for _, rung := range t.task.Ladder {
		if rung.Down.After(t.now) {
			o.Down[rung.Channel] = rung.Down
		}
	}
	o.Due, err = d.due(ctx, t)
	return o, err
}

// due returns the time of the errand's step, if it is there.
func (d *Dispatcher) due(ctx context.Context, t *turn) (time.Time, error) {
	step := t.step
	step.At = t.sheet.Next
	at := step.Done()
	_, err := d.Records.Get(ctx, at.Kind, at.Key)
	if errors.Is(err, approvals.ErrNotFound) {
		return time.Time{}, nil
	}
	return t.sheet.Next, err
}
