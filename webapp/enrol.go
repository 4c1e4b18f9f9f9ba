package webapp

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"assent/approvals"
	"assent/approvals/keys"
)

// kindEnrolment is the key space of enrolment codes: one for each person, so that a new one ends the old one.
const kindEnrolment = "enrolment"

// enrolmentLife is how long an enrolment code waits to be scanned.
const enrolmentLife = 10 * time.Minute

// errDeadEnrolment means that an enrolment code is unknown, spent or over.
var errDeadEnrolment = errors.New("enrolment code is unknown, spent or dead")

// enrolment is a code by which an app without a session adds its device, once.
type enrolment struct {
	V      int                `json:"v"`
	Person approvals.PersonID `json:"person"`
	Secret []byte             `json:"secret"` // keyed hash
	Made   time.Time          `json:"made_at"`
	Ends   time.Time          `json:"ends"`
}

// enrolmentKey names a person's code in the store and, in front of the secret, in the code itself.
func (h *Handler) enrolmentKey(p approvals.PersonID) string {
	return h.Root.Handle(kindEnrolment, string(p))
}

func (h *Handler) enrolmentMAC(key, secret string) []byte {
	return h.Root.MAC(keys.LabelLookup, kindEnrolment, key, secret)
}

// scanned returns whose device a code makes it, and the writes that spend the code.
func (h *Handler) scanned(v *visit, code string) (approvals.PersonID, []approvals.Write, error) {
	if !h.mayLookUp(v) {
		return "", nil, errTooMany
	}
	key, secret, _ := strings.Cut(code, ".")
	if !handleShape.MatchString(key) || len(code) > 128 {
		return "", nil, errDeadEnrolment
	}
	rec, err := h.Records.Get(v.Context(), kindEnrolment, key)
	if errors.Is(err, approvals.ErrNotFound) {
		return "", nil, errDeadEnrolment
	}
	if err != nil {
		return "", nil, fmt.Errorf("read enrolment: %w", err)
	}
	var e enrolment
	if err := json.Unmarshal(rec.Value, &e); err != nil {
		return "", nil, fmt.Errorf("read enrolment: %w", err)
	}
	if !h.Root.Verify(e.Secret, keys.LabelLookup, kindEnrolment, key, secret) || !h.Now().Before(e.Ends) {
		return "", nil, errDeadEnrolment
	}
	p, err := h.active(v.Context(), e.Person, e.Made)
	if err != nil {
		return "", nil, fmt.Errorf("read person of enrolment: %w", err)
	}
	if p == nil {
		return "", nil, errDeadEnrolment
	}
	return e.Person, []approvals.Write{approvals.Delete(kindEnrolment, key, rec.Revision)}, nil
}

// devicesView is the page of a person's devices, and of a code to add one.
type devicesView struct {
	Devices []deviceRow
	Token   string
	QR      *square // nil: no code was asked for
	Link    string  // what the code says
	Ends    string
}

// deviceRow is one device on the page.
type deviceRow struct {
	ID    string
	Name  string
	Added string
}

// nameless are the texts for devices that nobody has named.
var nameless = map[string]string{"android": "devices.android", "ios": "devices.ios"}

// devicesPage shows where a person is told.
func (h *Handler) devicesPage(v *visit) (answer, error) {
	if err := h.owner(v); err != nil {
		return answer{to: v.path("/signin")}, nil
	}
	view, err := h.devicesOf(v)
	return answer{page: "devices", data: view}, err
}

func (h *Handler) devicesOf(v *visit) (*devicesView, error) {
	list, err := h.Devices.List(v.Context(), v.who.Person)
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	view := &devicesView{Token: h.formToken(v.who, devicesForm)}
	for _, d := range list {
		row := deviceRow{d.ID, approvals.Visible(d.Name), moment(d.AddedAt, h.Now(), v.who.person.Zone, v.lang)}
		if row.Name == "" {
			row.Name = say(v.lang, nameless[d.Platform])
		}
		view.Devices = append(view.Devices, row)
	}
	return view, nil
}

// devicesForm is what the tokens of the forms on the page are tied to, in the place of a request.
const devicesForm approvals.ID = "devices"

// managed checks a form of the devices page.
func (h *Handler) managed(v *visit) error {
	values, err := form(v, "token")
	if err != nil {
		return err
	}
	if err := h.owner(v); err != nil {
		return err
	}
	if subtle.ConstantTimeCompare([]byte(values.Get("token")), []byte(h.formToken(v.who, devicesForm))) != 1 {
		return errStale
	}
	h.touch(v)
	return nil
}

// enrol makes a code and shows it. The page is the answer to the form, so the code is in no address and no history.
func (h *Handler) enrol(v *visit) (answer, error) {
	if err := h.managed(v); err != nil {
		return answer{}, err
	}
	secret, now, key := newSecret(), h.Now(), h.enrolmentKey(v.who.Person)
	e := enrolment{V: 1, Person: v.who.Person, Secret: h.enrolmentMAC(key, secret), Made: now, Ends: now.Add(enrolmentLife)}
	value, _ := json.Marshal(e) // strings, bytes and times: cannot fail
	if err := h.Records.Apply(v.Context(), approvals.PutAny(kindEnrolment, key, value, e.Ends)); err != nil {
		return answer{}, fmt.Errorf("make enrolment code: %w", err)
	}
	view, err := h.devicesOf(v)
	if err != nil {
		return answer{}, err
	}
	// What stands behind # stays in the phone: its camera opens this page, the app reads the code.
	view.Link = h.origin + "/devices#" + key + "." + secret
	view.Ends = moment(e.Ends, now, v.who.person.Zone, v.lang)
	if view.QR, err = qrOf(view.Link); err != nil {
		return answer{}, err
	}
	return answer{page: "devices", data: view}, nil
}

// dropDevice is removeDevice for the page, without script.
func (h *Handler) dropDevice(v *visit) (answer, error) {
	if err := h.managed(v); err != nil {
		return answer{}, err
	}
	if err := v.isFresh(); err != nil {
		return answer{}, err
	}
	err := h.Devices.Remove(v.Context(), v.who.Person, v.PathValue("device"))
	if err != nil && !errors.Is(err, approvals.ErrNotFound) { // sent twice
		return answer{}, fmt.Errorf("remove device: %w", err)
	}
	return answer{to: v.path("/devices")}, nil
}
