package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"assent/approvals"
)

// devMode is what --dev adds under /dev/. It decides through the same desk call as the page; the evidence says that
// nobody pressed anything.
type devMode struct {
	desk  *approvals.Desk
	dir   *approvals.Directory
	phone *phone
	texts *simulator // nil: no simulated text messages
	push  *pushMode
	clock *clock
	sweep func(context.Context) error

	pushes *fcmSimulator // nil: no simulated push messages

	resource http.Handler // takes the tokens
}

// handler serves /dev/. Every request must name a loopback host: a page on the web that makes a browser post here
// (DNS rebinding) names its own.
func (d *devMode) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /dev/phone/{sub}", d.phone.serve)
	mux.HandleFunc("GET /dev/phone.css", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFileFS(w, r, devFiles, "dev/phone.css")
	})
	if d.texts != nil {
		mux.HandleFunc("GET /dev/sms", d.texts.serve)
		mux.Handle("/dev/sms/control/", http.StripPrefix("/dev/sms", d.texts))
	}
	if d.push != nil {
		mux.HandleFunc("POST "+pushPath+"/subscriptions", d.push.subscribe)
		mux.HandleFunc("GET "+pushPath+"/messages", d.push.messages)
		mux.Handle("POST "+pushPath+"/push/{browser}", d.push.sim)
	}
	if d.pushes != nil {
		mux.HandleFunc("GET /dev/fcm", d.pushes.serve)
		mux.Handle("/dev/fcm/control/", http.StripPrefix("/dev/fcm", d.pushes))
	}
	mux.HandleFunc("POST /dev/approve", d.decide(true))
	mux.HandleFunc("POST /dev/deny", d.decide(false))
	mux.HandleFunc("POST /dev/decide", d.decideByQuery)
	mux.HandleFunc("POST /dev/clock", d.advance)
	mux.Handle("GET /dev/resource", d.resource)
	mux.HandleFunc("POST /dev/provider", d.behave)
	return localOnly(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		mux.ServeHTTP(w, r)
	}))
}

// localOnly refuses requests that name another host than this machine: a page on the web that has its own name point
// here (DNS rebinding) gives itself away so.
func localOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isLocalHost(r.Host) {
			http.Error(w, "this answers to localhost only", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func isLocalHost(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// readJSON reads a small JSON body strictly. A form cannot pass: browsers post those across sites without asking.
func readJSON(r *http.Request, into any) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return errors.New("Content-Type must be application/json")
	}
	dec := json.NewDecoder(io.LimitReader(r.Body, 64<<10))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return errors.New("body must be a JSON object with the documented members")
	}
	return nil
}

// decide answers POST {"auth_req_id", "user"} with 204 once the decision is durable.
func (d *devMode) decide(approve bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			AuthReqID string `json:"auth_req_id"`
			User      string `json:"user"`
		}
		if err := readJSON(r, &body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		d.answer(w, r, body.AuthReqID, body.User, approve)
	}
}

// decideByQuery is the form that conformance runners know: ?auth_req_id=…&action=allow|deny.
func (d *devMode) decideByQuery(w http.ResponseWriter, r *http.Request) {
	action := r.URL.Query().Get("action")
	if action != "allow" && action != "deny" {
		http.Error(w, "action must be allow or deny", http.StatusBadRequest)
		return
	}
	if r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "" {
		http.Error(w, "not from a browser", http.StatusForbidden)
		return
	}
	d.answer(w, r, r.URL.Query().Get("auth_req_id"), "", action == "allow")
}

func (d *devMode) answer(w http.ResponseWriter, r *http.Request, handle, user string, approve bool) {
	id, _, _ := strings.Cut(handle, ".")
	req, err := d.desk.Request(r.Context(), approvals.ID(id))
	if err == nil {
		err = d.mustBe(r.Context(), req, user)
	}
	if err == nil {
		err = d.press(r.Context(), req, approve)
	}
	switch {
	case err == nil:
		w.WriteHeader(http.StatusNoContent)
	case errors.Is(err, approvals.ErrNotFound):
		http.Error(w, "no such request for that user", http.StatusNotFound)
	case errors.Is(err, approvals.ErrUnavailable):
		w.Header().Set("Retry-After", "2")
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	default:
		http.Error(w, err.Error(), http.StatusConflict)
	}
}

// mustBe checks that user, when given, names the subject by sub or hint.
func (d *devMode) mustBe(ctx context.Context, req *approvals.Request, user string) error {
	if user == "" || user == string(req.Subject) {
		return nil
	}
	p, err := d.dir.Person(ctx, req.Subject)
	if err != nil {
		return err
	}
	if user == p.Email || user == p.Phone || slices.Contains(p.Hints, user) {
		return nil
	}
	return approvals.ErrNotFound
}

func (d *devMode) press(ctx context.Context, req *approvals.Request, approve bool) error {
	shown, err := d.desk.Show(req, req.Locale)
	if err != nil {
		return err
	}
	answer := approvals.Answer{By: req.Subject, Digest: shown.Digest(), Locale: shown.Locale, Level: req.Level,
		AuthTime: d.clock.Now(), Via: "dev", Simulated: true}
	if approve {
		_, err = d.desk.Approve(ctx, req.ID, answer)
	} else {
		_, err = d.desk.Deny(ctx, req.ID, answer)
	}
	return err
}

// behave answers POST {"answer": "busy", "delay": "200ms"} with 204: from then on the provider of the simulated phone
// answers so, and takes that long.
func (d *devMode) behave(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Answer string `json:"answer"`
		Delay  string `json:"delay"`
	}
	err := readJSON(r, &body)
	var delay time.Duration
	if err == nil && body.Delay != "" {
		delay, err = time.ParseDuration(body.Delay)
	}
	if err != nil || delay < 0 || delay > time.Minute {
		http.Error(w, `body must be {"answer": "busy", "delay": "200ms"}: at most a minute`, http.StatusBadRequest)
		return
	}
	if err := d.phone.behave(body.Answer, delay); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// advance answers POST {"advance": "25h"} with the new time, after everything that has become due is done.
func (d *devMode) advance(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Advance string `json:"advance"`
	}
	err := readJSON(r, &body)
	var by time.Duration
	if err == nil {
		by, err = time.ParseDuration(body.Advance)
	}
	if err != nil || by < 0 {
		http.Error(w, `body must be {"advance": "25h"}: a positive duration`, http.StatusBadRequest)
		return
	}
	if err := http.NewResponseController(w).SetWriteDeadline(time.Time{}); err != nil { // what is due takes its time
		http.Error(w, "clock not advanced", http.StatusInternalServerError)
		return
	}
	d.clock.Advance(by)
	if err := d.sweep(r.Context()); err != nil {
		http.Error(w, "clock advanced, sweep incomplete", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]string{"now": d.clock.Now().UTC().Format(time.RFC3339)})
}
