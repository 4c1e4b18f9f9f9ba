package main

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/http"
)

// nameHeader carries the name of a call in its answer. The name stands as req in every log line of the call, so that a
// developer's "it said 500" finds its line (REQ-177).
const nameHeader = "X-Request-Id"

type nameKey struct{}

// named gives every call a name of its own. A name that the caller sends is not taken over.
func named(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := rand.Text()[:12]
		w.Header().Set(nameHeader, name)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), nameKey{}, name)))
	})
}

// withName adds the name of the call, if the context has one, to what is logged.
type withName struct{ slog.Handler }

// Handle adds req.
func (h withName) Handle(ctx context.Context, line slog.Record) error {
	if name, ok := ctx.Value(nameKey{}).(string); ok {
		line.AddAttrs(slog.String("req", name))
	}
	return h.Handler.Handle(ctx, line)
}

// WithAttrs keeps the name with derived loggers.
func (h withName) WithAttrs(attrs []slog.Attr) slog.Handler {
	return withName{h.Handler.WithAttrs(attrs)}
}

// WithGroup keeps the name with derived loggers.
func (h withName) WithGroup(group string) slog.Handler { return withName{h.Handler.WithGroup(group)} }
