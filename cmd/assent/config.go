package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"github.com/pelletier/go-toml/v2"

	"assent/approvals"
	"assent/ciba"
)

const defaultData = "./assent-data"

// cli is the command line. Every flag can also be set by ASSENT_… in the environment and, for serve, in one TOML file;
// the command line wins over the environment, the environment over the file.
type cli struct {
	Serve   serveCmd   `cmd:"" help:"Run the service."`
	Demo    demoCmd    `cmd:"" help:"Show a whole approval on this machine: a service, an agent and a simulated phone."`
	Agent   agentCmd   `cmd:"" help:"Add, list, disable agents; rotate their secrets."`
	Person  personCmd  `cmd:"" help:"Add, list, invite, disable people."`
	Request requestCmd `cmd:"" help:"Ask as an agent and wait for the answer."`
	Queue   queueCmd   `cmd:"" help:"List, show, resend, cancel requests."`
	Keys    keysCmd    `cmd:"" help:"Rotate signing keys."`
	Pings   pingsCmd   `cmd:"" help:"List and repeat notifications of agents that were given up."`
	Backup  backupCmd  `cmd:"" help:"Copy the store of a running service. The root key is not in the copy."`
	Doctor  doctorCmd  `cmd:"" help:"Check a running service or a stopped service's data."`
	Bench   benchCmd   `cmd:"" help:"Measure this binary on this machine."`
	Version versionCmd `cmd:"" help:"Print version and licences."`

	BenchEmpty  benchEmptyCmd  `cmd:"" hidden:"" name:"bench-empty" help:"Serve an empty handler to compare with."`
	BenchTwilio benchTwilioCmd `cmd:"" hidden:"" name:"bench-twilio" help:"Serve a provider of text messages that takes its time."`

	tables tables
}

// tables are the parts of a configuration file that are no flags.
type tables struct {
	Resources []Resource   `toml:"resource"`
	Ladder    []LadderStep `toml:"ladder"`
	Providers []Provider   `toml:"provider"`
	Levels    []LevelRule  `toml:"level"`
	Upstreams []Upstream   `toml:"upstream"`
}

