package web

import (
	"net/http"
	"strconv"
)

// Codes of what push services never hear of.
const (
	codeCode  = "code"
	codeGone  = "unsubscribed"
	codeRead  = "not_read"
	codeUnfit = "unfit"
)

var ownWords = map[string]string{
	codeCode:  "one-time codes do not go to browsers",
	codeGone:  "the browser is not subscribed here, or no longer",
	codeRead:  "the store did not say where the browser listens",
	codeUnfit: "the message cannot go to this browser: its push service is off the list, or the time is over",
}

var statusWords = map[int]string{
	http.StatusBadRequest:            "the push service does not take a request like this",
	http.StatusUnauthorized:          "the push service does not take our key's signature: the clock may be wrong",
	http.StatusForbidden:             "the push service does not take our key or our contact",
	http.StatusNotFound:              "the push service does not know the browser any more",
	http.StatusGone:                  "the browser has unsubscribed",
	http.StatusRequestEntityTooLarge: "the message is too long for the push service",
	http.StatusTooManyRequests:       "too many messages at once",
}

// Explain says in plain words what a code means: one of ours, or an HTTP status of a push service; "" for one that is not
// known here.
func Explain(code string) string {
	if words, found := ownWords[code]; found {
		return words
	}
	status, err := strconv.Atoi(code)
	if err != nil {
		return ""
	}
	if words, found := statusWords[status]; found {
		return words
	}
	return "the push service, or something in front of it, answered with HTTP status " + code
}
