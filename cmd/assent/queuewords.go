package main

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"assent/approvals"
	"assent/channels"
	"assent/ciba"
)

// standing is what happens to a request now: what is waited for and until when, and whether that is a reason to look
// closer.
type standing struct {
	Words   string    `json:"words"`
	Stuck   bool      `json:"stuck,omitempty"` // it waits, and nobody knows of it who could do something
	At      time.Time `json:"next_at,omitzero"`
	Channel string    `json:"next_channel,omitempty"`
}

// explainer says in plain words what a channel's code means; "" when it is not known.
type explainer func(channel, code string) string

// explain asks the package that the channel's codes come from, and then the dispatcher.
func (s *service) explain(channel, code string) string {
	words := ""
	switch channel {
	case approvals.ChannelPing:
		words = ciba.ExplainPing(code)
	default:
		if say := explains[channel]; say != nil {
			words = say(code)
		}
	}
	if words == "" {
		words = channels.Explain(code)
	}
	return words
}

// coded is the words for a code with the code itself, for whoever looks it up.
func coded(explain explainer, channel, code string) string {
	if code == "" {
		return "no reason is known"
	}
	if words := explain(channel, code); words != "" {
		return words + " (" + visible(code) + ")"
	}
	return visible(code)
}

// visible keeps what a provider has written from playing with a terminal.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// standingOf says where a request stands. o is what the dispatcher is about to do for one that is pending.
func standingOf(r *approvals.Request, o channels.Outlook, explain explainer, now time.Time) standing {
	switch r.StateAt(now) {
	case approvals.Pending:
		return waiting(r, o, now)
	case approvals.Approved:
		return uncollected(r, explain)
	case approvals.Cancelled, approvals.Failed:
		return standing{Words: reasonWords(r.Reason)}
	case approvals.Expired:
		return standing{Words: "its time is over"}
	case approvals.Denied:
		return standing{Words: deniedWords(r)}
	}
	return standing{Words: "the agent has collected its tokens"}
}

// uncollected is about what is approved. An agent whose ping got lost can still come by itself.
func uncollected(r *approvals.Request, explain explainer) standing {
	s := standing{Words: "approved; waiting for the agent to collect", At: r.ExpiresAt}
	for _, d := range r.Deliveries {
		if d.Channel != approvals.ChannelPing {
			continue
		}
		if s.Stuck = d.Status != approvals.StatusAccepted; !s.Stuck {
			return standing{Words: "approved; the agent has been told and has not collected", At: r.ExpiresAt}
		}
		s.Words = "approved; the agent has not taken the ping: " + coded(explain, d.Channel, d.Code)
	}
	return s
}

// then adds what comes next for a ping that has failed.
func (s standing) then(ping ciba.PingOutlook) standing {
	switch {
	case ping.GivenUp:
		s.Words += "; given up until somebody replays it"
	case ping.Next.IsZero():
		s.Words += "; it is not sent again"
	default:
		s.Words, s.At, s.Channel = s.Words+"; again at "+second(ping.Next), ping.Next, approvals.ChannelPing
	}
	return s
}

// waiting is about what is pending.
func waiting(r *approvals.Request, o channels.Outlook, now time.Time) standing {
	next := o.Next
	s := standing{At: next.At, Channel: next.Channel, Stuck: !o.Told}
	switch down, left := o.Down[next.Channel]; {
	case !r.OpenedAt.IsZero():
		return standing{Words: "the page is open; waiting for the person to decide", At: r.DecideBy}
	case !now.Before(r.DecideBy):
		return standing{Words: "too late to approve; the person can only say no", At: r.ExpiresAt}
	case o.Under:
		s.Words, s.Stuck = "a message is on its way to the provider", false
	case next.Held:
		s.Words = heldWords(next, r, s)
	case left && next.Do == channels.Wait:
		s.Words = fmt.Sprintf("the provider of %s fails again and again and is left alone until %s", next.Channel, second(down))
	case o.Channels == 0:
		s = standing{Words: "no channel is configured; the request lies in the inbox", Stuck: true, At: r.DecideBy}
	case o.Addresses == 0:
		s = standing{Words: "the person has no address that can be written to; the request lies in the inbox", Stuck: true, At: r.DecideBy}
	case next.Do == channels.Fail:
		s.Words = "nobody can be reached; the request is about to fail"
	case next.Do == channels.Wait && next.Channel != "":
		s.Words = fmt.Sprintf("next message by %s at %s: %s", next.Channel, second(next.At), next.Reason)
	case o.Told:
		s.Words, s.At = "the person has been told; waiting for a decision", r.DecideBy
	case next.Do == channels.Send || next.Do == channels.Settle:
		s.Words, s.Stuck = "the next message is due", now.Sub(o.Due) > overdue
	default:
		s.Words = next.Reason
	}
	return s
}

// overdue is how late a step may be before it is odd: the sweep comes each 30 s.
const overdue = time.Minute

// heldWords says why a message is kept back, and for how long.
func heldWords(n channels.Next, r *approvals.Request, s standing) string {
	if !n.At.Before(r.DecideBy) || n.Do != channels.Wait || n.At.IsZero() {
		return "nothing is sent before the end: " + gateWords(n.Reason)
	}
	return "kept back until " + second(s.At) + ": " + gateWords(n.Reason)
}

var gates = map[string]string{
	channels.WhyJoined: "an equal request has been announced, and that message speaks for this one",
	channels.WhyCool:   "the person has denied this agent repeatedly",
	channels.WhyRoom:   "the person has had as many messages as they may have for now",
	channels.WhyQuiet:  "the person's quiet hours",
}

