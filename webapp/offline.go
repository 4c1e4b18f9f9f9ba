package webapp

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"net/http"
	"net/url"

	"assent/approvals"
)

//go:embed worker/shell.js
var shellFile []byte

// offlinePages are what browsers keep for when the network is gone: one for a page that did not come, and one for a form
// of which nobody knows whether it arrived.
var offlinePages = []struct {
	path string
	view offlineView
}{{"/offline", offlineView{Text: "away"}}, {"/offline/sent", offlineView{Text: "unknown", Sent: true}}}

// offlineView is such a page.
type offlineView struct {
	Text string // prefix of the texts: Text.title, Text.body
	Sent bool   // it answers a form
}

// offline shows the page to whoever keeps it, and so names nobody.
func offline(view offlineView) func(*visit) (answer, error) {
	return func(v *visit) (answer, error) {
		v.who = nil
		return answer{page: "offline", data: view}, nil
	}
}

// loadShell puts the paths of the shell into its service worker, and what the pages say into the name under which they
// are kept: other words or another look are another shell.
func loadShell(h *Handler) ([]byte, error) {
	paths, version := []string{h.static.path("app.css"), h.static.path("app.js")}, ""
	for _, p := range offlinePages {
		for _, lang := range []string{approvals.English, approvals.Korean} {
			at := &url.URL{Path: p.path, RawQuery: "lang=" + lang}
			paths = append(paths, at.String())
			v := &visit{Request: &http.Request{Method: http.MethodGet, URL: at}, h: h, lang: lang, asked: true}
			var body bytes.Buffer
			if err := h.pages.render(&body, "offline", v, p.view); err != nil {
				return nil, err
			}
			version = fingerprint(version, body.String())
		}
	}
	list, _ := json.Marshal(paths) // cannot fail
	worker := bytes.Replace(shellFile, []byte("['/shell']"), list, 1)
	return bytes.Replace(worker, []byte("shell-version"), []byte("shell-"+version), 1), nil
}

// serveShell answers browsers that look for a newer service worker of the shell. All pages are in its scope.
func (h *Handler) serveShell(w http.ResponseWriter, r *http.Request) {
	newAsset(assetKinds[".js"], h.shell).write(w, r, "no-cache")
}

// manifest lets phones and desktops keep the pages like an app; on some, notifications reach nothing else.
func (h *Handler) manifest(w http.ResponseWriter, _ *http.Request) {
	icon := func(name, size, purpose string) map[string]string {
		return map[string]string{"src": h.static.path(name), "sizes": size, "type": assetKinds[".png"], "purpose": purpose}
	}
	w.Header().Set("Content-Type", "application/manifest+json")
	w.Header().Set("Cache-Control", "public, max-age=3600")
	_ = json.NewEncoder(w).Encode(map[string]any{ // a browser that has gone is no error of ours
		"name": say(approvals.English, "brand"), "short_name": say(approvals.English, "brand"), "id": "/",
		"start_url": "/", "scope": "/", "display": "standalone",
		"background_color": "#f5f6f8", "theme_color": "#f5f6f8",
		"icons": []any{icon("icon-192.png", "192x192", "any"), icon("icon-512.png", "512x512", "any")},
	})
}
