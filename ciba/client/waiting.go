package client

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// usualInterval is the number of seconds between polls when nobody says another (CIBA section 7.3).
const usualInterval = 5

// maxHandle bounds an auth_req_id.
const maxHandle = 4096

// waitingVersion is what MarshalJSON writes. Without a version, what is read has the names of CIBA section 7.3 only.
const waitingVersion = 1

// Waiting is a request that has been accepted. It may be written down as JSON and waited for by another process; its
// handle is a secret, and the only one in it.
type Waiting struct {
	Handle    string        // auth_req_id
	ExpiresAt time.Time     // by this machine's clock
	Interval  time.Duration // between polls

	issuer, client string   // whom the handle may be shown to, and by whom; "": not known
	ping           [32]byte // SHA-256 of the notification token; zero: none
}

// waiting is how a [Waiting] is written down.
type waiting struct {
	Version   int       `json:"v,omitempty"`
	Issuer    string    `json:"issuer,omitempty"`
	Client    string    `json:"client_id,omitempty"`
	Handle    string    `json:"auth_req_id"`
	ExpiresAt time.Time `json:"expires_at"`
	Interval  uint32    `json:"interval"`       // seconds, as in CIBA section 7.3
	Ping      string    `json:"ping,omitempty"` // digest of client_notification_token
}

// MarshalJSON writes the names and units of CIBA section 7.3.
func (w Waiting) MarshalJSON() ([]byte, error) {
	whole := (w.Interval + time.Second - 1) / time.Second // never sooner than told
	out := waiting{Version: waitingVersion, Issuer: w.issuer, Client: w.client, Handle: w.Handle, ExpiresAt: w.ExpiresAt,
		Interval: uint32(max(whole, 0))}
	if w.ping != [32]byte{} {
		out.Ping = base64.RawURLEncoding.EncodeToString(w.ping[:])
	}
	return json.Marshal(out)
}

var errWaiting = errors.New("is not a request that was written down")

// UnmarshalJSON reads what MarshalJSON writes.
func (w *Waiting) UnmarshalJSON(raw []byte) error {
	var in waiting
	if err := json.Unmarshal(raw, &in); err != nil {
		return fmt.Errorf("read waiting: %w", err)
	}
	ping, err := base64.RawURLEncoding.DecodeString(in.Ping)
	switch {
	case in.Version > waitingVersion || in.Version < 0:
		return fmt.Errorf("read waiting: version %d is newer than this program", in.Version)
	case in.Handle == "" || len(in.Handle) > maxHandle || in.ExpiresAt.IsZero(),
		err != nil, len(ping) != 0 && len(ping) != len(w.ping):
		return fmt.Errorf("read waiting: %w", errWaiting)
	}
	if in.Interval == 0 {
		in.Interval = usualInterval
	}
	*w = Waiting{Handle: in.Handle, ExpiresAt: in.ExpiresAt, Interval: time.Duration(in.Interval) * time.Second,
		issuer: in.Issuer, client: in.Client}
	copy(w.ping[:], ping)
	return nil
}

// String keeps the handle out of anything that prints.
func (w Waiting) String() string { return "request until " + w.ExpiresAt.UTC().Format(time.RFC3339) }

// LogValue keeps the handle out of logs.
func (w Waiting) LogValue() slog.Value { return slog.StringValue(w.String()) }

var errStranger = errors.New("the request was made by another client or at another server")

// owns keeps a handle from being shown to a server that it is not for.
func (c *Client) owns(w *Waiting) error {
	if w.issuer != "" && w.issuer != c.config.Issuer || w.client != "" && w.client != c.config.ID {
		return errStranger
	}
	return nil
}
