package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"assent/approvals"
	"assent/approvals/keys"
	"assent/approvals/stream"
	"assent/channels"
	"assent/channels/push"
	"assent/channels/sms"
	"assent/channels/web"
	"assent/ciba"
	"assent/store"
	"assent/webapp"
	"assent/webapp/passkey"
	"assent/webapp/upstream"
)

// service is one running Assent: every part, wired.
type service struct {
	cfg   Config
	log   *slog.Logger
	clock *clock

	// openDB is store.Open; a test puts itself between a write and its durability here.
	openDB func(ctx context.Context, dsn string, now func() time.Time) (store.Store, error)
	dns    *net.Resolver // of hosts that clients choose; nil: the system's. A test has answers of its own.
	unlock func() error
	root   *keys.Root
	store  store.Store
	bus    *stream.Bus

	hub        *approvals.Hub
	dir        *approvals.Directory
	desk       *approvals.Desk
	keyring    *ciba.Keyring
	replay     *ciba.Replay
	agents     *ciba.Handler
	notifier   *ciba.Notifier
	pages      *webapp.Handler
	elsewhere  *upstream.Keeper // nil: no provider to sign in at
	dispatcher *channels.Dispatcher
	channels   map[string]channels.Channel
	texts      *sms.Channel            // nil: no text messages
	browsers   *web.Channel            // nil: no notifications in browsers
	callbacks  map[string]http.Handler // of providers, by the URL at which they reach us
	twilio     *simulator              // nil: the real one, or none
	pushes     *push.Channel           // nil: no push messages to apps
	fcm        *fcmSimulator           // nil: the real one, or none
	dev        *devMode                // nil outside dev mode
	metrics    *metrics
}

func newService(cfg Config, log *slog.Logger) *service {
	return &service{cfg: cfg, log: log, clock: &clock{}, openDB: store.Open, hub: approvals.NewHub(),
		channels: map[string]channels.Channel{}}
}

// open builds everything over the data folder that openData has taken, from the store up. On an error what was opened is
// closed.
func (s *service) open(ctx context.Context) error {
	for _, open := range []func(context.Context) error{s.openStore, s.openBus, s.openDesk, s.openDoors, s.loadFixtures} {
		if err := open(ctx); err != nil {
			return errors.Join(err, s.close())
		}
	}
	return nil
}

// openData takes the folder and the root key. A key is made only together with the store: a store whose key is
// missing must not get another one, under which nothing in it would open.
func (s *service) openData(context.Context) (err error) {
	if err := errors.Join(os.MkdirAll(s.cfg.Data, 0o700), os.Chmod(s.cfg.Data, 0o700)); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	if s.unlock, err = lockFolder(s.cfg.Data); err != nil {
		return err
	}
	path, create := s.cfg.RootKeyFile, false
	if path == "" {
		path = filepath.Join(s.cfg.Data, "root.key")
		_, missing := os.Stat(s.storePath())
		create = errors.Is(missing, fs.ErrNotExist)
	}
	s.root, err = keys.Open(path, create)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: the store in %s was made with a root key; put that key back", err, s.cfg.Data)
	}
	return err
}

func (s *service) storePath() string { return filepath.Join(s.cfg.Data, "assent.db") }

// The record that tells whether the root key is the one the store was made with.
const (
	kindMeta    = "meta"
	keyRootID   = "root"
	rootKeyText = "this store belongs to this root key"
)

func (s *service) openStore(ctx context.Context) (err error) {
	if s.store, err = s.openDB(ctx, "bolt:"+s.storePath(), s.clock.Now); err != nil {
		return err
	}
	rec, err := s.store.Get(ctx, kindMeta, keyRootID)
	if errors.Is(err, approvals.ErrNotFound) {
		return s.store.Apply(ctx, approvals.PutNew(kindMeta, keyRootID, s.root.Seal(rootKeyText, nil), time.Time{}))
	}
	if err != nil {
		return err
	}
	if _, err := s.root.Open(rootKeyText, rec.Value); err != nil {
		return fmt.Errorf("root key: this is not the key that %s was made with: %w", s.storePath(), err)
	}
	return nil
}

func (s *service) openBus(ctx context.Context) (err error) {
	s.bus, err = stream.Open(ctx, stream.Config{URL: s.cfg.NATSURL, Dir: filepath.Join(s.cfg.Data, "jetstream"),
		Creds: s.cfg.NATSCreds, CA: s.cfg.NATSCA, Cert: s.cfg.NATSCert, Key: s.cfg.NATSKey, Now: s.clock.Now, Log: s.log})
	return err
}

// fresh is how old a value in memory may get. bbolt lets one process in, so memory is right by itself; looking again each
// minute costs one read and heals what a fault might leave.
const fresh = time.Minute

