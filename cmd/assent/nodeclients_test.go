package main

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
)

// nodeCases are published clients as they are installed from npm, and what each of them must report. All of them run
// against the binary over TLS: some know nothing but https and fixed paths.
var nodeCases = map[string]map[string]any{
	"openid-client": {
		"approve": "bearer", "basic": "bearer", "private_key_jwt": "bearer", "oauth2": "bearer", "details": paid, "deny": "access_denied",
		"used": "invalid_grant", "unknown_user": "unknown_user_id", "wrong_secret": "invalid_client",
		"slow_down": []any{"slow_down", 200.0}, "expiry": "expired_token",
		"dpop": []any{"dpop", "jkt", "u_ann"}, "dpop_nonce": []any{"dpop", "jkt", "u_ann"}, "dpop_missing": "invalid_dpop_proof",
		"dpop_stolen": []any{401.0, "bearer", oauthChallenge}, "userinfo": ann, "introspect_revoke": isOver, "refresh": returned,
		"certificate": []any{"bearer", "x5t#S256"}, "signed": paid, "ping": "bearer", "ping_denied": "access_denied",
		"scopes": "openid profile email", "audience": "https://api.example",
		"wrong_basic": challenge, "exchange": "unsupported_grant_type",
	},
	"oauth4webapi": {
		"approve": "bearer", "basic": "bearer", "private_key_jwt": "bearer", "signed": paid, "oauth2": "the same document", "details": paid, "deny": "access_denied",
		"used": "invalid_grant", "unknown_user": "unknown_user_id", "wrong_secret": "invalid_client",
		"slow_down": []any{"authorization_pending", "slow_down", "7", "authorization_pending"}, "expiry": "expired_token",
		"userinfo": ann, "introspect_revoke": isOver, "refresh": returned,
		"dpop": []any{"dpop", "jkt", false}, "dpop_nonce": []any{"dpop", "jkt", true}, "dpop_missing": "invalid_dpop_proof",
		"certificate": []any{"bearer", "x5t#S256"}, "ping": "bearer",
		"wrong_basic": challenge, "exchange": "unsupported_grant_type",
	},
	"auth0": {
		"approve": "Bearer", "private_key_jwt": "Bearer", "details": paid, "deny": "access_denied",
		"used": "invalid_grant", "unknown_user": "unknown_user_id", "wrong_secret": "invalid_client",
		"slow_down": []any{"authorization_pending", "slow_down", "7", "authorization_pending"}, "expiry": "expired_token",
		"refresh": "Bearer", "exchange": "unsupported_grant_type",
	},
	"ai-vercel": {
		"approve": "Bearer", "details": paid, "deny": "ASYNC_AUTHORIZATION_ACCESS_DENIED",
		"unknown_user": "unknown_user_id", "wrong_secret": "invalid_client",
		"interrupt": []any{interruptPending, true},
		"slow_down": []any{interruptPending, "ASYNC_AUTHORIZATION_AUTHORIZATION_POLLING_ERROR", 7.0, interruptPending},
		"expiry":    "expired_token", "vault": "TOKEN_VAULT_ERROR",
	},
}

const (
	countNodeCases   = 68 // a case that is lost breaks this, and not only its own line
	interruptPending = "ASYNC_AUTHORIZATION_AUTHORIZATION_PENDING"
)

// oauthChallenge is how a 401 looks to libraries that read WWW-Authenticate before the body.
const oauthChallenge = "OAUTH_WWW_AUTHENTICATE_CHALLENGE"

// What some cases have in common.
var (
	challenge = []any{401.0, "basic", oauthChallenge}
	ann       = map[string]any{"sub": "u_ann", "name": "Ann", "email": "ann@example.com"}
	isOver    = []any{true, "u_ann", map[string]any{"active": false}}
	returned  = []any{"openid offline_access", "bearer", "invalid_grant", "invalid_grant"} // a used refresh token ends all
)

// paid is the payment of the scripts as it comes back when granted.
var paid = []any{map[string]any{"type": "payment_initiation", "creditorName": "Example Travel",
	"instructedAmount": map[string]any{"currency": "EUR", "amount": "480.00"}}}