func gateWords(why string) string {
	if words, found := gates[why]; found {
		return words
	}
	return why
}

var reasons = map[approvals.Reason]string{
	approvals.WithdrawnByPerson:   "withdrawn by the person",
	approvals.WithdrawnByAgent:    "withdrawn by the agent",
	approvals.WithdrawnByOperator: "withdrawn by an operator",
	approvals.ShutOut:             "the person has paused, disconnected or reported the agent",
	approvals.NotEligible:         "its person or its agent has been disabled",
	approvals.WrongCode:           "denied after three wrong codes",
	approvals.Unreachable:         "no message got through to the person",
	approvals.QuietTime:           "the person's quiet hours last longer than the request",
}

// deniedWords tells a no from a denial that nobody has spoken.
func deniedWords(r *approvals.Request) string {
	if r.Reason != "" {
		return reasonWords(r.Reason)
	}
	if r.Reported() {
		return "the person has denied it and reported the agent"
	}
	return "the person has said no"
}

func reasonWords(reason approvals.Reason) string {
	if words, found := reasons[reason]; found {
		return words
	}
	return string(reason)
}

// plain are the stages that need no more than their name in words.
var plain = map[approvals.Stage]string{
	approvals.StageQueued:   "asked",
	approvals.StageSignedIn: "signed in",
	approvals.StageOpened:   "opened the page",
	approvals.StageResend:   "asked for one more message",
	approvals.StageApproved: "approved",
	approvals.StageDenied:   "denied",
	approvals.StageRedeemed: "collected the tokens",
	approvals.StageExpired:  "its time is over",
}

// told are the stages of one message, as they follow its name.
var told = map[approvals.Stage]string{
	approvals.StageClaimed:     "taken by a worker",
	approvals.StageAccepted:    "accepted by the provider",
	approvals.StageSent:        "passed on by the provider",
	approvals.StageDelivered:   "delivered to the device",
	approvals.StageRead:        "looked at",
	approvals.StageSendUnknown: "without an answer of the provider: perhaps sent",
	approvals.StageRetracted:   "taken back from the device",
	approvals.StagePinged:      "taken by the agent",
	approvals.StagePingUnknown: "without an answer of the agent: perhaps it has arrived",
}

// say puts a line of a timeline into words.
func say(e approvals.Entry, explain explainer) string {
	if e.Stage == approvals.StageDenied && e.Code != "" {
		return reasonWords(approvals.Reason(e.Code))
	}
	if words, found := plain[e.Stage]; found {
		return words + reportWords(e) + evidence(e)
	}
	switch e.Stage {
	case approvals.StageCodeWrong:
		return "typed a wrong code; tries left: " + e.Facts["left"]
	case approvals.StageWithdrawn, approvals.StageUnreachable:
		return reasonWords(approvals.Reason(e.Code))
	case approvals.StageRefused:
		return "gave an answer that did not count: " + refusalWords(approvals.Refusal(e.Code))
	case approvals.StageRevoked:
		return "ended tokens: " + e.Facts["why"]
	}
	if e.Channel == "" {
		return string(e.Stage)
	}
	return message(e, explain)
}

var refused = map[approvals.Refusal]string{
	approvals.RefusedPerson:  "the request is for somebody else",
	approvals.RefusedSite:    "the form was not on a page of ours",
	approvals.RefusedForm:    "the form was made for another sign-in",
	approvals.RefusedChanged: "what was on the screen is not what the request says",
	approvals.RefusedLate:    "approving had closed",
	approvals.RefusedLevel:   "approving takes a stronger sign-in",
	approvals.RefusedPasskey: "the passkey was not accepted",
}

func refusalWords(why approvals.Refusal) string {
	if words, found := refused[why]; found {
		return words
	}
	return string(why)
}

// reportWords tells a denial with which the person has reported the agent from a mere no.
func reportWords(e approvals.Entry) string {
	if e.Facts["reported"] == "" {
		return ""
	}
	return " and reported"
}

// evidence is how strongly a person must be signed in to approve, and how strongly the one was who decided.
func evidence(e approvals.Entry) string {
	switch {
	case e.Facts["needs"] != "":
		return " (needs " + e.Facts["needs"] + ")"
	case e.Facts["acr"] == "":
		return ""
	case e.Facts["simulated"] != "":
		return " (" + e.Facts["acr"] + ", simulated)"
	case e.Facts["narrowed"] != "":
		return " less than was asked (" + e.Facts["acr"] + ")"
	}
	return " (" + e.Facts["acr"] + ")"
}

// message is a line about a message or a ping.
func message(e approvals.Entry, explain explainer) string {
	name := fmt.Sprintf("message %d by %s ", e.Attempt, e.Channel)
	if e.Channel == approvals.ChannelPing {
		name = fmt.Sprintf("ping %d ", e.Attempt)
	}
	words, known := told[e.Stage]
	switch {
	case e.Stage == approvals.StageHeld:
		words = "kept back: " + gateWords(e.Why)
	case e.Stage == approvals.StageSendFailed, e.Stage == approvals.StagePingFailed:
		words = "failed: " + coded(explain, e.Channel, e.Code)
	case !known:
		words = string(e.Stage)
	case e.Stage == approvals.StageSendUnknown && e.Code != "", e.Stage == approvals.StagePingUnknown && e.Code != "":
		words += ": " + coded(explain, e.Channel, e.Code)
	}
	if e.Why != "" && e.Stage != approvals.StageHeld {
		words += ": " + e.Why
	}
	if e.Provider != "" {
		words += " as " + visible(e.Provider)
	}
	if e.Duplicate {
		words += ", possibly for the second time"
	}
	return name + words
}
