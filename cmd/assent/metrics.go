package main

import (
	"context"
	"net/http"
	"net/http/pprof"
	"path"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"assent/approvals/stream"
)

// metrics is what operators can watch. Labels come from closed sets, never from ids or what people typed.
type metrics struct {
	s        *service
	registry *prometheus.Registry
	answers  *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	inFlight prometheus.Gauge
	deadJobs *prometheus.CounterVec
}

func newMetrics(s *service) *metrics {
	m := &metrics{s: s, registry: prometheus.NewRegistry(),
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "approvals_http_answers_total",
			Help: "Answers by door and status."}, []string{"door", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "approvals_http_answer_seconds",
			Help: "Time to answer by door, held polls included.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 8)}, []string{"door"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "approvals_http_open_answers",
			Help: "Answers under way, held polls and live pages included."}),
		deadJobs: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "approvals_dead_jobs_total",
			Help: "Jobs that no worker could bring to an end; their due steps are left."}, []string{"channel"}),
	}
	m.registry.MustRegister(m.answers, m.seconds, m.inFlight, m.deadJobs, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), busCollector{s}, pingCollector{s},
		providerCollector{s}, upstreamCollector{s})
	m.countCommits()
	m.countReports()
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "approvals_unknown_parameters_total",
		Help: "Parameters of backchannel requests that nobody knows, perhaps misspelt."},
		func() float64 { return float64(s.agents.UnknownParameters()) }))
	return m
}

// countCommits shows how much the store has written, if it counts: writes that share a commit share its sync.
func (m *metrics) countCommits() {
	counted, ok := m.s.store.(interface {
		Stats() (commits, writes uint64)
	})
	if !ok {
		return
	}
	m.registry.MustRegister(
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "approvals_store_commits_total",
			Help: "Durable commits of the store."}, func() float64 { n, _ := counted.Stats(); return float64(n) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "approvals_store_writes_total",
			Help: "Changes that went into them."}, func() float64 { _, n := counted.Stats(); return float64(n) }))
}

// countReports shows what operators have to look into: an alert belongs on both.
func (m *metrics) countReports() {
	m.registry.MustRegister(
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "approvals_reports_total",
			Help: "Requests that people have reported as suspicious."},
			func() float64 { n, _ := m.s.desk.Reports(); return float64(n) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "approvals_suspended_agents_total",
			Help: "Agents that were disabled because several people had reported them."},
			func() float64 { _, n := m.s.desk.Reports(); return float64(n) }))
}

// observe counts what a handler answers.
func (m *metrics) observe(next http.Handler) http.Handler {
	agents := map[string]bool{}
	for _, known := range m.s.agents.Paths() {
		agents[known] = true
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		door := "people"
		if folder, _ := path.Split(r.URL.Path); agents[r.URL.Path] || agents[folder] {
			door = "agents"
		}
		m.inFlight.Inc()
		defer m.inFlight.Dec()
		began := time.Now()
		seen := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(seen, r)
		m.seconds.WithLabelValues(door).Observe(time.Since(began).Seconds())
		m.answers.WithLabelValues(door, strconv.Itoa(seen.status)).Inc()
	})
}

// dead counts and tells of a job that no worker could bring to an end. The sweep finds what it was about.
func (m *metrics) dead(ctx context.Context, j stream.DeadJob) error {
	m.deadJobs.WithLabelValues(j.Channel).Inc()
	m.s.log.ErrorContext(ctx, "job given up, leaving it to the sweep", "channel", j.Channel, "tries", j.Tries) // keys may be of codes
	return nil
}

// statusWriter remembers the status of an answer. Unwrap lets http.ResponseController through, for held polls and live
// pages.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader remembers the status and passes it on.
func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// handler serves metrics, health and profiles on the administration listener.
func (m *metrics) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := m.s.ready(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Write([]byte("ready\n"))
	})
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

// busCollector reads the depth of the queues when metrics are asked for.
type busCollector struct{ s *service }

var (
	busMessages = prometheus.NewDesc("approvals_bus_messages", "Messages kept by the bus.", []string{"stream"}, nil)
	busPending  = prometheus.NewDesc("approvals_bus_unacknowledged_messages", "Messages that a consumer has not worked off.", []string{"consumer"}, nil)
)

// Describe names the metrics.
func (c busCollector) Describe(ch chan<- *prometheus.Desc) { ch <- busMessages; ch <- busPending }

// Collect asks the bus; while it is down there is nothing to say.
func (c busCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	depths, err := c.s.bus.Depths(ctx)
	if err != nil {
		return
	}
	for _, d := range depths {
		ch <- prometheus.MustNewConstMetric(busMessages, prometheus.GaugeValue, float64(d.Messages), d.Stream)
		for name, n := range d.Consumers {
			ch <- prometheus.MustNewConstMetric(busPending, prometheus.GaugeValue, float64(n), name)
		}
	}
}

// providerCollector reads how the channels' providers do when metrics are asked for.
type providerCollector struct{ s *service }

var (
	providerCalls = prometheus.NewDesc("approvals_channel_calls_total", "Calls of a channel's provider by outcome.",
		[]string{"channel", "outcome"}, nil)
	providerInFlight = prometheus.NewDesc("approvals_channel_open_calls", "Calls of a channel's provider under way.",
		[]string{"channel"}, nil)
	providerDown = prometheus.NewDesc("approvals_channel_down", "1 while a failing provider is left alone.",
		[]string{"channel"}, nil)
)

// Describe names the metrics.
func (c providerCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- providerCalls
	ch <- providerInFlight
	ch <- providerDown
}

// Collect asks the dispatcher.
func (c providerCollector) Collect(ch chan<- prometheus.Metric) {
	for _, p := range c.s.dispatcher.Providers() {
		down := 0.0
		if p.Down {
			down = 1
		}
		ch <- prometheus.MustNewConstMetric(providerDown, prometheus.GaugeValue, down, p.Channel)
		ch <- prometheus.MustNewConstMetric(providerInFlight, prometheus.GaugeValue, float64(p.InFlight), p.Channel)
		for outcome, n := range p.Calls {
			ch <- prometheus.MustNewConstMetric(providerCalls, prometheus.CounterValue, float64(n), p.Channel, string(outcome))
		}
	}
}
