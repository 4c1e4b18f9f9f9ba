package push

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"assent/approvals"
	"assent/approvals/keys"
	"assent/channels"
)

// Limits of devices and of their tests.
const (
	maxDevices = 10 // of one person
	testLife   = 10 * time.Minute
	maxTests   = 5 // of one person, in testLife
	maxToken   = 4096
	minToken   = 16
	maxLabel   = 64
)

// kindTests counts the tests of a person.
const kindTests = "push.tests"

// Device is one of a person's devices, as its owner sees it.
type Device struct {
	ID       string
	Name     string
	Platform string // "android" or "ios"
	Added    time.Time
}

// Registration is a device that asks to be told.
type Registration struct {
	Token    string // of the provider
	Name     string // what the person calls it; may be empty
	Platform string // "android" or "ios"
}

// Waiting is a registration whose test is on its way; Verified says that the device is known and needs none.
type Waiting struct {
	ID       string
	Verified bool
	Expires  time.Time // of the test
}

const tokenChars = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_:.~%=/+"

func (r Registration) check() error {
	switch {
	case len(r.Token) < minToken || len(r.Token) > maxToken || strings.Trim(r.Token, tokenChars) != "":
		return &approvals.FieldError{Field: "token", Rule: "must be a registration token of the provider's"}
	case r.Platform != "android" && r.Platform != "ios":
		return &approvals.FieldError{Field: "platform", Rule: "must be android or ios"}
	case len(r.Name) > maxLabel || approvals.Visible(r.Name) != r.Name:
		return &approvals.FieldError{Field: "name", Rule: fmt.Sprintf("must have at most %d bytes and no invisible characters", maxLabel)}
	}
	return nil
}

// Register keeps a device of that person and sends it a test, whose code comes back by [Channel.Confirm]. A device that
// somebody else has used changes hands with the confirmation of the new person and not before. also commits with it.
// [approvals.ErrTooMany] says that the person has too many devices, or had too many tests; the errors of package channels
// say why no test has left.
func (c *Channel) Register(ctx context.Context, person approvals.PersonID, r Registration, also ...approvals.Write) (
	Waiting, error) {
	if err := r.check(); err != nil {
		return Waiting{}, err
	}
	p, err := c.cfg.Directory.Person(ctx, person)
	if err != nil {
		return Waiting{}, fmt.Errorf("register device: %w", err)
	}
	var d *device
	var code string
	err = change(func() (err error) {
		d, code, err = c.expect(ctx, p, r, also)
		return err
	})
	if err != nil {
		return Waiting{}, fmt.Errorf("register device: %w", err)
	}
	if code == "" {
		return Waiting{ID: d.read.Key, Verified: true}, nil
	}
	m := channels.TestMessage("test-"+random(9), p.Locale, d.Test.Ends)
	_, err = c.push(ctx, d, m, code)
	if err != nil && !errors.Is(err, errUnsure) { // which may have come through
		return Waiting{}, fmt.Errorf("test device: %w", err)
	}
	return Waiting{ID: d.read.Key, Expires: d.Test.Ends}, nil
}

// expect keeps a device with the code that has to come back; no code if the device is that person's already.
func (c *Channel) expect(ctx context.Context, p *approvals.Person, r Registration, also []approvals.Write) (
	*device, string, error) {
	key := c.keyOf(r.Token)
	d, err := c.find(ctx, key)
	if errors.Is(err, approvals.ErrNotFound) {
		d = &device{V: 1, Sealed: c.cfg.Root.Seal(sealOf(key), []byte(r.Token)), token: r.Token,
			read: approvals.Record{Kind: kindDevice, Key: key}}
	} else if err != nil {
		return nil, "", err
	}
	if d.Person == p.ID && reaches(p, d) {
		return d, "", c.cfg.Records.Apply(ctx, also...)
	}
	if len(devicesOf(p)) >= maxDevices {
		return nil, "", fmt.Errorf("%d devices: %w", maxDevices, approvals.ErrTooMany)
	}
	counted, err := c.countTest(ctx, p.ID)
	if err != nil {
		return nil, "", err
	}
	code := random(24)
	d.Test = &test{Person: p.ID, Label: label{r.Name, r.Platform}, Code: c.codeOf(key, p.ID, code),
		Ends: c.cfg.Now().Add(testLife)}
	if err := c.cfg.Records.Apply(ctx, append(slices.Clone(also), counted, d.write())...); err != nil {
		return nil, "", err
	}
	return d, code, nil
}

// reaches reports whether the person has the device as an address, and was not signed out everywhere since.
func reaches(p *approvals.Person, d *device) bool {
	return slices.ContainsFunc(devicesOf(p), func(a approvals.Address) bool {
		return a.Value == d.Address
	})
}

// Told reports whether an address of this channel counts. Being signed out everywhere ends what devices are told as well:
// one of them may be lost.
func Told(p *approvals.Person, a approvals.Address) bool { return a.VerifiedAt.After(p.SignedOutAt) }

// devicesOf lists the devices that are told.
func devicesOf(p *approvals.Person) (devices []approvals.Address) {
	for _, a := range p.Addresses {
		if a.Channel == Name && Told(p, a) {
			devices = append(devices, a)
		}
	}
	return devices
}

func (c *Channel) codeOf(key string, person approvals.PersonID, code string) []byte {
	return c.cfg.Root.MAC(keys.LabelCode, kindDevice, key, string(person), code)
}

