package ciba

import (
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"assent/approvals"
)

// Limits of user codes (REQ-127).
const (
	maxUserCode   = 128 // bytes
	minUserCode   = 4
	maxWrongCodes = 5
	codeWindow    = 15 * time.Minute
)

// hashRounds makes one guess at a stolen hash cost about a tenth of a second.
const hashRounds = 300_000

// kindWrongCodes is the record kind of wrong user codes, by person.
const kindWrongCodes = "ciba.codes"

var (
	errNoCode     = refuse("missing_user_code", "The person has a user code, and none was sent.")
	errWrongCode  = refuse("invalid_user_code", "The user_code is wrong.")
	errCodeLocked = &fault{status: http.StatusForbidden, code: "access_denied",
		text: "There were too many wrong user codes for this person. Come again later."}
)

// HashUserCode makes what [approvals.Person.UserCode] keeps of a code: a salted slow hash (REQ-128).
func HashUserCode(code string) (string, error) {
	if len(code) < minUserCode || len(code) > maxUserCode || !utf8.ValidString(code) || approvals.Visible(code) != code {
		return "", &approvals.FieldError{Field: "user_code",
			Rule: fmt.Sprintf("must have %d to %d visible bytes", minUserCode, maxUserCode)}
	}
	return hashCode(code, hashRounds)
}

const hashName = "pbkdf2-sha256"

func hashCode(code string, rounds int) (string, error) {
	salt := make([]byte, 16)
	rand.Read(salt)
	hash, err := pbkdf2.Key(sha256.New, code, salt, rounds, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("hash user code: %w", err)
	}
	text := base64.RawStdEncoding.EncodeToString
	return strings.Join([]string{hashName, strconv.Itoa(rounds), text(salt), text(hash)}, "$"), nil
}

// codeMatches compares a code with a kept hash.
func codeMatches(kept, code string) (bool, error) {
	parts := strings.Split(kept, "$")
	if len(parts) != 4 || parts[0] != hashName {
		return false, errors.New("user code: the kept hash is not known")
	}
	rounds, err1 := strconv.Atoi(parts[1])
	salt, err2 := base64.RawStdEncoding.DecodeString(parts[2])
	want, err3 := base64.RawStdEncoding.DecodeString(parts[3])
	if err := errors.Join(err1, err2, err3); err != nil {
		return false, fmt.Errorf("user code: %w", err)
	}
	hash, err := pbkdf2.Key(sha256.New, code, salt, rounds, sha256.Size)
	return err == nil && subtle.ConstantTimeCompare(hash, want) == 1, err
}

// readCode is the syntax of user_code. Clients that are not registered for codes may send what they like: it is not
// looked at (REQ-123).
func (a *asking) readCode() error {
	if a.client.UserCode && len(a.form.get("user_code")) > maxUserCode {
		return errWrongCode
	}
	return nil
}

// checkCode is REQ-124 to 126: people with a code, asked by a client that is registered for codes, are asked only with
// it. It shows that the person is there with the agent, and is never taken for the person's own authentication.
func (a *asking) checkCode() error {
	p := a.ask.Subject
	if !a.client.UserCode || p == nil || p.UserCode == "" {
		return nil
	}
	code := a.form.get("user_code")
	if code == "" {
		return errNoCode
	}
	return a.h.codes.check(a.r.Context(), p, code, a.at)
}

// codes compares user codes and counts the wrong ones. One code of a person is looked at at a time, so that many
// guesses at once are counted like many in a row.
type codes struct {
	records approvals.Records
	seed    maphash.Seed
	locks   [64]sync.Mutex // by person
}

func newCodes(records approvals.Records) *codes {
	return &codes{records: records, seed: maphash.MakeSeed()}
}

// wrongCodes says when the last wrong codes came, oldest first.
type wrongCodes struct {
	V  int         `json:"v"`
	At []time.Time `json:"at"`
}

// check is REQ-125 and 127: after five wrong codes in a quarter of an hour, not even the right one counts.
func (c *codes) check(ctx context.Context, p *approvals.Person, code string, now time.Time) error {
	lock := &c.locks[maphash.String(c.seed, string(p.ID))%uint64(len(c.locks))]
	lock.Lock()
	defer lock.Unlock()
	wrong, revision, err := c.wrong(ctx, p.ID, now)
	if err != nil {
		return err
	}
	if len(wrong.At) >= maxWrongCodes {
		return errCodeLocked
	}
	right, err := codeMatches(p.UserCode, code)
	if err != nil || right {
		return err
	}
	wrong.At = append(wrong.At, now)
	if err := c.keep(ctx, p.ID, wrong, revision, now); err != nil {
		return err // not counted, so not answered either
	}
	return errWrongCode
}

// wrong returns the wrong codes within the window.
func (c *codes) wrong(ctx context.Context, id approvals.PersonID, now time.Time) (w wrongCodes, rev uint64, err error) {
	rec, err := c.records.Get(ctx, kindWrongCodes, string(id))
	if errors.Is(err, approvals.ErrNotFound) {
		return w, 0, nil
	}
	if err != nil {
		return w, 0, err
	}
	if err := json.Unmarshal(rec.Value, &w); err != nil {
		return w, 0, fmt.Errorf("read wrong codes: %w", err)
	}
	for len(w.At) > 0 && !w.At[0].After(now.Add(-codeWindow)) {
		w.At = w.At[1:]
	}
	return w, rec.Revision, nil
}

func (c *codes) keep(ctx context.Context, id approvals.PersonID, w wrongCodes, revision uint64, now time.Time) error {
	w.V = 1
	value, err := json.Marshal(w)
	if err != nil {
		return fmt.Errorf("keep wrong codes: %w", err)
	}
	return c.records.Apply(context.WithoutCancel(ctx), approvals.Write{Record: approvals.Record{Kind: kindWrongCodes,
		Key: string(id), Value: value, Revision: revision, Expires: now.Add(codeWindow)}})
}