// Config is how one service runs. Defaults need no file at all.
type Config struct {
	File kong.ConfigFlag `name:"config" placeholder:"FILE" env:"ASSENT_CONFIG" toml:"-" help:"TOML file with the same names as these flags, and [[resource]], [[ladder]], [[provider]], [[level]] and [[upstream]] tables."`

	Data        string `default:"${data}" env:"ASSENT_DATA" toml:"data" help:"Folder of store, queue and root key."`
	RootKeyFile string `env:"ASSENT_ROOT_KEY_FILE" toml:"root-key-file" placeholder:"FILE" help:"Root key, if not DATA/root.key: 32 bytes in base64."`

	Listen           string `default:"127.0.0.1:8460" env:"ASSENT_LISTEN" toml:"listen" help:"Address for agents and people."`
	TLSCert          string `name:"tls-cert" env:"ASSENT_TLS_CERT" toml:"tls-cert" placeholder:"FILE" help:"Certificate chain, PEM. Read again when it changes."`
	TLSKey           string `name:"tls-key" env:"ASSENT_TLS_KEY" toml:"tls-key" placeholder:"FILE" help:"Its private key, PEM."`
	TrustedProxy     string `env:"ASSENT_TRUSTED_PROXY" toml:"trusted-proxy" placeholder:"CIDR" help:"Network of the TLS terminator in front; needed for plain HTTP off loopback."`
	ClientCertHeader string `name:"client-cert-header" env:"ASSENT_CLIENT_CERT_HEADER" toml:"client-cert-header" placeholder:"NAME" help:"Header in which --trusted-proxy forwards an agent's certificate (RFC 9440 or percent-encoded PEM); none by default."`
	MTLSListen       string `name:"mtls-listen" env:"ASSENT_MTLS_LISTEN" toml:"mtls-listen" placeholder:"ADDR" help:"Address for agents that show certificates, with --tls-cert; none by default."`
	MTLSCA           string `name:"mtls-ca" env:"ASSENT_MTLS_CA" toml:"mtls-ca" placeholder:"FILE" help:"Authorities that issue agents' certificates (tls_client_auth), PEM. Without it agents register their own."`
	MTLSURL          string `name:"mtls-url" env:"ASSENT_MTLS_URL" toml:"mtls-url" placeholder:"URL" help:"Where agents reach --mtls-listen. Default: the issuer with the port of --mtls-listen."`
	AdminListen      string `default:"" env:"ASSENT_ADMIN_LISTEN" toml:"admin-listen" placeholder:"ADDR" help:"Loopback address for metrics, health and pprof; none by default."`

	Issuer   string `env:"ASSENT_ISSUER" toml:"issuer" placeholder:"URL" help:"Issuer identifier, used byte for byte. Default: the listen address, in dev mode only."`
	PagesURL string `name:"pages-url" env:"ASSENT_PAGES_URL" toml:"pages-url" placeholder:"URL" help:"Origin of the people's pages. Default: the issuer's origin."`

	NATSURL   string `name:"nats-url" env:"ASSENT_NATS_URL" toml:"nats-url" placeholder:"URL" help:"External NATS with JetStream; embedded by default."`
	NATSCreds string `name:"nats-creds" env:"ASSENT_NATS_CREDS_FILE" toml:"nats-creds" placeholder:"FILE" help:"Credentials file for it."`
	NATSCA    string `name:"nats-ca" env:"ASSENT_NATS_CA" toml:"nats-ca" placeholder:"FILE" help:"Certificate authority for it, PEM."`
	NATSCert  string `name:"nats-cert" env:"ASSENT_NATS_CERT" toml:"nats-cert" placeholder:"FILE" help:"Client certificate for it, PEM."`
	NATSKey   string `name:"nats-key" env:"ASSENT_NATS_KEY" toml:"nats-key" placeholder:"FILE" help:"Its private key, PEM."`

	smsConfig  `embed:""`
	pushConfig `embed:""`

	webPushConfig `embed:""`

	Profile string `default:"" enum:",fapi" env:"ASSENT_PROFILE" toml:"profile" placeholder:"fapi" help:"fapi: the FAPI-CIBA profile. No secrets, signed requests, bound tokens, TLS."`

	DefaultLife Seconds `name:"default-expiry" default:"300" env:"ASSENT_DEFAULT_EXPIRY" toml:"default-expiry" placeholder:"SECONDS" help:"Life of a request that names none."`
	MaxLife     Seconds `name:"max-expiry" default:"604800" env:"ASSENT_MAX_EXPIRY" toml:"max-expiry" placeholder:"SECONDS" help:"Longest life; longer wishes are cut to it."`
	HistoryDays int     `default:"400" env:"ASSENT_HISTORY_DAYS" toml:"history-days" placeholder:"DAYS" help:"How long facts and decisions stay after the end."`

	NoExpiryPing bool `env:"ASSENT_NO_EXPIRY_PING" toml:"no-expiry-ping" help:"Do not ping agents when a request expires; they know the time."`
	StandingDays int  `default:"30" env:"ASSENT_STANDING_DAYS" toml:"standing-days" placeholder:"DAYS" help:"How long an agent with offline_access may come back on one approval; 0: never."`
	PeopleLimit  int  `name:"people-per-minute" default:"200" env:"ASSENT_PEOPLE_PER_MINUTE" toml:"people-per-minute" placeholder:"N" help:"How many people one agent may ask for in a minute; 0 for no limit. Dev mode has none."`

	ClientCredentials bool `env:"ASSENT_CLIENT_CREDENTIALS" toml:"client-credentials" help:"Give agents that are registered for it tokens of their own, with what nobody has to approve (RFC 6749 section 4.4)."`

	Registration        bool     `env:"ASSENT_REGISTRATION" toml:"registration" help:"Let clients register themselves at /register, with a token of assent agent token add."`
	RegistrationClients int      `default:"10000" env:"ASSENT_REGISTRATION_CLIENTS" toml:"registration-clients" placeholder:"N" help:"Clients that may have registered themselves."`
	RegistrationHour    int      `name:"registration-per-hour" default:"100" env:"ASSENT_REGISTRATION_PER_HOUR" toml:"registration-per-hour" placeholder:"N" help:"New ones in an hour."`
	OutboundPorts       []uint16 `env:"ASSENT_OUTBOUND_PORTS" toml:"outbound-ports" placeholder:"PORT,…" help:"Ports beside 443 that URLs chosen by clients may have, such as 8443."`

	PromptsPerMinute int      `default:"5" env:"ASSENT_PROMPTS_PER_MINUTE" toml:"prompts-per-minute" placeholder:"N" help:"New requests for one person in a minute, of all agents; more are refused. 0: no limit."`
	PromptsOpen      int      `default:"3" env:"ASSENT_PROMPTS_OPEN" toml:"prompts-open" placeholder:"N" help:"Pending requests of one agent for one person. 0: no limit."`
	CoolDown         Seconds  `default:"900" env:"ASSENT_COOL_DOWN" toml:"cool-down" placeholder:"SECONDS" help:"How long an agent leaves a person alone after two denials in ten minutes; doubles each time. 0: not at all."`
	PersonMessages   int      `default:"20" env:"ASSENT_PERSON_MESSAGES" toml:"person-messages" placeholder:"N" help:"Messages to one person in ten minutes; more wait, or stay in the inbox. 0: no limit."`
	ChangeHold       Seconds  `default:"86400" env:"ASSENT_CHANGE_HOLD" toml:"change-hold" placeholder:"SECONDS" help:"How long a new passkey, number or device keeps a person from approving what takes a passkey. 0: not at all."`
	QuietHours       string   `default:"fail" enum:"fail,break" env:"ASSENT_QUIET_HOURS" toml:"quiet-hours" help:"What becomes of a request that a person's quiet hours outlive: it fails at once, or its messages break through."`
	LoudTypes        []string `env:"ASSENT_LOUD_TYPES" toml:"loud-types" placeholder:"TYPE" help:"Types of authorization_details that never wait for quiet hours to end."`

	LogLevel string `default:"info" enum:"debug,info,warn,error" env:"ASSENT_LOG_LEVEL" toml:"log-level" help:"debug, info, warn or error."`

	Dev        bool          `env:"ASSENT_DEV" toml:"dev" help:"Simulated phone and test endpoints under /dev/. Loopback only."`
	PhoneDelay time.Duration `hidden:"" name:"dev-phone-delay" toml:"-" help:"How long the simulated phone's provider takes. Dev mode only."`
	Fixtures   string        `env:"ASSENT_FIXTURES" toml:"fixtures" placeholder:"FILE" help:"Agents and people to create at start, JSON. Dev mode only. Such as {\"clients\": [{\"client_id\": \"bot\", \"client_secret\": \"a-secret-of-22-characters\", \"client_name\": \"Travel Bot\", \"authorization_details_types\": [\"payment_initiation\"]}], \"people\": [{\"sub\": \"ann\", \"name\": \"Ann\", \"login_hints\": [\"ann\"]}]}."`

	tables `kong:"-"`
}

