package push

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"firebase.google.com/go/v4/messaging"
	"google.golang.org/api/option"

	"assent/approvals"
	"assent/approvals/keys"
	"assent/channels"
)

// Name is the channel's name, and that of its addresses.
const Name = "push"

// sendTimeout is how long the provider may take, its access token included.
const sendTimeout = 5 * time.Second

// Config is what a channel works with. All members are required but those that say otherwise.
type Config struct {
	Account   []byte // service account: the JSON file that the provider's console hands out
	Project   string // instead of the account's own; may be empty
	BaseURL   string // instead of https://fcm.googleapis.com/v1; may be empty
	Records   approvals.Records
	Directory *approvals.Directory
	Root      *keys.Root
	HTTP      *http.Client // its transport is what counts
	Now       func() time.Time
	Log       *slog.Logger
}

// sender is the one call of the SDK that we make.
type sender interface {
	Send(ctx context.Context, m *messaging.Message) (name string, err error)
}

// Channel sends push messages and keeps the devices that it sends to. It is safe for concurrent use.
type Channel struct {
	cfg    Config
	sender sender
}

var projectID = regexp.MustCompile(`^[a-z][a-z0-9-]{4,62}$`)

// New checks the configuration and returns a channel. It makes no call.
func New(ctx context.Context, cfg Config) (*Channel, error) {
	base, err := url.Parse(cfg.BaseURL)
	if err != nil || cfg.BaseURL != "" && (base.Host == "" || base.RawQuery != "" || base.Fragment != "") {
		return nil, errors.New("provider URL must be absolute and have neither query nor fragment")
	}
	file, err := readAccount(cfg.Account, base.Scheme == "http")
	if err != nil {
		return nil, fmt.Errorf("service account: %w", err)
	}
	if cfg.Project == "" {
		cfg.Project = file.ProjectID
	}
	if !projectID.MatchString(cfg.Project) {
		return nil, errors.New("project id must have 5 to 63 lower-case letters, digits and dashes")
	}
	next := cfg.HTTP.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	cfg.Account = nil // the key is in its place now
	options := []option.ClientOption{option.WithHTTPClient(&http.Client{
		Transport:     &transport{account: newAccount(file, next, cfg.Now), next: next},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }})}
	if cfg.BaseURL != "" {
		options = append(options, option.WithEndpoint(strings.TrimSuffix(cfg.BaseURL, "/")))
	}
	client, err := open(ctx, messaging.NewClient, settings{Opts: options, ProjectID: cfg.Project, Version: sdkVersion})
	if err != nil {
		return nil, fmt.Errorf("open firebase messaging: %w", err)
	}
	return &Channel{cfg: cfg, sender: client}, nil
}

// sdkVersion is what the SDK tells its maker about itself.
const sdkVersion = "4"

// settings has the shape of what the SDK's messaging client is made from.
type settings struct {
	Opts      []option.ClientOption
	ProjectID string
	Version   string
}

// open makes the SDK's messaging client. The type of its settings may be named inside the SDK only, by a root package that
// also links the clients of all databases and file stores of Firebase: half again as much program, for nothing. T stands
// for that type, and the compiler checks that it has the shape of ours.
func open[T ~struct {
	Opts      []option.ClientOption
	ProjectID string
	Version   string
}](ctx context.Context, newClient func(context.Context, *T) (*messaging.Client, error), s settings) (*messaging.Client, error) {
	theirs := T(s)
	return newClient(ctx, &theirs)
}

// Name is "push".
func (c *Channel) Name() string { return Name }

// Send implements [channels.Channel].
func (c *Channel) Send(ctx context.Context, to approvals.Address, m channels.Message) (approvals.Delivery, error) {
	if err := ctx.Err(); err != nil {
		return approvals.Delivery{}, fmt.Errorf("send by push: %w", err)
	}
	if m.Kind == channels.KindCode {
		no := refuse(codeCode, channels.Uncalled(channels.ErrRejected))
		return approvals.Delivery{Code: no.code}, no
	}
	d, err := c.at(ctx, to)
	switch {
	case errors.Is(err, approvals.ErrNotFound):
		no := refuse(codeForgotten, channels.Uncalled(channels.ErrGone))
		return approvals.Delivery{Code: no.code}, no
	case err != nil:
		c.cfg.Log.WarnContext(ctx, "device not read, so nothing pushed", "err", err)
		no := refuse(codeRecords, channels.Uncalled(channels.ErrBusy))
		return approvals.Delivery{Code: no.code}, no
	}
	return c.push(ctx, d, m, idOf(m))
}

// Retract implements [channels.Retracter]: a quiet word that nothing is left to do takes the place of what lies on the
// screen, by the collapse id that all messages of a request share.
func (c *Channel) Retract(ctx context.Context, to approvals.Address, m channels.Message) error {
	_, err := c.Send(ctx, to, m)
	return err
}

// push makes the one call of a message, and forgets the device if the provider says that it is gone.
func (c *Channel) push(ctx context.Context, d *device, m channels.Message, id string) (approvals.Delivery, error) {
	name, no := c.call(ctx, d.token, m, id)
	switch {
	case no == nil:
		return approvals.Delivery{Provider: name}, nil
	case errors.Is(no, channels.ErrGone):
		if err := c.retire(context.WithoutCancel(ctx), d.Person, d.read.Key, nil); err != nil {
			c.cfg.Log.WarnContext(ctx, "device that is gone not forgotten", "person", string(d.Person), "err", err)
		}
	case errors.Is(no, channels.ErrFault):
		c.cfg.Log.ErrorContext(ctx, "push messages do not leave until somebody mends this", "code", no.code,
			"what", Explain(no.code))
	}
	return approvals.Delivery{Code: no.code}, no
}

func (c *Channel) call(ctx context.Context, token string, m channels.Message, id string) (name string, no *refusal) {
	message, err := compose(token, m, id, c.cfg.Now())
	if err != nil {
		return "", refuse(codeLate, channels.Uncalled(channels.ErrRejected))
	}
	ctx, one := newCall(ctx)
	defer one.end()
	name, err = c.sender.Send(ctx, message)
	if no := one.judge(err); no != nil {
		return "", no
	}
	return nameOf(name), nil
}

// maxName bounds how long a provider's name of a message is.
const maxName = 100

// nameOf is what tells a message apart within its project: the end of "projects/p/messages/0:1500415314455276%31bd1c96".
func nameOf(name string) string {
	name = name[strings.LastIndexByte(name, '/')+1:]
	if len(name) > maxName || strings.Trim(name, nameChars) != "" {
		return ""
	}
	return name
}

const nameChars = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:%="
