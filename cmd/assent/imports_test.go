package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// may is the whole import table beside the standard library: package, and what it may import. A trailing /... means
// everything below. A new arrow is a change of this table, in a commit of its own that says why.
var may = map[string][]string{
	"assent/approvals":        {},
	"assent/approvals/keys":   {},
	"assent/approvals/stream": {"assent/approvals", "github.com/nats-io/nats.go/...", "github.com/nats-io/nats-server/v2/..."},

	"assent/store":           {"assent/approvals", "assent/store/bolt"},
	"assent/store/bolt":      {"assent/approvals", "go.etcd.io/bbolt/..."},
	"assent/store/storetest": {"assent/approvals", "assent/store", "pgregory.net/rapid"},

	"assent/channels":             {"assent/approvals", "assent/approvals/keys"},
	"assent/channels/channeltest": {"assent/approvals", "assent/approvals/keys", "assent/channels"},
	"assent/channels/push": {"assent/approvals", "assent/approvals/keys", "assent/channels",
		"firebase.google.com/go/v4/messaging", "firebase.google.com/go/v4/errorutils", "google.golang.org/api/option",
		"golang.org/x/oauth2", "golang.org/x/oauth2/jwt"},
	"assent/channels/push/fcmsim": {},
	"assent/channels/sms": {"assent/approvals", "assent/approvals/keys", "assent/channels",
		"github.com/twilio/twilio-go/client", "github.com/twilio/twilio-go/rest/api/v2010", "golang.org/x/text/encoding/korean"},
	"assent/channels/sms/twiliosim": {},
	"assent/channels/web": {"assent/approvals", "assent/approvals/keys", "assent/channels",
		"github.com/go-jose/go-jose/v4/..."},
	"assent/channels/web/pushsim": {"github.com/go-jose/go-jose/v4/..."},

	"assent/ciba": {"assent/approvals", "assent/approvals/keys", "github.com/go-chi/chi/v5/...",
		"github.com/go-jose/go-jose/v4/...", "github.com/nyaruka/phonenumbers"},
	"assent/ciba/client":  {},
	"assent/ciba/rowtest": {},
	"assent/webapp": {"assent/approvals", "assent/approvals/keys", "assent/webapp/passkey", "assent/webapp/upstream", "github.com/go-chi/chi/v5/...",
		"golang.org/x/text/...", "rsc.io/qr"},
	"assent/webapp/passkey": {"assent/approvals", "assent/approvals/keys", "github.com/go-webauthn/webauthn/webauthn",
		"github.com/go-webauthn/webauthn/protocol/..."},
	"assent/webapp/passkey/passkeytest": {},
	"assent/webapp/upstream": {"assent/approvals", "assent/approvals/keys", "github.com/coreos/go-oidc/v3/oidc",
		"github.com/go-jose/go-jose/v4/...", "golang.org/x/oauth2"},
	"assent/webapp/upstream/upstreamtest": {"github.com/go-jose/go-jose/v4/..."},

	"assent/cmd/assent": {"..."},
}

// mayTest is what tests may import on top: helpers, and the real parts of ours that they run against.
var mayTest = []string{"assent/...", "github.com/google/go-cmp/...", "pgregory.net/rapid", "go.uber.org/goleak",
	"golang.org/x/net/html", "golang.org/x/net/dns/dnsmessage", "github.com/nats-io/nats-server/v2/...", "github.com/nats-io/nats.go/...",
	"go.etcd.io/bbolt", "github.com/go-jose/go-jose/v4/...", "github.com/chromedp/..."}

func TestImportTable(t *testing.T) {
	seen := map[string]bool{}
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && path != root) {
			return skipFolder(err)
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		folder, _ := filepath.Rel(root, filepath.Dir(path))
		pkg := "assent/" + filepath.ToSlash(folder)
		seen[pkg] = true
		allowed, listed := may[pkg]
		if !listed {
			t.Errorf("%s: package is not in the import table", pkg)
			return nil
		}
		if strings.HasSuffix(path, "_test.go") {
			allowed = slices.Concat(allowed, mayTest)
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range file.Imports {
			if name, _ := strconv.Unquote(spec.Path.Value); !permitted(name, allowed) {
				t.Errorf("%s imports %s, which %s may not", path, name, pkg)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range may {
		if !seen[pkg] {
			t.Errorf("%s is in the import table and nowhere else", pkg)
		}
	}
}

func skipFolder(err error) error {
	if err != nil {
		return err
	}
	return filepath.SkipDir
}

func permitted(name string, allowed []string) bool {
	if first, _, _ := strings.Cut(name, "/"); !strings.Contains(first, ".") && first != "assent" {
		return true // standard library
	}
	return slices.ContainsFunc(allowed, func(rule string) bool {
		below, tree := strings.CutSuffix(rule, "...")
		return name == rule || tree && strings.HasPrefix(name+"/", below)
	})
}

// The top level is fixed: nothing new appears beside the six folders and the few files.
func TestTopLevel(t *testing.T) {
	allowed := []string{"cmd", "ciba", "channels", "approvals", "store", "webapp", "go.mod", "go.sum", "Makefile",
		"README.md", "CHANGELOG.md", "LICENSE", "SECURITY.md", "assent", "assent-data"}
	found, err := filepath.Glob(filepath.Join("..", "..", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range found {
		if name := filepath.Base(path); !slices.Contains(allowed, name) && !strings.HasPrefix(name, ".") {
			t.Errorf("%s does not belong at the top level", name)
		}
	}
}
