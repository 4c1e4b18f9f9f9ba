package approvals

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// KindCodeWrong is the audit record of a person who typed another code than the agent shows.
const KindCodeWrong = "code_wrong"

// WrongCode is why a request was denied without anybody saying no: the code was wrong too often.
const WrongCode Reason = "wrong_code"

// maxTries is how often a code may be typed wrong in the whole life of a request. Of two digits that is 3 in 100.
const maxTries = 3

// ErrCode means that the person typed another code than the agent shows. It counts; [Request.TriesLeft] says how many tries
// are left.
var ErrCode = errors.New("code does not match")

// Codes that a person types have 2 to 6 digits.
const (
	minCode = 2
	maxCode = 6
)

// CheckCode says whether a code is fit to be typed: two to six digits and, where there are enough of them to tell, neither
// one digit repeated nor a run such as 123 or 987, which somebody who guesses tries first. The error never holds the code.
func CheckCode(code string) error {
	if len(code) < minCode || len(code) > maxCode || !isDigits(code) {
		return invalid("code", "must be %d to %d digits", minCode, maxCode)
	}
	if step := int(code[1]) - int(code[0]); len(code) > 2 && step >= -1 && step <= 1 && isRun(code, step) {
		return invalid("code", "must not be one digit repeated or a run of digits")
	}
	return nil
}

// isRun reports whether each digit is that much more than the one before.
func isRun(code string, step int) bool {
	for i := 1; i < len(code); i++ {
		if int(code[i])-int(code[i-1]) != step {
			return false
		}
	}
	return true
}

// enter keeps the code of a request by its keyed hash: whoever reads the store does not learn what the agent shows. No
// secret of a handle reads like what is hashed.
func (d *Desk) enter(r *Request, code string) error {
	if err := CheckCode(code); err != nil {
		return err
	}
	r.CodeDigits, r.CodeHash = len(code), d.codeHash(r.ID, code)
	return nil
}

func (d *Desk) codeHash(id ID, code string) []byte {
	return d.hash("code of " + string(id) + ": " + code)
}

// Enters reports whether approving takes the code that the agent shows.
func (r *Request) Enters() bool { return r.CodeDigits > 0 }

// TriesLeft is how many more wrong codes the request bears.
func (r *Request) TriesLeft() int { return max(0, maxTries-r.CodeTries) }

// typed checks the code of an answer, in the transaction that decides. A passkey that confirmed these very words takes its
// place (WCAG 3.3.8), and so does the simulator of dev mode. A code that cannot be right is a [FieldError] and no try; one
// that is wrong is [ErrCode], and counts.
func (d *Desk) typed(r *Request, a Answer) error {
	if !r.Enters() || a.Confirmed || a.Simulated {
		return nil
	}
	code := strings.TrimSpace(a.Code)
	if len(code) != r.CodeDigits || !isDigits(code) {
		return invalid("code", "must be the %d digits that the agent shows", r.CodeDigits)
	}
	if subtle.ConstantTimeCompare(d.codeHash(r.ID, code), r.CodeHash) != 1 {
		return ErrCode
	}
	return nil
}

// miss counts a wrong code. After the last try the request is denied, and its agent is flagged for operators: perhaps the
// person has never seen what it claims to show.
func (r *Request) miss(a Answer, at time.Time) error {
	r.CodeTries++
	r.record(KindCodeWrong, at, Actor{"person", string(a.By)},
		withSignIn(map[string]string{"left": strconv.Itoa(r.TriesLeft()), "via": a.Via}, a.AuthTime))
	if r.TriesLeft() > 0 {
		return nil
	}
	r.Reason = WrongCode
	r.Also(Flag{Agent: r.Agent, Person: a.By, Why: FlagCode, Request: r.ID, At: at}.Put())
	return r.move(Denied, at, Actor{Kind: "service"}, map[string]string{factReason: string(WrongCode)})
}

// missed is what a person who typed a wrong code hears.
func (r *Request) missed() error {
	if r.State == Denied {
		return fmt.Errorf("%w: %w", ErrDecided, ErrDenied)
	}
	return ErrCode
}
