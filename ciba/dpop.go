package ciba

import (
	"crypto"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"assent/approvals/keys"
)

// dpopAlgs is what DPoP proofs may be signed with. It is advertised (REQ-010).
var dpopAlgs = []string{string(jose.PS256), string(jose.ES256), string(jose.EdDSA)}

// Limits of a proof. Its key is the caller's own choice, and its size is how hard the caller can make us work: the JOSE
// library takes RSA keys of at most 4096 bits, which a test holds it to.
const (
	maxProof = 8 << 10
	maxHTU   = 2048
	proofAge = 60 * time.Second // after iat
)

// nonceSlot is how long a nonce is handed out; it is good for as long again.
const nonceSlot = 2 * time.Minute

// proofs checks DPoP proofs (RFC 9449 section 4.3).
type proofs struct {
	root    *keys.Root
	replay  *Replay
	origins []string // under which we are reached
}

// proven is a proof whose signature holds. Nothing else about it has been judged.
type proven struct {
	thumbprint string // of its key (RFC 7638)
	claims     claims
}

func badProof(rule string) *fault { return refuse("invalid_dpop_proof", "The DPoP proof "+rule+".") }

var (
	errProofMissing = refuse("invalid_dpop_proof", "The client is registered for DPoP: a proof is required.")
	errProofs       = refuse("invalid_dpop_proof", "More than one DPoP header was sent.")
	errProofForm    = badProof("is not a JWT of type dpop+jwt, signed by the public key in its header")
	errProofUsed    = badProof("has been used: its jti is not new")
	errNonce        = refuse("use_dpop_nonce", "The DPoP proof needs the nonce in the DPoP-Nonce header.")
)

// shown returns the thumbprint of the key that the request proves to hold, or "" if it carries no proof. token is the
// access token that came with it, or "". demand is whether there must be a nonce; one that is there must be ours.
func (p *proofs) shown(c *call, token string, demand bool) (string, error) {
	lines := c.r.Header["Dpop"]
	switch {
	case len(lines) == 0:
		return "", nil
	case len(lines) > 1:
		return "", errProofs
	}
	proof, err := readProof(lines[0])
	if err != nil {
		return "", err
	}
	if err := p.fits(proof.claims, c.r, token, c.at); err != nil {
		return "", err
	}
	if err := p.checkNonce(c, proof.claims, demand); err != nil {
		return "", err
	}
	return proof.thumbprint, p.spend(proof, c.at)
}

// readProof checks type, algorithm, key and signature. The key is a public one that fits the algorithm.
func readProof(text string) (*proven, error) {
	if len(text) > maxProof {
		return nil, errProofForm
	}
	s, err := readJWS(text, dpopAlgs)
	if err != nil || s.typ != "dpop+jwt" || s.header["jwk"] == nil {
		return nil, errProofForm
	}
	key, err := readKey(s.header["jwk"])
	if err != nil || key == nil || !s.by([]clientKey{*key}) {
		return nil, errProofForm
	}
	sum, err := (&jose.JSONWebKey{Key: key.public}).Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("thumbprint of a proof's key: %w", err)
	}
	return &proven{base64.RawURLEncoding.EncodeToString(sum), s.claims}, nil
}

// fits holds the claims against the request that they came with, but for nonce and the single use of jti.
func (p *proofs) fits(c claims, r *http.Request, token string, now time.Time) error {
	jti, ok1 := c.text("jti")
	method, ok2 := c.text("htm")
	target, ok3 := c.text("htu")
	issued, ok4 := c.date("iat")
	switch {
	case !ok1 || jti == "" || len(jti) > maxJTI:
		return badProof("needs a jti of 1 to " + strconv.Itoa(maxJTI) + " bytes")
	case !ok2 || method != r.Method:
		return badProof("has another htm than this request")
	case !ok3 || !p.here(target, r):
		return badProof("has another htu than this request")
	case !ok4 || issued.IsZero() || issued.Before(now.Add(-proofAge)) || c.tooFarAhead(now): // REQ-060
		return badProof("has no iat, or one that is not of this minute")
	case token != "" && !c.hashes(token):
		return badProof("has another ath than the access token")
	}
	return nil
}

// hashes reports whether ath is the hash of the token (RFC 9449 section 4.2).
func (c claims) hashes(token string) bool {
	ath, _ := c.text("ath")
	sum := sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare([]byte(ath), []byte(base64.RawURLEncoding.EncodeToString(sum[:]))) == 1
}

// here reports whether htu is the URL of this request. Query and fragment do not count, and URLs are compared as
// RFC 3986 sections 6.2.2 and 6.2.3 normalise them. Which of our names was used does not matter: behind a terminator
// we cannot tell.
func (p *proofs) here(htu string, r *http.Request) bool {
	u, err := url.Parse(htu)
	if err != nil || len(htu) > maxHTU || u.Opaque != "" || u.User != nil || u.Host == "" {
		return false
	}
	u = (&url.URL{}).ResolveReference(u) // without dot segments
	return slices.Contains(p.origins, originOf(u)) && u.Path == r.URL.Path
}

// originOf writes scheme, host and port one way. Go's parser has put the scheme into lower case.
func originOf(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	return u.Scheme + "://" + net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// originsOf lists the origins of our URLs.
func originsOf(urls ...string) (list []string, err error) {
	for _, one := range urls {
		u, err := url.Parse(one)
		if err != nil {
			return nil, fmt.Errorf("ciba: origin: %w", err)
		}
		list = append(list, originOf(u))
	}
	return list, nil
}

// nonce is what a proof shall contain at a time (RFC 9449 section 8). Nothing is kept: it is the keyed hash of the time
// slot, the same for everybody.
func (p *proofs) nonce(at time.Time) string {
	slot := at.Unix() / int64(nonceSlot/time.Second)
	return p.root.Name(keys.LabelLookup, "ciba.dpop nonce", strconv.FormatInt(slot, 10))
}

// checkNonce lets nonces of this slot and the one before pass. Who needs a new one finds it in the answer's DPoP-Nonce.
func (p *proofs) checkNonce(c *call, claims claims, demand bool) error {
	if _, has := claims["nonce"]; !has && !demand {
		return nil
	}
	nonce, _ := claims.text("nonce")
	same := func(ours string) bool { return subtle.ConstantTimeCompare([]byte(nonce), []byte(ours)) == 1 }
	current := p.nonce(c.at)
	if same(current) {
		return nil
	}
	c.w.Header().Set("DPoP-Nonce", current)
	if same(p.nonce(c.at.Add(-nonceSlot))) {
		return nil
	}
	return errNonce
}

// spend uses up the proof's jti (REQ-202). As with assertions, nobody can tell whether a proof from before an unclean
// start has been used.
func (p *proofs) spend(proof *proven, now time.Time) error {
	issued, _ := proof.claims.date("iat")
	if wait := p.replay.unsure(issued, now); wait > 0 {
		return errTryLater.after(int(math.Ceil(wait.Seconds())))
	}
	jti, _ := proof.claims.text("jti")
	name := p.root.MAC(keys.LabelLookup, "ciba.dpop", proof.thumbprint, jti)
	err := p.replay.use([replaySize]byte(name[len(name)-replaySize:]), issued.Add(proofAge), now)
	if errors.Is(err, errReplayed) {
		return errProofUsed
	}
	return err
}
