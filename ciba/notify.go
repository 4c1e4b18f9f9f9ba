package ciba

import (
	"encoding/json"
	"math"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"assent/approvals"
)

// Delivery modes of CIBA section 5.
const (
	ModePoll = "poll"
	ModePing = "ping"
)

// deliveryModes is what is on: it is advertised, and nothing else can be registered (REQ-004, 022).
var deliveryModes = []string{ModePoll, ModePing}

// Limits of client_notification_token (REQ-136, 138).
const (
	minNotifyToken  = 16
	maxNotifyToken  = 1024
	fairNotifyToken = 96 // bits; what looks guessable below that is logged
)

// maxEndpoint is the longest URL of a notification endpoint.
const maxEndpoint = 2048

// checkNotify is REQ-023, and of REQ-024 what can be told without looking a name up: whoever registers a client asks
// the guard about the rest.
func (m Metadata) checkNotify() error {
	const field = "backchannel_client_notification_endpoint"
	switch {
	case !slices.Contains(deliveryModes, m.DeliveryMode):
		return &approvals.FieldError{Field: "backchannel_token_delivery_mode", Rule: "must be poll or ping"}
	case m.DeliveryMode == ModePing && m.HintPrivacy != "": // nothing would ping for a hint that names nobody
		return &approvals.FieldError{Field: "hint_privacy", Rule: "must be absent with ping mode"}
	case m.DeliveryMode == ModePing && m.NotifyURL == "":
		return &approvals.FieldError{Field: field, Rule: "is required with ping mode"}
	case m.NotifyURL != "" && !isEndpoint(m.NotifyURL, m.loopback):
		return &approvals.FieldError{Field: field,
			Rule: "must be an https URL that names a public host, without user and fragment"}
	}
	return nil
}

// isEndpoint checks the form of a notification endpoint. Only dev mode (loopback) lets it be on this machine.
func isEndpoint(text string, loopback bool) bool {
	u, err := url.Parse(text)
	if err != nil || len(text) > maxEndpoint || u.Host == "" || u.User != nil || u.Opaque != "" ||
		strings.ContainsFunc(text, func(c rune) bool { return invisible(c) || c == '#' }) {
		return false
	}
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return false
		}
	}
	if loopback && isThisMachine(host) {
		return u.Scheme == "https" || u.Scheme == "http"
	}
	return u.Scheme == "https" && isPublicName(host)
}

func isThisMachine(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// isPublicName refuses names that mean something inside of networks only, and every spelling of an address:
// certificates are for names, and what ends in a number is read as an address by somebody (WHATWG URL, section 3.5).
func isPublicName(host string) bool {
	if strings.ContainsAny(host, ":%_ ") || !strings.Contains(host, ".") {
		return false
	}
	last := host[strings.LastIndexByte(host, '.')+1:]
	inside := []string{"localhost", "local", "internal", "intranet", "lan", "home", "corp", "arpa", "onion", "invalid"}
	return last != "" && !slices.Contains(inside, last) && (last[0] < '0' || last[0] > '9')
}

// readToken is REQ-135 to 139: ping clients must send a token that we can repeat in a header, and those of others are
// not looked at.
func (a *asking) readToken() error {
	if a.client.DeliveryMode != ModePing {
		return nil
	}
	token := a.form.get("client_notification_token")
	switch {
	case token == "":
		return badRequest("The client_notification_token is required in ping mode.")
	case len(token) < minNotifyToken || len(token) > maxNotifyToken:
		return badRequest("The client_notification_token must have 16 to 1024 characters.")
	case !isToken68(token):
		return badRequest("The client_notification_token must be a bearer token of RFC 6750 section 2.1.")
	}
	if guessBits(token) < fairNotifyToken {
		a.h.Log.WarnContext(a.r.Context(), "notification token looks guessable", "agent", a.agent.ID)
	}
	a.token, a.ask.Wake = token, StepPing
	return nil
}

// isToken68 checks the b64token of RFC 6750 section 2.1.
func isToken68(text string) bool {
	body := strings.TrimRight(text, "=")
	return body != "" && !strings.ContainsFunc(body, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("-._~+/", c)
	})
}

// guessBits is a crude upper bound of what a token is worth: as if each of the characters that it uses were as
// likely as the others (REQ-138).
func guessBits(token string) int {
	var seen [128]bool
	kinds := 0
	for _, c := range []byte(token) {
		if !seen[c&127] {
			seen[c&127] = true
			kinds++
		}
	}
	return int(float64(len(token)) * math.Log2(float64(max(kinds, 1))))
}

// notice is what a ping needs and nobody may read: it is kept sealed.
type notice struct {
	Token  string `json:"token"`
	Handle string `json:"handle"` // auth_req_id
}

// errandOf is the write that makes pings for a new request possible; without a token there is none.
func (a *asking) errandOf(r *approvals.Request, secret string) []approvals.Write {
	if a.token == "" {
		return nil
	}
	plain, _ := json.Marshal(notice{a.token, string(r.ID) + "." + secret}) // strings: cannot fail
	e := errand{V: 1, Sealed: a.h.Root.Seal(noticePurpose(r.ID), plain),
		read: approvals.Record{Kind: kindPing, Key: string(r.ID)}, expires: r.ExpiresAt.Add(approvals.HandleLife)}
	return []approvals.Write{e.write()}
}

// told are the writes that end the errand of a request whose agent has come by itself: what was sealed goes with the
// redemption (REQ-216, 278). Its due step is dropped when it is found.
func told(r *approvals.Request) []approvals.Write {
	if r.Wake != StepPing {
		return nil
	}
	return []approvals.Write{approvals.Delete(kindPing, string(r.ID), approvals.AnyRevision),
		approvals.Delete(kindDead, string(r.ID), approvals.AnyRevision)}
}

func noticePurpose(id approvals.ID) string { return kindPing + "/" + string(id) }
