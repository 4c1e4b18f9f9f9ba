package webapp

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"assent/approvals"
)

// narrowView is the page where a person chooses what to take away before approving.
type narrowView struct {
	ID      string
	Ref     string
	Agent   string
	Initial string
	Token   string
	Ends    string
	Alert   string // key of what was wrong with the choice as a whole
	Parts   []narrowPart
	Times   []narrowTime
	Until   string // what was asked for
	Lasts   string // what is chosen; "" is as asked
}

// narrowPart is one object, with what is chosen about it.
type narrowPart struct {
	N        int
	Heading  string // "" when there is only one
	Action   string
	Optional bool
	Kept     bool
	Amount   string // in the field; "" without one
	Shown    string // what was asked
	Problem  string // key of what was wrong with the amount
	Values   []narrowValue
}

type narrowValue struct {
	Name, Text string
	Kept       bool
}

type narrowTime struct{ Lasts, Key, Date string }

// narrow shows what may be taken away. It changes nothing, and neither does what is chosen on it.
func (h *Handler) narrow(v *visit) (answer, error) {
	r, room, err := h.roomOf(v)
	if err != nil {
		return answer{}, err
	}
	if r.StateAt(h.Now()) != approvals.Pending || !room.Any() {
		return answer{to: v.path("/requests/" + string(r.ID))}, nil
	}
	return answer{page: "narrow", data: h.narrowView(v, r, room, nil)}, nil
}

func (h *Handler) roomOf(v *visit) (*approvals.Request, approvals.Room, error) {
	r, err := h.asked(v)
	if err != nil {
		return nil, approvals.Room{}, err
	}
	room, err := h.Desk.Renderer.Room(r, v.lang)
	if err != nil {
		return nil, room, fmt.Errorf("room of request: %w", err)
	}
	return r, room, nil
}

// narrowed shows what is left after the choice, to be approved or not.
func (h *Handler) narrowed(v *visit) (answer, error) {
	_, room, err := h.roomOf(v)
	if err != nil {
		return answer{}, err
	}
	r, values, err := h.acted(v, choiceFields(room)...)
	if err != nil {
		return answer{}, err
	}
	if r.StateAt(h.Now()) != approvals.Pending {
		return h.decided(v, r, values, approvals.ErrDecided)
	}
	choice := choiceOf(room, values)
	_, err = h.Desk.Renderer.Narrow(r, choice)
	if wrong := (*approvals.FieldError)(nil); errors.As(err, &wrong) {
		view := h.narrowView(v, r, room, values)
		view.blame(wrong.Field)
		return answer{status: http.StatusUnprocessableEntity, page: "narrow", data: view}, nil
	}
	if err != nil {
		return answer{}, err
	}
	view, err := h.viewOf(v, r, choice)
	if err != nil {
		return answer{}, err
	}
	return answer{page: "request", data: view}, nil
}

func partField(n int) string                { return "part-" + strconv.Itoa(n) }
func amountField(n int) string              { return "amount-" + strconv.Itoa(n) }
func valueField(n int, value string) string { return "value-" + strconv.Itoa(n) + "-" + value }

// choiceFields are the fields of the form, and no others.
func choiceFields(room approvals.Room) (fields []string) {
	for i, p := range room.Parts {
		fields = append(fields, partField(i), amountField(i))
		for _, value := range p.Values {
			fields = append(fields, valueField(i, value.Name))
		}
	}
	return append(fields, "lasts")
}

// choiceOf reads what was chosen: boxes that are no longer ticked, other amounts, a shorter time.
func choiceOf(room approvals.Room, values url.Values) approvals.Choice {
	c := approvals.Choice{Parts: map[int]approvals.Part{}, Lasts: approvals.Lasting(values.Get("lasts"))}
	for i, p := range room.Parts {
		if p.Optional && !values.Has(partField(i)) {
			c.Parts[i] = approvals.Part{Leave: true}
			continue
		}
		var part approvals.Part
		if amount := typedAmount(values.Get(amountField(i))); p.Amount != "" && amount != p.Amount {
			part.Amount = amount
		}
		if kept := keptOf(i, p, values); len(kept) < len(p.Values) {
			part.Keep = kept
		}
		if part.Amount != "" || part.Keep != nil {
			c.Parts[i] = part
		}
	}
	return c
}

func keptOf(i int, p approvals.RoomPart, values url.Values) []string {
	kept := []string{}
	for _, value := range p.Values {
		if values.Has(valueField(i, value.Name)) {
			kept = append(kept, value.Name)
		}
	}
	return kept
}

var grouped = regexp.MustCompile(`^[0-9]{1,3}(,[0-9]{3})+(\.[0-9]+)?$`)

// typedAmount takes an amount the way we write it, with thousands in groups. An empty field is no amount, and no number
// either.
func typedAmount(text string) string {
	text = strings.TrimSpace(text)
	if grouped.MatchString(text) {
		return strings.ReplaceAll(text, ",", "")
	}
	if text == "" {
		return "-"
	}
	return text
}

// narrowView fills the form with what was chosen, or with all that was asked when values is nil.
func (h *Handler) narrowView(v *visit, r *approvals.Request, room approvals.Room, values url.Values) *narrowView {
	name := approvals.Visible(r.AgentName)
	view := &narrowView{ID: string(r.ID), Ref: r.ID.Ref(), Agent: name, Initial: initial(name),
		Token: h.formToken(v.who, r.ID), Ends: moment(r.DecideBy, h.Now(), r.Zone, v.lang), Until: room.Until,
		Lasts: values.Get("lasts")}
	for i, p := range room.Parts {
		part := narrowPart{N: i, Action: p.Action, Optional: p.Optional, Amount: p.Amount, Shown: p.Shown,
			Kept: values == nil || values.Has(partField(i))}
		if len(room.Parts) > 1 {
			part.Heading = say(v.lang, "narrow.part", i+1, len(room.Parts))
		}
		if values != nil && p.Amount != "" {
			part.Amount = values.Get(amountField(i))
		}
		for _, value := range p.Values {
			kept := values == nil || values.Has(valueField(i, value.Name))
			part.Values = append(part.Values, narrowValue{value.Name, value.Text, kept})
		}
		view.Parts = append(view.Parts, part)
	}
	for _, t := range room.Lasts {
		view.Times = append(view.Times, narrowTime{string(t.Lasts), timeKeys[t.Lasts], t.Date})
	}
	return view
}

// timeKeys are the words for what may be chosen.
var timeKeys = map[approvals.Lasting]string{approvals.LastsOnce: "narrow.once", approvals.LastsDay: "narrow.day",
	approvals.LastsWeek: "narrow.week"}

var blamedAmount = regexp.MustCompile(`^parts\[([0-9]+)\]\.amount$`)

// blame says what was wrong with a choice, at its place.
func (view *narrowView) blame(field string) {
	view.Alert = "narrow.nothing"
	switch m := blamedAmount.FindStringSubmatch(field); {
	case m != nil:
		n, _ := strconv.Atoi(m[1])
		at := slices.IndexFunc(view.Parts, func(p narrowPart) bool { return p.N == n })
		view.Alert, view.Parts[at].Problem = "narrow.wrong", "narrow.amountWrong"
	case field == "parts":
		view.Alert = "narrow.none"
	case strings.HasSuffix(field, ".keep"):
		view.Alert = "narrow.keep"
	}
}
