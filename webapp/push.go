package webapp

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"time"

	"assent/approvals"
)

// Push is what the pages need of notifications in browsers. That a test was asked for is no proof that it came.
type Push interface {
	// Key is the applicationServerKey that browsers subscribe to, in base64url (RFC 8292, 3.2).
	Key() string
	// Subscribe keeps what PushSubscription.toJSON gave, and sends that browser a test with a proof.
	// label is what the person will know the browser by.
	Subscribe(ctx context.Context, person approvals.PersonID, label string, subscription []byte) error
	// Arrived takes the proof of a test that has come back, on a sign-in. still is the condition that the sign-in goes on.
	Arrived(ctx context.Context, person approvals.PersonID, proof, session string, still ...approvals.Write) error
	// Tie notes the sign-in that the browser which listens there is on now, under the same condition.
	Tie(ctx context.Context, person approvals.PersonID, endpoint, session string, still ...approvals.Write) error
	// Silence makes the writes that end sign-ins, and in the same transaction forgets the browsers that are on them.
	// [approvals.ErrConflict] when one of the writes does not apply any more.
	Silence(ctx context.Context, person approvals.PersonID, ends func(session string) bool, also ...approvals.Write) error
	// Verified reports whether the person is told in the browser that listens there.
	Verified(ctx context.Context, person approvals.PersonID, endpoint string) (bool, error)
	// Unsubscribe forgets the browser that listens there.
	Unsubscribe(ctx context.Context, person approvals.PersonID, endpoint string) error
	// Browsers lists the browsers that a person is told in, the latest first.
	Browsers(ctx context.Context, person approvals.PersonID) ([]Browser, error)
	// Remove forgets a browser of that person by its id, for whoever has it no more; one that is not theirs is
	// [approvals.ErrNotFound].
	Remove(ctx context.Context, person approvals.PersonID, id string) error
}

// Browser is a browser that is told.
type Browser struct {
	ID    string
	Label string // such as "Firefox (Linux)"; may be empty
	Added time.Time
	Used  time.Time // when it last took a message or came to the pages, to the day; zero: not known
}

// How many tests a person may ask for: some at once, then one a minute.
const (
	testBurst = 10
	testEvery = time.Minute
)

// formPush takes the place of a request in the token of the notifications' form.
const formPush = "push"

// pushView is the offer of notifications. Script shows it where the browser can have them.
type pushView struct {
	Key   string
	Token string
}

// offer is made to who has decided something here before: by then they know what the notifications are about.
func (h *Handler) offer(v *visit, requests ...*approvals.Request) *pushView {
	if h.Push == nil || !h.mayEnrol(v) {
		return nil
	}
	for _, r := range requests {
		for _, d := range r.Decisions {
			if d.By == v.who.Person {
				return &pushView{h.Push.Key(), h.formToken(v.who, formPush)}
			}
		}
	}
	return nil
}

// mayEnrol reports whether the visitor is signed in well enough to add a way to reach them. A link alone is that in dev
// mode only.
func (h *Handler) mayEnrol(v *visit) bool {
	return v.who != nil && (v.who.Level >= approvals.LevelSession || h.Dev)
}

// enrolling reads a form of the notifications' script and checks that it was made for this sign-in.
func (h *Handler) enrolling(v *visit, field string) (string, error) {
	values, err := form(v, field, "token")
	if err != nil {
		return "", err
	}
	if !h.mayEnrol(v) {
		return "", errSignIn
	}
	if subtle.ConstantTimeCompare([]byte(values.Get("token")), []byte(h.formToken(v.who, formPush))) != 1 {
		return "", errStale
	}
	return values.Get(field), nil
}

// subscribe keeps the browser and sends it a test.
func (h *Handler) subscribe(v *visit) (answer, error) {
	raw, err := h.enrolling(v, "subscription")
	if err != nil {
		return answer{}, err
	}
	if !h.tests.allow(string(v.who.Person)) {
		return answer{}, errTooMany
	}
	err = h.Push.Subscribe(v.Context(), v.who.Person, device(v.UserAgent()), []byte(raw))
	switch {
	case err == nil:
		return answer{status: http.StatusAccepted}, nil
	case errors.Is(err, approvals.ErrInvalid):
		return answer{}, fmt.Errorf("subscribe: %w: %w", errForm, err)
	case errors.Is(err, approvals.ErrUnavailable), errors.Is(err, approvals.ErrConflict):
		return answer{}, fmt.Errorf("subscribe: %w: %w", approvals.ErrUnavailable, err)
	}
	h.Log.WarnContext(v.Context(), "test of notifications not sent", "person", v.who.Person, "err", err)
	return answer{}, errNotSent
}

// arrived is told by the service worker. What it shows is a proof that only the browser has that got the test, so it
// needs no token of a form; the person must be the one who asked for it.
func (h *Handler) arrived(v *visit) (answer, error) {
	values, err := form(v, "proof")
	if err != nil {
		return answer{}, err
	}
	if !h.mayEnrol(v) {
		return answer{}, errSignIn
	}
	err = h.whileIn(v, func(s *session) error {
		return h.Push.Arrived(v.Context(), s.Person, values.Get("proof"), s.first(), s.still())
	})
	if err != nil {
		return answer{}, fmt.Errorf("prove test: %w", err)
	}
	return answer{status: http.StatusNoContent}, nil
}

// whileIn makes a change under the condition that the session goes on. That its secret has changed since it was read is no
// reason to give up.
func (h *Handler) whileIn(v *visit, change func(*session) error) error {
	s := v.who
	for range maxRounds {
		err := change(s)
		if !errors.Is(err, approvals.ErrConflict) {
			return err
		}
		if s, err = h.session(v.Request); err != nil {
			return err
		}
		if s == nil {
			return errSignIn
		}
	}
	return approvals.ErrUnavailable
}

// verified answers 204 if this browser is told, and 404 if not. One that is told is on this sign-in from now on.
func (h *Handler) verified(v *visit) (answer, error) {
	endpoint, err := h.enrolling(v, "endpoint")
	if err != nil {
		return answer{}, err
	}
	told, err := h.Push.Verified(v.Context(), v.who.Person, endpoint)
	if err != nil {
		return answer{}, fmt.Errorf("look for browser: %w", err)
	}
	if !told {
		return answer{status: http.StatusNotFound}, nil
	}
	err = h.whileIn(v, func(s *session) error { return h.Push.Tie(v.Context(), s.Person, endpoint, s.first(), s.still()) })
	if err != nil {
		return answer{}, fmt.Errorf("tie browser: %w", err)
	}
	return answer{status: http.StatusNoContent}, nil
}

func (h *Handler) unsubscribe(v *visit) (answer, error) {
	endpoint, err := h.enrolling(v, "endpoint")
	if err != nil {
		return answer{}, err
	}
	if err := h.Push.Unsubscribe(v.Context(), v.who.Person, endpoint); err != nil {
		return answer{}, fmt.Errorf("unsubscribe: %w", err)
	}
	return answer{status: http.StatusNoContent}, nil
}
