package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
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

// nodeCases are published clients as they are installed from npm, and what each of them must report. All of them run against the binary over TLS: some know nothing but https and fixed paths.
var nodeCases = map[string]map[string]any{
	"openid-client": {
		"approve": "bearer", "basic": "bearer", "private_key_jwt": "bearer", "oauth2": "bearer", "details": paid, "deny": "access_denied",
		"used": "invalid_grant", "unknown_user": "unknown_user_id", "wrong_secret": "invalid_client",
		"slow_down": []any{"slow_down", 200.0}, "expiry": "expired_token",
	},
	"oauth4webapi": {
		"approve": "bearer", "basic": "bearer", "private_key_jwt": "bearer", "signed": paid, "oauth2": "the same document", "details": paid, "deny": "access_denied",
		"used": "invalid_grant", "unknown_user": "unknown_user_id", "wrong_secret": "invalid_client",
		"slow_down": []any{"authorization_pending", "slow_down", "7", "authorization_pending"}, "expiry": "expired_token",
	},
	"auth0": {
		"approve": "Bearer", "private_key_jwt": "Bearer", "details": paid, "deny": "access_denied",
		"used": "invalid_grant", "unknown_user": "unknown_user_id", "wrong_secret": "invalid_client",
		"slow_down": []any{"authorization_pending", "slow_down", "7", "authorization_pending"}, "expiry": "expired_token",
	},
	"ai-vercel": {
		"approve": "Bearer", "details": paid, "deny": "ASYNC_AUTHORIZATION_ACCESS_DENIED",
		"unknown_user": "unknown_user_id", "wrong_secret": "invalid_client",
		"interrupt": []any{interruptPending, true},
		"slow_down": []any{interruptPending, "ASYNC_AUTHORIZATION_AUTHORIZATION_POLLING_ERROR", 7.0, interruptPending},
		"expiry":    "expired_token",
	},
}

const (
	countNodeCases   = 40 // a case that is lost breaks this, and not only its own line
	interruptPending = "ASYNC_AUTHORIZATION_AUTHORIZATION_PENDING"
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
				"KEY_ID=keyed", "SIGNED_ID=signed", "KEY="+string(s.key))
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

// tlsService is a service in dev mode whose issuer is https, and which knows two agents with a key.
type tlsService struct {
	*process
	cert string // the file with its certificate
	key  []byte // of the agents, PEM
}

// keyedAgents are agents that sign: who they are, and one of them also what it asks.
const keyedAgents = `"clients": [
    {"client_id": "keyed", "token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [KEY]}},
    {"client_id": "signed", "token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [KEY]},
     "backchannel_authentication_request_signing_alg": "ES256", "authorization_details_types": ["payment_initiation"]},`

// writeKeyedAgents adds them to the fixtures and returns their key.
func writeKeyedAgents(path string) ([]byte, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	public, err := json.Marshal(jose.JSONWebKey{Key: private.Public(), KeyID: "k1", Algorithm: "ES256", Use: "sig"})
	if err != nil {
		return nil, err
	}
	agents := strings.ReplaceAll(keyedAgents, "KEY", string(public))
	if err := os.WriteFile(path, []byte(strings.Replace(fixtures, `"clients": [`, agents, 1)), 0o600); err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
}

func newTLS(t *testing.T) tlsService {
	t.Helper()
	data := newData(t)
	cert, key := filepath.Join(data, "..", "tls.crt"), filepath.Join(data, "..", "tls.key")
	if err := writeSelfSigned(cert, key); err != nil {
		t.Fatal(err)
	}
	agentKey, err := writeKeyedAgents(filepath.Join(data, "..", "fixtures.json"))
	if err != nil {
		t.Fatal(err)
	}
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	p := restartDev(t, data, "--listen", net.JoinHostPort("127.0.0.1", port), "--issuer", "https://localhost:"+port,
		"--tls-cert", cert, "--tls-key", key)
	return tlsService{p, cert, agentKey}
}
