package approvals

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Choice is what a person takes away from a request before approving it; the zero Choice takes nothing. Parts are numbered
// by their place in authorization_details, from 0.
type Choice struct {
	Parts map[int]Part `json:"parts,omitempty"`
	Lasts Lasting      `json:"lasts,omitempty"`
}

// Part is what is taken away from one object.
type Part struct {
	Leave  bool     `json:"leave,omitempty"`  // all of it: it is not granted
	Amount string   `json:"amount,omitempty"` // a decimal string, less than what was asked, in the same currency
	Keep   []string `json:"keep,omitempty"`   // what stays of its list, at least one
}

// Lasting is how long an agent may come back without asking, in the place of what it asked. Empty: as asked.
type Lasting string

// What may be chosen, where it is shorter than what was asked. Days count from when approving closes, so that the same
// choice means the same moment however long the person thinks about it.
const (
	LastsOnce Lasting = "once" // not at all
	LastsDay  Lasting = "day"
	LastsWeek Lasting = "week"
)

var lastings = []struct {
	name Lasting
	days int
}{{LastsOnce, 0}, {LastsDay, 1}, {LastsWeek, 7}}

// maxChoice bounds a choice in bytes: all that can be chosen about 16 objects takes less.
const maxChoice = 8 << 10

// ParseChoice reads what [Choice.String] writes. Whether a request allows it is for [Renderer.Narrow] to say.
func ParseChoice(text string) (Choice, error) {
	var c Choice
	if text == "" {
		return c, nil
	}
	if len(text) > maxChoice {
		return c, invalid("choice", "must not be longer than %d bytes", maxChoice)
	}
	if _, err := ParseJSON([]byte(text)); err != nil { // no member twice
		return c, invalid("choice", "%s", err)
	}
	dec := json.NewDecoder(bytes.NewReader([]byte(text)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return Choice{}, invalid("choice", "must be an object with parts and lasts") // the decoder's error shows what it read
	}
	return c, nil
}

// Empty reports whether nothing is taken away.
func (c Choice) Empty() bool { return len(c.Parts) == 0 && c.Lasts == "" }

// String is the choice as one JSON object, the same for equal choices; "" for the empty one.
func (c Choice) String() string {
	if c.Empty() {
		return ""
	}
	text, _ := json.Marshal(c) // numbers and text: cannot fail
	return string(text)
}

func (p Part) empty() bool { return !p.Leave && p.Amount == "" && p.Keep == nil }

// lessening is what a person may take away from objects of a type; the zero value is nothing. Each member comes with the
// label under which its rendering shows it.
type lessening struct {
	amount      string // member with money
	amountLabel phrase
	list        string // member with a list of words
	listLabel   phrase
	listWords   map[string]phrase
}

// Narrowed is what is granted of a request after a [Choice].
type Narrowed struct {
	Details Details
	Until   time.Time // as [Request.Until]

	asked []int // which of the requested objects each one is
}

// Narrow applies a choice to what an agent asked. What is not in the choice stays, byte for byte; nothing ever becomes
// more. A choice that the request does not allow, or that takes nothing away, is a [FieldError].
func (p Renderer) Narrow(r *Request, c Choice) (Narrowed, error) {
	out, err := p.Types.narrow(r.Requested, c.Parts)
	if err != nil {
		return Narrowed{}, err
	}
	if out.Until, err = r.lasting(c.Lasts); err != nil {
		return Narrowed{}, err
	}
	if out.Until.Equal(r.AskedUntil()) && slices.EqualFunc(out.Details, r.Requested, sameDetail) {
		return Narrowed{}, invalid("choice", "must take something away")
	}
	return out, nil
}

func sameDetail(a, b Detail) bool { return bytes.Equal(a.Raw, b.Raw) }

func (t Types) narrow(asked Details, parts map[int]Part) (out Narrowed, err error) {
	for _, n := range slices.Sorted(maps.Keys(parts)) {
		if n < 0 || n >= len(asked) {
			return out, invalid(fmt.Sprintf("parts[%d]", n), "must be an object that was asked for")
		}
	}
	for i, detail := range asked {
		part, path := parts[i], fmt.Sprintf("parts[%d]", i)
		if part.Leave && (part.Amount != "" || part.Keep != nil) {
			return out, invalid(path, "must not say more about what is left out")
		}
		if part.Leave {
			continue
		}
		if detail, err = t.narrowOne(path, detail, part); err != nil {
			return out, err
		}
		out.Details, out.asked = append(out.Details, detail), append(out.asked, i)
	}
	if len(asked) > 0 && len(out.Details) == 0 {
		return out, invalid("parts", "must leave something to approve")
	}
	return out, nil
}

// narrowOne returns the object itself when nothing of it changes, and otherwise its canonical bytes with what is left. They
// pass the type's schema once more: what is granted could have been asked.
func (t Types) narrowOne(path string, detail Detail, part Part) (Detail, error) {
	typ, _ := t.of(detail)
	may := typ.less
	switch {
	case part.empty():
		return detail, nil
	case part.Amount != "" && may.amount == "":
		return detail, invalid(path+".amount", "must be absent: this type has no amount to lower")
	case part.Keep != nil && may.list == "":
		return detail, invalid(path+".keep", "must be absent: this type has no list to shorten")
	}
	v, err := ParseJSON(detail.Raw)
	if err != nil {
		return detail, fmt.Errorf("narrow %s: %w", detail.Type, err)
	}
	o := v.(map[string]any)
	lower, err := lowerAmount(path+".amount", o[may.amount], part.Amount)
	if err != nil {
		return detail, err
	}
	shorter, err := shortenList(path+".keep", o[may.list], part.Keep)
	if err != nil || lower == nil && shorter == nil {
		return detail, err
	}
	if lower != nil {
		o[may.amount] = lower
	}
	if shorter != nil {
		o[may.list] = shorter
	}
	return t.parseOne(path, Canonical(o), func(string) bool { return true })
}

// lowerAmount returns the money with a lower amount, or nil when it stays as it is.
func lowerAmount(path string, asked any, amount string) (any, error) {
	if amount == "" {
		return nil, nil
	}
	o := map[string]any{"currency": asked.(map[string]any)["currency"], "amount": amount}
	if err := money("", o); err != nil {
		wrong := err.(*FieldError)
		return nil, invalid(path, "%s", wrong.Rule)
	}
	switch moneyOf(o).Minor.Cmp(moneyOf(asked).Minor) {
	case 0:
		return nil, nil
	case 1:
		return nil, invalid(path, "must not be more than what was asked")
	}
	o["amount"] = likeAmount(amount, asked.(map[string]any)["amount"].(string))
	return o, nil
}

// likeAmount writes an amount with at least as many digits after the point as the other one: who asked for "100.00" does
// not get "40" back.
func likeAmount(amount, like string) string {
	whole, fraction, _ := strings.Cut(amount, ".")
	_, want, _ := strings.Cut(like, ".")
	if missing := len(want) - len(fraction); missing > 0 {
		fraction += strings.Repeat("0", missing)
	}
	if fraction == "" {
		return whole
	}
	return whole + "." + fraction
}

// shortenList returns what is kept of a list, in its order, or nil when that is all.
func shortenList(path string, asked any, keep []string) (any, error) {
	if keep == nil {
		return nil, nil
	}
	if len(keep) == 0 {
		return nil, invalid(path, "must keep something")
	}
	all := asked.([]any)
	for i, v := range keep {
		if !slices.Contains(all, any(v)) || slices.Contains(keep[:i], v) {
			return nil, invalid(path, "must hold only what was asked, and nothing twice")
		}
	}
	out := slices.DeleteFunc(slices.Clone(all), func(v any) bool { return !slices.Contains(keep, v.(string)) })
	if len(out) == len(all) {
		return nil, nil
	}
	return out, nil
}

// AskedUntil is what [Request.Until] was before the person shortened it.
func (r *Request) AskedUntil() time.Time {
	if r.UntilAsked.IsZero() {
		return r.Until
	}
	return r.UntilAsked
}

// lasting is what a choice of time means for this request.
func (r *Request) lasting(chosen Lasting) (time.Time, error) {
	asked := r.AskedUntil()
	if chosen == "" {
		return asked, nil
	}
	if asked.IsZero() {
		return asked, invalid("lasts", "must be absent: the agent does not ask to come back")
	}
	for _, l := range lastings {
		if l.name != chosen {
			continue
		}
		if l.days == 0 {
			return time.Time{}, nil
		}
		until := r.DecideBy.Add(time.Duration(l.days) * 24 * time.Hour)
		if !until.Before(asked) {
			return asked, invalid("lasts", "must be shorter than what was asked")
		}
		return until, nil
	}
	return asked, invalid("lasts", "must be once, day, week or absent")
}

// limit grants less than was asked; it is part of the approval that it follows.
func (r *Request) limit(n Narrowed) {
	r.Granted = n.Details
	if !n.Until.Equal(r.Until) {
		r.UntilAsked, r.Until = r.AskedUntil(), n.Until
	}
}

// Choice is what the approving person took away; empty if nothing, or if nobody has approved.
func (r *Request) Choice() Choice {
	for _, d := range r.Decisions {
		if d.Approve && d.Choice != "" {
			c, _ := ParseChoice(d.Choice) // it was written by String
			return c
		}
	}
	return Choice{}
}

// Narrowed reports whether less was approved than was asked.
func (r *Request) Narrowed() bool { return !r.Choice().Empty() }

// DiscloseNarrowed renders what is left of r after a choice, beside what was asked: both the person and the evidence see the
// difference.
func (p Renderer) DiscloseNarrowed(r *Request, c Choice, locale string) (Disclosure, error) {
	n, err := p.Narrow(r, c)
	if err != nil {
		return Disclosure{}, err
	}
	less := *r
	less.Requested, less.Until = n.Details, n.Until
	d, err := p.Disclose(&less, locale)
	if err != nil {
		return Disclosure{}, err
	}
	w := words{d.Locale}
	for i, was := range n.asked {
		if err := p.sayAsked(&d, i, n.Details[i], r.Requested[was], w); err != nil {
			return Disclosure{}, err
		}
	}
	if err := p.sayLeftOut(&d, r.Requested, n.asked, w); err != nil {
		return Disclosure{}, err
	}
	sayLasting(&d, r, n.Until, w)
	return d, nil
}

// sayAsked puts what was asked behind each fact of the i-th object that says less.
func (p Renderer) sayAsked(d *Disclosure, i int, granted, asked Detail, w words) error {
	if sameDetail(granted, asked) {
		return nil
	}
	was, err := p.Types.renderOne(asked, w)
	if err != nil {
		return err
	}
	typ, _ := p.Types.of(asked)
	may := typ.less
	for _, label := range []phrase{may.amountLabel, may.listLabel} {
		old := slices.IndexFunc(was.facts, func(f Fact) bool { return f.Label == w.say(label) })
		at := d.find(i, w.say(label))
		if old >= 0 && at >= 0 && d.Facts[at].Text != was.facts[old].Text {
			d.insert(at+1, Fact{w.say(labelAsked), was.facts[old].Text, RoleFact})
		}
	}
	return nil
}

// find returns the place of a fact with that label in the i-th object, or -1.
func (d *Disclosure) find(i int, label string) int {
	part := -1
	if !slices.ContainsFunc(d.Facts, func(f Fact) bool { return f.Role == RolePart }) {
		part = 0
	}
	for at, f := range d.Facts {
		if f.Role == RolePart {
			part++
		}
		if part == i && f.Label == label {
			return at
		}
	}
	return -1
}

func (d *Disclosure) insert(at int, f Fact) { d.Facts = slices.Insert(d.Facts, at, f) }

// closes reports a fact that comes after everything that is asked.
func closes(f Fact) bool { return f.Role == RoleRisk || f.Role == RoleCode || f.Role == RoleEnter }

// whole returns the place behind the facts of the objects, where those about the whole request begin.
func (d *Disclosure) whole() int {
	at := slices.IndexFunc(d.Facts, func(f Fact) bool { return f.Role == RoleWhole || closes(f) })
	if at < 0 {
		return len(d.Facts)
	}
	return at
}

// sayLeftOut names the objects that are not granted.
func (p Renderer) sayLeftOut(d *Disclosure, asked Details, kept []int, w words) error {
	at := d.whole()
	for i, detail := range asked {
		if slices.Contains(kept, i) {
			continue
		}
		out, err := p.Types.renderOne(detail, w)
		if err != nil {
			return err
		}
		d.insert(at, Fact{w.say(labelLeftOut), out.action, RoleWhole})
		at++
	}
	return nil
}

// sayLasting puts what was asked behind a shorter time.
func sayLasting(d *Disclosure, r *Request, until time.Time, w words) {
	asked := r.AskedUntil()
	if until.Equal(asked) {
		return
	}
	was := Fact{w.say(labelAsked), w.sprintf(sayUntil, w.date(asked, r.Zone)), RoleWhole}
	at := slices.IndexFunc(d.Facts, func(f Fact) bool { return f.Role == RoleWhole && f.Label == w.say(labelStanding) })
	if at < 0 {
		at = slices.IndexFunc(d.Facts, closes)
		if at < 0 {
			at = len(d.Facts)
		}
		d.insert(at, Fact{w.say(labelStanding), w.say(sayNotStanding), RoleWhole})
	}
	d.insert(at+1, was)
}

// Room is what a person may take away from a request, for the page where that is chosen.
type Room struct {
	Parts []RoomPart
	Lasts []RoomTime // shorter times that may be chosen; none when the agent does not ask to come back
	Until string     // what it asks: the date
}

// RoomPart is one object of a request.
type RoomPart struct {
	Action   string
	Optional bool        // it can be left out
	Amount   string      // what was asked, as it would be typed; "" when it cannot be lowered
	Shown    string      // the same as it is read, with its currency
	Values   []RoomValue // of its list; none when it cannot be shortened
}

// RoomValue is one word of a list: as it is written, and as a person reads it.
type RoomValue struct{ Name, Text string }

// RoomTime is one time that may be chosen. Date is empty for [LastsOnce].
type RoomTime struct {
	Lasts Lasting
	Date  string
}

// Any reports whether anything may be taken away.
func (room Room) Any() bool {
	return len(room.Lasts) > 0 || slices.ContainsFunc(room.Parts, func(p RoomPart) bool {
		return p.Optional || p.Amount != "" || len(p.Values) > 0
	})
}

// Room says what a person may take away from r, in one language.
func (p Renderer) Room(r *Request, locale string) (Room, error) {
	w, room := words{Locale(locale)}, Room{}
	for _, detail := range r.Requested {
		part, err := p.Types.room(detail, w)
		if err != nil {
			return Room{}, err
		}
		part.Optional = len(r.Requested) > 1
		room.Parts = append(room.Parts, part)
	}
	for _, l := range lastings {
		until, err := r.lasting(l.name)
		if err != nil {
			continue // not shorter, or not asked at all
		}
		t := RoomTime{Lasts: l.name}
		if !until.IsZero() {
			t.Date = w.date(until, r.Zone)
		}
		room.Lasts = append(room.Lasts, t)
	}
	if len(room.Lasts) > 0 {
		room.Until = w.date(r.AskedUntil(), r.Zone)
	}
	return room, nil
}

func (t Types) room(detail Detail, w words) (part RoomPart, err error) {
	out, err := t.renderOne(detail, w)
	if err != nil {
		return part, err
	}
	if part.Action = out.action; detail.Generic {
		return part, nil // only all of it can be left out
	}
	v, err := ParseJSON(detail.Raw)
	if err != nil {
		return part, fmt.Errorf("room of %s: %w", detail.Type, err)
	}
	o, may := v.(map[string]any), t[detail.Type].less
	if m, ok := o[may.amount].(map[string]any); ok {
		part.Amount, part.Shown = m["amount"].(string), w.amount(moneyOf(m))
	}
	list, _ := o[may.list].([]any)
	for _, v := range list {
		value := RoomValue{v.(string), w.say(may.listWords[v.(string)])}
		if !slices.Contains(part.Values, value) {
			part.Values = append(part.Values, value)
		}
	}
	if len(part.Values) == 1 {
		part.Values = nil // something has to stay
	}
	return part, nil
}
