package push

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"assent/channels/channeltest"
)

// TestNoDetails: what an app's provider is handed never says what is asked, whatever the person wants: it can read it.
func TestNoDetails(t *testing.T) {
	m := channeltest.Message(1)
	m.Summary = "480.00"
	out, err := compose("token", m, "id", m.Expires.Add(-time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(out)
	if err != nil || bytes.Contains(raw, []byte(m.Summary)) {
		t.Errorf("%s, %v", raw, err)
	}
}
