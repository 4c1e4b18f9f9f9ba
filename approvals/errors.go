package approvals

import (
	"errors"
	"fmt"
)

// What can go wrong at the desk. Each edge has one table that translates these into its own protocol.
var (
	ErrNotFound    = errors.New("not found")
	ErrConflict    = errors.New("changed by someone else")
	ErrPending     = errors.New("not decided yet")
	ErrDenied      = errors.New("denied")
	ErrExpired     = errors.New("expired")
	ErrFailed      = errors.New("nobody could be asked")
	ErrWithdrawn   = errors.New("withdrawn")
	ErrRedeemed    = errors.New("already redeemed")
	ErrDecided     = errors.New("already decided")
	ErrTooLate     = errors.New("too late to approve")
	ErrWrongPerson = errors.New("request is for someone else")
	ErrChanged     = errors.New("not what was shown")
	ErrLevel       = errors.New("stronger sign-in needed")
	ErrNotEligible = errors.New("person or agent is disabled")
	ErrTaken       = errors.New("belongs to someone else")
	ErrTooMany     = errors.New("too many at once")
	ErrTooOften    = errors.New("person has been asked too often")
	ErrShutOut     = errors.New("person takes nothing from this agent now")

	// ErrUnavailable means that the store could not make a change durable. Nothing happened, or nobody may rely on it.
	ErrUnavailable = errors.New("store unavailable")

	// ErrDrop, wrapped in a handler's error, tells the consumer never to try that message again.
	ErrDrop = errors.New("not worth another try")
)

// ErrInvalid is what every [FieldError] unwraps to.
var ErrInvalid = errors.New("invalid")

// FieldError names the field and the rule it broke, and never the value: values may be secrets or hostile text.
type FieldError struct {
	Field string // path of the member, such as "authorization_details[0].instructedAmount.currency"
	Rule  string // what was expected, such as "must be an ISO 4217 code"
}

func (e *FieldError) Error() string { return e.Field + " " + e.Rule }

// Unwrap makes errors.Is(err, ErrInvalid) true.
func (e *FieldError) Unwrap() error { return ErrInvalid }

func invalid(field, rule string, args ...any) error {
	return &FieldError{Field: field, Rule: fmt.Sprintf(rule, args...)}
}
