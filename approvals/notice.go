package approvals

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"time"
)

// StepNotice is the step by which a change of somebody's account is told to them over every channel but the one that was
// added.
const StepNotice = "notice"

// What a [Notice] can be about.
const (
	NoticePasskey = "passkey"
	NoticePhone   = "phone"
	NoticeDevice  = "device"
	NoticeBrowser = "browser"
	NoticeAccount = "account" // elsewhere; Where names the provider

	NoticePasskeyGone = "passkey_gone"
	NoticePhoneGone   = "phone_gone"
	NoticeDeviceGone  = "device_gone"
	NoticeBrowserGone = "browser_gone"
	NoticeAccountGone = "account_gone"
)

// noticeLife is how long a notice is worth sending.
const noticeLife = 24 * time.Hour

// Notice warns a person that their account can be used, or reaches them, in a new way, or in one way less. It commits with
// what it tells of.
type Notice struct {
	ID      string    `json:"id"` // random, one for each change
	Person  PersonID  `json:"person"`
	What    string    `json:"what"`            // such as [NoticePasskey]
	Where   string    `json:"where,omitempty"` // the device that did it, in words
	New     Address   `json:"new,omitzero"`    // what was added, which is not told of itself
	To      string    `json:"to,omitempty"`    // which address, as a keyed name; empty: all of them, one step each
	Expires time.Time `json:"expires"`
}

// NewNotice makes the write that brings a notice on its way. Signal [TopicDue] once it is made.
func NewNotice(n Notice, at time.Time) Write {
	n.ID, n.Expires = rand.Text(), at.Add(noticeLife)
	return n.Step(at).Put()
}

// Removed notes that one of p's addresses was taken away by hand, and makes the write that tells so over those that are
// left. Nothing leads to the one that is gone, so [Person.ReachChangedAt] gives p the time to miss it.
func (p *Person) Removed(what, where string, at time.Time) Write {
	p.ReachChangedAt = at
	return NewNotice(Notice{Person: p.ID, What: what, Where: where}, at)
}

// Step is due at once.
func (n Notice) Step(at time.Time) Step {
	data, _ := json.Marshal(n) // plain strings and times: cannot fail
	of := n.ID
	if n.To != "" {
		of += "." + n.To
	}
	return Step{Name: StepNotice, At: at, Of: of, Data: string(data)}
}

// NoticeOf reads the notice that a [StepNotice] step is about.
func NoticeOf(s Step) (Notice, error) {
	var n Notice
	if err := json.Unmarshal([]byte(s.Data), &n); err != nil {
		return n, fmt.Errorf("read notice step: %w", ErrDrop)
	}
	return n, nil
}
