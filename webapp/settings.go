package webapp

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"assent/approvals"
	"assent/approvals/keys"
)

// Reach knows where people can be reached. Errors are those of package approvals.
type Reach interface {
	// Ways lists where messages to a person go, in the person's order.
	Ways(ctx context.Context, p *approvals.Person) ([]Way, error)
	// Drop forgets a way of that person; what only the person's record holds is left to the caller.
	Drop(ctx context.Context, person approvals.PersonID, w Way) error
}

// Kinds of ways.
const (
	WayPhone   = "phone"   // text messages to a number
	WayDevice  = "device"  // an app
	WayBrowser = "browser" // notifications of a browser
	WayOther   = "other"   // what an operator has set up
)

// Way is one place where messages to a person go.
type Way struct {
	approvals.Address
	Kind  string
	Name  string // what the person knows it by; may be empty
	Key   string // of the channel's own, for Drop
	Fixed bool   // it is where it is, and not for the person to change
}

// formSettings is what the forms of the page are tied to, in the place of a request.
const formSettings approvals.ID = "settings"

// settingsView is the page of how a person wants to be told.
type settingsView struct {
	Ways     []wayRow
	Channels []channelRow
	Token    string
	Rev      string // of the person, as it is on the page
	From, To string // quiet hours
	Zone     string
	Locale   string
	Summary  bool
	Devices  bool // there is a page to add some
	Problem  string
}

type wayRow struct {
	ID       string
	Name     string
	Added    string
	Up, Down bool
	Remove   bool
}

type channelRow struct {
	Channel string
	Name    string
	Muted   bool
}

// settings shows how the person is told.
func (h *Handler) settings(v *visit) (answer, error) { return h.showSettings(v, 0, "", nil) }

// showSettings shows the page, with what was wrong about the last try and what was typed in.
func (h *Handler) showSettings(v *visit, status int, problem string, typed url.Values) (answer, error) {
	if err := h.owner(v); err != nil {
		return answer{}, err
	}
	p, err := h.Directory.Person(v.Context(), v.who.Person)
	if err != nil {
		return answer{}, fmt.Errorf("read settings: %w", err)
	}
	ways, err := h.ways(v.Context(), p)
	if err != nil {
		return answer{}, err
	}
	view := &settingsView{Token: h.formToken(v.who, formSettings), Rev: fmt.Sprint(p.Revision), From: p.Quiet.From,
		To: p.Quiet.To, Zone: p.Zone, Locale: approvals.Locale(p.Locale), Summary: p.Detail == approvals.DetailSummary,
		Devices: h.Devices != nil, Problem: problem}
	if view.Zone == "" {
		view.Zone = "UTC"
	}
	if typed != nil {
		view.From, view.To, view.Zone = typed.Get("from"), typed.Get("to"), typed.Get("zone")
	}
	view.list(h, v, p, ways)
	return answer{status: status, page: "settings", data: view}, nil
}

// list lays out the ways and their channels.
func (view *settingsView) list(h *Handler, v *visit, p *approvals.Person, ways []Way) {
	movable := 0
	for _, w := range ways {
		if !w.Fixed {
			movable++
		}
	}
	at := 0
	for _, w := range ways {
		row := wayRow{ID: h.wayID(w), Name: wayName(w, v.lang), Added: moment(w.VerifiedAt, h.Now(), p.Zone, v.lang)}
		if !w.Fixed {
			row.Up, row.Down, row.Remove = at > 0, at < movable-1, w.Kind != WayOther
			at++
		}
		view.Ways = append(view.Ways, row)
		same := func(c channelRow) bool { return c.Channel == w.Channel }
		if !slices.ContainsFunc(view.Channels, same) {
			view.Channels = append(view.Channels, channelRow{w.Channel, say(v.lang, channelNames[w.Kind]),
				slices.Contains(p.Muted, w.Channel)})
		}
	}
}

// wayNames and channelNames are the texts for ways that have no name of their own, and for their channels.
var (
	wayNames = map[string]string{WayPhone: "settings.phone", WayDevice: "settings.device", WayBrowser: "settings.browser",
		WayOther: "settings.other"}
	channelNames = map[string]string{WayPhone: "settings.texts", WayDevice: "settings.apps", WayBrowser: "settings.browsers",
		WayOther: "settings.others"}
)

