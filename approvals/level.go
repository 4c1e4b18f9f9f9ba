package approvals

import (
	"fmt"
	"slices"
)

// Level is how well the person is known at the moment of the decision. Higher satisfies lower.
type Level int

// The levels and what they take.
const (
	LevelNone    Level = iota
	LevelLink          // whoever holds the link or the phone; dev mode, and where an operator has lowered a type
	LevelSession       // a one-time code, on a browser that an invitation bound; a sign-in elsewhere
	LevelPasskey       // phishing-resistant: a passkey with user verification
)

var acrs = []string{LevelNone: "", LevelLink: "urn:assent:acr:link", LevelSession: "urn:assent:acr:session",
	LevelPasskey: "phr"}

// ACR is the level's value for the acr claim (OpenID Connect Core section 2).
func (l Level) ACR() string { return acrs[l] }

// LevelOf returns the level that an acr value names, or LevelNone for values that we do not know.
func LevelOf(acr string) Level {
	return Level(max(slices.Index(acrs, acr), int(LevelNone)))
}

// MarshalText stores levels by name, so that a new one can come between.
func (l Level) MarshalText() ([]byte, error) { return []byte(acrs[l]), nil }

// UnmarshalText is the other direction.
func (l *Level) UnmarshalText(text []byte) error {
	*l = LevelOf(string(text))
	if *l == LevelNone && len(text) > 0 {
		return fmt.Errorf("acr %q: %w", text, ErrInvalid)
	}
	return nil
}
