package keys

import "crypto"

// Signer signs tokens. Today it is a key from the store; a hardware module or a key service fits behind it.
type Signer interface {
	crypto.Signer
	KeyID() string     // kid in the token's header and in the JWKS
	Algorithm() string // JWS algorithm, such as "ES256"
}
