package upstream

import (
	"slices"

	"assent/approvals"
)

// level is how well the person is known after a sign-in elsewhere: never better than a session of ours, and by default
// that. See the package comment for why not phr.
func (s *Settings) level(acr string, amr []string) approvals.Level {
	if len(s.SessionACR) == 0 && len(s.SessionAMR) == 0 {
		return approvals.LevelSession
	}
	if slices.Contains(s.SessionACR, acr) ||
		slices.ContainsFunc(amr, func(m string) bool { return slices.Contains(s.SessionAMR, m) }) {
		return approvals.LevelSession
	}
	return approvals.LevelLink
}

// methods are the registered values of amr (RFC 8176 section 2).
var methods = map[string]bool{"face": true, "fpt": true, "geo": true, "hwk": true, "iris": true, "kba": true, "mca": true,
	"mfa": true, "otp": true, "pin": true, "pop": true, "pwd": true, "rba": true, "retina": true, "sc": true, "sms": true,
	"swk": true, "tel": true, "user": true, "vbm": true, "wia": true}

// registered keeps of a provider's methods those that mean the same everywhere, each once: they go into our own tokens.
func registered(amr []string) []string {
	var out []string
	for _, m := range amr {
		if methods[m] && !slices.Contains(out, m) {
			out = append(out, m)
		}
	}
	return out
}
