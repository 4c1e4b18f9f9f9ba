package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"assent/approvals"
	"assent/approvals/keys"
	"assent/channels"
)

// Name is the name of the channel.
const Name = "web"

// closedLife is how long a push service keeps the word that nothing is left to do for a browser that is away.
const closedLife = time.Hour

// maxLife is the longest that push services keep messages.
const maxLife = 28 * 24 * time.Hour

// maxAnswer bounds what is read of an answer.
const maxAnswer = 16 << 10

// Parts is what a [Channel] works with. All members but Rules are required.
type Parts struct {
	Records   approvals.Records
	Directory *approvals.Directory
	Root      *keys.Root
	HTTP      *http.Client // guarded: endpoints are what browsers say they are
	Contact   string       // whom push services turn to, see [CheckContact]
	PagesURL  string       // without trailing slash
	Rules     Rules
	Now       func() time.Time
	Log       *slog.Logger
}

// Channel sends Web Push, and keeps the subscriptions that it sends to.
type Channel struct {
	records   approvals.Records
	directory *approvals.Directory
	root      *keys.Root
	http      *http.Client
	pagesURL  string
	rules     Rules
	vapid     *vapid
	now       func() time.Time
	log       *slog.Logger
}

// New reads our key, or makes it.
func New(ctx context.Context, p Parts) (*Channel, error) {
	if err := p.Rules.Validate(); err != nil {
		return nil, fmt.Errorf("web push: %w", err)
	}
	private, err := openKey(ctx, p.Records, p.Root, p.Now())
	if err != nil {
		return nil, fmt.Errorf("web push: key: %w", err)
	}
	v, err := newVAPID(private, p.Contact, p.Now)
	if err != nil {
		return nil, fmt.Errorf("web push: key: %w", err)
	}
	client := *p.HTTP
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Channel{records: p.Records, directory: p.Directory, root: p.Root, http: &client, pagesURL: p.PagesURL,
		rules: p.Rules, vapid: v, now: p.Now, log: p.Log}, nil
}

// Name implements [channels.Channel].
func (c *Channel) Name() string { return Name }

// Send implements [channels.Channel].
func (c *Channel) Send(ctx context.Context, to approvals.Address, m channels.Message) (approvals.Delivery, error) {
	if m.Kind == channels.KindCode {
		return approvals.Delivery{Code: codeCode}, channels.Uncalled(fmt.Errorf("push a code: %w", channels.ErrRejected))
	}
	return c.bring(ctx, to, m)
}

// Retract implements [channels.Retracter]: the quiet word that nothing is left to do takes the place of what lies on
// the screen, by its tag. Apple's browsers let nothing be quiet, so they are left alone.
func (c *Channel) Retract(ctx context.Context, to approvals.Address, m channels.Message) error {
	_, err := c.bring(ctx, to, m)
	return err
}

func (c *Channel) bring(ctx context.Context, to approvals.Address, m channels.Message) (approvals.Delivery, error) {
	if err := ctx.Err(); err != nil {
		return approvals.Delivery{}, err
	}
	k, err := c.at(ctx, to)
	if errors.Is(err, approvals.ErrNotFound) {
		return approvals.Delivery{Code: codeGone}, channels.Uncalled(fmt.Errorf("push: %w", channels.ErrGone))
	}
	if err != nil {
		return approvals.Delivery{Code: codeRead}, channels.Uncalled(fmt.Errorf("push: %w: %w", channels.ErrBusy, err))
	}
	report, err := c.push(ctx, k, m, "")
	if err == nil {
		c.used(ctx, k)
	}
	return report, err
}

// push makes the one POST of a message. Without a header on its way there is no doubt that the message has not left.
func (c *Channel) push(ctx context.Context, k *kept, m channels.Message, proof string) (approvals.Delivery, error) {
	r, err := c.request(ctx, k.sub, m, proof)
	if err != nil {
		return approvals.Delivery{Code: codeUnfit}, channels.Uncalled(fmt.Errorf("push: %w: %w", channels.ErrRejected, err))
	}
	var wrote atomic.Bool
	r = r.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { wrote.Store(true) }}))
	resp, err := c.http.Do(r)
	if err != nil {
		return approvals.Delivery{}, c.unanswered(ctx, err, wrote.Load())
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer) // what it says is of no interest, its connection is
	report, err := judge(resp, c.now())
	if errors.Is(err, channels.ErrGone) {
		if err := c.retire(context.WithoutCancel(ctx), k, nil); err != nil {
			c.log.WarnContext(ctx, "subscription that is gone not forgotten", "person", k.Person, "err", err)
		}
	}
	return report, err
}

// unanswered says what is known without an answer. An error of the HTTP client names the endpoint; its cause does not.
func (c *Channel) unanswered(ctx context.Context, err error, wrote bool) error {
	var named *url.Error
	if errors.As(err, &named) {
		err = named.Err
	}
	if wrote || ctx.Err() != nil {
		return fmt.Errorf("push: no answer: %w", plain(err))
	}
	return fmt.Errorf("push: not connected: %w", channels.ErrBusy)
}

