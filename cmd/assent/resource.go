package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"

	"assent/ciba"
)

// sampleResource is an API that tokens are meant for, so that an agent can be tried to its end: it checks audience, end,
// signature and binding of the access token, and does what the FAPI profiles ask of a resource.
type sampleResource struct {
	ciba.Resource
	log *slog.Logger
}

// interactionHeader carries a UUID through all parties, for their logs (FAPI 1.0 part 1, section 6.2.1).
const interactionHeader = "X-Fapi-Interaction-Id"

// uuid is the form of RFC 4122, with its variant.
var uuid = regexp.MustCompile(`^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[1-8][0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}$`)

// ServeHTTP says what the token says.
func (s sampleResource) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id, ok := interaction(r.Header[interactionHeader])
	w.Header().Set(interactionHeader, id)
	if !ok {
		http.Error(w, "x-fapi-interaction-id must be one UUID (RFC 4122)", http.StatusBadRequest)
		return
	}
	token := s.Show(w, r)
	s.log.InfoContext(r.Context(), "sample resource", "interaction", id, "taken", token != nil)
	if token == nil {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"sub": token.Subject, "client_id": token.ClientID, "scope": token.Scope,
		"txn": token.Request, "authorization_details": token.Details}) // the client is gone: nobody to tell
}

// interaction returns the id that came, or a new one, and whether what came was good.
func interaction(lines []string) (id string, ok bool) {
	if len(lines) == 1 && uuid.MatchString(lines[0]) {
		return lines[0], true
	}
	b := make([]byte, 16)
	rand.Read(b)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // version 4 and variant (RFC 4122 section 4.4)
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]), len(lines) == 0
}
