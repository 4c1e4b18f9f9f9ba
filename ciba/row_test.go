package ciba

import (
	"testing"

	"assent/ciba/rowtest"
)

// row says that t asserts rows of ciba/CONFORMANCE.md.
func row(t testing.TB, rows ...string) {
	t.Helper()
	rowtest.Row(t, rows...)
}
