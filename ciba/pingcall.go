package ciba

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"assent/approvals"
)

// outcome is what came of one call.
type outcome int

const (
	pingAccepted outcome = iota
	pingRefused          // for good
	pingFailed           // it arrived, and is to come again
	pingLate             // certainly not sent
	pingUnknown          // it may have arrived
	pingGivenUp          // beside the last call's own
	outcomes
)

// The names of outcomes in metrics, and in the timeline those of one call.
var (
	outcomeNames    = [outcomes]string{"accepted", "refused", "failed", "late", "unknown", "given_up"}
	outcomeStatuses = [outcomes]approvals.Status{approvals.StatusAccepted, approvals.StatusFailed,
		approvals.StatusFailed, approvals.StatusFailed, approvals.StatusUnknown}
)

// result is what came of one call: the status of the answer, or why there was none, and how long to wait at least.
type result struct {
	outcome outcome
	code    string
	pause   time.Duration
}

// maxAnswer is how much of an answer is read, so that the connection can be used again (REQ-213).
const maxAnswer = 1 << 10

// pingBody is the whole of what an agent is told (REQ-208, 211).
type pingBody struct {
	AuthReqID string `json:"auth_req_id"`
}

// post is the call of CIBA section 10.2 (REQ-207).
func (n *Notifier) post(ctx context.Context, to string, note notice, within time.Duration) result {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	body, _ := json.Marshal(pingBody{note.Handle}) // a string: cannot fail
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return result{pingRefused, codeEndpoint, 0}
	}
	req.Header.Set("Authorization", "Bearer "+note.Token)
	req.Header.Set("Content-Type", typeJSON)
	resp, err := n.HTTP.Do(req)
	if err != nil {
		return noAnswer(err)
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer) // the status has said it all
	return n.judge(resp)
}

// noAnswer tells those who took too long from those who were not there.
func noAnswer(err error) result {
	var cause *url.Error
	if errors.As(err, &cause) && cause.Timeout() {
		return result{pingUnknown, codeTimeout, 0}
	}
	return result{pingUnknown, codeUnreachable, 0}
}

// judge is REQ-213 to 216: every 2xx is a receipt, redirects and 4xx are final, the rest comes again.
func (n *Notifier) judge(resp *http.Response) result {
	code := strconv.Itoa(resp.StatusCode)
	switch s := resp.StatusCode; {
	case s >= 200 && s < 300:
		return result{pingAccepted, code, 0}
	case s >= 500, s == http.StatusTooManyRequests, s == http.StatusRequestTimeout:
		return result{pingFailed, code, retryAfter(resp.Header.Get("Retry-After"), n.Now())}
	}
	return result{pingRefused, code, 0}
}

// retryAfter reads seconds or a date (RFC 9110 section 10.2.3). What cannot be read is no wish.
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// settle keeps the outcome of a call, in one transaction with what comes next. When somebody has settled the call as
// lost meanwhile, only a receipt still counts; the timeline gets every outcome.
func (n *Notifier) settle(ctx context.Context, id approvals.ID, call int, got result) (more bool, err error) {
	for range maxTurns {
		t, err := n.look(ctx, approvals.Step{Name: StepPing, Of: string(id)})
		if errors.Is(err, approvals.ErrNotFound) {
			t, err = &pinging{now: n.Now()}, nil
		}
		if err != nil {
			return false, err
		}
		report := approvals.Delivery{Channel: PingChannel, Attempt: call, Status: outcomeStatuses[got.outcome],
			Code: got.code, At: t.now, Duplicate: t.Doubt}
		var writes []approvals.Write
		if mine := t.Calls == call && !t.Until.IsZero(); mine || t.Calls > 0 && got.outcome == pingAccepted {
			writes, more = t.conclude(got)
		}
		err = n.record(ctx, id, report, writes)
		if err == nil && t.GivenUp {
			n.abandoned(ctx, t)
		}
		if !errors.Is(err, approvals.ErrConflict) {
			return more && err == nil, err
		}
	}
	return false, fmt.Errorf("keep outcome of ping: %w", approvals.ErrConflict)
}

// conclude returns the writes that an outcome leads to; more says that the agent is to be called again.
func (t *pinging) conclude(got result) (writes []approvals.Write, more bool) {
	if got.outcome == pingAccepted || got.outcome == pingRefused {
		return t.forget(), false
	}
	t.Doubt = t.Doubt || got.outcome == pingUnknown
	at, more := t.errand.settle(t.r, got.pause, t.now)
	if !more {
		return t.giveUp(), false
	}
	return t.leave(at), true
}

// record keeps the report, or at least what it leads to when the timeline is full.
func (n *Notifier) record(ctx context.Context, id approvals.ID, report approvals.Delivery,
	writes []approvals.Write) error {
	_, err := n.Desk.Record(ctx, id, report, writes...)
	if errors.Is(err, approvals.ErrDrop) && len(writes) > 0 {
		return n.Records.Apply(ctx, writes...)
	}
	if errors.Is(err, approvals.ErrDrop) || errors.Is(err, approvals.ErrNotFound) {
		return nil
	}
	return err
}

// tell counts a call and logs it, without anything that grants something (REQ-221).
func (n *Notifier) tell(ctx context.Context, t *pinging, got result) {
	n.counters.add(got.outcome)
	log := n.Log.With("request", t.r.ID, "agent", t.r.Agent, "attempt", t.Calls, "code", got.code,
		"took", n.Now().Sub(t.now))
	if got.outcome == pingAccepted {
		log.InfoContext(ctx, "ping accepted")
	} else {
		log.WarnContext(ctx, "ping not accepted", "outcome", outcomeNames[got.outcome])
	}
	if row := n.streaks.count(t.r.Agent, got.outcome); row > 0 && row%refusedInRow == 0 {
		n.Log.ErrorContext(ctx, "notification endpoint refuses every ping", "agent", t.r.Agent, "in_a_row", row)
	}
}

// refusedInRow is how many pings a client may refuse before operators hear of it (REQ-215).
const refusedInRow = 5

// streaks counts refusals in a row.
type streaks struct {
	mu sync.Mutex
	of map[approvals.AgentID]int
}

// count returns how many there are after this outcome; 0 unless it is one of them.
func (s *streaks) count(id approvals.AgentID, o outcome) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch o {
	case pingRefused:
		s.of[id]++
		return s.of[id]
	case pingAccepted:
		delete(s.of, id)
	}
	return 0
}
