package webapp

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// The pages can be kept like an app, whether or not anything can be pushed.
func TestManifest(t *testing.T) {
	w := newWorld(t, false)
	c := w.pages.Config
	c.Push = nil
	off, err := New(c)
	check(t, err)
	w.pages.Close()
	w.pages = off
	b := w.browser()
	var m struct {
		StartURL string `json:"start_url"`
		Scope    string
		Icons    []struct{ Src string }
	}
	manifest := b.get("/manifest.webmanifest").want(http.StatusOK)
	check(t, json.Unmarshal([]byte(manifest.body), &m))
	if manifest.header.Get("Content-Type") != "application/manifest+json" || m.StartURL != "/" || m.Scope != "/" ||
		len(m.Icons) != 2 {
		t.Errorf("manifest %+v as %s", m, manifest.header.Get("Content-Type"))
	}
	for _, icon := range m.Icons {
		b.get(icon.Src).want(http.StatusOK)
	}
	if layout := b.get("/signin").body; !strings.Contains(layout, `<link rel="manifest" href="/manifest.webmanifest">`) {
		t.Error("no page names the manifest")
	}
}

// The shell's service worker keeps files of ours and pages that name nobody.
func TestShell(t *testing.T) {
	w := newWorld(t, false)
	b := w.signedIn("ann")
	worker := b.get("/shell.js").want(http.StatusOK)
	if worker.header.Get("Cache-Control") != "no-cache" || !strings.HasPrefix(worker.header.Get("Content-Type"), "text/javascript") {
		t.Errorf("headers %v", worker.header)
	}
	list := regexp.MustCompile(`const shell = (\[.*\]);`).FindStringSubmatch(worker.body)
	if list == nil || strings.Contains(worker.body, "shell-version") {
		t.Fatalf("paths and version are not filled in:\n%s", worker.body)
	}
	var paths []string
	check(t, json.Unmarshal([]byte(strings.ReplaceAll(list[1], `\u0026`, "&")), &paths))
	if len(paths) != 6 {
		t.Errorf("keeps %q", paths)
	}
	for _, path := range paths {
		p := b.get(path).want(http.StatusOK)
		if strings.HasPrefix(path, "/static/") {
			continue
		}
		p.lacks("Ann", "/signout")
		if p.hasForm("/") {
			t.Errorf("%s: has a form", path)
		}
	}
	b.get("/offline").want(http.StatusOK, "You are offline")
	b.get("/offline/sent?lang=ko").want(http.StatusOK, "결과를 확인하지 못했어요")
}
