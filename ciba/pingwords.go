package ciba

import (
	"net/http"
	"strconv"
)

// Codes of calls that no answer came to.
const (
	codeEndpoint    = "endpoint"
	codeTimeout     = "timeout"
	codeUnreachable = "unreachable"
	codeLate        = "late"
	codeLost        = "lost"
)

var pingWords = map[string]string{
	codeEndpoint:    "the registered notification endpoint is no URL that can be called",
	codeTimeout:     "the agent's endpoint did not answer in time; the ping may have arrived",
	codeUnreachable: "the agent's endpoint cannot be reached from here",
	codeLate:        "the store took too long over the claim, so nothing was sent",
	codeLost:        "the process that called has ended before the answer came; the ping may have arrived",
}

// ExplainPing says in plain words what a code of a ping means; "" for one that is not known here.
func ExplainPing(code string) string {
	if words, found := pingWords[code]; found {
		return words
	}
	status, err := strconv.Atoi(code)
	if err != nil || http.StatusText(status) == "" {
		return ""
	}
	return "the agent's endpoint answered " + code + " " + http.StatusText(status)
}