func TestNodeClients(t *testing.T) {
	folder := filepath.Join("..", "..", "ciba", "testdata", "clients")
	node, err := exec.LookPath("node")
	need(t, "node", err)
	if _, err = os.Stat(filepath.Join(folder, "node_modules")); err != nil {
		err = errors.New("npm ci was not run in ciba/testdata/clients")
	}
	need(t, "node", err)
	count := 0
	for client, want := range nodeCases {
		count += len(want)
		t.Run(client, func(t *testing.T) {
			t.Parallel()
			s := newTLS(t)
			cmd := exec.CommandContext(t.Context(), node, client+".mjs")
			cmd.Dir = folder
			cmd.Env = append(os.Environ(), "ISSUER="+s.issuer, "NODE_EXTRA_CA_CERTS="+s.cert,
				"AGENT_ID=bot", "AGENT_SECRET=bot-secret-0123456789-abcdef",
				"BASIC_ID=other", "BASIC_SECRET=other-secret-0123456789-abcd",
				"KEY_ID=keyed", "SIGNED_ID=signed", "BOUND_ID=bound", "NONCE_ID=nonce", "PINGED_ID=pinged", "SHOWN_ID=shown",
				"RETURNING_ID=returning", "KEY="+string(s.key), "CERTIFICATE="+string(s.shown), "PING_PORT="+s.pings)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil {
				t.Errorf("%s: %v\n%s", cmd, err, stderr.Bytes())
			}
			if diff := cmp.Diff(want, nodeResults(t, out)); diff != "" {
				t.Errorf("results (-want +got):\n%s\n%s\n%s", diff, stderr.Bytes(), s.log())
			}
		})
	}
	if count != countNodeCases {
		t.Errorf("%d cases, want %d", count, countNodeCases)
	}
}

// nodeResults reads what a script prints: a line for each case.
func nodeResults(t *testing.T, out []byte) map[string]any {
	t.Helper()
	results := map[string]any{}
	for line := range bytes.Lines(out) {
		var c struct {
			Case   string
			Result any
		}
		if err := json.Unmarshal(line, &c); err != nil {
			t.Errorf("line %q: %v", line, err)
		}
		results[c.Case] = c.Result
	}
	return results
}

// tlsService is a service in dev mode whose issuer is https, and which knows agents with a key.
type tlsService struct {
	*process
	cert  string // the file with its certificate
	pings string // the port where an agent listens for pings
	key   []byte // of the agents, PEM
	shown []byte // their certificate, PEM
}

// keyedAgents are agents that sign: who they are, and some of them also what they ask or that a token is theirs.
const keyedAgents = `"clients": [
    {"client_id": "keyed", "token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [KEY]}},
    {"client_id": "signed", "token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [KEY]},
     "backchannel_authentication_request_signing_alg": "ES256", "authorization_details_types": ["payment_initiation"]},
    {"client_id": "bound", "token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [KEY]}, "dpop_bound_access_tokens": true},
    {"client_id": "nonce", "token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [KEY]},
     "dpop_bound_access_tokens": true, "dpop_nonce_required": true},
    {"client_id": "pinged", "token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [KEY]},
     "backchannel_token_delivery_mode": "ping", "backchannel_client_notification_endpoint": "http://127.0.0.1:PORT/cb"},
    {"client_id": "shown", "token_endpoint_auth_method": "self_signed_tls_client_auth", "jwks": {"keys": [KEY]},
     "tls_client_certificate_bound_access_tokens": true},
    {"client_id": "returning", "token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [KEY]},
     "grant_types": ["urn:openid:params:grant-type:ciba", "refresh_token"]},`

// writeKeyedAgents adds them to the fixtures.
func (s *tlsService) writeKeyedAgents(t *testing.T, path string) {
	t.Helper()
	pair := credentials(t, &x509.Certificate{Subject: pkix.Name{CommonName: "agent"}}, curveKey(t), nil)
	public, err := json.Marshal(jose.JSONWebKey{Key: pair.Leaf.PublicKey, KeyID: "k1", Algorithm: "ES256", Use: "sig",
		Certificates: []*x509.Certificate{pair.Leaf}})
	if err != nil {
		t.Fatal(err)
	}
	agents := strings.NewReplacer("KEY", string(public), "PORT", s.pings).Replace(keyedAgents)
	if err := os.WriteFile(path, []byte(strings.Replace(fixtures, `"clients": [`, agents, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	s.key = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	s.shown = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Leaf.Raw})
}

func newTLS(t *testing.T) *tlsService {
	t.Helper()
	data := newData(t)
	file := func(name string) string { return filepath.Join(data, "..", name) }
	cert, key := file("tls.crt"), file("tls.key")
	port, err1 := freePort()
	pings, err2 := freePort()
	if err := errors.Join(writeSelfSigned(cert, key), err1, err2); err != nil {
		t.Fatal(err)
	}
	s := &tlsService{cert: cert, pings: pings}
	s.writeKeyedAgents(t, file("fixtures.json"))
	s.process = restartDev(t, data, "--listen", net.JoinHostPort("127.0.0.1", port), "--issuer", "https://localhost:"+port,
		"--tls-cert", cert, "--tls-key", key, "--mtls-listen", "127.0.0.1:0")
	return s
}
