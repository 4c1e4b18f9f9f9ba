package channels

import (
	"errors"
	"time"
)

// What a channel may answer beside nil. Any other error, a timeout after the request was written included, means that
// nobody knows whether the provider has the message. The four mean that it certainly does not. Those that are about the
// provider (busy, our fault, unknown) count against it: several in a row, and it is left alone for some seconds. What is
// refused because of one address or one message, a limit of ours included, is gone or rejected.
var (
	ErrGone     = errors.New("address is gone")     // forget the address, try the next one at once
	ErrRejected = errors.New("message was refused") // this message will never pass here: the next one at once
	ErrBusy     = errors.New("provider is busy")    // try again later; see [BusyError]
	ErrFault    = errors.New("provider refuses us") // our credentials, settings or credit: the next one at once, and alert
)

// BusyError is [ErrBusy] from a provider that says when to come again, as Retry-After does.
type BusyError struct {
	After time.Duration // from now; longer than an hour counts as an hour
}

func (e *BusyError) Error() string { return ErrBusy.Error() + " for " + e.After.String() }

// Unwrap makes errors.Is(err, ErrBusy) true.
func (e *BusyError) Unwrap() error { return ErrBusy }

// RetryAfter is how long a provider wants to be left alone; 0 when it does not say.
func RetryAfter(err error) time.Duration {
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
	}
	return Unknown
}
