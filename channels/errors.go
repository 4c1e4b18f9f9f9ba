package channels

import (
	"errors"
	"time"
)

// What a channel may answer beside nil. Any other error, a timeout after the request was written included, means that
// nobody knows whether the provider has the message. The five mean that it certainly does not. Those that are about the
// provider (busy, our fault, unknown) count against it: several in a row, and it is left alone for some seconds. What is
// refused because of one address or one message is gone or rejected. A cap of ours says nothing about the provider.
var (
	ErrGone     = errors.New("address is gone")        // forget the address, try the next one at once
	ErrRejected = errors.New("message was refused")    // this message will never pass here: the next one at once
	ErrBusy     = errors.New("provider is busy")       // try again later; see [BusyError]
	ErrFault    = errors.New("provider refuses us")    // our credentials, settings or credit: the next one at once, and alert
	ErrCapped   = errors.New("cap of ours is reached") // the provider was not called: the next one at once; see [CapError]
)

// CapError is [ErrCapped] from a cap that says when it lets a message through again.
type CapError struct {
	After time.Duration // from now
}

func (e *CapError) Error() string { return ErrCapped.Error() + " for " + e.After.String() }

// Unwrap makes errors.Is(err, ErrCapped) true.
func (e *CapError) Unwrap() error { return ErrCapped }

// BusyError is [ErrBusy] from a provider that says when to come again, as Retry-After does.
type BusyError struct {
	After time.Duration // from now; longer than an hour counts as an hour
}

func (e *BusyError) Error() string { return ErrBusy.Error() + " for " + e.After.String() }

// Unwrap makes errors.Is(err, ErrBusy) true.
func (e *BusyError) Unwrap() error { return ErrBusy }

// RetryAfter is how long a provider wants to be left alone, or a cap of ours lasts; 0 when neither says.
func RetryAfter(err error) time.Duration {
	var full *CapError
	if errors.As(err, &full) {
		return max(full.After, 0)
	}
	var busy *BusyError
	if !errors.As(err, &busy) {
		return 0
	}
	return min(max(busy.After, 0), busyMost)
}

// outcomeOf says what an answer of a channel means for its claim.
func outcomeOf(err error) Outcome {
	switch {
	case err == nil:
		return Accepted
	case errors.Is(err, ErrGone):
		return Gone
	case errors.Is(err, ErrRejected):
		return Rejected
	case errors.Is(err, ErrBusy):
		return Busy
	case errors.Is(err, ErrFault):
		return Fault
	case errors.Is(err, ErrCapped):
		return Capped
	}
	return Unknown
}
