package webapp

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"assent/approvals"
)

// requestView is what the page of one request shows. Every word about the request itself comes from its disclosure.
type requestView struct {
	ID        string
	Ref       string
	Agent     string
	Initial   string // of the agent, for the eye only
	About     []row  // the agent: who runs it, since when it acts for the person
	Risks     []row  // reasons to look closer
	Action    string
	Parts     []string // a sentence for each of several objects, so that none hides below what fits on a screen
	Early     bool     // the code stands before the facts: they are many, or none
	Sections  []section
	Code      string // binding_message, to compare
	Typed     string // says that a code is to be typed; "" when none is
	Enter     int    // how many digits there is a field for; 0: none
	Instead   bool   // a passkey may take the place of the code
	Tries     int    // that are left
	Wrong     bool   // what was typed was not it
	Again     bool   // another open request shows the same one
	Button    string
	Choice    string // what the person takes away, as approving sends it; "" for all that was asked
	Narrow    bool   // something may be taken away
	Locale    string // of the disclosure
	Digest    string
	Canonical string // the bytes under Digest
	Needs     string // acr that approving takes
	Token     string // of the forms

	Stage  string // "open", "late": only no is left, "done"
	Text   string // key of the result's sentence
	Args   []any
	Next   string // key of the sentence that says what happens next
	Tone   string // "ok", "no", "quiet"
	Note   string
	Alert  string // key
	Blame  []any  // what the alert's sentence names
	StepUp bool   // approving needs a better sign-in first
	Key    bool   // approving takes a passkey, and the person has one
	NoKey  bool   // approving takes a passkey, and the person has none
	Held   string // until when something of the person is too new for that; "" when nothing is
	Proof  string // what proves the decision by itself; "" when nothing does
	Undo   bool   // the approval can still be withdrawn

	Ends string
	Left int // seconds until approval closes
	Live live

	Offer     *pushView
	Following *item  // what waits next
	Revoke    string // id of the agent, when all that is left is to disconnect it
}

// live is how the page follows what it shows.
type live struct {
	URL  string
	Seen string // what is on the page; a stream that starts with it sends nothing old
}

// section is a run of facts: the whole request, or one of its objects.
type section struct {
	Part   string // heading; "" when there is only one
	Action string
	Rows   []row
	Words  []row // the agent's own, unchecked
}

// row is one fact.
type row struct {
	Label  string
	Text   string
	Head   string // the beginning of a text that is too long to show at once
	Amount bool
	Wide   bool // the label stands above the text
}

// longText is how many characters of one fact are shown at once, and wideText how many fit beside their label.
const (
	longText = 400
	wideText = 18
)

func newRow(f approvals.Fact) row {
	r := row{Label: f.Label, Text: f.Text, Amount: f.Role == approvals.RoleAmount}
	size := utf8.RuneCountInString(f.Text)
	r.Wide = size > wideText && !r.Amount
	if size > longText {
		r.Head = string([]rune(f.Text)[:longText])
	}
	return r
}

// view lays out a request for one visitor in one language.
func (h *Handler) view(v *visit, r *approvals.Request) (*requestView, error) {
	return h.viewOf(v, r, approvals.Choice{})
}

// viewOf lays out what a choice leaves of a request that waits. Of one that is decided it shows what was decided.
func (h *Handler) viewOf(v *visit, r *approvals.Request, c approvals.Choice) (*requestView, error) {
	now := h.Now()
	if r.StateAt(now) != approvals.Pending {
		c = approvals.Choice{}
	}
	shown, room, err := h.shown(r, c, v.lang)
	if err != nil {
		return nil, fmt.Errorf("show request: %w", err)
	}
	view := &requestView{ID: string(r.ID), Ref: r.ID.Ref(), Button: shown.Button, Locale: shown.Locale,
		Digest: shown.Digest(), Canonical: string(shown.Canonical()), Needs: r.Level.ACR(), Token: h.formToken(v.who, r.ID),
		StepUp: v.who.Level < r.Level, Ends: moment(r.DecideBy, now, r.Zone, v.lang),
		Left: int(max(0, r.DecideBy.Sub(now)).Seconds())}
	view.Choice, view.Narrow = c.String(), room.Any()
	view.layOut(shown)
	h.stage(v, r, view, now)
	if view.Stage == "open" {
		if err := h.openStage(v, r, view, now); err != nil {
			return nil, err
		}
	}
	if view.Stage == "done" {
		view.Offer = h.offer(v, r)
		if view.Following, err = h.waitingBeside(v, r); err != nil {
			return nil, err
		}
	}
	follows := url.Values{"request": {view.ID}}
	if view.Choice != "" {
		follows.Set("choice", view.Choice)
	}
	view.Live = live{URL: v.path("/live?" + follows.Encode()), Seen: view.version(v.lang)}
	return view, nil
}

