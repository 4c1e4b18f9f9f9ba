package ciba

import (
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"assent/approvals"
)

// commonScopes need no registration.
var commonScopes = []string{"openid", "profile", "email"}

// offlineAccess asks for a refresh token (OpenID Connect Core section 11).
const offlineAccess = "offline_access"

// Limits of lists in parameters.
const (
	maxScopes    = 50
	maxAudiences = 8
	maxACRs      = 10
)

// scopeTokens splits a scope; tokens that come twice count once (REQ-087).
func scopeTokens(text string) (tokens []string) {
	for token := range strings.SplitSeq(text, " ") {
		if token != "" && !slices.Contains(tokens, token) {
			tokens = append(tokens, token)
		}
	}
	return tokens
}

// maxContext is the longest request_context in bytes.
const maxContext = 4 << 10

// readContext is REQ-141: what the client says about where its request comes from has a form, so that a client hears of
// its mistakes. Nothing here decides by it, so it is not kept.
func (a *asking) readContext() error {
	text := a.form.get("request_context")
	if text == "" {
		return nil
	}
	v, err := approvals.ParseJSON([]byte(text))
	if _, object := v.(map[string]any); err != nil || !object || len(text) > maxContext {
		return badRequest("The request_context must be a JSON object of at most 4 KiB.")
	}
	return nil
}

// validScope checks the characters of RFC 6749 section 3.3.
func validScope(text string) bool {
	return !strings.ContainsFunc(text, func(c rune) bool {
		return c < 0x20 || c > 0x7e || c == '"' || c == '\\'
	})
}

// askedScope is what may be granted of the scope parameter, but for offline_access, which [asking.readStanding] judges;
// everything else that may not be had is refused, never dropped (REQ-088, 089). Clients that want no ID token may leave
// openid out (pure).
func askedScope(text string, agent *approvals.Agent, pure bool) ([]string, error) {
	if !validScope(text) {
		return nil, errScope
	}
	tokens := scopeTokens(text)
	if !pure && !slices.Contains(tokens, "openid") {
		return nil, badRequest("The scope must contain openid.")
	}
	tokens = withoutOffline(tokens)
	if !allowedScopes(tokens, agent) {
		return nil, refuse("invalid_scope", "The scope is unknown or not allowed for this client.")
	}
	if len(tokens) > maxScopes {
		return nil, refuse("invalid_scope", "The scope has too many values.")
	}
	return tokens, nil
}

var errScope = refuse("invalid_scope", "The scope is malformed.")

func withoutOffline(tokens []string) []string {
	return slices.DeleteFunc(tokens, func(s string) bool { return s == offlineAccess })
}

// allowedScopes reports whether the agent may get all of these scopes.
func allowedScopes(list []string, agent *approvals.Agent) bool {
	return !slices.ContainsFunc(list, func(s string) bool {
		return s != offlineAccess && !slices.Contains(commonScopes, s) && !slices.Contains(agent.Scopes, s)
	})
}

// readStanding adds offline_access for clients with the refresh token grant, where an approval of the details may stand.
// Otherwise it is left out, which the answer shows (REQ-090, 248).
func (a *asking) readStanding() error {
	_, on := a.h.grants[GrantRefresh]
	wanted := slices.Contains(scopeTokens(a.form.get("scope")), offlineAccess)
	if wanted && on && a.client.mayUse(GrantRefresh) && a.h.Desk.MayStand(a.ask.Details) {
		a.ask.Scope, a.ask.Standing = append(a.ask.Scope, offlineAccess), true
	}
	return nil
}

