package channels

import (
	"errors"
	"time"
)

// What a channel may answer beside nil. Any other error, a timeout after the request was written included, means that
// nobody knows whether the provider has the message. The five mean that it certainly does not. Those that are about the
// provider (busy, our fault, unknown) count against it: several in a row, and it is left alone for some seconds. What is
// refused because of one address or one message is gone or rejected. What wraps [ErrUncalled] beside one of them says nothing
// about the provider at all.
var (
	ErrGone     = errors.New("address is gone")        // forget the address, try the next one at once
	ErrRejected = errors.New("message was refused")    // this message will never pass here: the next one at once
	ErrBusy     = errors.New("provider is busy")       // try again later; see [BusyError]
	ErrFault    = errors.New("provider refuses us")    // our credentials, settings or credit: the next one at once, and alert
	ErrCapped   = errors.New("cap of ours is reached") // the provider was not called: the next one at once; see [CapError]
)

// ErrUncalled is wrapped beside one of the errors above by whoever refuses a message without calling the provider: an
// address that is none, a country that is not allowed, a store that does not answer. It leaves the provider's circuit
// breaker alone. A [CapError] wraps it too.
var ErrUncalled = errors.New("provider was not called")

// Uncalled says that err kept a message from being handed over.
func Uncalled(err error) error { return &uncalledError{err} }

type uncalledError struct{ cause error }

func (e *uncalledError) Error() string { return e.cause.Error() }

// Unwrap makes errors.Is see both.
func (e *uncalledError) Unwrap() []error { return []error{e.cause, ErrUncalled} }

// CapError is [ErrCapped] from a cap that says when it lets a message through again.
type CapError struct {
	After time.Duration // from now
}

func (e *CapError) Error() string { return ErrCapped.Error() + " for " + e.After.String() }

// Unwrap makes errors.Is(err, ErrCapped) true.
func (e *CapError) Unwrap() []error { return []error{ErrCapped, ErrUncalled} }

// BusyError is [ErrBusy] from a provider that says when to come again, as Retry-After does.
type BusyError struct {
	After time.Duration // from now; longer than an hour counts as an hour
}

func (e *BusyError) Error() string { return ErrBusy.Error() + " for " + e.After.String() }

// Unwrap makes errors.Is(err, ErrBusy) true.
func (e *BusyError) Unwrap() error { return ErrBusy }

// Doubtful reports whether an HTTP status, with no word of the provider's own beside it, leaves open whether the provider has
// the message. Most of 5xx may come from something in between that had passed the message on; 503 comes from whoever did not
// take it (RFC 9110, 15.6.4).
func Doubtful(status int) bool { return status >= 500 && status != 503 }

// Doubt marks an error that leaves it open whether the provider has the message, because of a [Doubtful] answer: what has
// failed there may work again in some seconds, so that the one repeat waits that long.
func Doubt(err error) error { return &doubtError{err} }

type doubtError struct{ cause error }

func (e *doubtError) Error() string { return e.cause.Error() }

// Unwrap makes errors.Is see the cause.
func (e *doubtError) Unwrap() error { return e.cause }

// doubtRest is how long the repeat waits.
const doubtRest = 10 * time.Second

// RetryAfter is how long a provider wants to be left alone, or a cap of ours lasts; 0 when neither says.
func RetryAfter(err error) time.Duration {
	var doubt *doubtError
	if errors.As(err, &doubt) {
		return doubtRest
	}
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