func wayName(w Way, lang string) string {
	if w.Name == "" {
		return say(lang, wayNames[w.Kind])
	}
	return approvals.Visible(w.Name)
}

func (h *Handler) ways(ctx context.Context, p *approvals.Person) ([]Way, error) {
	if h.Reach == nil {
		return nil, nil
	}
	ways, err := h.Reach.Ways(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("list ways: %w", err)
	}
	return ways, nil
}

// wayID names a way on the page without saying what it is.
func (h *Handler) wayID(w Way) string {
	return h.Root.Name(keys.LabelLookup, "way", w.Channel, w.Value)
}

// set reads a form of the page, and the person as they were on it.
func (h *Handler) set(v *visit, fields ...string) (url.Values, *approvals.Person, error) {
	values, err := form(v, append(fields, "token", "rev")...)
	if err != nil {
		return nil, nil, err
	}
	if err := h.owner(v); err != nil {
		return nil, nil, err
	}
	if subtle.ConstantTimeCompare([]byte(values.Get("token")), []byte(h.formToken(v.who, formSettings))) != 1 {
		return nil, nil, errStale
	}
	h.touch(v)
	p, err := h.Directory.Person(v.Context(), v.who.Person)
	if err != nil {
		return nil, nil, fmt.Errorf("read settings: %w", err)
	}
	if rev, err := strconv.ParseUint(values.Get("rev"), 10, 64); err != nil || rev != p.Revision {
		return values, p, approvals.ErrConflict
	}
	changed := *p
	return values, &changed, nil
}

// saved is the answer to a form: the page anew, or what was wrong.
func (h *Handler) saved(v *visit, what string, typed url.Values, err error) (answer, error) {
	var field *approvals.FieldError
	switch {
	case err == nil:
		h.Log.InfoContext(v.Context(), "settings changed by their person", "person", string(v.who.Person), "what", what)
		return answer{to: v.path("/settings")}, nil
	case errors.Is(err, approvals.ErrConflict):
		return h.showSettings(v, http.StatusConflict, "settings.conflict", nil)
	case errors.Is(err, errOnlyWay):
		return h.showSettings(v, http.StatusUnprocessableEntity, "settings.onlyWay", nil)
	case errors.As(err, &field) && field.Field == "zone":
		return h.showSettings(v, http.StatusUnprocessableEntity, "settings.zoneWrong", typed)
	case errors.As(err, &field) && field.Field == "quiet_hours":
		return h.showSettings(v, http.StatusUnprocessableEntity, "settings.quietWrong", typed)
	case errors.Is(err, approvals.ErrInvalid):
		return answer{}, fmt.Errorf("%w: %w", errForm, err) // the page offers nothing else
	}
	return answer{}, err
}

// errOnlyWay means that a person could not sign in any more.
var errOnlyWay = errors.New("it is the only way in")

// saveSettings takes quiet hours, zone, language and detail. They count from then on, on this very page too.
func (h *Handler) saveSettings(v *visit) (answer, error) {
	values, p, err := h.set(v, "from", "to", "zone", "locale", "detail")
	if err == nil {
		p.Quiet = approvals.QuietHours{From: values.Get("from"), To: values.Get("to")}
		p.Zone, p.Locale, p.Detail = values.Get("zone"), values.Get("locale"), values.Get("detail")
		if p.Locale != approvals.Locale(p.Locale) {
			return answer{}, errForm
		}
		err = h.Directory.SavePerson(v.Context(), p)
	}
	a, err := h.saved(v, "preferences", values, err)
	if a.to != "" {
		a.to = "/settings" // in the language that was chosen just now
	}
	return a, err
}

// mute keeps a channel from bringing requests, or lets it again. Codes and notices come all the same.
func (h *Handler) mute(v *visit) (answer, error) {
	values, p, err := h.set(v, "channel", "on")
	if err == nil {
		channel := values.Get("channel")
		p.Muted = slices.DeleteFunc(slices.Clone(p.Muted), func(m string) bool { return m == channel })
		if values.Get("on") != "" {
			p.Muted = append(p.Muted, channel)
		}
		err = h.mutable(v.Context(), p, channel)
	}
	if err == nil {
		err = h.Directory.SavePerson(v.Context(), p)
	}
	return h.saved(v, "channel", nil, err)
}