// audiencesOf lists what resource (RFC 8707) and audience (as published SDKs have it) name. One SDK writes the word
// None when it means nothing.
func audiencesOf(form *params) (list []string) {
	for _, s := range append(form.all("resource"), form.get("audience")) {
		if s != "" && s != "None" && !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	return list
}

var errTarget = refuse("invalid_target", "The resource is malformed, unknown, or not allowed for this client.")

// askedAudience checks every audience that is named (REQ-091).
func (h *Handler) askedAudience(form *params, agent *approvals.Agent) ([]string, error) {
	for _, s := range form.all("resource") {
		if u, err := url.Parse(s); err != nil || !u.IsAbs() || u.Fragment != "" || strings.HasSuffix(s, "#") {
			return nil, errTarget
		}
	}
	list := audiencesOf(form)
	if len(list) > maxAudiences || slices.ContainsFunc(list, badAudience) || !h.allowed(list, agent) {
		return nil, errTarget
	}
	return list, nil
}

// allowed reports whether the agent may get tokens for all of these audiences.
func (h *Handler) allowed(list []string, agent *approvals.Agent) bool {
	return !slices.ContainsFunc(list, func(s string) bool {
		return s != h.DefaultAudience && !slices.Contains(agent.Audiences, s) && !(h.AnyHTTPSAudience && isHTTPS(s))
	})
}

func isHTTPS(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Scheme == "https" && u.Host != "" && u.User == nil && !strings.Contains(s, "#")
}

// fromLocations is the audience of a request that names none: where its details say they are used, if all of that is
// allowed (REQ-235).
func (h *Handler) fromLocations(list approvals.Details, agent *approvals.Agent) []string {
	var all []string
	for _, d := range list {
		for _, l := range locations(d) {
			if !slices.Contains(all, l) {
				all = append(all, l)
			}
		}
	}
	if len(all) > maxAudiences || slices.ContainsFunc(all, badAudience) || !h.allowed(all, agent) {
		return nil
	}
	return all
}

// parseDetails tells faults of the container from faults inside an object (REQ-094).
func parseDetails(types approvals.Types, text string, mayAsk func(string) bool) (approvals.Details, error) {
	if text == "" {
		return nil, nil
	}
	list, err := types.Parse([]byte(text), mayAsk)
	switch {
	case errors.Is(err, approvals.ErrContainer):
		return nil, badRequest("The authorization_details must be a JSON array of objects.")
	case err != nil:
		return nil, refuse("invalid_authorization_details", plain(err.Error()))
	}
	return list, nil
}

// askedLife reads requested_expiry (REQ-132). The desk clamps it (REQ-133).
func askedLife(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n == 0 || len(text) > 9 || text[0] == '+' {
		return 0, badRequest("The requested_expiry must be a positive number of seconds.")
	}
	return time.Duration(n) * time.Second, nil
}

// askedACR reads acr_values, a wish in the agent's order of preference (CIBA section 7.1). They are kept as they came
// and choose nothing: every approval needs the level of its details, and the tokens say what was reached (REQ-130).
func askedACR(text string) ([]string, error) {
	values := scopeTokens(text)
	if !validScope(text) || len(values) > maxACRs {
		return nil, badRequest("The acr_values are malformed or too many.")
	}
	return values, nil
}

// maxBinding is the longest binding_message in code points.
const maxBinding = 128

// askedBinding accepts what a person can compare and a message can carry: letters of any script, digits, spaces and
// punctuation. It never changes the text (REQ-116 to 119).
func askedBinding(text string) (string, error) {
	switch {
	case utf8.RuneCountInString(text) > maxBinding:
		return "", refuse("invalid_binding_message", "The binding_message is longer than 128 characters.")
	case approvals.Visible(text) != text, strings.ContainsFunc(text, unfitRune), onlySpaces(text):
		return "", refuse("invalid_binding_message", "The binding_message holds characters that are not allowed.")
	case link.MatchString(text), phone.MatchString(text):
		return "", refuse("invalid_binding_message", "The binding_message must not look like a link or a phone number.")
	}
	return text, nil
}

func onlySpaces(text string) bool { return text != "" && strings.Trim(text, " ") == "" }

func unfitRune(c rune) bool {
	if c == ' ' || unicode.In(c, unicode.L, unicode.M, unicode.Nd, unicode.Sc) {
		return false
	}
	return !strings.ContainsRune("+=", c) && (!unicode.IsPunct(c) || c == '\\')
}

// link finds what phones and mail programs turn into links: schemes, www., names with a top-level domain, and IPv4
// addresses.
var link = regexp.MustCompile(`(?i)://|\bwww\.|\b(?:mailto|tel|sms|data|javascript):|` +
	`[\pL\pN-][.．]\pL{2,}|[\pL\pN-][。｡][a-z]{2,}|\b\d{1,3}(?:[.．。｡]\d{1,3}){3}\b`)

// phone finds what they offer to call: seven digits or more, in groups; dots between groups only behind a plus sign,
// since amounts have them too.
var phone = regexp.MustCompile(`\p{Nd}(?:[ ()\p{Pd}]{0,2}\p{Nd}){6,}|\+[ (]*\p{Nd}(?:[ ().\p{Pd}]{0,2}\p{Nd}){6,}`)
