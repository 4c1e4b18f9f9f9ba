package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"assent/approvals"
	"assent/ciba"
)

type pingsCmd struct {
	List   pingsListCmd   `cmd:"" help:"List the pings that were given up: the agent's endpoint has not answered for an hour."`
	Replay pingsReplayCmd `cmd:"" help:"Send a ping again that was given up."`
}

type pingsListCmd struct{ adminFlags }

// Run prints the pings that were given up.
func (c *pingsListCmd) Run(ctx context.Context, s streams) error {
	api, err := newAdminClient(c.Data)
	if err != nil {
		return err
	}
	list, err := pages(ctx, api, "/pings", func(g ciba.GivenUp) string { return string(g.Request) })
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(s.out).Encode(list)
	}
	w := tabwriter.NewWriter(s.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "REQUEST\tCLIENT_ID\tCALLS\tGIVEN UP\tREPLAY UNTIL")
	for _, g := range list {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\n", g.Request, g.Agent, g.Calls, g.At.Format(time.RFC3339), g.Expires.Format(time.RFC3339))
	}
	return w.Flush()
}

type pingsReplayCmd struct {
	adminFlags
	Request string `arg:"" help:"Which request."`
}

// Run sends one ping again.
func (c *pingsReplayCmd) Run(ctx context.Context, s streams) error {
	return c.tell(ctx, s, "/pings/"+url.PathEscape(c.Request)+"/replay", "queued again")
}

func (a *admin) listPings(r *http.Request) (any, error) {
	return a.s.notifier.Abandoned(r.Context(), approvals.ID(r.URL.Query().Get("after")), listLimit)
}

func (a *admin) replayPing(r *http.Request) (any, error) {
	return nil, a.s.notifier.Replay(r.Context(), approvals.ID(r.PathValue("id")))
}

// pingCollector reads the notifier's numbers when metrics are asked for.
type pingCollector struct{ s *service }

var (
	pingCalls = prometheus.NewDesc("approvals_pings_total", "Calls of agents' notification endpoints, and pings given up.", []string{"outcome"}, nil)
	pingQueue = prometheus.NewDesc("approvals_pings_open", "Pings under way, and pings that wait behind others of their agent.", []string{"stage"}, nil)
)

// Describe names the metrics.
func (c pingCollector) Describe(ch chan<- *prometheus.Desc) { ch <- pingCalls; ch <- pingQueue }

// Collect reads the numbers.
func (c pingCollector) Collect(ch chan<- prometheus.Metric) {
	stats := c.s.notifier.Stats()
	for name, n := range stats.Outcomes {
		ch <- prometheus.MustNewConstMetric(pingCalls, prometheus.CounterValue, float64(n), name)
	}
	ch <- prometheus.MustNewConstMetric(pingQueue, prometheus.GaugeValue, float64(stats.Running), "running")
	ch <- prometheus.MustNewConstMetric(pingQueue, prometheus.GaugeValue, float64(stats.Waiting), "waiting")
}
