package main

import (
	"slices"
	"testing"
)

// What is advertised as acr can be asked for (REQ-016): a passkey where browsers allow one, and never in dev mode, which
// would not insist on it.
func TestReachable(t *testing.T) {
	row(t, "REQ-016")
	for _, tt := range []struct {
		name  string
		pages string
		dev   bool
		want  []string
	}{
		{"under a name", "https://ap.example.com", false, []string{"phr", "urn:assent:acr:session"}},
		{"under an address", "https://192.0.2.1", false, []string{"urn:assent:acr:session"}},
		{"dev mode", "http://localhost:8080", true, []string{"urn:assent:acr:session", "urn:assent:acr:link"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &service{cfg: Config{PagesURL: tt.pages, Dev: tt.dev}}
			if got := s.reachable(); !slices.Equal(got, tt.want) {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}
