package main

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"

	"assent/ciba/client"
)

var errAgentKey = errors.New("must be a private key, as PEM (PKCS #8, SEC 1, PKCS #1) or as JWK")

// readAgentKey reads an agent's private key; no path is no key. A kid in the file counts unless another is given.
func readAgentKey(path, kid string) (*client.Key, error) {
	if path == "" {
		return nil, nil
	}
	raw, err := readLimited(path)
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	key, err := parseAgentKey(raw)
	if err != nil {
		return nil, &exitError{exitUsage, fmt.Errorf("%s: %w", path, err)}
	}
	if kid != "" {
		key.ID = kid
	}
	return key, nil
}

func parseAgentKey(raw []byte) (*client.Key, error) {
	if bytes.HasPrefix(bytes.TrimSpace(raw), []byte("{")) {
		return parseJWK(raw)
	}
	block, rest := pem.Decode(raw)
	if block != nil && block.Type == "EC PARAMETERS" { // which openssl writes before the key
		block, _ = pem.Decode(rest)
	}
	if block == nil {
		return nil, errAgentKey
	}
	for _, parse := range []func([]byte) (any, error){
		x509.ParsePKCS8PrivateKey,
		func(der []byte) (any, error) { return x509.ParseECPrivateKey(der) },
		func(der []byte) (any, error) { return x509.ParsePKCS1PrivateKey(der) },
	} {
		if key, err := parse(block.Bytes); err == nil {
			return agentKey(key, "")
		}
	}
	return nil, errAgentKey
}

func parseJWK(raw []byte) (*client.Key, error) {
	var jwk jose.JSONWebKey
	if err := jwk.UnmarshalJSON(raw); err != nil || jwk.IsPublic() {
		return nil, errAgentKey
	}
	return agentKey(jwk.Key, jwk.KeyID)
}

func agentKey(key any, kid string) (*client.Key, error) {
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errAgentKey
	}
	return &client.Key{Signer: signer, ID: kid}, nil
}
