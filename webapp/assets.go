package webapp

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"net/http"
	"path"
	"strconv"
	"strings"
)

//go:embed static
var staticFiles embed.FS

//go:embed worker/sw.js
var workerFile []byte

// assets are the static files under names that change with their content, so that browsers may keep them for ever.
type assets struct {
	names map[string]string // app.css → app.0123456789.css
	files map[string]asset  // by hashed name
}

// asset is one file. Where that saves anything it is also kept compressed: files of ours hold no secret, whereas a page
// holds the token of its forms beside text of an agent's choice, whose sizes together could give the token away (BREACH).
// So pages go out as they are.
type asset struct {
	kind   string
	body   []byte
	zipped []byte // gzip; nil when it is not smaller
}

func newAsset(kind string, body []byte) asset {
	if kind == assetKinds[".png"] { // compressed as it is
		return asset{kind: kind, body: body}
	}
	var out bytes.Buffer
	z, _ := gzip.NewWriterLevel(&out, gzip.BestCompression) // a known level is no error
	_, _ = z.Write(body)                                    // nor is memory
	_ = z.Close()
	if out.Len() >= len(body)*9/10 {
		return asset{kind: kind, body: body}
	}
	return asset{kind, body, out.Bytes()}
}

var assetKinds = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
	".png": "image/png",
}

func loadAssets() (*assets, error) {
	a := &assets{names: map[string]string{}, files: map[string]asset{}}
	entries, err := staticFiles.ReadDir("static")
	if err != nil {
		return nil, fmt.Errorf("static files: %w", err)
	}
	for _, e := range entries {
		body, err := staticFiles.ReadFile("static/" + e.Name())
		if err != nil {
			return nil, fmt.Errorf("static files: %w", err)
		}
		ext := path.Ext(e.Name())
		kind, known := assetKinds[ext]
		if !known {
			return nil, fmt.Errorf("static file %s: unknown kind", e.Name())
		}
		sum := sha256.Sum256(body)
		hashed := strings.TrimSuffix(e.Name(), ext) + "." + hex.EncodeToString(sum[:5]) + ext
		a.names[e.Name()], a.files[hashed] = hashed, newAsset(kind, body)
	}
	return a, nil
}

// loadWorker puts the hashed names of our files into the service worker, which has one name for ever.
func loadWorker(a *assets) ([]byte, error) {
	const icon = "icon-192.png"
	worker := bytes.ReplaceAll(workerFile, []byte("/static/"+icon), []byte(a.path(icon)))
	if bytes.Equal(worker, workerFile) {
		return nil, fmt.Errorf("service worker: %s is not in it", icon)
	}
	return worker, nil
}

// serveWorker answers browsers that look for a newer service worker. Its scope is below its own path, so it can be
// registered where there are no pages.
func (h *Handler) serveWorker(w http.ResponseWriter, r *http.Request) {
	newAsset(assetKinds[".js"], h.worker).write(w, r, "no-cache")
}

// path is where a static file is served.
func (a *assets) path(name string) string { return "/static/" + a.names[name] }

func (a *assets) serve(w http.ResponseWriter, r *http.Request) {
	file, known := a.files[r.PathValue("file")]
	if !known {
		http.NotFound(w, r)
		return
	}
	file.write(w, r, "public, max-age=31536000, immutable")
}

// favicon answers browsers that ask for the icon by its old name.
func (a *assets) favicon(w http.ResponseWriter, r *http.Request) {
	a.files[a.names["icon.svg"]].write(w, r, "public, max-age=86400")
}

func (f asset) write(w http.ResponseWriter, r *http.Request, cache string) {
	head, body := w.Header(), f.body
	head.Set("Content-Type", f.kind)
	head.Set("Cache-Control", cache)
	if f.zipped != nil {
		head.Set("Vary", "Accept-Encoding")
		if takesGzip(r.Header.Get("Accept-Encoding")) {
			head.Set("Content-Encoding", "gzip")
			body = f.zipped
		}
	}
	head.Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body)
}

// takesGzip reports whether a browser accepts gzip (RFC 9110, section 12.5.3). Whoever writes that in an unusual way gets
// the plain file.
func takesGzip(accept string) bool {
	for part := range strings.SplitSeq(accept, ",") {
		if strings.TrimSpace(part) == "gzip" {
			return true
		}
	}
	return false
}