func (s *service) openDesk(ctx context.Context) (err error) {
	s.dir = approvals.NewDirectory(s.store, s.hub, fresh, s.clock.Now)
	s.desk = approvals.NewDesk(approvals.DeskParts{Store: s.store, Records: s.store, Directory: s.dir, Hub: s.hub,
		Hash: func(secret string) []byte { return s.root.MAC(keys.LabelHandle, secret) }, Now: s.clock.Now, Log: s.log, Fresh: fresh})
	s.desk.Renderer.Scopes = s.cfg.scopes()
	s.desk.Terms.DefaultLife, s.desk.Terms.MaxLife = s.cfg.DefaultLife.Duration(), s.cfg.MaxLife.Duration()
	s.desk.Prompts = s.cfg.prompts()
	if !passkey.Possible(s.cfg.PagesURL) {
		s.desk.Reach = approvals.LevelSession
	}
	if s.desk.Levels, err = s.cfg.levels(); err != nil {
		return err
	}
	s.desk.Terms.History = time.Duration(s.cfg.HistoryDays) * 24 * time.Hour
	s.desk.Terms.Standing = time.Duration(s.cfg.StandingDays) * 24 * time.Hour
	if s.cfg.Dev {
		s.desk.Ceiling = approvals.LevelLink
		simulated, err := newPhone(filepath.Join(s.cfg.Data, outboxFile), s.clock.Now)
		if err != nil {
			return err
		}
		if err := simulated.behave("accept", s.cfg.PhoneDelay); err != nil {
			return err
		}
		s.channels[simulated.Name()] = simulated
		s.dev = &devMode{desk: s.desk, dir: s.dir, phone: simulated, clock: s.clock, sweep: s.catchUp}
	}
	if err := s.openSMS(); err != nil {
		return err
	}
	if err := errors.Join(s.openPush(ctx), s.openWebPush(ctx)); err != nil {
		return err
	}
	if s.dev != nil {
		s.dev.texts, s.dev.pushes = s.twilio, s.fcm
	}
	s.dispatcher = &channels.Dispatcher{Desk: s.desk, Directory: s.dir, Records: s.store, Root: s.root, Bus: s.bus,
		PagesURL: s.cfg.PagesURL, Channels: s.channels, Addresses: s.addresses, Policy: s.cfg.policy(),
		Limits: s.cfg.providerLimits(), Now: s.clock.Now, Log: s.log}
	return nil
}

// addresses says where a person can be reached with the channels of this installation, in the person's order. In dev
// mode everybody has the simulated phone.
func (s *service) addresses(p *approvals.Person) []approvals.Address {
	var out []approvals.Address
	for _, a := range p.Addresses {
		if _, have := s.channels[a.Channel]; have && counts(p, a) {
			out = append(out, a)
		}
	}
	hasNumber := slices.ContainsFunc(out, func(a approvals.Address) bool { return a.Channel == sms.Name })
	if a, reachable := s.textAddress(p); reachable && !hasNumber {
		out = append(out, a)
	}
	if s.dev != nil {
		out = append(out, approvals.Address{Channel: s.dev.phone.Name(), Value: string(p.ID), VerifiedAt: p.CreatedAt})
	}
	return out
}

// counts reports whether an address is still one: that of a lost browser or device is not.
func counts(p *approvals.Person, a approvals.Address) bool {
	switch a.Channel {
	case web.Name:
		return web.Told(p, a)
	case push.Name:
		return push.Told(p, a)
	}
	return true
}

func (s *service) openDoors(ctx context.Context) (err error) {
	if s.keyring, err = ciba.NewKeyring(ctx, s.store, s.root, s.hub, 0, s.clock.Now, s.log); err != nil {
		return err
	}
	if s.replay, err = ciba.OpenReplay(filepath.Join(s.cfg.Data, "replay.log"), bootID(), s.clock.Now()); err != nil {
		return err
	}
	mutual, err := s.cfg.mutual()
	if err != nil {
		return err
	}
	s.agents, err = ciba.New(ciba.Parts{Issuer: s.cfg.Issuer, DefaultAudience: s.cfg.defaultAudience(), AnyHTTPSAudience: s.cfg.Dev,
		Profile: ciba.Profile(s.cfg.Profile), ACRs: s.reachable(), ClientGrant: s.cfg.ClientCredentials, MTLS: mutual,
		Desk: s.desk, Directory: s.dir, Records: s.store, Hub: s.hub, Root: s.root, Keyring: s.keyring, Replay: s.replay,
		Fetch: newGuardedClient(s.guard()), Register: s.registration(), Limits: s.cfg.limits(), Now: s.clock.Now, Log: s.log})
	if err != nil {
		return err
	}
	s.notifier = ciba.NewNotifier(ciba.NotifierParts{Desk: s.desk, Directory: s.dir, Records: s.store, Root: s.root, Bus: s.bus,
		HTTP: newGuardedClient(s.guard()), QuietExpiry: s.cfg.NoExpiryPing, Now: s.clock.Now, Log: s.log})
	if s.dev != nil {
		s.dev.resource = sampleResource{ciba.Resource{Handler: s.agents, Audience: s.cfg.defaultAudience()}, s.log}
	}
	if err := s.openUpstream(); err != nil {
		return err
	}
	s.pages, err = webapp.New(webapp.Config{Desk: s.desk, Directory: s.dir, Records: s.store, Root: s.root, Hub: s.hub, Trail: s.store,
		PagesURL: s.cfg.PagesURL, Now: s.clock.Now, Log: s.log, Dev: s.cfg.Dev,
		CanSend: s.canCode, CodeArrives: s.codeArrives, Hold: s.cfg.ChangeHold.Duration(), Push: s.push(), Devices: s.devices(), Reach: reach{s}, Upstream: s.elsewhere})
	if err != nil {
		return err
	}
	s.metrics = newMetrics(s)
	return s.checkCallbacks()
}

