package ciba

import (
	"encoding/json"
	"slices"

	"assent/approvals"
)

// meantFor leaves the details that are meant for one of the audiences: those that name it in locations, and those that
// name none (RFC 9396 section 9.1, REQ-237). Without an audience all stay.
func meantFor(list approvals.Details, audiences []string) approvals.Details {
	if len(audiences) == 0 {
		return list
	}
	return slices.DeleteFunc(slices.Clone(list), func(d approvals.Detail) bool {
		where := locations(d)
		return len(where) > 0 && !slices.ContainsFunc(where, func(l string) bool { return slices.Contains(audiences, l) })
	})
}

// locations are the resource servers that a detail names (RFC 9396 section 2.2).
func locations(d approvals.Detail) []string {
	var common struct {
		Locations []string `json:"locations"`
	}
	if err := json.Unmarshal(d.Raw, &common); err != nil {
		return nil // its type has checked it; another type may mean something else by this name
	}
	return common.Locations
}

// narrow returns what the agent collects of what was granted. It may ask for less, never for more (REQ-204; RFC 6749
// section 5.2, RFC 8707 section 2.2, RFC 9396 section 6).
func (h *Handler) narrow(form *params, r *approvals.Request) (g grant, err error) {
	if g.scope, err = narrowScope(form.get("scope"), r.Scope); err != nil {
		return g, err
	}
	if g.audience, err = h.narrowAudience(audiencesOf(form), r.Audience); err != nil {
		return g, err
	}
	list, err := narrowDetails(h.Desk.Renderer.Types, form.get("authorization_details"), r.Granted)
	g.details = meantFor(list, g.audience)
	return g, err
}

// narrowScope leaves offline_access out if it was not granted, as the request did.
func narrowScope(text string, granted []string) ([]string, error) {
	if text == "" {
		return granted, nil
	}
	wanted := scopeTokens(text)
	if !slices.Contains(granted, offlineAccess) {
		wanted = withoutOffline(wanted)
	}
	if !validScope(text) || len(wanted) == 0 {
		return nil, errScope
	}
	if !within(wanted, granted) {
		return nil, refuse("invalid_scope", "The scope is wider than what was granted.")
	}
	return wanted, nil
}

// narrowAudience lets a request that named no audience name the one that it gets.
func (h *Handler) narrowAudience(wanted, granted []string) ([]string, error) {
	switch {
	case len(wanted) == 0, len(granted) == 0 && within(wanted, []string{h.DefaultAudience}):
		return granted, nil
	case !within(wanted, granted):
		return nil, refuse("invalid_target", "The resource was not granted.")
	}
	return wanted, nil
}

func narrowDetails(types approvals.Types, text string, granted approvals.Details) (approvals.Details, error) {
	wanted, err := parseDetails(types, text, func(string) bool { return true })
	switch {
	case err != nil:
		return nil, err
	case len(wanted) == 0:
		return granted, nil
	}
	list, ok := detailsWithin(wanted, granted)
	if !ok {
		return nil, refuse("invalid_authorization_details", "The authorization_details are wider than what was granted.")
	}
	return list, nil
}

func within(some, all []string) bool {
	return !slices.ContainsFunc(some, func(s string) bool { return !slices.Contains(all, s) })
}

// detailsWithin finds what was granted for each that is wanted. It compares objects by their canonical bytes: order of
// members, spelling and white space do not matter, and the token says it as it was granted. What was granted once may be
// had once.
func detailsWithin(wanted, granted approvals.Details) (found approvals.Details, ok bool) {
	left := make(map[string]approvals.Details, len(granted))
	for _, d := range granted {
		key := canonical(d)
		left[key] = append(left[key], d)
	}
	for _, d := range wanted {
		key := canonical(d)
		if len(left[key]) == 0 {
			return nil, false
		}
		found, left[key] = append(found, left[key][0]), left[key][1:]
	}
	return found, true
}

func canonical(d approvals.Detail) string {
	v, err := approvals.ParseJSON(d.Raw)
	if err != nil {
		return "" // it was parsed when it came in
	}
	return string(approvals.Canonical(v))
}
