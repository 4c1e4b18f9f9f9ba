package webapp

import (
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"

	"assent/approvals"
)

// storedView is a request as it was shown: every word comes from the bytes that the decision is bound to, none from the
// request, its type's template of today, or the visitor's language.
type storedView struct {
	ID     string
	Ref    string
	State  string
	Asked  string
	Told   string // by which channels; "" when none took a message
	Shown  []storedShown
	Unread string // key of why there are no bytes of a decision; what is shown then is what the request said
}

// storedShown is one disclosure and, unless nobody decided on it, the decision.
type storedShown struct {
	Lang    string // in which it was shown
	Rows    []row
	Button  string
	Digest  string
	Bytes   string
	Matches bool // the bytes have that digest

	Word   string // key of the decision; "" when there was none
	At     string
	Device string
	Via    string // key; "" when nothing is known
	Level  string // key
	Method string
	AMR    string // as it is in tokens
	ACR    string
	Since  string // signed in
	Note   string
}

// storedOf lays out everything that is kept of a request.
func (h *Handler) storedOf(v *visit, r *approvals.Request) (*storedView, error) {
	items, err := h.items(v, []*approvals.Request{r})
	if err != nil {
		return nil, err
	}
	view := &storedView{ID: string(r.ID), Ref: r.ID.Ref(), State: items[0].State, Asked: dated(r.CreatedAt, r.Zone, v.lang),
		Told: toldBy(r, v.lang)}
	for _, d := range r.Decisions {
		view.Shown = append(view.Shown, decisionShown(r, d, v.lang))
		if d.Disclosure == "" {
			view.Unread = "history.unread"
		}
	}
	if len(r.Decisions) == 0 {
		view.Unread = "history.never"
		view.Shown = append(view.Shown, bytesShown("", "", r))
	}
	return view, nil
}

// bytesShown reads a disclosure back from its canonical bytes. Roles are no part of them, so it is a table of label and text
// in the order in which they were shown. Without bytes it is what the request said.
func bytesShown(canonical, digest string, r *approvals.Request) storedShown {
	if canonical == "" && len(r.Disclosures) > 0 {
		first := r.Disclosures[0]
		canonical, digest = string(first.Canonical()), first.Digest()
	}
	sum := sha256.Sum256([]byte(canonical))
	shown := storedShown{Digest: digest, Bytes: canonical,
		Matches: base64.RawURLEncoding.EncodeToString(sum[:]) == digest}
	d, err := approvals.ParseCanonical([]byte(canonical))
	if err != nil {
		return shown // the bytes are shown all the same
	}
	shown.Lang, shown.Button = approvals.Locale(d.Locale), d.Button
	for _, f := range d.Facts {
		shown.Rows = append(shown.Rows, newRow(f))
	}
	return shown
}

// decisionShown is a decision with everything that proves it.
func decisionShown(r *approvals.Request, d approvals.Decision, lang string) storedShown {
	shown := bytesShown(d.Disclosure, d.Digest, r)
	shown.Word, shown.At, shown.Device, shown.Note = "history.denied", dated(d.At, r.Zone, lang), d.Device, d.Note
	switch {
	case d.Approve:
		shown.Word = "history.approved"
	case d.Reported:
		shown.Word = "history.reported"
	}
	shown.Via, shown.Level = viaWords[d.Via], levelWords[d.Level]
	switch {
	case d.Simulated:
		shown.Via = "history.byDev"
	case d.Via == "sms":
		shown.Level = "history.level.number"
	case len(d.Proof) > 0:
		shown.Level = "history.level.confirmed"
	}
	shown.Method, shown.AMR, shown.ACR = methodWords(d.AMR, lang), strings.Join(d.AMR, " "), d.Level.ACR()
	if !d.AuthTime.IsZero() {
		shown.Since = dated(d.AuthTime, r.Zone, lang)
	}
	return shown
}

// viaWords say by which way a decision came in.
var viaWords = map[string]string{"page": "history.byPage", "sms": "history.bySMS"}

// levelWords say how well the person was known. A passkey that confirmed the very decision is more than any of them, and
// has left its proof.
var levelWords = map[approvals.Level]string{approvals.LevelNone: "history.level.none", approvals.LevelLink: "history.level.link",
	approvals.LevelSession: "history.level.session", approvals.LevelPasskey: "history.level.passkey"}

// amrWords are the methods of RFC 8176 that our own ways of deciding have, in plain words. Others go by their name.
var amrWords = map[string]string{"otp": "history.amr.otp", "sms": "history.amr.sms", "pop": "history.amr.pop", "hwk": "history.amr.hwk",
	"swk": "history.amr.swk", "user": "history.amr.user", "mfa": "history.amr.mfa"}

func methodWords(amr []string, lang string) string {
	var out []string
	for _, name := range amr {
		if key, known := amrWords[name]; known {
			out = append(out, say(lang, key))
		} else {
			out = append(out, approvals.Visible(name))
		}
	}
	return strings.Join(out, " · ")
}

// channelWords are the ways by which people are told.
var channelWords = map[string]string{"sms": "history.by.sms", "push": "history.by.push", "web": "history.by.web",
	"phone": "history.by.phone"}

// toldBy lists the channels whose provider took a message about the request.
func toldBy(r *approvals.Request, lang string) string {
	took := []approvals.Status{approvals.StatusAccepted, approvals.StatusSent, approvals.StatusDelivered, approvals.StatusOpened}
	var out []string
	for _, d := range r.Deliveries {
		key, known := channelWords[d.Channel]
		if !known || !slices.Contains(took, d.Status) {
			continue
		}
		if word := say(lang, key); !slices.Contains(out, word) {
			out = append(out, word)
		}
	}
	return strings.Join(out, " · ")
}