// openStage says what approving takes: a passkey, another sign-in, or a code that is typed or compared.
func (h *Handler) openStage(v *visit, r *approvals.Request, view *requestView, now time.Time) error {
	takes, has, err := h.confirms(v, r)
	if err != nil {
		return err
	}
	view.Key, view.NoKey, view.StepUp = has && takes, takes && !has, view.StepUp && !takes
	view.Instead = has && !takes && r.Enters()
	if view.Held, err = h.heldWords(v, r, has); err != nil {
		return err
	}
	if r.Enters() {
		view.enter(r)
	}
	if view.Code != "" {
		view.Again, err = h.sameCode(v, r, now)
	}
	return err
}

// heldWords is when approving r becomes possible, for whoever has a passkey and something too new beside it.
func (h *Handler) heldWords(v *visit, r *approvals.Request, has bool) (string, error) {
	if !has || r.Level < approvals.LevelPasskey {
		return "", nil
	}
	until, err := h.heldUntil(v)
	if err != nil || !h.Now().Before(until) {
		return "", err
	}
	return moment(until, h.Now(), v.who.person.Zone, v.lang), nil
}

// shown is what the page says, and what may be taken away from that: nothing more once something was.
func (h *Handler) shown(r *approvals.Request, c approvals.Choice, lang string) (d approvals.Disclosure, room approvals.Room, err error) {
	if !c.Empty() {
		d, err = h.Desk.Renderer.DiscloseNarrowed(r, c, lang)
		return d, room, err
	}
	if d, err = h.Desk.Show(r, lang); err == nil {
		room, err = h.Desk.Renderer.Room(r, lang)
	}
	return d, room, err
}

// enter puts a field for the code on the page, unless a passkey or another sign-in comes first.
func (view *requestView) enter(r *approvals.Request) {
	view.Tries = r.TriesLeft()
	if !view.Key && !view.NoKey && !view.StepUp {
		view.Enter = r.CodeDigits
	}
}

// sameCode reports whether the agent shows the code of r in another open request too, so that comparing it does not tell
// which of them is meant (REQ-121).
func (h *Handler) sameCode(v *visit, r *approvals.Request, now time.Time) (bool, error) {
	open, err := h.Desk.List(v.Context(), approvals.Query{Person: r.Subject, States: []approvals.State{approvals.Pending}})
	if err != nil {
		return false, fmt.Errorf("look for equal codes: %w", err)
	}
	same := slices.ContainsFunc(open, func(o *approvals.Request) bool {
		return o.ID != r.ID && o.Agent == r.Agent && o.Binding == r.Binding && o.StateAt(now) == approvals.Pending
	})
	if same {
		h.Log.WarnContext(v.Context(), "an agent shows one code in several open requests", "request", r)
	}
	return same, nil
}

// layOut sorts the facts into the places that the page has for them. None is left out.
func (view *requestView) layOut(shown approvals.Disclosure) {
	at := section{}
	for _, f := range shown.Facts {
		switch f.Role {
		case approvals.RoleAction:
			view.Action = f.Text
		case approvals.RoleAgent:
			view.Agent = f.Text
			view.Initial = initial(f.Text)
		case approvals.RoleAbout:
			view.About = append(view.About, newRow(f))
		case approvals.RoleRisk:
			view.Risks = append(view.Risks, newRow(f))
		case approvals.RoleCode:
			view.Code = f.Text
		case approvals.RoleEnter:
			view.Typed = f.Text
		case approvals.RolePart:
			view.close(at)
			at = section{Part: f.Label, Action: f.Text}
			view.Parts = append(view.Parts, f.Text)
		case approvals.RoleWords:
			at.Words = append(at.Words, newRow(f))
		case approvals.RoleWhole:
			if at.Part != "" {
				view.close(at)
				at = section{}
			}
			at.Rows = append(at.Rows, newRow(f))
		default:
			at.Rows = append(at.Rows, newRow(f))
		}
	}
	view.close(at)
	view.Early = len(view.Sections) != 1
}

// initial is the first character of a name.
func initial(name string) string {
	first, _ := utf8.DecodeRuneInString(name)
	return string(first)
}

func (view *requestView) close(s section) {
	if len(s.Rows)+len(s.Words) > 0 || s.Part != "" {
		view.Sections = append(view.Sections, s)
	}
}

// stage says what can still be done about the request, and otherwise what became of it.
func (h *Handler) stage(v *visit, r *approvals.Request, view *requestView, now time.Time) {
	state := r.StateAt(now)
	switch {
	case state != approvals.Pending:
		view.Stage, view.Left, view.Tone = "done", 0, "quiet"
		view.result(v, r, state, now)
	case now.Before(r.DecideBy):
		view.Stage = "open"
	default:
		view.Stage, view.Text, view.Next, view.Tone = "late", "result.expired", "next.late", "quiet"
	}
}

