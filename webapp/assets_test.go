package webapp

import (
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"
)

// Files go out compressed to whoever takes that. Pages do not: they hold a form's token beside an agent's words.
func TestCompression(t *testing.T) {
	w := newWorld(t, false)
	b := w.signedIn("ann")
	zip := http.Header{"Accept-Encoding": {"br, gzip"}}
	for _, path := range []string{w.pages.static.path("app.css"), w.pages.static.path("app.js"), "/sw.js", "/favicon.ico"} {
		plain, zipped := b.get(path).want(http.StatusOK), b.send("GET", path, "", zip).want(http.StatusOK)
		z, err := gzip.NewReader(strings.NewReader(zipped.body))
		check(t, err)
		body, err := io.ReadAll(z)
		check(t, err)
		if string(body) != plain.body || zipped.header.Get("Content-Encoding") != "gzip" ||
			zipped.header.Get("Vary") != "Accept-Encoding" || plain.header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("%s: %v", path, zipped.header)
		}
	}
	if p := b.send("GET", "/requests/"+string(w.ask("ann", payment).ID), "", zip); p.header.Get("Content-Encoding") != "" {
		t.Error("a page is compressed")
	}
	if p := b.send("GET", w.pages.static.path("app.css"), "", http.Header{"Accept-Encoding": {"gzip;q=0"}}); p.header.Get("Content-Encoding") != "" {
		t.Error("compressed for a browser that takes no gzip")
	}
}
