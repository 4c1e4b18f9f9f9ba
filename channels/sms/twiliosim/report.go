package twiliosim

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Sign is X-Twilio-Signature: HMAC-SHA1 under the token over the URL and every field with its value, sorted by name.
func Sign(token, to string, form url.Values) string {
	mac := hmac.New(sha1.New, []byte(token))
	io.WriteString(mac, to)
	for _, name := range slices.Sorted(maps.Keys(form)) {
		io.WriteString(mac, name+form.Get(name))
	}
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// reportTime bounds one callback.
const reportTime = 10 * time.Second

// Report makes the status callback of a message, such as "delivered", or "undelivered 30005". It returns the HTTP status
// of the last answer: the provider calls again as often as the URL's overrides say, when they name what went wrong.
func (s *Server) Report(ctx context.Context, sid, status string) (int, error) {
	word, codeText, _ := strings.Cut(status, " ")
	code, _ := strconv.Atoi(codeText)
	s.mu.Lock()
	m := s.find(sid)
	if m == nil {
		s.mu.Unlock()
		return 0, errors.New("no such message")
	}
	m.Status, m.Code = word, code
	kept := *m
	s.mu.Unlock()
	if kept.Callback == "" {
		return 0, errors.New("message has no status callback")
	}
	form := url.Values{"MessageSid": {sid}, "SmsSid": {sid}, "MessageStatus": {word}, "SmsStatus": {word}, "To": {kept.To},
		"From": {kept.From}, "AccountSid": {s.account}, "ApiVersion": {"2010-04-01"}}
	if code != 0 {
		form.Set("ErrorCode", codeText)
	}
	answer, _, err := s.call(ctx, kept.Callback, form)
	return answer, err
}

// Inbound is a person's message to us. STOP and START words work at the provider too: it takes nothing for a number that
// has said STOP.
func (s *Server) Inbound(ctx context.Context, from, body string) (int, error) {
	return s.inboundAs(ctx, newSID(), from, body)
}

func (s *Server) inboundAs(ctx context.Context, sid, from, body string) (int, error) {
	s.mu.Lock()
	switch strings.ToUpper(strings.TrimSpace(body)) {
	case "STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT":
		s.stopped[from] = true
	case "START", "YES", "UNSTOP":
		delete(s.stopped, from)
	}
	to := s.inbound
	s.mu.Unlock()
	if to == "" {
		return 0, errors.New("nobody gets inbound messages")
	}
	status, said, err := s.call(ctx, to, url.Values{"MessageSid": {sid}, "SmsSid": {sid}, "AccountSid": {s.account}, "From": {from},
		"To": {ourNumber}, "Body": {body}, "NumMedia": {"0"}, "NumSegments": {"1"}, "ApiVersion": {"2010-04-01"}})
	if err == nil && status == http.StatusOK {
		err = s.answered(from, said)
	}
	return status, err
}

// ourNumber is whom people write to.
const ourNumber = "+15005550006"

// answered sends what an answer to an inbound message says (TwiML). A number that has said STOP gets nothing.
func (s *Server) answered(to string, said []byte) error {
	var answer struct {
		XMLName  xml.Name `xml:"Response"`
		Messages []string `xml:"Message"`
	}
	if err := xml.Unmarshal(said, &answer); err != nil {
		return fmt.Errorf("answer is no TwiML: %w", err)
	}
	s.mu.Lock()
	stopped := s.stopped[to]
	s.mu.Unlock()
	for _, text := range answer.Messages {
		if !stopped {
			s.keep(Message{SID: newSID(), To: to, From: ourNumber, Body: text, Status: "sent", At: s.now()})
		}
	}
	return nil
}

// call posts a signed form, again as the overrides in the fragment say.
func (s *Server) call(ctx context.Context, to string, form url.Values) (status int, answer []byte, err error) {
	to, fragment, _ := strings.Cut(to, "#")
	overrides, _ := url.ParseQuery(fragment)
	again := 0
	if strings.Contains(overrides.Get("rp"), "5xx") || overrides.Get("rp") == "all" {
		again, _ = strconv.Atoi(overrides.Get("rc"))
	}
	for try := 0; ; try++ {
		status, answer, err = s.post(ctx, to, form)
		if err != nil || status < 500 || try >= again {
			return status, answer, err
		}
	}
}

func (s *Server) post(ctx context.Context, to string, form url.Values) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, reportTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, nil, fmt.Errorf("callback: %w", err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=UTF-8")
	r.Header.Set("X-Twilio-Signature", Sign(s.token, to, form))
	r.Header.Set("User-Agent", "TwilioProxy/1.1")
	resp, err := s.client.Do(r)
	if err != nil {
		return 0, nil, fmt.Errorf("callback: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	return resp.StatusCode, answer, err
}

// report makes callbacks in order. One that nobody takes is lost, as at the provider.
func (s *Server) report(ctx context.Context, sid string, statuses []string) {
	for _, status := range statuses {
		_, _ = s.Report(ctx, sid, status)
	}
}

func (s *Server) reportLater(sid string, statuses []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.closed:
		return
	default:
	}
	if len(statuses) > 0 {
		s.reports.Go(func() { s.report(context.Background(), sid, statuses) })
	}
}