// plain keeps of an error what says nothing about where we have called.
func plain(err error) error {
	for _, known := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, known) {
			return known
		}
	}
	return errors.New("connection broke off")
}

// request encrypts a message and addresses it (RFC 8030, 5).
func (c *Channel) request(ctx context.Context, s *subscription, m channels.Message, proof string) (
	*http.Request, error) {
	if err := s.complete(c.rules); err != nil { // rules may have changed since it was kept
		return nil, err
	}
	life, err := c.life(s, m)
	if err != nil {
		return nil, err
	}
	plain, err := payloadOf(m, c.pagesURL, proof, c.now())
	if err != nil {
		return nil, err
	}
	body, err := s.target.encrypt(plain)
	if err != nil {
		return nil, err
	}
	who, err := c.vapid.authorization(s.origin)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.Endpoint, bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("endpoint cannot be called") // the error would name it
	}
	r.Header.Set("Authorization", who)
	r.Header.Set("Content-Encoding", "aes128gcm")
	r.Header.Set("Content-Type", "application/octet-stream")
	r.Header.Set("TTL", strconv.Itoa(int(life/time.Second)))
	r.Header.Set("Urgency", "high")
	if m.Kind == channels.KindClosed {
		r.Header.Set("Urgency", "normal") // it wakes nobody
	}
	r.Header.Set("Topic", topic(m.Tag))
	return r, nil
}

// life is how long the push service may keep a message for a browser that is away, in whole seconds and never none: a
// message without life reaches only who is there at that moment (RFC 8030, 5.2).
func (c *Channel) life(s *subscription, m channels.Message) (time.Duration, error) {
	if m.Kind == channels.KindClosed {
		if strings.HasSuffix(s.origin, ".push.apple.com") {
			return 0, errors.New("this browser shows every message")
		}
		return closedLife, nil
	}
	left := m.Expires.Sub(c.now())
	if left <= 0 {
		return 0, errors.New("message is over")
	}
	return min(max(left.Truncate(time.Second), time.Second), maxLife), nil
}

// topic makes a tag fit for the header by which a push service replaces what it has not delivered yet: 32 characters of
// base64url (RFC 8030, 5.4).
func topic(tag string) string {
	sum := sha256.Sum256([]byte(tag))
	return base64.RawURLEncoding.EncodeToString(sum[:24])
}

// judge says what a push service's answer means (RFC 8030, 5 and 8.4). That it has the message says nothing about the
// person.
func judge(resp *http.Response, now time.Time) (approvals.Delivery, error) {
	status := resp.StatusCode
	report := approvals.Delivery{Code: strconv.Itoa(status)}
	switch {
	case status >= 200 && status < 300:
		return approvals.Delivery{Provider: messageName(resp)}, nil
	case status == http.StatusNotFound, status == http.StatusGone:
		return report, fmt.Errorf("push: %d: %w", status, channels.ErrGone)
	case status == http.StatusRequestEntityTooLarge:
		return report, fmt.Errorf("push: %d: %w", status, channels.ErrRejected)
	case channels.Doubtful(status):
		return report, channels.Doubt(fmt.Errorf("push: %d: perhaps sent", status))
	case status == http.StatusTooManyRequests, status >= 500:
		return report, fmt.Errorf("push: %d: %w", status, busy(resp.Header.Get("Retry-After"), now))
	}
	return report, fmt.Errorf("push: %d: %w", status, channels.ErrFault) // our request, our key or our contact
}

// busy reads Retry-After: seconds or a date (RFC 9110, 10.2.3).
func busy(after string, now time.Time) error {
	if seconds, err := strconv.Atoi(after); err == nil && seconds > 0 {
		return &channels.BusyError{After: time.Duration(min(seconds, 86400)) * time.Second}
	}
	if at, err := http.ParseTime(after); err == nil && at.After(now) {
		return &channels.BusyError{After: at.Sub(now)}
	}
	return channels.ErrBusy
}

// maxName bounds how long a provider's name of a message is; those of Mozilla are longer, and say nothing.
const maxName = 80

// messageName is how the push service names a message: in a header of its own, or at the end of its address (RFC 8030,
// 5). The address itself is a secret: whoever knows it may delete the message.
func messageName(resp *http.Response) string {
	location := resp.Header.Get("Location")
	for _, name := range []string{resp.Header.Get("Apns-Id"), resp.Header.Get("X-Wns-Msg-Id"),
		location[strings.LastIndexByte(location, '/')+1:]} {
		if name != "" && len(name) <= maxName && strings.Trim(name, nameChars) == "" {
			return name
		}
	}
	return ""
}

const nameChars = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:%"
