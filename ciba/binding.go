package ciba

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"assent/approvals"
)

// kindPromised is the record kind of the key that the agent showed when it asked, under the request's id.
const kindPromised = "ciba.promised"

var (
	errNoCertificate = badRequest("The client is registered for certificate-bound tokens: a certificate is required.")
	errOtherKey      = badProof("is by another key than the one that asked")
)

// confirm returns what a token for this call will be bound to: the key of its DPoP proof, if there is one, and the
// certificate of a client that is registered for that. Who is registered for a binding gets nothing without (REQ-201).
func (h *Handler) confirm(c *call) (*confirmation, error) {
	jkt, err := h.proofs.shown(c, "", c.client.DPoPNonce)
	if err != nil {
		return nil, err
	}
	bound := confirmation{JKT: jkt}
	if c.client.CertificateBound {
		bound.X5T = thumbprintOf(c.r)
	}
	switch {
	case c.client.DPoPBound && bound.JKT == "":
		return nil, errProofMissing
	case c.client.CertificateBound && bound.X5T == "":
		return nil, errNoCertificate
	case bound == confirmation{}:
		return nil, nil
	}
	return &bound, nil
}

// thumbprintOf is the x5t#S256 of the certificate that the caller has shown (RFC 8705 section 3.1), or "".
func thumbprintOf(r *http.Request) string {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return ""
	}
	sum := sha256.Sum256(r.TLS.PeerCertificates[0].Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// parts is a confirmation for a keyed hash.
func (c *confirmation) parts() []string {
	if c == nil {
		return []string{"", ""}
	}
	return []string{c.JKT, c.X5T}
}

// promise is the record of the key with which an agent asks.
type promise struct {
	V   int    `json:"v"`
	JKT string `json:"jkt"`
}

// showKey is the first half of REQ-203: an agent that shows a key as it asks will have to show it when it collects.
func (a *asking) showKey() error {
	jkt, err := a.h.proofs.shown(a.call, "", a.client.DPoPNonce)
	if err == nil && jkt != "" {
		a.cnf = &confirmation{JKT: jkt}
	}
	return err
}

// promised is the write that keeps the key until the request can be collected no more.
func (a *asking) promised(id approvals.ID, until time.Time) []approvals.Write {
	if a.cnf == nil {
		return nil
	}
	value, _ := json.Marshal(promise{V: 1, JKT: a.cnf.JKT}) // a number and a text: cannot fail
	return []approvals.Write{approvals.PutNew(kindPromised, string(id), value, until)}
}

// keepsPromise is the second half of REQ-203: only the key that asked may collect. The refusal spends nothing.
func (h *Handler) keepsPromise(ctx context.Context, id approvals.ID, cnf *confirmation) error {
	rec, err := h.Records.Get(ctx, kindPromised, string(id))
	if errors.Is(err, approvals.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var kept promise
	if err := json.Unmarshal(rec.Value, &kept); err != nil {
		return fmt.Errorf("read promised key of %s: %w", id, err)
	}
	if cnf == nil || cnf.JKT != kept.JKT {
		return errOtherKey
	}
	return nil
}