// result chooses the words for a request that nobody decides any more.
func (view *requestView) result(v *visit, r *approvals.Request, state approvals.State, now time.Time) {
	var last approvals.Decision
	if n := len(r.Decisions); n > 0 {
		last = r.Decisions[n-1]
		view.Note, view.Digest, view.Canonical = approvals.VisibleLines(last.Note), last.Digest, last.Disclosure
		view.Proof = string(last.Proof)
	}
	at := moment(last.At, now, r.Zone, v.lang)
	view.Next = "next.ended"
	switch state {
	case approvals.Approved:
		view.Text, view.Args, view.Next, view.Tone = "result.approved", []any{at, view.Agent}, "next.approved", "ok"
		view.Undo = true
		view.standing(v, r, at, now)
	case approvals.Redeemed:
		view.Text, view.Args, view.Next, view.Tone = "result.approved", []any{at, view.Agent}, "next.redeemed", "ok"
		view.Revoke = string(r.Agent)
		view.standing(v, r, at, now)
	case approvals.Denied:
		view.Text, view.Args, view.Next, view.Tone = "result.denied", []any{view.Agent}, "next.denied", "no"
		switch {
		case r.Reported():
			view.Text = "result.reported"
		case r.Reason == approvals.WrongCode:
			view.Text, view.Args = "result.tries", nil
		}
	case approvals.Expired:
		view.Text = "result.expired"
		if last.Approve {
			view.Text = "result.lapsed"
		}
	case approvals.Failed:
		view.Text = "result.failed"
	default:
		view.Text, view.Next = "result.cancelled", "" // it says so itself
		switch r.Reason {
		case approvals.WithdrawnByPerson:
			view.Text, view.Args, view.Next = "result.withdrawn", []any{view.Agent}, "next.ended"
		case approvals.ShutOut:
			view.Text, view.Args, view.Next = "result.shutOut", []any{view.Agent}, "next.ended"
		}
	}
	confirmed := !v.who.Confirmed.IsZero() && last.AuthTime.Equal(v.who.Confirmed)
	signedIn := confirmed || last.AuthTime.Equal(v.who.provedAt())
	decidedHere := signedIn && last.Device == device(v.UserAgent())
	if view.Tone != "quiet" && !decidedHere && len(r.Decisions) > 0 {
		view.elsewhere(v, last, at)
	}
}

// standing changes the sentences when the agent can come back: it is not once, and the person can stop it.
func (view *requestView) standing(v *visit, r *approvals.Request, at string, now time.Time) {
	until := moment(r.Until, now, r.Zone, v.lang)
	switch {
	case r.Until.IsZero():
	case !r.RevokedAt.IsZero():
		view.Text, view.Args, view.Next, view.Tone = "result.stopped", []any{view.Agent}, "next.ended", "quiet"
	case !now.Before(r.Until):
		view.Text, view.Args, view.Next, view.Tone = "result.stood", []any{view.Agent, until}, "next.ended", "quiet"
	default:
		view.Text, view.Args = "result.standing", []any{at, view.Agent, until}
		if r.State == approvals.Redeemed {
			view.Next, view.Undo = "next.standing", true
		}
	}
}

// elsewhere changes the sentence when the decision came from another device or another sign-in than this one.
func (view *requestView) elsewhere(v *visit, d approvals.Decision, at string) {
	view.Text = "result.alreadyDenied"
	if d.Approve {
		view.Text = "result.alreadyApproved"
	}
	if d.Reported {
		view.Next = "next.reported"
	}
	where := d.Device
	if where == "" {
		where = say(v.lang, "otherDevice")
	}
	view.Args = []any{where, at}
}

// version names what the page shows, so that a live stream knows whether it has anything new to say.
func (view *requestView) version(lang string) string {
	next := ""
	if view.Following != nil {
		next = view.Following.ID
	}
	return fingerprint(lang, view.ID, view.Stage, view.Text, view.Next, view.Digest, next, fmt.Sprint(view.Args...))
}

func fingerprint(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return base64.RawURLEncoding.EncodeToString(sum[:9])
}

// moment writes a time the way a person reads it there and then: "14:32 CET" today, with the day otherwise.
func moment(at, now time.Time, zone, lang string) string {
	loc, err := time.LoadLocation(zone)
	if err != nil {
		loc = time.UTC
	}
	at, now = at.In(loc), now.In(loc)
	name := at.Format("MST")
	if strings.HasPrefix(name, "+") || strings.HasPrefix(name, "-") {
		name = "UTC" + name
	}
	clock := at.Format("15:04 ") + name
	if at.YearDay() == now.YearDay() && at.Year() == now.Year() {
		return clock
	}
	day := at.Format("2 Jan")
	if lang == approvals.Korean {
		day = at.Format("1월 2일")
	}
	return day + " " + clock
}

// remaining writes a number of seconds in at most two units: "4 min 10 s".
func remaining(lang string, seconds int) string {
	units := strings.Split(say(lang, "units"), "|")
	sizes := []int{86400, 3600, 60, 1}
	for i, size := range sizes {
		if seconds < size && size > 1 {
			continue
		}
		out := fmt.Sprintf("%d%s", seconds/size, units[i])
		if rest := seconds % size; i+1 < len(sizes) && rest/sizes[i+1] > 0 {
			out += fmt.Sprintf(" %d%s", rest/sizes[i+1], units[i+1])
		}
		return out
	}
	return ""
}
