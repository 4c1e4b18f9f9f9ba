package passkey

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"assent/approvals"
	"assent/approvals/keys"
)

// What can be wrong with the answer of a browser, or with what a person wants.
var (
	ErrRefused    = errors.New("passkey answer refused")
	ErrUnverified = errors.New("passkey used without verifying the user")
	ErrOver       = errors.New("passkey challenge is too old")
	ErrUnknown    = errors.New("passkey is unknown")
	ErrCloned     = errors.New("passkey may have been copied")
	ErrHeld       = errors.New("passkey is too new")
	ErrLimit      = errors.New("too many passkeys")
	ErrLast       = errors.New("last passkey cannot go")
)

// Config is what ceremonies work with. All members are required.
type Config struct {
	Records approvals.Records
	Root    *keys.Root
	Now     func() time.Time
	Log     *slog.Logger
	Origin  string // of the pages; its host is the relying party id
	Name    string // of the service, as browsers show it

	// Since is when a person was last signed out everywhere: passkeys that are older are gone, as for a lost phone.
	Since func(ctx context.Context, p approvals.PersonID) (time.Time, error)
}

// Keeper performs the ceremonies. It is safe for concurrent use.
type Keeper struct {
	Config
	party *webauthn.WebAuthn
}

// Possible reports whether browsers let pages of this origin use passkeys: its host must be a name.
func Possible(origin string) bool {
	u, err := url.Parse(origin)
	return err == nil && protocol.ValidateRPID(u.Hostname()) == nil
}

// New returns a keeper for the pages of one origin.
func New(c Config) (*Keeper, error) {
	u, err := url.Parse(c.Origin)
	if err != nil || !Possible(c.Origin) {
		return nil, fmt.Errorf("passkeys: the host of the pages must be a name: %w", approvals.ErrInvalid)
	}
	resident := true
	party, err := webauthn.New(&webauthn.Config{RPID: u.Hostname(), RPDisplayName: c.Name, RPOrigins: []string{c.Origin},
		AttestationPreference: protocol.PreferNoAttestation,
		AuthenticatorSelection: protocol.AuthenticatorSelection{ResidentKey: protocol.ResidentKeyRequirementRequired,
			RequireResidentKey: &resident, UserVerification: protocol.VerificationRequired},
		// Password managers answer with extensions that nobody asked for; none of them means anything here.
		ExtensionsUnsolicitedOutputPolicy: protocol.UnsolicitedOutputPolicyIgnore})
	if err != nil {
		return nil, fmt.Errorf("passkeys: %w", err)
	}
	return &Keeper{Config: c, party: party}, nil
}

// Owner is a person as an authenticator knows them.
type Owner struct {
	Person approvals.PersonID
	Name   string // shown when several passkeys are offered
}

// user joins an owner and their passkeys for the library. The handle is a keyed hash: authenticators hand it out, and it
// must not say who somebody is (section 14.6.1).
type user struct {
	Owner
	handle []byte
	creds  []webauthn.Credential
}

func (u *user) WebAuthnID() []byte                         { return u.handle }
func (u *user) WebAuthnName() string                       { return u.Name }
func (u *user) WebAuthnDisplayName() string                { return u.Name }
func (u *user) WebAuthnCredentials() []webauthn.Credential { return u.creds }

func (k *Keeper) user(ctx context.Context, o Owner) (*user, *shelf, error) {
	s, err := k.shelf(ctx, o.Person)
	if err != nil {
		return nil, nil, err
	}
	u := &user{Owner: o, handle: k.Root.MAC(keys.LabelPasskey, "user", string(o.Person))}
	for _, c := range s.Credentials {
		u.creds = append(u.creds, c.known())
	}
	return u, s, nil
}

// Options are what a page hands to the browser, and the ticket that comes back with the answer.
type Options struct {
	PublicKey any    `json:"publicKey"` // PublicKeyCredentialCreationOptionsJSON or ...RequestOptionsJSON
	Ticket    string `json:"ticket"`
}

// Answer is what a page sends back.
type Answer struct {
	Ticket     string
	Credential string // RegistrationResponseJSON or AuthenticationResponseJSON
}

// maxAnswer bounds what a browser sends. Attestation is not asked for, so that answers are small.
const maxAnswer = 16 << 10

func (a Answer) check() error {
	if a.Credential == "" || len(a.Credential) > maxAnswer || !json.Valid([]byte(a.Credential)) {
		return ErrRefused
	}
	return nil
}

// refused says why in the log, in the library's fixed words, and nothing to the browser.
func (k *Keeper) refused(ctx context.Context, doing string, p approvals.PersonID, err error) error {
	why := "not well-formed"
	if e := (*protocol.Error)(nil); errors.As(err, &e) {
		why = e.Type
	}
	k.Log.WarnContext(ctx, "passkey refused", "doing", doing, "person", p, "why", why)
	return ErrRefused
}
