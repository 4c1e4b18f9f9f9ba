package webapp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"

	"assent/approvals"
)

// Devices keeps the phones and tablets whose app tells a person that something waits. Errors are those of package
// approvals: a FieldError for what a device may not be, ErrTooMany, ErrNotFound, and ErrUnavailable when a test could not
// be sent now.
type Devices interface {
	// Register keeps a device and sends it a test. also commits with it.
	Register(ctx context.Context, person approvals.PersonID, d NewDevice, also ...approvals.Write) (Registered, error)
	// Confirm takes the code that the test has brought; from then on the person is told there.
	Confirm(ctx context.Context, id, code string) error
	// List returns the devices of a person that are told.
	List(ctx context.Context, person approvals.PersonID) ([]Device, error)
	// Remove forgets a device of that person.
	Remove(ctx context.Context, person approvals.PersonID, id string) error
}

// NewDevice is a device as its app describes it.
type NewDevice struct {
	Token    string `json:"token"` // the push provider's name for the app on that device
	Platform string `json:"platform"`
	Name     string `json:"name"` // what the person calls it; may be empty
}

// Registered says how to go on with a new device.
type Registered struct {
	ID       string
	Verified bool      // it is known, and no test was sent
	Expires  time.Time // of the test
}

// Device is a device that is told.
type Device struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	Platform string    `json:"platform"`
	AddedAt  time.Time `json:"added_at"`
}

// deviceRoutes adds what apps call, and the page on which a person manages devices.
func (h *Handler) deviceRoutes(r chi.Router, get, post func(string, func(*visit) (answer, error))) {
	const one = "/{device:[A-Za-z0-9_-]{1,64}}"
	r.Get("/me/devices", h.api(h.devices))
	r.Post("/me/devices", h.api(h.register))
	r.Post("/me/devices"+one+"/confirm", h.api(h.confirmDevice))
	r.Delete("/me/devices"+one, h.api(h.removeDevice))
	get("/devices", h.devicesPage)
	post("/devices", h.enrol)
	post("/devices"+one+"/remove", h.dropDevice)
}

// deviceForm is the body of POST /me/devices.
type deviceForm struct {
	NewDevice
	Enrolment string `json:"enrolment"` // one-time code from the person's page, instead of a session
}

// deviceAnswer is what an app learns about its device.
type deviceAnswer struct {
	ID        string `json:"id"`
	State     string `json:"state"` // "testing" or "verified"
	ExpiresIn int    `json:"expires_in,omitempty"`
}

// register takes a device, for whoever is signed in or has shown an enrolment code. With a code the session does not
// count: the app that scans it has none, and a browser that posts somebody else's code must not lend its own.
func (h *Handler) register(v *visit) (reply, error) {
	var body deviceForm
	if err := readBody(v, &body); err != nil {
		return reply{}, err
	}
	person, spend, err := h.registrant(v, body.Enrolment)
	if err != nil {
		return reply{}, err
	}
	got, err := h.Devices.Register(v.Context(), person, body.NewDevice, spend...)
	if errors.Is(err, approvals.ErrConflict) && body.Enrolment != "" {
		return reply{}, errDeadEnrolment // spent at the same moment
	}
	if err != nil {
		return reply{}, fmt.Errorf("register device: %w", err)
	}
	if got.Verified {
		return reply{http.StatusOK, deviceAnswer{ID: got.ID, State: "verified"}}, nil
	}
	return reply{http.StatusAccepted, deviceAnswer{ID: got.ID, State: "testing",
		ExpiresIn: int(got.Expires.Sub(h.Now()).Seconds())}}, nil
}

// registrant is whose device it becomes.
func (h *Handler) registrant(v *visit, enrolment string) (approvals.PersonID, []approvals.Write, error) {
	if enrolment != "" {
		return h.scanned(v, enrolment)
	}
	if err := h.owner(v); err != nil {
		return "", nil, err
	}
	h.touch(v)
	return v.who.Person, nil, nil
}

// owner makes sure that somebody is signed in well enough to say where they are told.
func (h *Handler) owner(v *visit) error {
	if !h.mayEnrol(v) {
		return errSignIn
	}
	return nil
}

// confirmDevice takes the code that a test has brought to the device. It needs no session: the code went to that device alone.
func (h *Handler) confirmDevice(v *visit) (reply, error) {
	var body struct {
		Code string `json:"code"`
	}
	if err := readBody(v, &body); err != nil {
		return reply{}, err
	}
	if !h.mayLookUp(v) {
		return reply{}, errTooMany
	}
	if err := h.Devices.Confirm(v.Context(), v.PathValue("device"), body.Code); err != nil {
		return reply{}, fmt.Errorf("confirm device: %w", err)
	}
	return reply{status: http.StatusNoContent}, nil
}

// devices lists the devices of whoever is signed in.
func (h *Handler) devices(v *visit) (reply, error) {
	if err := h.owner(v); err != nil {
		return reply{}, err
	}
	list, err := h.Devices.List(v.Context(), v.who.Person)
	if err != nil {
		return reply{}, fmt.Errorf("list devices: %w", err)
	}
	if list == nil {
		list = []Device{}
	}
	return reply{http.StatusOK, map[string][]Device{"devices": list}}, nil
}

// removeDevice forgets a device of whoever has signed in just now.
func (h *Handler) removeDevice(v *visit) (reply, error) {
	if err := h.owner(v); err != nil {
		return reply{}, err
	}
	if err := v.isFresh(); err != nil {
		return reply{}, err
	}
	h.touch(v)
	if err := h.Devices.Remove(v.Context(), v.who.Person, v.PathValue("device")); err != nil {
		return reply{}, fmt.Errorf("remove device: %w", err)
	}
	return reply{status: http.StatusNoContent}, nil
}
