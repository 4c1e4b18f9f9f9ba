package ciba

import (
	"encoding/json"
	"slices"

	"assent/approvals"
)

// at leaves the details that are meant for one of the audiences: those that name it in locations, and those that name
// none (RFC 9396 section 9.1, REQ-237). Without an audience all stay.
func at(list approvals.Details, audiences []string) approvals.Details {
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
func narrow(form *params, r *approvals.Request, types approvals.Types) (grant, error) {
	g := grant{scope: r.Scope, audience: r.Audience, details: r.Granted}
	if text := form.get("scope"); text != "" {
		g.scope = scopeTokens(text)
		if !within(g.scope, r.Scope) {
			return g, refuse("invalid_scope", "The scope is wider than what was granted.")
		}
	}
	if wanted := audiencesOf(form); len(wanted) > 0 {
		g.audience = wanted
		if !within(g.audience, r.Audience) {
			return g, refuse("invalid_target", "The resource was not granted.")
		}
	}
	if text := form.get("authorization_details"); text != "" {
		wanted, err := parseDetails(types, text, func(string) bool { return true })
		if err != nil {
			return g, err
		}
		if len(wanted) > 0 && !detailsWithin(wanted, r.Granted) {
			return g, refuse("invalid_authorization_details", "The authorization_details are wider than what was granted.")
		}
		if len(wanted) > 0 {
			g.details = wanted
		}
	}
	return g, nil
}

func within(some, all []string) bool {
	return !slices.ContainsFunc(some, func(s string) bool { return !slices.Contains(all, s) })
}

// detailsWithin compares objects by their canonical bytes: order of members and white space do not matter. What was
// granted once may be had once.
func detailsWithin(some, all approvals.Details) bool {
	left := make(map[string]int, len(all))
	for _, d := range all {
		left[canonical(d)]++
	}
	return !slices.ContainsFunc(some, func(d approvals.Detail) bool {
		key := canonical(d)
		left[key]--
		return left[key] < 0
	})
}

func canonical(d approvals.Detail) string {
	v, err := approvals.ParseJSON(d.Raw)
	if err != nil {
		return "" // it was parsed when it came in
	}
	return string(approvals.Canonical(v))
}
