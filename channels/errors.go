package channels

import "errors"

// What a channel may answer beside nil. Any other error, a timeout included, means that nobody knows whether the provider
// has the message.
var (
	ErrGone     = errors.New("address is gone")     // forget the address, try the next one
	ErrRejected = errors.New("message was refused") // this message will never pass here: try the next address
	ErrBusy     = errors.New("provider is busy")    // certainly not sent: try again later
)

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
	}
	return Unknown
}