// mutable makes sure that a channel is one of the page's.
func (h *Handler) mutable(ctx context.Context, p *approvals.Person, channel string) error {
	ways, err := h.ways(ctx, p)
	if err == nil && !slices.ContainsFunc(ways, func(w Way) bool { return w.Channel == channel }) {
		return errForm
	}
	return err
}

// move puts a way one place up or down in the person's order.
func (h *Handler) move(v *visit) (answer, error) {
	values, p, err := h.set(v, "way", "to")
	if err == nil {
		err = h.moved(v.Context(), p, values.Get("way"), values.Get("to"))
	}
	if err == nil {
		err = h.Directory.SavePerson(v.Context(), p)
	}
	return h.saved(v, "order", nil, err)
}

// moved changes the order of p's addresses. What the person does not see stays behind what they do.
func (h *Handler) moved(ctx context.Context, p *approvals.Person, id, to string) error {
	ways, err := h.ways(ctx, p)
	if err != nil {
		return err
	}
	ways = slices.DeleteFunc(ways, func(w Way) bool { return w.Fixed })
	at := slices.IndexFunc(ways, func(w Way) bool { return h.wayID(w) == id })
	next := at - 1
	if to == "down" {
		next = at + 1
	}
	if at < 0 || to != "up" && to != "down" {
		return approvals.ErrConflict // it has gone meanwhile
	}
	if next < 0 || next >= len(ways) {
		return nil
	}
	ways[at], ways[next] = ways[next], ways[at]
	var order []approvals.Address
	for _, w := range ways {
		order = append(order, w.Address)
	}
	for _, a := range p.Addresses {
		same := func(b approvals.Address) bool { return a.Channel == b.Channel && a.Value == b.Value }
		if !slices.ContainsFunc(order, same) {
			order = append(order, a)
		}
	}
	p.Addresses = order
	return nil
}

// dropWay forgets a way, for whoever has signed in just now: what warns a person is not silenced with a copied cookie. A
// number goes only if another way in stays.
func (h *Handler) dropWay(v *visit) (answer, error) {
	values, p, err := h.set(v, "way")
	if err != nil {
		return h.saved(v, "way", nil, err)
	}
	if err := v.isFresh(); err != nil {
		return answer{}, err
	}
	ways, err := h.ways(v.Context(), p)
	if err != nil {
		return answer{}, err
	}
	at := slices.IndexFunc(ways, func(w Way) bool { return !w.Fixed && w.Kind != WayOther && h.wayID(w) == values.Get("way") })
	switch {
	case at < 0:
		err = approvals.ErrConflict
	case ways[at].Kind == WayPhone:
		err = h.dropPhone(v, p)
	default:
		err = h.Reach.Drop(v.Context(), v.who.Person, ways[at])
		if errors.Is(err, approvals.ErrNotFound) {
			err = nil // sent twice
		}
	}
	return h.saved(v, "way", nil, err)
}

// dropPhone takes a number away from a person.
func (h *Handler) dropPhone(v *visit, p *approvals.Person) error {
	number := p.Phone
	p.Phone = ""
	p.Addresses = slices.DeleteFunc(slices.Clone(p.Addresses), func(a approvals.Address) bool { return a.Value == number })
	var stays []approvals.Write
	in, err := h.codeArrives(v.Context(), p)
	if err != nil {
		return err
	}
	if !in {
		if in, stays, err = h.otherWayIn(v.Context(), p, byCode); err != nil {
			return err
		}
	}
	if !in {
		return errOnlyWay
	}
	return h.Directory.SavePerson(v.Context(), p, stays...)
}

// settingsRoutes adds the page.
func (h *Handler) settingsRoutes(get, post func(string, func(*visit) (answer, error))) {
	get("/settings", h.settings)
	post("/settings", h.saveSettings)
	post("/settings/mute", h.mute)
	post("/settings/move", h.move)
	post("/settings/remove", h.dropWay)
}
