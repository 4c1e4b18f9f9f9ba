package webapp

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"

	"assent/approvals"
	"assent/webapp/upstream"
)

//go:embed templates/*.html
var templateFiles embed.FS

// pageNames are the pages; each has a file of its own beside layout.html and the shared parts.
var pageNames = []string{"agent", "agents", "denied", "history", "stored", "forgotten", "landing", "invited", "signin", "signout", "code", "request", "narrow",
	"inbox", "devices", "passkeys", "sessions", "settings", "back", "accounts", "offline", "problem"}

// pages are all templates, parsed once. html/template escapes by context: whatever an agent writes stays text.
type pages struct {
	static *assets
	page   map[string]*template.Template
	parts  *template.Template
}

// embedded is what this binary carries: read once, because it is the same for every handler.
var embedded = sync.OnceValues(func() (*pages, error) {
	static, err := loadAssets()
	if err != nil {
		return nil, err
	}
	return loadPages(static)
})

func loadPages(static *assets) (*pages, error) {
	parts, err := template.New("").Option("missingkey=error").ParseFS(templateFiles, "templates/layout.html",
		"templates/nav.html", "templates/parts.html")
	if err != nil {
		return nil, fmt.Errorf("parse templates: %w", err)
	}
	p := &pages{static: static, page: map[string]*template.Template{}}
	for _, name := range pageNames {
		own, err := parts.Clone()
		if err == nil {
			own, err = own.ParseFS(templateFiles, "templates/"+name+".html")
		}
		if err != nil {
			return nil, fmt.Errorf("parse template %s: %w", name, err)
		}
		p.page[name] = own
	}
	p.parts = parts
	return p, nil
}

// render writes a whole page.
func (p *pages) render(w io.Writer, name string, v *visit, data any) error {
	if err := p.page[name].ExecuteTemplate(w, "layout", p.screen(v, data)); err != nil {
		return fmt.Errorf("render %s: %w", name, err)
	}
	return nil
}

// fragment renders the living part of a page.
func (p *pages) fragment(name string, v *visit, data any) ([]byte, error) {
	var b bytes.Buffer
	if err := p.parts.ExecuteTemplate(&b, name, p.screen(v, data)); err != nil {
		return nil, fmt.Errorf("render %s: %w", name, err)
	}
	return b.Bytes(), nil
}

// screen is what every template gets: the language, the visitor, our files, and the data of its page.
type screen struct {
	Lang      string
	Other     string // the other language
	OtherURL  string // this page in it
	Person    string // "" when nobody is signed in
	CSS       string
	JS        string
	Icon      string
	Touch     string // icon of a home screen
	PushJS    string
	Push      bool // browsers may be told
	Passkeys  bool // they are possible here
	Devices   bool // there is a page of devices
	PasskeyJS string
	Upstream  bool // people may sign in elsewhere
	OnwardJS  string
	Data      any

	v *visit
}

func (p *pages) screen(v *visit, data any) *screen {
	s := &screen{Lang: v.lang, Other: approvals.English, Data: data, v: v,
		CSS: p.static.path("app.css"), JS: p.static.path("app.js"), Icon: p.static.path("icon.svg"),
		Touch: p.static.path("icon-192.png"), PushJS: p.static.path("push.js"), Push: v.h.Push != nil,

		Passkeys: v.h.passkeys != nil, Devices: v.h.Devices != nil, PasskeyJS: p.static.path("passkey.js"), Upstream: v.h.Upstream != nil,
		OnwardJS: p.static.path("onward.js")}
	if v.lang == approvals.English {
		s.Other = approvals.Korean
	}
	s.OtherURL = v.inLanguage(s.Other)
	if v.who != nil {
		s.Person = approvals.Visible(v.who.person.Name)
	}
	return s
}

// inLanguage is the address of this page in another language; for the answer to a form, the page it came from.
func (v *visit) inLanguage(lang string) string {
	path := "" // relative, so that an error page does not repeat what somebody put into its address
	if v.Method == http.MethodPost && strings.HasPrefix(v.URL.Path, "/requests/") {
		path = v.here()
	}
	query := url.Values{"lang": {lang}}
	if strings.HasPrefix(v.URL.Path, "/signin/") && strings.HasSuffix(v.URL.Path, "/back") { // an answer counts once
		path = "/signin"
		if b, err := upstream.ParseBack(v.URL.RawQuery); err == nil && b.Code != "" && v.Method != http.MethodPost {
			path, query["code"], query["state"] = "", []string{b.Code}, []string{b.State}
			if b.Iss != "" {
				query.Set("iss", b.Iss)
			}
		}
	}
	if next := ownPath(v.URL.Query().Get("next")); next != "/" {
		query.Set("next", next)
	}
	return path + "?" + query.Encode()
}

// T says a text of the catalogue.
func (s *screen) T(key string, args ...any) (string, error) {
	if _, err := lookUp(s.Lang, key); err != nil {
		return "", err
	}
	return say(s.Lang, key, args...), nil
}

// Say is T with the arguments in one list.
func (s *screen) Say(key string, args []any) (string, error) { return s.T(key, args...) }

// With hands a fact to a shared part together with the screen.
func (s *screen) With(r row) any {
	return struct {
		S   *screen
		Row row
	}{s, r}
}

// Item hands a line of a list to a shared part together with the screen.
func (s *screen) Item(it item) any {
	return struct {
		S  *screen
		It item
	}{s, it}
}

// Current marks the link that leads to this page.
func (s *screen) Current(path string) template.HTMLAttr {
	if s.v.Request == nil || s.v.URL.Path != path {
		return ""
	}
	return ` aria-current="page"`
}

// Before and After are a text on either side of its placeholder.
func (s *screen) Before(key string) (string, error) {
	before, _, err := around(s.Lang, key)
	return before, err
}

// After is the rest of [screen.Before].
func (s *screen) After(key string) (string, error) {
	_, after, err := around(s.Lang, key)
	return after, err
}

// To is one of our own paths, in the visitor's language.
func (s *screen) To(path string) string { return s.v.path(path) }

// Remaining writes a number of seconds.
func (s *screen) Remaining(seconds int) string { return remaining(s.Lang, seconds) }

// sentences are the first of a text, which is read at a glance, and the rest.
type sentences struct{ Lead, Rest string }

// First cuts a text after its first sentence.
func (s *screen) First(text string) sentences {
	lead, rest, more := strings.Cut(text, ". ")
	if !more {
		return sentences{Lead: text}
	}
	return sentences{lead + ".", rest}
}

var (
	figure   = regexp.MustCompile(`^[0-9][0-9.,]*$`)
	currency = regexp.MustCompile(`^[A-Z]{3}$`)
)

// Whole splits a label at its spaces, except between an amount and its currency, which stay on one line.
func (s *screen) Whole(label string) []string {
	var out []string
	for word := range strings.SplitSeq(label, " ") {
		if n := len(out); n > 0 && currency.MatchString(word) && figure.MatchString(out[n-1]) {
			out[n-1] += " " + word
			continue
		}
		out = append(out, word)
	}
	return out
}