func random(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

// tests are the times of a person's latest tests.
type tests struct {
	V  int         `json:"v"`
	At []time.Time `json:"at"`
}

// countTest makes the write that counts one more test, or says [approvals.ErrTooMany].
func (c *Channel) countTest(ctx context.Context, person approvals.PersonID) (approvals.Write, error) {
	now := c.cfg.Now()
	rec, err := c.cfg.Records.Get(ctx, kindTests, string(person))
	had := tests{V: 1}
	switch {
	case errors.Is(err, approvals.ErrNotFound):
		rec = approvals.Record{Kind: kindTests, Key: string(person)}
	case err != nil:
		return approvals.Write{}, err
	default:
		if err := json.Unmarshal(rec.Value, &had); err != nil {
			return approvals.Write{}, fmt.Errorf("count tests: %w", err)
		}
	}
	had.At = slices.DeleteFunc(had.At, func(t time.Time) bool { return !t.After(now.Add(-testLife)) })
	if len(had.At) >= maxTests {
		return approvals.Write{}, fmt.Errorf("%d tests in %s: %w", maxTests, testLife, approvals.ErrTooMany)
	}
	had.At = append(had.At, now)
	value, _ := json.Marshal(had) // a number and times: cannot fail
	return approvals.Replace(rec, value, now.Add(testLife)), nil
}

// Confirm takes the code that a test has brought to a device. From then on the device is one of the person's addresses,
// before all others: they have just asked for it. Whoever has the code has the device, so it takes no sign-in. A code that
// is wrong or over is [approvals.ErrNotFound]; the same one twice is too.
func (c *Channel) Confirm(ctx context.Context, key, code string) error {
	err := change(func() error {
		d, err := c.find(ctx, key)
		if err != nil {
			return err
		}
		t := d.Test
		if t == nil || !c.cfg.Now().Before(t.Ends) || subtle.ConstantTimeCompare(t.Code, c.codeOf(key, t.Person, code)) != 1 {
			return approvals.ErrNotFound
		}
		return c.verify(ctx, d)
	})
	if err != nil {
		return fmt.Errorf("confirm device: %w", err)
	}
	return nil
}

// verify makes a device an address of whoever has tested it, in one transaction. Somebody who had it before has an address
// that leads nowhere from then on, and that goes with the next message.
func (c *Channel) verify(ctx context.Context, d *device) error {
	p, err := c.cfg.Directory.Person(ctx, d.Test.Person)
	if err != nil {
		return err
	}
	if p.Disabled || !d.Test.began().After(p.SignedOutAt) { // the device may be in the hands that were signed out
		return approvals.ErrNotFound
	}
	had := d.Address
	if d.Person != p.ID {
		d.Address = d.read.Key + "." + random(9)
	}
	d.Person, d.Label, d.Verified, d.Test = p.ID, d.Test.Label, c.cfg.Now(), nil
	changed := *p
	changed.Addresses = slices.Insert(without(p.Addresses, had), 0,
		approvals.Address{Channel: Name, Value: d.Address, VerifiedAt: d.Verified})
	if p.Phone != "" || slices.ContainsFunc(p.Addresses, func(a approvals.Address) bool { return a.Value != had }) {
		changed.ReachChangedAt = d.Verified // a further one: the first is how somebody begins
	}
	if len(devicesOf(&changed)) > maxDevices {
		return fmt.Errorf("%d devices: %w", maxDevices, approvals.ErrTooMany)
	}
	gone, err := c.shed(ctx, &changed)
	if err != nil {
		return err
	}
	return c.cfg.Directory.SavePerson(ctx, &changed, append(gone, d.write(), approvals.NewNotice(approvals.Notice{Person: p.ID,
		What: approvals.NoticeDevice, Where: d.Label.Name, New: changed.Addresses[0]}, d.Verified))...)
}

// shed lets the devices of a person go that are told no more.
func (c *Channel) shed(ctx context.Context, p *approvals.Person) (gone []approvals.Write, err error) {
	for _, a := range slices.Clone(p.Addresses) {
		if a.Channel != Name || Told(p, a) {
			continue
		}
		p.Addresses = without(p.Addresses, a.Value)
		key, _, _ := strings.Cut(a.Value, ".")
		d, err := c.find(ctx, key)
		if errors.Is(err, approvals.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if d.Address == a.Value && d.Test == nil { // nobody else has it, or is about to
			gone = append(gone, approvals.Delete(kindDevice, key, d.read.Revision))
		}
	}
	return gone, nil
}

// Devices lists the devices of a person, the latest first.
func (c *Channel) Devices(ctx context.Context, person approvals.PersonID) ([]Device, error) {
	p, err := c.cfg.Directory.Person(ctx, person)
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	var devices []Device
	for _, a := range devicesOf(p) {
		d, err := c.at(ctx, a)
		if errors.Is(err, approvals.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list devices: %w", err)
		}
		devices = append(devices, Device{ID: d.read.Key, Name: d.Label.Name, Platform: d.Label.Platform, Added: d.Verified})
	}
	return devices, nil
}

// Remove forgets a device of that person; it is told no more, which the person is told everywhere else. One that is not theirs is [approvals.ErrNotFound].
func (c *Channel) Remove(ctx context.Context, person approvals.PersonID, key string) error {
	if person == "" {
		return approvals.ErrNotFound
	}
	err := c.retire(ctx, person, key, func(p *approvals.Person, d *device) approvals.Write {
		return p.Removed(approvals.NoticeDeviceGone, d.Label.Name, c.cfg.Now())
	})
	if err != nil {
		return fmt.Errorf("remove device: %w", err)
	}
	return nil
}