// Resource is an API that tokens may be meant for: a [[resource]] table of the configuration file.
type Resource struct {
	URI    string          `toml:"uri"` // the aud of its tokens
	Name   string          `toml:"name"`
	Scopes []ResourceScope `toml:"scope"`
}

// ResourceScope is a scope of a resource and what it means to a person.
type ResourceScope struct {
	Name string `toml:"name"`
	EN   string `toml:"en"`
	KO   string `toml:"ko"`
}

// Seconds is a whole number of seconds on the wire and a duration inside.
type Seconds int

// Duration converts.
func (s Seconds) Duration() time.Duration { return time.Duration(s) * time.Second }

// loadTOML reads the configuration file for kong. Unknown keys are errors; the environment wins over the file.
func (c *cli) loadTOML(r io.Reader) (kong.Resolver, error) {
	raw, err := io.ReadAll(io.LimitReader(r, 1<<20))
	if err != nil {
		return nil, err
	}
	var checked Config
	if err := toml.NewDecoder(bytes.NewReader(raw)).DisallowUnknownFields().Decode(&checked); err != nil {
		var unknown *toml.StrictMissingError
		if errors.As(err, &unknown) {
			return nil, fmt.Errorf("configuration: unknown key:\n%s", unknown.String())
		}
		return nil, fmt.Errorf("configuration: %w", err)
	}
	c.tables = checked.tables
	values := map[string]any{}
	if err := toml.Unmarshal(raw, &values); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	var resolve kong.ResolverFunc = func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
		for _, name := range flag.Envs {
			if _, set := os.LookupEnv(name); set {
				return nil, nil
			}
		}
		if v, ok := values[flag.Name]; ok {
			return flagText(v), nil
		}
		return nil, nil
	}
	return resolve, nil
}

