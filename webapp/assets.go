package webapp

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"net/http"
	"path"
	"strings"
)

//go:embed static
var staticFiles embed.FS

// assets are the static files under names that change with their content, so that browsers may keep them for ever.
type assets struct {
	names map[string]string // app.css → app.0123456789.css
	files map[string]asset  // by hashed name
}

type asset struct {
	kind string
	body []byte
}

var assetKinds = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
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
		a.names[e.Name()], a.files[hashed] = hashed, asset{kind, body}
	}
	return a, nil
}

// path is where a static file is served.
func (a *assets) path(name string) string { return "/static/" + a.names[name] }

func (a *assets) serve(w http.ResponseWriter, r *http.Request) {
	file, known := a.files[r.PathValue("file")]
	if !known {
		http.NotFound(w, r)
		return
	}
	file.write(w, "public, max-age=31536000, immutable")
}

// favicon answers browsers that ask for the icon by its old name.
func (a *assets) favicon(w http.ResponseWriter, _ *http.Request) {
	a.files[a.names["icon.svg"]].write(w, "public, max-age=86400")
}

func (f asset) write(w http.ResponseWriter, cache string) {
	w.Header().Set("Content-Type", f.kind)
	w.Header().Set("Cache-Control", cache)
	_, _ = w.Write(f.body)
}
