package ciba

import (
	"net/http"
	"slices"
	"strings"
)

const userinfoPath = "/userinfo"

// userinfoAnswer is what the scopes openid, profile and email say (OpenID Connect Core sections 5.3.2 and 5.4).
type userinfoAnswer struct {
	Subject string `json:"sub"`
	Name    string `json:"name,omitempty"`
	Email   string `json:"email,omitempty"`
}

// userinfo answers OpenID Connect Core section 5.3. It takes tokens for the default audience, or for its own URL: one
// that was made for another resource server says nothing about the person to whoever got hold of it there.
func (h *Handler) userinfo(c *call) ([]byte, error) {
	if c.r.Method != http.MethodGet && c.r.Method != http.MethodPost {
		c.w.Header().Set("Allow", "GET, POST")
		return nil, errMethodInfo
	}
	t, err := h.presented(c)
	if err != nil {
		return nil, err
	}
	c.id = t.request()
	good, err := h.live(c, t)
	if err != nil {
		return nil, err
	}
	if !good || !t.isFor([]string{h.DefaultAudience, strings.TrimSuffix(h.Issuer, "/") + userinfoPath}) {
		return nil, badToken(strings.ToLower(t.Confirm.tokenType()))
	}
	scope := scopeTokens(t.Scope)
	if !slices.Contains(scope, "openid") {
		return nil, errNoOpenID
	}
	p, err := h.Directory.Person(c.r.Context(), t.person())
	if err != nil {
		return nil, err
	}
	out := userinfoAnswer{Subject: t.Subject}
	if slices.Contains(scope, "profile") {
		out.Name = p.Name
	}
	if slices.Contains(scope, "email") {
		out.Email = p.Email
	}
	return literal(out)
}

var (
	errMethodInfo = &fault{status: http.StatusMethodNotAllowed, code: "invalid_request",
		text: "The method must be GET or POST."}
	errNoOpenID = &fault{status: http.StatusForbidden, code: "insufficient_scope", text: "The scope openid is needed.",
		challenge: `Bearer error="insufficient_scope", scope="openid"`}
)