// guard says where calls to URLs that clients choose may go.
func (s *service) guard() guardRules {
	return guardRules{ports: s.cfg.OutboundPorts, loopback: s.cfg.Dev, plain: s.cfg.Dev, resolver: s.dns}
}

// registration says how clients may register themselves; nil: not at all.
func (s *service) registration() *ciba.Registration {
	if !s.cfg.Registration {
		return nil
	}
	return &ciba.Registration{Clients: s.cfg.RegistrationClients, PerHour: s.cfg.RegistrationHour,
		Loopback: s.cfg.Dev, CheckURL: s.guard().check}
}

// bootID is different after each start of the machine; "" where that cannot be told.
func bootID() string {
	raw, _ := os.ReadFile("/proc/sys/kernel/random/boot_id") // only Linux has it
	return strings.TrimSpace(string(raw))
}

// reachable lists the acr values that an agent can ask for here (REQ-016). Passkeys need pages under a name. Dev mode asks
// nobody for one: there the link is enough for everything, and to say otherwise would be a silent downgrade.
func (s *service) reachable() []string {
	switch {
	case s.cfg.Dev:
		return []string{approvals.LevelSession.ACR(), approvals.LevelLink.ACR()}
	case passkey.Possible(s.cfg.PagesURL):
		return []string{approvals.LevelPasskey.ACR(), approvals.LevelSession.ACR()}
	}
	return []string{approvals.LevelSession.ACR()}
}

// limits are those of one agent or address within a minute; dev mode has none.
func (c *Config) limits() ciba.Limits {
	if c.Dev {
		return ciba.Limits{}
	}
	limits := ciba.DefaultLimits()
	limits.People = c.PeopleLimit
	return limits
}

// defaultAudience is the aud of tokens whose request names no resource: the first configured one, or a name under the
// issuer that is neither the issuer nor a client (REQ-235).
func (c *Config) defaultAudience() string {
	if len(c.Resources) > 0 {
		return c.Resources[0].URI
	}
	return strings.TrimSuffix(c.Issuer, "/") + "/resource"
}

// public is what agents and people reach: the agents' door on its exact paths, dev mode, and the pages for the rest.
func (s *service) public() http.Handler {
	mux := http.NewServeMux()
	for _, path := range s.agents.Paths() {
		mux.Handle(path, s.agents)
	}
	if s.dev != nil {
		mux.Handle("/dev/", s.dev.handler())
	}
	for at, callback := range s.callbacks {
		u, _ := url.Parse(at) // checked by the channel
		mux.Handle("POST "+u.Path, callback)
	}
	mux.Handle("/", s.pages)
	return named(shed(maxInFlight, s.metrics.observe(mux)))
}

// certified is what agents reach with certificates: their door, and nothing for people. Tokens that are bound to one can
// be tried in dev mode.
func (s *service) certified() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", s.agents)
	if s.dev != nil {
		mux.Handle("GET /dev/resource", localOnly(s.dev.resource))
	}
	return named(shed(maxInFlight, s.metrics.observe(mux)))
}

// close stops what openData and open started, in the reverse order. Loops have returned by now.
func (s *service) close() error {
	var errs []error
	if s.bus != nil {
		errs = append(errs, s.bus.Close())
	}
	if s.twilio != nil {
		errs = append(errs, s.twilio.close())
	}
	if s.fcm != nil {
		errs = append(errs, s.fcm.close())
	}
	if s.replay != nil {
		errs = append(errs, s.replay.Close())
	}
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	if s.unlock != nil {
		errs = append(errs, s.unlock())
	}
	return errors.Join(errs...)
}