// flagText writes a value of the file as the command line has it: the values of a list with commas between them.
func flagText(v any) string {
	list, ok := v.([]any)
	if !ok {
		return fmt.Sprint(v)
	}
	texts := make([]string, len(list))
	for i, one := range list {
		texts[i] = fmt.Sprint(one)
	}
	return strings.Join(texts, ",")
}

// maxHistoryDays is a hundred years.
const maxHistoryDays = 36_500

// maxStandingDays is a year: who has not been asked for that long should be.
const maxStandingDays = 365

// check refuses settings that cannot work together.
func (c *Config) check() error {
	if c.Fixtures != "" && !c.Dev {
		return errors.New("--fixtures needs --dev")
	}
	if c.PhoneDelay != 0 && !c.Dev {
		return errors.New("--dev-phone-delay needs --dev")
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return errors.New("--tls-cert and --tls-key need each other")
	}
	loopback, err := isLoopback(c.Listen)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	switch {
	case c.Dev && !loopback:
		return errors.New("--dev needs a loopback --listen: its endpoints decide without a person")
	case !loopback && c.TLSCert == "" && c.TrustedProxy == "":
		return errors.New("--listen off loopback needs --tls-cert, or --trusted-proxy for plain HTTP behind a TLS terminator")
	}
	if c.TrustedProxy != "" {
		if _, err := netip.ParsePrefix(c.TrustedProxy); err != nil {
			return errors.New("--trusted-proxy must be a network such as 10.0.0.0/24")
		}
	}
	if err := c.checkMutual(); err != nil {
		return err
	}
	if c.AdminListen != "" {
		if local, err := isLoopback(c.AdminListen); err != nil || !local {
			return errors.New("--admin-listen must be a loopback address")
		}
	}
	if c.DefaultLife < 10 || c.MaxLife < c.DefaultLife || c.MaxLife > Seconds(approvals.DefaultTerms().MaxLife/time.Second) {
		return errors.New("--default-expiry must be at least 10 and at most --max-expiry, and that at most 604800 (seven days)")
	}
	if err := errors.Join(c.checkSMS(), c.checkPush(), c.checkWebPush()); err != nil {
		return err
	}
	if c.HistoryDays < 1 || c.HistoryDays > maxHistoryDays {
		return fmt.Errorf("--history-days must be 1 to %d", maxHistoryDays)
	}
	if c.StandingDays < 0 || c.StandingDays > maxStandingDays {
		return fmt.Errorf("--standing-days must be 0 to %d", maxStandingDays)
	}
	if c.PeopleLimit < 0 {
		return errors.New("--people-per-minute must not be negative")
	}
	if err := c.checkOutside(); err != nil {
		return err
	}
	if err := c.checkPolicy(); err != nil {
		return err
	}
	if err := c.checkUpstream(); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	later := *c // serve completes the URLs once it knows its port
	if err := later.completeURLs(); err != nil {
		return err
	}
	if err := later.checkLevels(); err != nil {
		return err
	}
	if !c.Dev && c.TLSCert == "" && c.TrustedProxy == "" {
		return errors.New("give --tls-cert, or --trusted-proxy if a TLS terminator stands in front, such as 127.0.0.1/32")
	}
	return nil
}

