package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// REQ-036, 074 and 276: operators withdraw what an agent has asked by disabling it, and there is no way for them to
// decide in a person's place.
func TestOperatorsCannotDecide(t *testing.T) {
	row(t, "REQ-036", "REQ-074", "REQ-276")
	data := newData(t)
	p := restartDev(t, data)
	agent := bot(p.issuer)
	handle := must(t, 200)(agent.ask(t.Context(), nil, nil)).member("auth_req_id")
	id, _, _ := strings.Cut(handle, ".")
	api, err := newAdminClient(data)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/requests/" + id + "/approve", "/requests/" + id + "/deny", "/requests/" + id + "/decide", "/dev/approve"} {
		if err := api.call(t.Context(), "POST", path, map[string]string{"auth_req_id": handle, "user": "u_ann"}, nil); err == nil {
			t.Errorf("%s is answered", path)
		}
	}
	if a := must(t, 400)(agent.poll(t.Context(), handle, nil)); a.member("error") != "authorization_pending" {
		t.Errorf("after that: %s", a.body)
	}
	var done disabled
	if err := api.call(t.Context(), "POST", "/agents/bot/disable", nil, &done); err != nil || done.Withdrawn != 1 {
		t.Errorf("disable: %+v, %v", done, err)
	}
	must(t, 401)(agent.poll(t.Context(), handle, nil))
	if err := api.call(t.Context(), "POST", "/agents/bot/enable", nil, nil); err != nil {
		t.Fatal(err)
	}
	if a := must(t, 400)(agent.poll(t.Context(), handle, nil)); a.member("error") != "invalid_grant" {
		t.Errorf("withdrawn: %s", a.body)
	}
	if err := p.stop(); err != nil {
		t.Fatal(err)
	}
	if trail := openAudit(t, data).kinds(t, handle); trail["approved"] != 0 || trail["cancelled"] != 1 {
		t.Errorf("audit records %v", trail)
	}
	if !strings.Contains(p.log(), "/agents/{id}/disable") {
		t.Error("the log does not tell what operators do")
	}
}

// No path of the administration decides.
func TestAdminPaths(t *testing.T) {
	row(t, "REQ-276")
	h := (&admin{s: &service{metrics: &metrics{}}}).handler()
	for _, path := range []string{"/requests/x/approve", "/requests/x/deny", "/dev/approve", "/dev/decide"} {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE"} {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
			if w.Code != http.StatusNotFound {
				t.Errorf("%s %s: %d", method, path, w.Code)
			}
		}
	}
}
