package webapp

import (
	"context"
	"errors"
	"net/url"
	"time"

	"assent/approvals"
	"assent/webapp/passkey"
)

// serviceName is what browsers show beside a passkey.
const serviceName = "Assent"

// openPasskeys makes passkeys possible where browsers allow them. Under an IP address they do not, and nothing offers
// any.
func (h *Handler) openPasskeys() (err error) {
	if !passkey.Possible(h.origin) {
		return nil
	}
	h.passkeys, err = passkey.New(passkey.Config{Records: h.Records, Root: h.Root, Now: h.Now, Log: h.Log,
		Origin: h.origin, Name: serviceName, Since: h.signedOutAt})
	return err
}

// signedOutAt is when a person was last signed out everywhere.
func (h *Handler) signedOutAt(ctx context.Context, id approvals.PersonID) (time.Time, error) {
	p, err := h.Directory.Person(ctx, id)
	if err != nil {
		return time.Time{}, err
	}
	return p.SignedOutAt, nil
}

// passkeyAnswer is what the script put into a form.
func passkeyAnswer(values url.Values) passkey.Answer {
	return passkey.Answer{Ticket: values.Get("ticket"), Credential: values.Get("credential")}
}

// passkeyHints is where the person said that their passkey is.
func passkeyHints(values url.Values) []passkey.Hint {
	if values.Get("elsewhere") == "" {
		return nil
	}
	return []passkey.Hint{passkey.Elsewhere}
}

// passkeyProblem names the text for an answer of a browser that was not accepted; "" for every other error.
func passkeyProblem(err error) string {
	switch {
	case errors.Is(err, passkey.ErrUnverified):
		return "passkey.unverified"
	case errors.Is(err, passkey.ErrHeld):
		return "passkey.held"
	case errors.Is(err, passkey.ErrCloned):
		return "passkey.cloned"
	case errors.Is(err, passkey.ErrLimit):
		return "passkey.limit"
	case errors.Is(err, passkey.ErrLast):
		return "passkey.last"
	case errors.Is(err, passkey.ErrRefused), errors.Is(err, passkey.ErrOver), errors.Is(err, passkey.ErrUnknown):
		return "passkey.refused"
	}
	return ""
}