// checkOutside is about what clients may do to us and make us do.
func (c *Config) checkOutside() error {
	switch {
	case c.Registration && (c.RegistrationClients < 1 || c.RegistrationClients > 1_000_000):
		return errors.New("--registration-clients must be 1 to 1000000")
	case c.Registration && (c.RegistrationHour < 1 || c.RegistrationHour > 100_000):
		return errors.New("--registration-per-hour must be 1 to 100000")
	case c.Profile == string(ciba.ProfileFAPI) && c.TLSCert == "" && c.TrustedProxy == "":
		return errors.New("--profile fapi needs --tls-cert, or --trusted-proxy behind a TLS terminator, in dev mode too (REQ-262)")
	case len(c.OutboundPorts) > 16 || slices.Contains(c.OutboundPorts, 0):
		return errors.New("--outbound-ports must be at most 16 ports, each 1 to 65535")
	}
	return nil
}

// completeURLs derives issuer and pages from each other and from the listen address, and checks them.
func (c *Config) completeURLs() error {
	if c.Issuer == "" && !c.Dev {
		return errors.New("--issuer is required, such as https://approve.example.com")
	}
	if c.Issuer == "" {
		_, port, _ := net.SplitHostPort(c.Listen)
		c.Issuer = "http://localhost:" + port
	}
	issuer, err := url.Parse(c.Issuer)
	if err != nil || issuer.Host == "" || issuer.RawQuery != "" || issuer.Fragment != "" || issuer.User != nil ||
		issuer.Scheme != "https" && !(issuer.Scheme == "http" && c.Dev) {
		return errors.New("--issuer must be an https URL without query or fragment")
	}
	if c.Profile == string(ciba.ProfileFAPI) && issuer.Scheme != "https" {
		return errors.New("--profile fapi needs an https --issuer")
	}
	if c.PagesURL == "" {
		c.PagesURL = issuer.Scheme + "://" + issuer.Host
	}
	pages, err := url.Parse(c.PagesURL)
	if err != nil || pages.Host == "" || strings.Trim(pages.Path, "/") != "" || pages.Scheme != "https" && !c.Dev {
		return errors.New("--pages-url must be an https origin")
	}
	c.PagesURL = strings.TrimSuffix(c.PagesURL, "/")
	if err := c.completeMutual(issuer); err != nil {
		return err
	}
	for i, r := range c.Resources {
		if u, err := url.Parse(r.URI); err != nil || !u.IsAbs() || u.Fragment != "" {
			return fmt.Errorf("resource[%d].uri must be an absolute URI without fragment", i)
		}
	}
	return nil
}

// scopes collects what the configured resources' scopes mean.
func (c *Config) scopes() map[string]approvals.Phrase {
	out := map[string]approvals.Phrase{
		"profile": {EN: "See your name", KO: "이름 보기"},
		"email":   {EN: "See your e-mail address", KO: "이메일 주소 보기"},
	}
	for _, r := range c.Resources {
		for _, s := range r.Scopes {
			out[s.Name] = approvals.Phrase{EN: s.EN, KO: s.KO}
		}
	}
	return out
}

// isLoopback reports whether a listen address can only be reached from this machine.
func isLoopback(addr string) (bool, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false, errors.New("must be HOST:PORT")
	}
	if host == "localhost" {
		return true, nil
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback(), nil
}

// maxSocketPath is what the kernel takes for a unix socket, with room for its end.
const maxSocketPath = 100

// adminSocket is where a running service takes commands.
func adminSocket(data string) (string, error) {
	path, err := filepath.Abs(filepath.Join(data, "admin.sock"))
	if err != nil {
		return "", err
	}
	if len(path) > maxSocketPath {
		return "", fmt.Errorf("%s is longer than %d bytes, too long for a socket: choose a shorter --data", path, maxSocketPath)
	}
	return path, nil
}
